"""Scenes: what they show, what a single modality can tell, and that a row is always the same."""

import re
import time
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from qmm.data import SCENES, ScenesDataModule, ScenesSource, best_score
from qmm.data.descriptions import QUESTIONS, WORDS
from qmm.data.scenes import FACTS
from qmm.errors import InputError

MODALITIES = ("vision", "audio", "text")


def test_the_best_scores_are_as_stated() -> None:
    assert [best_score([m]) for m in MODALITIES] == [3 / 12, 3 / 12, 2 / 12]
    assert [best_score(pair) for pair in combinations(MODALITIES, 2)] == [0.5, 0.5, 0.5]
    assert best_score(MODALITIES) == 1
    assert best_score([]) == 1 / 12


@pytest.mark.parametrize("seen", [c for n in (1, 2, 3) for c in combinations(MODALITIES, n)])
def test_the_best_score_is_that_of_the_best_rule(seen: tuple[str, ...]) -> None:
    """Reference: the Bayes rule, counted on balanced rows: always guess the most frequent scene of what is seen."""
    source = ScenesSource({"train": 240})
    assert source.classes is not None
    counts: dict[tuple[str, ...], dict[str, int]] = {}
    for label in source.targets["label"]:
        name = source.classes[label]
        what = counts.setdefault(tuple(getattr(SCENES[name], m) for m in seen), {})
        what[name] = what.get(name, 0) + 1
    right = sum(max(names.values()) for names in counts.values())
    assert right / 240 == pytest.approx(best_score(seen))


def test_every_combination_is_one_scene() -> None:
    assert len(set(SCENES.values())) == len(SCENES) == 12


@given(st.integers(0, 5), st.sampled_from(["train", "val", "test"]), st.integers(0, 30), st.integers(0, 60))
@settings(max_examples=25, deadline=None)
def test_a_row_depends_on_seed_split_and_index_alone(seed: int, split: str, index: int, more: int) -> None:
    small = ScenesSource({split: index + 1}, seed=seed)
    large = ScenesSource({"train": 3, "val": 2, split: index + 1 + more}, seed=seed, in_memory=False)
    a, b = small.splits[split][index], large.splits[split][index]
    assert small.ids[a] == large.ids[b]
    assert small.targets["label"][a] == large.targets["label"][b]
    assert torch.equal(small.raw("vision", a), large.raw("vision", b))
    assert torch.equal(small.raw("audio", a).waveform, large.raw("audio", b).waveform)
    assert small.raw("text", a) == large.raw("text", b)
    assert [small.key(m, a) for m in MODALITIES] == [large.key(m, b) for m in MODALITIES]


def test_rows_differ_by_seed_split_and_index() -> None:
    keys, contents = set(), set()
    for seed in (0, 1):
        source = ScenesSource({"train": 12, "val": 12}, seed=seed)
        for row in range(24):
            keys |= {source.key(m, row) for m in MODALITIES}
            contents |= {source.raw("vision", row).numpy().tobytes(), source.raw("audio", row).waveform.numpy().tobytes()}
    assert len(keys) == 2 * 24 * 3
    assert len(contents) == 2 * 24 * 2


def test_shapes_ranges_and_balance() -> None:
    source = ScenesSource({"train": 120}, picture_size=40, sound_seconds=0.5)
    assert np.bincount(source.targets["label"]).tolist() == [10] * 12
    for row in range(24):
        picture, sound, text = (source.raw(m, row) for m in MODALITIES)
        assert picture.shape == (3, 40, 40)
        assert picture.dtype == torch.float32
        assert 0 <= picture.min() < picture.max() <= 1
        assert sound.waveform.shape == (4000,)
        assert sound.sample_rate == 8000
        assert sound.waveform.dtype == torch.float32
        assert 0.1 < sound.waveform.abs().max() < 1
        assert len(text.split()) >= 3


def test_what_was_made_is_kept_but_cannot_be_spoilt() -> None:
    source = ScenesSource({"train": 1})
    before = source.raw("vision", 0).clone()
    source.raw("vision", 0).zero_()
    source.raw("audio", 0).waveform.zero_()
    assert torch.equal(source.raw("vision", 0), before)
    assert source.raw("audio", 0).waveform.abs().max() > 0.1


@pytest.mark.parametrize("missing", [0.0, 0.3, 0.9])
def test_missing_modalities(missing: float) -> None:
    source = ScenesSource({"train": 2000}, missing=missing)
    present = np.stack(list(source.present.values()))
    assert present.any(axis=0).all()
    expected = 1 - missing + missing**3 / 3  # one of the three stays where all would be missing
    np.testing.assert_allclose(present.mean(axis=1), expected, atol=0.035)
    assert (ScenesSource({"train": 500}, missing=missing).present["audio"] == source.present["audio"][:500]).all()


def test_a_picture_threshold_does_not_tell_the_place() -> None:
    """Mean colours, with the best linear rule: far from the 100 % that the drawn shapes allow."""
    source = ScenesSource({"train": 600})
    assert source.classes is not None
    places = np.array([SCENES[source.classes[label]].vision for label in source.targets["label"]])
    colours = np.stack([source.raw("vision", row).mean(dim=(1, 2)).numpy() for row in range(600)])
    score = LogisticRegression(max_iter=1000).fit(colours[:400], places[:400]).score(colours[400:], places[400:])
    assert score < 0.7


def test_light_and_background_tell_nothing_of_the_other_factors() -> None:
    """A picture's and a sound's mean values do not tell the time of day: no factor leaks into another modality."""
    source = ScenesSource({"train": 960})
    assert source.classes is not None
    times = np.array([SCENES[source.classes[label]].text == "day" for label in source.targets["label"]])
    pictures = [source.raw("vision", row) for row in range(960)]
    means = np.stack([torch.cat([p.mean(dim=(1, 2)), p.std(dim=(1, 2))]).numpy() for p in pictures])
    levels = np.stack([[source.raw("audio", row).waveform.abs().mean().item()] for row in range(960)])
    features = np.concatenate([means, levels], axis=1)
    score = LogisticRegression(max_iter=1000).fit(features[:480], times[:480]).score(features[480:], times[480:])
    assert score < 0.5 + 4 * 0.5 / np.sqrt(480)


def test_making_a_sample_is_cheap() -> None:
    source = ScenesSource({"train": 60})
    for m in MODALITIES:
        source.raw(m, 59)
    start = time.process_time()
    for row in range(50):
        for m in MODALITIES:
            source.raw(m, row)
    assert (time.process_time() - start) / 50 < 0.006  # 1.3 ms where this was written; a loaded machine gets room


def test_arguments_are_checked() -> None:
    with pytest.raises(InputError, match=r"missing: expected a probability of at least 0 and below 1, got 1\.5"):
        ScenesSource({"train": 1}, missing=1.5)
    with pytest.raises(InputError, match="picture_size 4"):
        ScenesSource({"train": 1}, picture_size=4)


def test_the_data_module_of_scenes() -> None:
    data = ScenesDataModule(size=24, val_size=12, test_size=0, batch_size=5)
    data.setup("fit")
    assert data.classes == sorted(SCENES)
    assert data.modalities == MODALITIES
    assert data.class_weights is not None
    assert data.class_weights.tolist() == [1.0] * 12
    with pytest.raises(InputError, match=r"no rows for split 'test'; its splits are: train \(24 rows\), val \(12 rows\)"):
        data.setup("test")


def named(sentence: str, fact: str) -> set[str]:
    """Reference: every value of which some phrase stands in the sentence as whole words."""
    return {
        value
        for value, phrases in WORDS[fact].items()
        if any(re.search(rf"\b{re.escape(phrase)}\b", sentence) for phrase in phrases)
    }


@pytest.mark.parametrize("option", ["captions", "questions"])
def test_every_reference_names_exactly_its_facts(option: str) -> None:
    source = ScenesSource({"train": 240, "val": 24}, **{option: True})  # type: ignore[arg-type]
    assert source.references is not None
    assert source.facts is not None
    assert source.classes is not None
    used = set()
    for row, (references, facts) in enumerate(zip(source.references, source.facts, strict=True)):
        scene = SCENES[source.classes[source.targets["label"][row]]]
        truth = {"place": {scene.vision}, "event": {scene.audio}, "time": {scene.text}}
        assert len(set(references)) == len(references) == (5 if len(facts) == 3 else 3)
        assert {fact: {value} for fact, value in facts.items()} == {fact: truth[fact] for fact in facts}
        for sentence in references:
            assert {f: named(sentence, f) for f in WORDS} == {f: truth[f] if f in facts else set() for f in WORDS}
            used |= {p for values in WORDS.values() for ps in values.values() for p in ps if re.search(rf"\b{p}\b", sentence)}
    assert used == {phrase for values in WORDS.values() for phrases in values.values() for phrase in phrases}


def test_questions_and_their_answers() -> None:
    data = ScenesDataModule(size=240, val_size=0, test_size=0, questions=True)
    source = data.source
    assert source.prompts is not None
    assert source.facts is not None
    assert data.prompts == sorted(QUESTIONS)
    for start in range(0, 240, 4):
        assert set(source.prompts[start : start + 4]) == set(QUESTIONS)
    for prompt, facts in zip(source.prompts, source.facts, strict=True):
        assert set(facts) == ({QUESTIONS[prompt]} if QUESTIONS[prompt] else {"place", "event", "time"})
    counts = np.zeros((len(QUESTIONS), 12))
    for prompt, label in zip(source.prompts, source.targets["label"], strict=True):
        counts[list(QUESTIONS).index(prompt), label] += 1
    assert counts.min() > 0  # what is asked says nothing of the scene
    with pytest.raises(InputError, match="leave out `captions`"):
        ScenesSource({"train": 1}, captions=True, questions=True)


@given(
    st.integers(0, 3), st.sampled_from(["train", "val", "test"]), st.integers(0, 30), st.sampled_from(["captions", "questions"])
)
@settings(max_examples=25, deadline=None)
def test_sentences_depend_on_seed_split_and_index_alone(seed: int, split: str, index: int, option: str) -> None:
    arguments: dict[str, Any] = {option: True}
    small = ScenesSource({split: index + 1}, seed, **arguments)
    large = ScenesSource({"train": 3, "val": 2, split: index + 9}, seed, missing=0.5, **arguments)
    plain = ScenesSource({split: index + 1}, seed)
    a, b = small.splits[split][index], large.splits[split][index]
    for name in ("references", "facts", "prompts"):
        ours, theirs = getattr(small, name), getattr(large, name)
        assert (ours[a] == theirs[b]) if ours is not None else theirs is None
        assert getattr(plain, name) is None
    assert small.raw("text", a) == plain.raw("text", a)
    assert torch.equal(small.raw("vision", a), plain.raw("vision", a))
    assert small.key("vision", a) == plain.key("vision", a)


def test_captions_of_the_data_module() -> None:
    data = ScenesDataModule(size=30, val_size=6, test_size=0, captions=True, batch_size=6, modalities=["text"])
    data.setup("fit")
    data.connect({"text": lambda text: torch.tensor(float(len(text)))})
    batch = next(iter(data.val_dataloader()))
    assert [len(references) for references in batch.targets["references"]] == [5] * 6
    assert set(batch.targets["facts"][0]) == set(FACTS)
    assert batch.targets["label"].shape == (6,)
    assert batch.prompts == ()
    assert data.words == WORDS
    assert len(data.sentences) == 150


def test_scenes_can_tell_all_in_their_text() -> None:
    plain, told = (ScenesSource({"train": 24}, text=text) for text in ("time", "caption"))
    assert all(torch.equal(plain.raw("vision", row), told.raw("vision", row)) for row in range(3))
    for row in range(24):
        scene = SCENES[told.classes[told.targets["label"][row]]]  # type: ignore[index]
        for fact, modality in FACTS.items():
            said = {
                value for value, phrases in WORDS[fact].items() if any(phrase in told.raw("text", row) for phrase in phrases)
            }
            assert said == {getattr(scene, modality)}
        assert plain.key("text", row) != told.key("text", row)
        assert plain.key("audio", row) == told.key("audio", row)
    with pytest.raises(InputError, match="is told what `captions` and `questions` ask of it"):
        ScenesSource({"train": 1}, text="caption", captions=True)
    with pytest.raises(InputError, match="expected 'time' or 'caption', got 'place'"):
        ScenesSource({"train": 1}, text="place")
