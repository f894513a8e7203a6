"""Paired comparisons over seeds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Comparison(NamedTuple):
    """Of the differences a - b, seed by seed."""

    mean: float
    low: float
    high: float
    """Ends of the confidence interval; NaN with fewer than two seeds."""
    n: int

    @property
    def verdict(self) -> str:
        if not np.isfinite(self.low):
            return "too few seeds to tell"
        if self.low > 0:
            return "higher"
        return "lower" if self.high < 0 else "no evidence of a difference"


def paired_difference(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Comparison:
    """Student's t interval of the mean difference of paired values, (n,) each."""
    difference = np.subtract(a, b)
    n = len(difference)
    if n < 2:
        return Comparison(float(difference.mean()), float("nan"), float("nan"), n)
    error = stats.sem(difference)
    low, high = (float(difference.mean()),) * 2 if error == 0 else stats.t.interval(confidence, n - 1, difference.mean(), error)
    return Comparison(float(difference.mean()), float(low), float(high), n)
