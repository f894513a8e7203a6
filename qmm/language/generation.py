"""Generation: how sentences are made of a prefix, by transformers' own `generate`."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, RepetitionPenaltyLogitsProcessor
from transformers.generation.streamers import BaseStreamer

from qmm.errors import InputError
from qmm.language.tokenizer import SentenceTokenizer
from qmm.pretrained import quiet
from qmm.suggestions import did_you_mean


@dataclass(frozen=True)
class Generation:
    """How a sentence is made.

    Args:
        strategy: "greedy" takes the likeliest token each time, "beam" keeps the likeliest beginnings, "sample" draws.
        max_new_tokens: Longest sentence in tokens, the one that ends it included.
        min_new_tokens: No end before so many.
        beams: How many beginnings are kept; with "beam".
        length_penalty: What a beam's log probability is divided by is its length to this power; with "beam".
        temperature: What logits are divided by; with "sample".
        top_p: Only the likeliest tokens that together have this probability are drawn from (arXiv:1904.09751); with "sample".
        repetition_penalty: What tokens that stand in the sentence are made less likely by (arXiv:1909.05858); 1 is none.
        seed: Of the draws; the same for every batch. With "sample".
    """

    strategy: Literal["greedy", "beam", "sample"] = "greedy"
    max_new_tokens: int = 32
    min_new_tokens: int = 0
    beams: int = 4
    length_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.strategy not in ("greedy", "beam", "sample"):
            raise InputError(f"generation: strategy={self.strategy!r}: expected 'greedy', 'beam' or 'sample'")
        ranges: dict[str, tuple[bool, str]] = {
            "max_new_tokens": (self.max_new_tokens >= 1, "at least 1"),
            "min_new_tokens": (0 <= self.min_new_tokens <= self.max_new_tokens, "0 to max_new_tokens"),
            "beams": (self.beams >= 2, "at least 2"),
            "temperature": (0 < self.temperature < math.inf, "above 0; for the likeliest token take strategy='greedy'"),
            "top_p": (0 < self.top_p <= 1, "above 0, at most 1"),
            "repetition_penalty": (0 < self.repetition_penalty < math.inf, "above 0, where 1 is none"),
            "length_penalty": (math.isfinite(self.length_penalty), "a number"),
        }
        for name, (fine, expected) in ranges.items():
            if not fine:
                raise InputError(f"generation: {name}={getattr(self, name)}: expected {expected}")
        foreign = {"beam": ("temperature", "top_p"), "greedy": ("temperature", "top_p"), "sample": ()}[self.strategy]
        foreign = (*foreign, *(("beams", "length_penalty") if self.strategy != "beam" else ()))
        usual = {field.name: field.default for field in dataclasses.fields(self)}
        for name in foreign:
            if getattr(self, name) != usual[name]:
                belongs = "beam" if name in ("beams", "length_penalty") else "sample"
                raise InputError(
                    f"generation: {name} means nothing to strategy={self.strategy!r}; set strategy={belongs!r}, "
                    f"or leave it at {usual[name]}"
                )

    @classmethod
    def of(cls, given: "Generation | Mapping[str, Any] | None") -> "Generation":
        """Its fields as a configuration has them. Raises InputError for one that does not exist."""
        if isinstance(given, Generation):
            return given
        known = [field.name for field in dataclasses.fields(cls)]
        for name in given or {}:
            if name not in known:
                raise InputError(f"generation: there is no {name!r} (there are {', '.join(known)}){did_you_mean(name, known)}")
        return cls(**(given or {}))

    def settings(self, room: int | None, tokenizer: SentenceTokenizer, banned: list[int]) -> GenerationConfig:
        """The same in transformers' terms. `room`: so many positions are left; `banned`: tokens that are no text."""
        longest = self.max_new_tokens if room is None else min(self.max_new_tokens, room)
        chosen: dict[str, Any] = {}
        if self.strategy == "beam":
            chosen = {"num_beams": self.beams, "length_penalty": self.length_penalty, "early_stopping": False}
        elif self.strategy == "sample":
            chosen = {"temperature": self.temperature, "top_p": self.top_p, "top_k": 0}
        return GenerationConfig(
            do_sample=self.strategy == "sample",
            max_new_tokens=longest,
            min_new_tokens=min(self.min_new_tokens, longest) or None,
            suppress_tokens=banned or None,
            eos_token_id=tokenizer.end,
            pad_token_id=tokenizer.pad,
            **chosen,
        )


class Streamer(BaseStreamer):
    """Hands text on as its tokens come; bytes that make no whole character yet wait."""

    def __init__(self, tokenizer: SentenceTokenizer, write: Callable[[str], object]):
        self._tokenizer, self._write = tokenizer, write
        self._ids: list[int] = []
        self._written = ""

    def put(self, value: Tensor) -> None:
        """Token ids, of one sample."""
        self._ids += value.flatten().tolist()
        text = self._tokenizer.decode(self._ids).strip()
        if not text.endswith("\ufffd") and text != self._written:
            self._write(text[len(self._written) :])
            self._written = text

    def end(self) -> None:
        """Whatever is still waiting is written."""
        if rest := self._tokenizer.decode(self._ids).strip()[len(self._written) :]:
            self._write(rest)


@torch.no_grad()
def generate(
    model: Any,
    embeddings: Tensor,
    mask: Tensor,
    tokenizer: SentenceTokenizer,
    generation: Generation,
    room: int | None = None,
    streamer: Streamer | None = None,
) -> list[list[int]]:
    """Embeddings (B, T, E) with padding on the left, mask (B, T) -> B lists of ids; the end token last, where it came.

    The draws take nothing from the random numbers of others.
    """
    banned = sorted((tokenizer.special - {tokenizer.end}) | set(range(len(tokenizer), model.config.vocab_size)))
    settings = generation.settings(room, tokenizer, banned)
    devices = [embeddings.device] if embeddings.device.type == "cuda" else []
    # `repetition_penalty` of a GenerationConfig spares as many written tokens as a row has padding (transformers 5.23)
    penalties = [RepetitionPenaltyLogitsProcessor(float(generation.repetition_penalty))]
    with torch.random.fork_rng(devices), quiet(), evaluating(model):
        torch.manual_seed(generation.seed)
        rows = model.generate(
            inputs_embeds=embeddings,
            attention_mask=mask.long(),
            generation_config=settings,
            logits_processor=LogitsProcessorList(penalties),
            streamer=streamer,
        ).tolist()
    return [row[: row.index(tokenizer.end) + 1] if tokenizer.end in row else _unpadded(row, tokenizer) for row in rows]


def _unpadded(row: list[int], tokenizer: SentenceTokenizer) -> list[int]:
    """Of beams, one without an end may still be shorter than the longest; a pad token that is not the end is never written."""
    return [number for number in row if number != tokenizer.pad]


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Dropout off inside."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)
