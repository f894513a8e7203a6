"""Rows of embeddings: prefix, prompt, sentence, end; padded on the right to learn, on the left to go on writing."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IGNORED = -100
"""Label of a position whose prediction is not asked for, as cross_entropy has it."""


class Row(NamedTuple):
    """What follows the prefix of a sample."""

    sample: int
    """Its place in the batch."""
    prompt: list[int]
    sentence: list[int]
    """The end token included, where there is room for it; empty when it is to be written."""


class Sequences(NamedTuple):
    embeddings: Tensor
    """(R, T, E)"""
    mask: Tensor
    """(R, T) bool, True where a position is real."""
    labels: Tensor
    """(R, T) int64, `IGNORED` outside the sentences."""


def to_learn(rows: Sequence[Row], prefix: Tensor, table: nn.Module, pad: int) -> Sequences:
    """Prefixes (B, k, E) and what follows them -> rows padded on the right."""
    device, k = prefix.device, prefix.shape[1]
    longest = max(len(row.prompt) + len(row.sentence) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), k + longest), IGNORED)
    for number, row in enumerate(rows):
        begin, end = len(row.prompt), len(row.prompt) + len(row.sentence)
        ids[number, :end] = torch.tensor(row.prompt + row.sentence)
        labels[number, k + begin : k + end] = ids[number, begin:end]
    lengths = torch.tensor([k + len(row.prompt) + len(row.sentence) for row in rows])
    mask = torch.arange(k + longest) < lengths.unsqueeze(1)
    samples = torch.tensor([row.sample for row in rows], device=device)
    embedded = table(ids.to(device))
    return Sequences(torch.cat([prefix[samples].to(embedded.dtype), embedded], 1), mask.to(device), labels.to(device))


def to_continue(rows: Sequence[Row], prefix: Tensor, table: nn.Module) -> Sequences:
    """Prefixes (B, k, E) and prompts -> rows padded on the left, a row for each of `rows`."""
    k = prefix.shape[1]
    longest = k + max(len(row.prompt) for row in rows)
    filled, mask = [], torch.zeros(len(rows), longest, dtype=torch.bool, device=prefix.device)
    for number, row in enumerate(rows):
        embedded = table(torch.tensor(row.prompt, dtype=torch.int64, device=prefix.device))
        sequence = torch.cat([prefix[row.sample].to(embedded.dtype), embedded])
        filled.append(F.pad(sequence, (0, 0, longest - len(sequence), 0)))
        mask[number, longest - len(sequence) :] = True
    return Sequences(torch.stack(filled), mask, torch.full_like(mask, IGNORED, dtype=torch.int64))


def nll(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits (R, T, V) and labels (R, T) of the same positions -> (R,), minus the summed log probability of the labels.

    Position t predicts the label of t + 1.
    """
    ahead = labels[:, 1:]
    losses = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ahead.flatten(), reduction="none", ignore_index=IGNORED)
    return losses.view(ahead.shape).sum(1)
