"""Samples -> Batch: stack, pad, and leave placeholders where a modality is missing."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from qmm.errors import InputError
from qmm.types import Batch, Features, Padded


class Sample(NamedTuple):
    """One sample, pre-processed."""

    id: str
    inputs: Mapping[str, Tensor | Features]
    """By modality, those that it has; `Features` unbatched, (D,) and (T, D)."""
    targets: Mapping[str, Any]
    """By name: a number, or what stays as it is: a list of sentences, a dict of facts."""
    prompt: str = ""


def collate(samples: Sequence[Sample], modalities: Sequence[str]) -> Batch:
    """A Batch of these samples; tensors (T,) of different lengths are padded with 0, absent rows are 0 and of length 0.

    Raises InputError naming the modality and the sample when an input is no tensor, or shapes do not fit together.
    """
    ids = [sample.id for sample in samples]
    inputs, present = {}, {}
    for modality in modalities:
        column = [sample.inputs.get(modality) for sample in samples]
        present[modality] = torch.tensor([value is not None for value in column])
        inputs[modality] = _join(modality, ids, column)
    targets = {name: _target([sample.targets[name] for sample in samples]) for name in samples[0].targets}
    prompts = [sample.prompt for sample in samples]
    return Batch(inputs, present, targets, ids, prompts if any(prompts) else ())


def _target(values: list[Any]) -> Tensor | list[Any]:
    if not isinstance(values[0], int | float):
        return values
    return torch.tensor(values, dtype=torch.float32 if isinstance(values[0], float) else torch.int64)


def _join(modality: str, ids: list[str], column: list[Any]) -> Padded | Features | None:
    there = [value for value in column if value is not None]
    if not there:
        return None
    if isinstance(there[0], Features):
        return _join_features(column, there)
    for name, value in zip(ids, column, strict=True):
        if value is not None and not isinstance(value, Tensor):
            raise InputError(
                f"sample {name!r}: {modality} is a {type(value).__name__} that nobody made a tensor of; "
                f"hand the encoder's preprocessing to the data module: data.connect({{{modality!r}: encoder.preprocess}})"
            )
    if len({value.shape for value in there}) == 1:
        return Padded(torch.stack([torch.zeros_like(there[0]) if value is None else value for value in column]))
    if any(value.ndim != 1 for value in there):
        shapes = ", ".join(f"{n!r} {tuple(v.shape)}" for n, v in zip(ids, column, strict=True) if v is not None)
        raise InputError(f"{modality}: shapes differ within a batch ({shapes}); the preprocessing must bring them to one shape")
    filled = [there[0][:0] if value is None else value for value in column]
    return Padded(pad_sequence(filled, batch_first=True), torch.tensor([len(value) for value in filled]))


def _join_features(column: list[Features | None], there: list[Features]) -> Features:
    pooled = torch.stack([torch.zeros_like(there[0].pooled) if value is None else value.pooled for value in column])
    if there[0].tokens is None:
        return Features(pooled)
    empty = there[0].tokens[:0]
    tokens = [empty if value is None or value.tokens is None else value.tokens for value in column]
    masks = [
        torch.ones(len(own), dtype=torch.bool) if value is None or value.mask is None else value.mask
        for own, value in zip(tokens, column, strict=True)
    ]
    return Features(pooled, pad_sequence(tokens, batch_first=True), pad_sequence(masks, batch_first=True))
