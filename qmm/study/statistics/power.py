"""What a number of seeds can show, before and after they ran."""

from functools import lru_cache

import numpy as np
from scipy import stats
from scipy.optimize import brentq

LEVEL = 0.05
"""Below it a p value counts as evidence."""
POWER = 0.8
"""How often a study is to find a difference that is there; the field's habit (Cohen, 1988)."""


@lru_cache(maxsize=1024)
def smallest_in_errors(n: int, level: float = LEVEL, power: float = POWER) -> float:
    """The true mean difference, in standard errors of the mean, that Student's two-sided t test on n pairs finds with the
    chance `power`; NaN below two pairs.

    The noncentrality of the t distribution beyond whose critical value that much lies. The other tail is left out: at the
    powers of interest it holds nothing.
    """
    if n < 2:
        return float("nan")
    critical = float(stats.t.isf(level / 2, n - 1))
    # |t| exceeds `critical` almost surely once the difference is so many times the largest likely estimate of its error
    ceiling = critical * float(np.sqrt(stats.chi2.ppf(power, n - 1) / (n - 1))) + 10
    return brentq(lambda shift: float(stats.nct.sf(critical, n - 1, shift)) - power, 0.0, ceiling)


def smallest_effect(n: int, comparisons: int = 1, level: float = LEVEL, power: float = POWER) -> float:
    """The smallest standardised difference d_z (mean over standard deviation of the paired differences) that n pairs show with
    the chance `power`, where it is the smallest p value of so many (the strictest of Holm's steps)."""
    return smallest_in_errors(n, level / max(comparisons, 1), power) / n**0.5


def smallest_difference(n: int, deviation: float, comparisons: int = 1, level: float = LEVEL, power: float = POWER) -> float:
    """As `smallest_effect`, in the units of the metric; `deviation` is that of the paired differences.

    A deviation that was estimated from the same few seeds makes this an estimate too: five seeds know theirs to a factor of
    about two.
    """
    return smallest_effect(n, comparisons, level, power) * deviation


def smallest_p(n: int, comparisons: int = 1) -> float:
    """The smallest p value that the exact two-sided sign-flip and signed-rank tests can give on n pairs, after Holm's
    adjustment for so many comparisons: when all differences have the same sign."""
    return min(1.0, max(comparisons, 1) * 2.0 ** (1 - n))


def prospect(n: int, comparisons: int) -> str:
    """What n seeds can show, in plain words; said before a study runs."""
    seeds = f"{n} seed{'s' if n != 1 else ''}"
    compared = f"{comparisons} comparison{'s' if comparisons != 1 else ''}"
    if n < 2 or comparisons < 1:
        return f"{seeds}, {compared}: no conclusion about a difference is possible; at least 2 seeds and 2 arms are needed."
    said = (
        f"{seeds}, {compared}: Student's t test finds a mean difference of {smallest_effect(n, comparisons):.1f} standard "
        f"deviations (of the differences between seeds) {POWER:.0%} of the time."
    )
    least = smallest_p(n, comparisons)
    if least < LEVEL:
        return said
    enough = int(np.ceil(1 + np.log2(comparisons / LEVEL)))
    return (
        f"{said} Tests that assume no distribution can find nothing: their smallest p value after Holm's adjustment is "
        f"{least:.3g}; {enough} seeds would do."
    )
