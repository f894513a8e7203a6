"""Presence patterns: rows of a batch that have the same modalities pass through one circuit together."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from qmm.contracts import RunsCircuits
from qmm.errors import InputError

T = TypeVar("T")

_KEPT = 128  # compiled circuits, one for each set of present modalities: all of them up to seven modalities


def fuse_by_pattern(
    modalities: Sequence[str],
    features: Mapping[str, Tensor],
    present: Mapping[str, Tensor],
    fuse: Callable[[tuple[str, ...], list[Tensor]], Tensor],
    runner: RunsCircuits,
) -> Tensor:
    """(B, k) and (B,) bool by modality -> (B, F), where `fuse(names, [(b, k) of each])` makes (b, F) of the rows that have
    just these modalities; `runner`, whose circuits these are, has those of all patterns travel together.

    Raises InputError for a row in which nothing is present.
    """
    flags = torch.stack([present[m] for m in modalities], dim=1)
    if flags.all():
        return fuse(tuple(modalities), [features[m] for m in modalities])
    empty = flags.logical_not().all(dim=1).nonzero()
    if len(empty):
        raise InputError(f"row {int(empty[0])} of the batch has none of {', '.join(modalities)}; leave such samples out")
    patterns, group = flags.unique(dim=0, return_inverse=True)
    rows = [(group == i).nonzero().squeeze(1) for i in range(len(patterns))]
    tasks = []
    for pattern, where in zip(patterns.tolist(), rows, strict=True):
        names = tuple(m for m, here in zip(modalities, pattern, strict=True) if here)
        tasks.append(partial(fuse, names, [features[m][where] for m in names]))
    return torch.cat(runner.together(tasks))[torch.cat(rows).argsort()]


class PatternCache(Generic[T]):
    """What was made for a pattern of modalities, the most recently used ones kept.

    Threads may share it; copies and pickles start empty.
    """

    def __init__(self, make: Callable[[tuple[str, ...]], T], kept: int = _KEPT):
        self._make, self._kept = make, kept
        self._made: OrderedDict[tuple[str, ...], T] = OrderedDict()
        self._lock = threading.Lock()

    @torch.compiler.disable  # circuits are compiled as they are; torch.compile has nothing to look for in Qiskit
    def __getitem__(self, modalities: tuple[str, ...]) -> T:
        with self._lock:
            if modalities not in self._made:
                self._made[modalities] = self._make(modalities)
                if len(self._made) > self._kept:
                    self._made.popitem(last=False)
            self._made.move_to_end(modalities)
            return self._made[modalities]

    def __getstate__(self) -> dict[str, Any]:
        return {"make": self._make, "kept": self._kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]
