"""Micro-batches: while a quantum job runs, the classical side goes on."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from qmm.quantum.background import in_background
from qmm.types import Features, Padded

Inputs = Mapping[str, Padded | Features | None]
Present = Mapping[str, Tensor]


class Encoded(NamedTuple):
    """What the classical side makes of some rows."""

    features: dict[str, Features | None]
    """By modality, only the rows that have it; None where none has."""
    angles: dict[str, Tensor]
    """By modality, (b, k); 0 in rows that lack it."""


def encode_and_fuse(
    encode: Callable[[Inputs, Present], Encoded],
    fuse: Callable[[Mapping[str, Tensor], Present], Tensor],
    inputs: Inputs,
    present: Present,
    size: int | None = None,
) -> tuple[Encoded, Tensor]:
    """Angles (B, k) and features of all rows, and (B, ...) that `fuse` makes of the angles.

    With a `size`, so many rows at a time. They are encoded here, in order, so that random numbers are drawn in order, too.
    Each micro-batch's fusion begins in a thread of its own as soon as its angles are there, and waits there for its circuits,
    while the next is encoded here. After an error no other is begun, and those that are under way end first.
    """
    if size is None:
        whole = encode(inputs, present)
        return whole, fuse(whole.angles, present)
    encoded: list[Encoded] = []
    fused: list[Future[Tensor]] = []
    try:
        for rows in torch.arange(len(next(iter(present.values())))).split(size):
            here = {m: flags[rows] for m, flags in present.items()}
            encoded.append(encode({m: None if x is None else x.rows(rows) for m, x in inputs.items()}, here))
            if any(future.done() and future.exception() for future in fused):
                break
            fused.append(in_background(partial(fuse, encoded[-1].angles, here), "qmm-fusion"))
        return _joined(encoded), torch.cat([future.result() for future in fused])
    except Exception:  # whatever it is, it is raised on, when nothing is under way any more
        wait(fused)
        raise


def _joined(parts: Sequence[Encoded]) -> Encoded:
    features = {m: _stacked([found for part in parts if (found := part.features[m]) is not None]) for m in parts[0].features}
    return Encoded(features, {m: torch.cat([part.angles[m] for part in parts]) for m in parts[0].angles})


def _stacked(parts: Sequence[Features]) -> Features | None:
    if not parts:
        return None
    columns = zip(*parts, strict=True)
    return Features(*(None if column[0] is None else torch.cat(column) for column in columns))  # type: ignore[arg-type]
