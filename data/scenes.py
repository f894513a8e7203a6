"""ScenesSource: twelve scenes made on the spot and offline, in which no single modality and no pair of them suffices.

A scene is a place (seen), an event (heard) and a time of day (told by a sentence). Each place and each event belongs to four
scenes, each time to six, and any two of the three together still leave two scenes to choose from. `best_score` computes what
that allows a model that misses a modality, whatever its encoders: 25 % from pictures or sounds alone, 1/6 from sentences alone,
50 % from any two.
"""

import hashlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from qmm.errors import InputError

from .descriptions import QUESTIONS, WORDS, make_answers, make_captions
from .files import picture_tensor, sound_tensor
from .pictures import make_picture
from .sentences import make_sentence
from .sounds import SAMPLE_RATE, make_sound
from .source import SPLITS, Source

VERSION = 1
"""Raise it with any change of what is drawn, synthesised or written: cached features are kept by it."""


class Factors(NamedTuple):
    """What each modality shows of a scene; the field's name is the modality's."""

    vision: str
    audio: str
    text: str


FACTS = dict(zip(("place", "event", "time"), Factors._fields, strict=True))
"""Fact -> the modality that shows it."""

SCENES = {
    "birdwatching": Factors("forest", "birds", "day"),
    "owl watch": Factors("forest", "birds", "night"),
    "mushroom hunt": Factors("forest", "rain", "day"),
    "campsite": Factors("forest", "rain", "night"),
    "surf school": Factors("beach", "rain", "day"),
    "lighthouse": Factors("beach", "rain", "night"),
    "ice cream cart": Factors("beach", "bells", "day"),
    "buoy watch": Factors("beach", "bells", "night"),
    "market": Factors("city", "bells", "day"),
    "midnight mass": Factors("city", "bells", "night"),
    "pigeon square": Factors("city", "birds", "day"),
    "rooftop bar": Factors("city", "birds", "night"),
}


def best_score(modalities: Collection[str]) -> float:
    """The best accuracy that any model can reach on balanced scenes of which it gets these modalities alone.

    >>> best_score(["vision"]), best_score(["vision", "text"]), best_score(["vision", "audio", "text"])
    (0.25, 0.5, 1.0)
    """
    seen = {tuple(getattr(factors, modality) for modality in sorted(modalities)) for factors in SCENES.values()}
    return len(seen) / len(SCENES)  # scenes that look alike are equally likely: of each such set one guess is right


class ScenesSource(Source):
    """`sizes` rows by split; every row is determined by (seed, split, index within the split), whatever the sizes.

    Pictures, sounds and sentences are the same with captions and questions as without.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        seed: int = 0,
        missing: float = 0.0,
        picture_size: int = 48,
        sound_seconds: float = 1.0,
        in_memory: bool = True,
        captions: bool = False,
        questions: bool = False,
        text: str = "time",
    ):
        if text not in ("time", "caption"):
            raise InputError(f"text: expected 'time' or 'caption', got {text!r}")
        if text == "caption" and (captions or questions):
            raise InputError("with `text: caption` a model is told what `captions` and `questions` ask of it; leave them out")
        if captions and questions:
            raise InputError("`questions` asks for captions, too ('what is happening?'); leave out `captions`")
        if not 0 <= missing < 1:
            raise InputError(f"missing: expected a probability of at least 0 and below 1, got {missing}")
        if any(size < 0 for size in sizes.values()) or picture_size < 8 or sound_seconds < 0.2:
            raise InputError(
                f"scenes of sizes {dict(sizes)}, picture_size {picture_size}, sound_seconds {sound_seconds}: "
                "expected sizes from 0, pictures from 8 pixels, sounds from 0.2 s"
            )
        self.seed, self.picture_size, self.sound_seconds, self.bad = seed, picture_size, sound_seconds, []
        self._text = text
        self._memory: dict[tuple[str, int], Any] | None = {} if in_memory else None
        self.classes = self._names = sorted(SCENES)
        self._places = [(split, index) for split, size in sizes.items() for index in range(size)]
        self.ids = [f"{split}-{index:05d}" for split, index in self._places]
        names = np.array([split for split, _ in self._places], dtype=object)
        self.splits = {split: np.flatnonzero(names == split) for split, size in sizes.items() if size}
        labels = [label for split, size in sizes.items() for label in self._labels(split, size)]
        self.targets = {"label": np.array(labels, dtype=np.int64)}
        there = np.array([self._present(row, missing) for row in range(len(self.ids))]).reshape(-1, len(Factors._fields))
        self.present = dict(zip(Factors._fields, there.T, strict=True))
        if captions or questions:
            self._describe(questions)

    def raw(self, modality: str, row: int) -> Any:
        content = self._content(modality, row)
        if modality == "vision":
            return picture_tensor(content)
        return sound_tensor(content, SAMPLE_RATE) if modality == "audio" else content

    def key(self, modality: str, row: int) -> str:
        split, index = self._places[row]
        text = None if self._text == "time" else self._text
        shape = {"vision": self.picture_size, "audio": self.sound_seconds, "text": text}.get(modality)
        label = int(self.targets["label"][row])
        return hashlib.sha256(repr((VERSION, self.seed, split, index, modality, shape, label)).encode()).hexdigest()

    def _describe(self, asks: bool) -> None:
        """Each row's facts and the sentences that name them; where it is asked something, only what answers the question."""
        self.words, self.references, self.facts = WORDS, [], []
        prompts: list[str] = []
        for row, place in enumerate(self._places):
            facts, rng = self._facts(row), self._generator(6, *place)
            if asks:
                question = self._question(*place)
                prompts.append(question)
                asked = QUESTIONS[question]
                self.references.append(make_answers(question, facts, rng))
                self.facts.append(facts if asked is None else {asked: facts[asked]})
            else:
                self.references.append(make_captions(facts, rng))
                self.facts.append(facts)
        self.prompts = prompts or None

    def _facts(self, row: int) -> dict[str, str]:
        scene = SCENES[self._names[self.targets["label"][row]]]
        return {fact: getattr(scene, modality) for fact, modality in FACTS.items()}

    def _question(self, split: str, index: int) -> str:
        """Each question once in every run of four rows, in an order of its own."""
        run, place = divmod(index, len(QUESTIONS))
        return list(QUESTIONS)[self._generator(7, split, run).permutation(len(QUESTIONS))[place]]

    def _content(self, modality: str, row: int) -> Any:
        if self._memory is None:
            return self._make(modality, row)
        if (modality, row) not in self._memory:
            self._memory[modality, row] = self._make(modality, row)
        return self._memory[modality, row]

    def _make(self, modality: str, row: int) -> Any:
        factor = getattr(SCENES[self._names[self.targets["label"][row]]], modality)
        rng = self._generator(1 + Factors._fields.index(modality), *self._places[row])
        if modality == "vision":
            return make_picture(factor, rng, self.picture_size)
        if modality == "audio":
            return make_sound(factor, rng, self.sound_seconds)
        return make_sentence(factor, rng) if self._text == "time" else make_captions(self._facts(row), rng)[0]

    def _labels(self, split: str, size: int) -> list[int]:
        """Every class once in each run of twelve rows, in an order of its own."""
        runs = [self._generator(4, split, run).permutation(len(SCENES)) for run in range(-(-size // len(SCENES)))]
        return np.concatenate([*runs, np.empty(0, dtype=np.int64)])[:size].astype(int).tolist()

    def _present(self, row: int, missing: float) -> np.ndarray:
        draws = self._generator(5, *self._places[row]).random(len(Factors._fields))
        return (draws >= missing) | (draws == draws.max())  # the last one stays

    def _generator(self, purpose: int, split: str, index: int) -> np.random.Generator:
        return np.random.default_rng([VERSION, self.seed, purpose, SPLITS.index(split), index])
