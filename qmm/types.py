"""What travels between the parts: small NamedTuples, shapes documented. B samples, T steps or tokens, D features."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Sound(NamedTuple):
    """One raw sound, as a data module hands it out."""

    waveform: Tensor
    """(T,) float32, mono, full scale is 1."""
    sample_rate: int
    """In Hz."""


class Padded(NamedTuple):
    """A batch of pre-processed inputs of one modality: `encoder(*padded)`."""

    values: Tensor
    """(B, ...): pictures (B, 3, H, W), waveforms (B, T), token ids (B, T), vectors (B, D)."""
    lengths: Tensor | None = None
    """(B,) int64, how much of T is real; None where every sample has one shape."""

    def rows(self, where: Tensor) -> "Padded":
        """Those of the samples that a mask (B,) or indices name."""
        return Padded(self.values[where], None if self.lengths is None else self.lengths[where])


class Features(NamedTuple):
    """What an encoder makes of a modality."""

    pooled: Tensor
    """(B, D)"""
    tokens: Tensor | None = None
    """(B, T, D), where the encoder has them."""
    mask: Tensor | None = None
    """(B, T) bool, True where a token is real."""

    def rows(self, where: Tensor) -> "Features":
        """Those of the samples that a mask (B,) or indices name."""
        return Features(*(None if part is None else part[where] for part in self))  # type: ignore[arg-type]


class Batch(NamedTuple):
    """B samples. Row b of an input is a placeholder, never read, where `present[modality][b]` is False."""

    inputs: Mapping[str, Padded | Features | None]
    """By modality; `Features` where an encoder's output was cached, None where no sample of the batch has the modality."""
    present: Mapping[str, Tensor]
    """By modality, (B,) bool."""
    targets: Mapping[str, Any]
    """By name: class indices `label` (B,) int64, values (B,) float32; `references`, a list of sentences a sample; `facts`, a
    dict fact -> value a sample. Empty when predicting."""
    ids: list[str]
    """A name for each sample, for reports and predictions."""
    prompts: Sequence[str] = ()
    """What each sample's sentence is to answer or to follow, a text a sample, "" for none; empty where no sample has one."""

    def presence(self, modalities: Iterable[str]) -> dict[str, Tensor]:
        """By modality, (B,) bool; False throughout for one that the data does not know."""
        nowhere = torch.zeros_like(next(iter(self.present.values())))
        return {modality: self.present.get(modality, nowhere) for modality in modalities}


class Context(NamedTuple):
    """What a decoder may look at beside the fused features."""

    features: Mapping[str, Features | None]
    """By modality, only the rows that have it; None where none has."""
    present: Mapping[str, Tensor]
    """By modality, (B,) bool."""
    prompts: Sequence[str] = ()
    """As in `Batch`."""


class ModelOutput(NamedTuple):
    """Every stage of `MultimodalModel.forward`, for losses and diagnostics."""

    features: dict[str, Features | None]
    """By modality, only the rows that have it; None where none has."""
    angles: dict[str, Tensor]
    """By modality, (B, k); 0 in rows that lack it."""
    fused: Tensor
    """(B, F)"""
    prediction: Any
    """The decoder's output: logits (B, C), values (B, 1), the prefix of a sentence, ..."""


def rows_of(values: Any, where: Tensor) -> Any:
    """Those of the B rows that a mask (B,) or indices name: of a tensor, a list, a NamedTuple or dictionary of such; of
    nothing (None, an empty list), nothing."""
    if isinstance(values, Tensor):
        return values[where]
    if isinstance(values, Mapping):
        return {name: rows_of(value, where) for name, value in values.items()}
    if isinstance(values, tuple) and hasattr(values, "_make"):
        return values._make(rows_of(value, where) for value in values)
    if not values:
        return values
    rows = where.nonzero().squeeze(1) if where.dtype == torch.bool else where
    return [values[row] for row in rows.tolist()]
