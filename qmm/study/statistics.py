"""Paired comparisons over seeds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05
"""Below it a p value counts as evidence."""


class Comparison(NamedTuple):
    """Of the differences a - b, seed by seed."""

    mean: float
    low: float
    high: float
    """Ends of the confidence interval; NaN with fewer than two seeds."""
    n: int
    p: float
    """Of Student's t test that the mean difference is 0; NaN with fewer than two seeds."""

    @property
    def verdict(self) -> str:
        if not np.isfinite(self.p):
            return "too few seeds to tell"
        if self.p >= LEVEL:
            return "no evidence of a difference"
        return "higher" if self.mean > 0 else "lower"


def paired_difference(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Comparison:
    """Student's t interval and p value of the mean difference of paired values, (n,) each."""
    difference = np.subtract(a, b)
    n, mean = len(difference), float(np.mean(np.subtract(a, b)))
    if n < 2:
        return Comparison(mean, float("nan"), float("nan"), n, float("nan"))
    error = stats.sem(difference)
    if error == 0:  # the same difference for every seed
        return Comparison(mean, mean, mean, n, float(mean == 0))
    low, high = stats.t.interval(confidence, n - 1, mean, error)
    return Comparison(mean, float(low), float(high), n, float(2 * stats.t.sf(abs(mean / error), n - 1)))


def holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with p values adjusted for their number by Holm's step-down method; NaN ones are no part of it.

    Whatever is true, the chance of one p value or more below a level by accident is at most that level.
    """
    adjusted = list(comparisons)
    order = sorted((i for i, c in enumerate(comparisons) if np.isfinite(c.p)), key=lambda i: comparisons[i].p)
    least = 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * comparisons[i].p))
        adjusted[i] = comparisons[i]._replace(p=least)
    return adjusted
