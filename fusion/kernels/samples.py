"""Samples as scikit-learn's users hold them, a row each, and the blocks in which Gram matrices take them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from qmm.errors import InputError


class Samples(NamedTuple):
    """Features by modality, and which are there."""

    features: dict[str, Tensor]
    """(N, k) each; what stands in place of a missing modality has no influence."""
    present: dict[str, Tensor]
    """(N,) bool each"""

    def __len__(self) -> int:
        return len(next(iter(self.present.values())))


Rows: TypeAlias = Any
"""`Samples`; or features by modality, (N, k) each, a modality left out being missing everywhere; or one array (N, K) with the
columns of all modalities side by side, in the order of the registers. NaN in all columns of a modality: missing in that row."""


class Block(NamedTuple):
    """Rows that have the same modalities."""

    modalities: tuple[str, ...]
    rows: Tensor
    """(b,) int64"""


def as_samples(rows: Rows, widths: Mapping[str, int], like: Tensor) -> Samples:
    """`Rows` as Samples of the dtype and on the device of `like`.

    Raises InputError for modalities or numbers of columns or rows that do not fit, and for a row that is partly NaN in a
    modality or has none at all.
    """
    if isinstance(rows, Samples):
        return rows
    features = dict(rows) if isinstance(rows, Mapping) else _columns(rows, widths)
    unknown = sorted(set(features) - set(widths))
    if unknown or not features:
        raise InputError(f"features of {', '.join(unknown) or 'no modality'}; the kernel was built for {', '.join(widths)}")
    given = {m: torch.as_tensor(values).to(like.device, like.dtype) for m, values in features.items()}
    first = next(iter(given))
    for m, values in given.items():
        if values.ndim != 2 or values.shape[1] != widths[m] or len(values) != len(given[first]):
            raise InputError(
                f"features of {m!r} have shape {tuple(values.shape)}; expected (N, {widths[m]}), as many rows as {first!r} has"
            )
    count = len(given[first])
    found = {
        m: given.get(m, torch.full((count, k), torch.nan, device=like.device, dtype=like.dtype)) for m, k in widths.items()
    }
    present = {m: values.isnan().logical_not().all(dim=1) for m, values in found.items()}
    _check(found, present)
    return Samples(found, present)


def _columns(rows: Any, widths: Mapping[str, int]) -> dict[str, Tensor]:
    table = rows if isinstance(rows, Tensor) else torch.as_tensor(np.asarray(rows, dtype=float))
    if table.ndim != 2 or table.shape[1] != sum(widths.values()):
        told = ", ".join(f"{k} of {m}" for m, k in widths.items())
        raise InputError(f"samples have shape {tuple(table.shape)}; expected (N, {sum(widths.values())}): {told}")
    return dict(zip(widths, table.split(list(widths.values()), dim=1), strict=True))


def _check(features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> None:
    for m, values in features.items():
        partly = (values.isnan().any(dim=1) & ~values.isnan().all(dim=1)).nonzero()
        if len(partly):
            raise InputError(f"row {int(partly[0])} is NaN in some features of {m!r}; a missing modality is NaN in all of them")
    nothing = torch.stack(list(present.values())).any(dim=0).logical_not().nonzero()
    if len(nothing):
        raise InputError(f"row {int(nothing[0])} has none of {', '.join(features)}; leave such samples out")


def blocks(samples: Samples, modalities: Sequence[str], size: int) -> list[Block]:
    """All rows, those of the same modalities together, at most `size` to a block."""
    flags = torch.stack([samples.present[m] for m in modalities], dim=1)
    patterns, group = flags.unique(dim=0, return_inverse=True)
    found = []
    for place, pattern in enumerate(patterns.tolist()):
        names = tuple(m for m, here in zip(modalities, pattern, strict=True) if here)
        found += [Block(names, rows) for rows in (group == place).nonzero().squeeze(1).split(size)]
    return found
