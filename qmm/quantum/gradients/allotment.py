"""Shots given to those points whose values tell least for each shot."""

import numpy as np
from numpy.typing import NDArray

from qmm.quantum.errors import CircuitError

_FLOOR = 0.1  # of the shots are shared alike: a pilot that saw no variance may have been too short to see any


class Allotment:
    """Neyman's allocation after a pilot: a point gets shots in proportion to the standard deviation of what it adds.

    The pilot measures each point alike; the rest of the shots goes where the gradient's variance, summed over its elements,
    falls most. The two estimates of a point are averaged by weights that are fixed beforehand, so that the mean stays free of
    bias; the variance is that of equal shots in the pilot's share, that of the best allocation in the rest.

    Args:
        pilot: Its share of all shots.
        classes: Numbers of shots at most, each of which is a PUB for each basis and circuit.
    """

    def __init__(self, pilot: float = 0.2, classes: int = 4):
        """Raises CircuitError for a share outside (0, 1), and for no class."""
        if not 0 < pilot < 1:
            raise CircuitError(f"pilot={pilot}; it is a share of the shots, between 0 and 1: 0.2 for instance")
        if classes < 1:
            raise CircuitError(f"classes={classes}; there is at least one number of shots")
        self.pilot, self.classes = pilot, classes

    def split(self, shots: int) -> tuple[int, int]:
        """Shots of each point in the pilot, and on average after it. Raises CircuitError where there are too few."""
        first = max(2, round(self.pilot * shots))  # one shot shows no variance
        if shots - first < 1:
            raise CircuitError(f"{shots} shots for each point are too few for a pilot and what follows it; give at least 3")
        return first, shots - first

    def groups(self, spread: NDArray[np.float64], shots: int) -> list[tuple[NDArray[np.int64], int]]:
        """Points that get the same number of shots, with that number.

        Args:
            spread: (M,), of each point the standard deviation that one shot of it adds to the gradient.
            shots: On average over all points; never more.
        """
        share = spread / spread.sum() if spread.sum() > 0 else np.full(len(spread), 1 / len(spread))
        best = len(spread) * shots * (_FLOOR / len(spread) + (1 - _FLOOR) * share)
        span = np.log(best.max() / best.min())
        level = np.zeros(len(best)) if span < 1e-9 else np.floor(self.classes * np.log(best / best.min()) / span)
        level = level.clip(max=self.classes - 1)
        found = [np.flatnonzero(level == step) for step in np.unique(level)]
        return [(places, max(1, int(best[places].mean()))) for places in found]
