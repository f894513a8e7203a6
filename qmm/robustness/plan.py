"""What is measured: noise of rising levels on one modality after the other, and modalities that are missing."""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from qmm.errors import InputError
from qmm.suggestions import did_you_mean

LEVELS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Every second one of MultiBench's eleven (arXiv:2107.07502): an area by trapezoids changes little, the time halves."""
KINDS = ("noise", "missing")


class Point(NamedTuple):
    """One evaluation."""

    kind: str
    """noise, missing, or clean: the one that belongs to all curves."""
    modalities: tuple[str, ...]
    level: float

    @property
    def modality(self) -> str:
        """As tables have it: modalities that are missing together are joined by +."""
        return "+".join(self.modalities)


CLEAN = Point("clean", (), 0.0)


@dataclass(frozen=True)
class Plan:
    """Levels, kinds, modalities and noise to measure; what fits no model is found here, the rest when a model is known.

    Args:
        levels: Of noise, ascending from 0.
        kinds: "noise", "missing"; default: noise, and missing where the model reads several modalities.
        modalities: To disturb; default: all that the model reads.
        noise: Modality -> name of its noise (`qmm.robustness.NOISES`), where it is not the default.
        seed: Of the noise.
    """

    levels: tuple[float, ...] = LEVELS
    kinds: tuple[str, ...] | None = None
    modalities: tuple[str, ...] | None = None
    noise: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InputError for levels that are no curve, and for kinds that do not exist."""
        levels = self.levels
        ascending = all(low < high for low, high in itertools.pairwise(levels))
        if len(levels) < 2 or levels[0] != 0 or not ascending or not all(map(math.isfinite, levels)):
            raise InputError(f"levels {list(levels)}: expected 0 and higher ones, ascending, such as {list(LEVELS)}")
        for name in self.kinds or ():
            if name not in KINDS:
                raise InputError(f"kinds: {name!r} is none of {', '.join(KINDS)}{did_you_mean(name, KINDS)}")
        if self.kinds is not None and not self.kinds:
            raise InputError(f"kinds is empty; give {' or '.join(KINDS)}, or leave it out")

    def points(self, read: Sequence[str], known: Collection[str] = ()) -> list[Point]:
        """For a model that reads these modalities; `known`: those of the data, which it may not read.

        Missing are each modality, and all but one. What the model does not read is passed over, since nothing depends on it.
        Raises InputError for a modality that neither has, and where a model of one modality is to miss it.
        """
        for name in (*(self.modalities or ()), *self.noise):
            if name not in (*read, *known):
                there = list(dict.fromkeys((*read, *known)))
                raise InputError(f"there is no modality {name!r}; there are: {', '.join(there)}{did_you_mean(name, there)}")
        chosen = [m for m in read if self.modalities is None or m in self.modalities]
        found = []
        if self.kinds is None or "noise" in self.kinds:
            found += [Point("noise", (m,), level) for m in chosen for level in self.levels[1:]]
        if self.kinds is not None and "missing" in self.kinds and len(read) < 2:
            raise InputError(
                f"the model reads {', '.join(read)} alone: without it there is nothing to tell from; leave out `missing`"
            )
        if len(read) > 1 and (self.kinds is None or "missing" in self.kinds):
            alone = [tuple(other for other in read if other != kept) for kept in reversed(read)]
            sets = dict.fromkeys([*((m,) for m in read), *alone])
            found += [Point("missing", gone, 1.0) for gone in sets if set(gone) <= set(chosen)]
        return found
