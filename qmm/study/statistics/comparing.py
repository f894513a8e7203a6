"""Paired comparisons over seeds."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy import stats

from qmm.study.statistics.power import LEVEL, POWER, smallest_in_errors, smallest_p

EXACT = 13
"""Up to so many pairs every assignment of signs is tried."""
FLIPS = 2**EXACT
"""With more, so many at random: a p value near 0.05 is then known to 0.0024."""
NAN = float("nan")


class Comparison(NamedTuple):
    """Of the differences a - b, seed by seed."""

    mean: float
    low: float
    high: float
    """Ends of the confidence interval; NaN with fewer than two seeds."""
    n: int
    p: float
    """Of Student's t test that the mean difference is 0; NaN with fewer than two seeds. The verdict goes by it."""
    p_flips: float = NAN
    """Of the sign-flip permutation test, which assumes only that without a difference both signs are equally likely."""
    p_ranks: float = NAN
    """Of Wilcoxon's signed-rank test."""
    d_z: float = NAN
    """Effect size: the mean over the standard deviation of the differences; NaN where they are all the same."""
    rank_biserial: float = NAN
    """Effect size of the signed ranks, -1 to 1: the share of ranks in favour of a less that of b."""
    error: float = NAN
    """Standard error of the mean."""
    comparisons: int = 1
    """For how many the p values are adjusted."""

    @property
    def verdict(self) -> str:
        if not np.isfinite(self.p):
            return "too few seeds to tell"
        if self.p >= LEVEL:
            return "no evidence of a difference"
        return "higher" if self.mean > 0 else "lower"

    @property
    def detectable(self) -> float:
        """The smallest true difference that so many seeds, scattering as these do, show four times in five."""
        return smallest_in_errors(self.n, LEVEL / self.comparisons) * self.error

    def in_words(self, first: str, other: str) -> str:
        """A sentence for the reader of a report."""
        if not np.isfinite(self.p):
            return f"{first} against {other}: {self.verdict}."
        interval = f"95 % interval {self.low:+.3f} to {self.high:+.3f}, {_p(self.p)}, {self.n} pairs"
        if self.verdict == "no evidence of a difference":
            could = f"; a true one of {self.detectable:.3f} would have shown {POWER:.0%} of the time, a smaller one less often"
            return f"No evidence of a difference between {first} and {other} ({interval}){could if self.error > 0 else ''}."
        return f"{first} is {self.verdict} than {other} by {abs(self.mean):.3f} ({interval}){self._second_opinion()}."

    def _second_opinion(self) -> str:
        if self.error == 0:
            return "; every pair differs by the same, so nothing is known of how it scatters"
        if not np.isfinite(self.p_flips):
            return ""
        if self.p_flips < LEVEL:
            return f"; so says the sign-flip test ({_p(self.p_flips)})"
        least = smallest_p(self.n, self.comparisons)
        if least >= LEVEL:
            return f"; this rests on the t test alone: with {self.n} pairs the sign-flip test cannot go below p = {least:.3g}"
        return f"; the sign-flip test does not confirm it ({_p(self.p_flips)})"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def paired_difference(a: Sequence[float], b: Sequence[float], confidence: float = 0.95, overlap: float = 0.0) -> Comparison:
    """Student's t interval and p value of the mean difference of paired values, (n,) each; exact tests and effect sizes.

    `overlap`: where the pairs were scored on folds, and trained on what these have in common, a fold's size over that of the
    others, 1/(folds - 1). The variance of the mean is then (1/n + overlap) s^2 in place of s^2/n: the corrected resampled t
    test (doi:10.1023/A:1024068626366). Tests that flip signs or rank take pairs for independent, and are left out.
    """
    difference = np.subtract(a, b)
    n, mean = len(difference), float(np.mean(np.subtract(a, b)))
    if n < 2:
        return Comparison(mean, NAN, NAN, n, NAN)
    error = float(np.std(difference, ddof=1)) * (1 / n + overlap) ** 0.5
    if error == 0:  # the same difference for every seed
        low, high, p = mean, mean, float(mean == 0)
    else:
        low, high = map(float, stats.t.interval(confidence, n - 1, mean, error))
        p = float(2 * stats.t.sf(abs(mean / error), n - 1))
    free = (NAN, NAN) if overlap else (sign_flip_p(difference), signed_rank_p(difference))
    return Comparison(mean, low, high, n, p, *free, standardised(difference), rank_biserial(difference), error)


def sign_flip_p(differences: Sequence[float] | np.ndarray) -> float:
    """Two-sided p value of the mean of paired differences (n,) under all changes of their signs, or `FLIPS` random ones where
    there are more; NaN below two."""
    d = np.asarray(differences, dtype=float)
    if len(d) < 2:
        return NAN
    signs = _signs(len(d))
    as_far = np.abs(signs @ d) >= abs(d.sum()) - 1e-9 * np.abs(d).sum()  # equal sums may round differently
    return float(as_far.mean() if len(d) <= EXACT else (1 + as_far.sum()) / (1 + len(signs)))


def signed_rank_p(differences: Sequence[float] | np.ndarray) -> float:
    """Two-sided p value of Wilcoxon's signed-rank test on paired differences (n,): zeros left out, equal ones share their mean
    rank, exact up to 13 pairs with ties, too; NaN below two."""
    d = np.asarray(differences, dtype=float)
    if len(d) < 2:
        return NAN
    d = _rounded(d)
    d = d[d != 0]
    return sign_flip_p(np.sign(d) * stats.rankdata(np.abs(d))) if len(d) > 1 else 1.0


@lru_cache(maxsize=8)
def _signs(n: int) -> np.ndarray:
    """(FLIPS or 2**n, n) of -1 and 1."""
    if n <= EXACT:
        return np.array(list(product((-1.0, 1.0), repeat=n)))
    return np.random.default_rng(0).choice((-1.0, 1.0), size=(FLIPS, n))


def _rounded(d: np.ndarray) -> np.ndarray:
    """0.8 - 0.7 and 0.6 - 0.5 are the same difference of accuracies, and so must be their ranks."""
    return np.round(d, 12)


def standardised(differences: Sequence[float] | np.ndarray) -> float:
    """d_z, the mean over the standard deviation of paired differences (n,) (doi:10.3389/fpsyg.2013.00863); NaN where there is
    no deviation."""
    d = np.asarray(differences, dtype=float)
    deviation = float(np.std(d, ddof=1)) if len(d) > 1 else 0.0
    return float(np.mean(d)) / deviation if deviation > 0 else NAN


def rank_biserial(differences: Sequence[float] | np.ndarray) -> float:
    """Matched-pairs rank-biserial correlation (doi:10.2466/11.IT.3.1): the ranks of positive differences less those of negative
    ones, over all; 0 where none differs."""
    d = _rounded(np.asarray(differences, dtype=float))
    d = d[d != 0]
    return float(np.sum(np.sign(d) * stats.rankdata(np.abs(d))) / (len(d) * (len(d) + 1) / 2)) if len(d) else 0.0


def holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with p values adjusted for their number by Holm's step-down method, those of each test among themselves;
    NaN ones are no part of it.

    Whatever is true, the chance of one p value or more below a level by accident is at most that level.
    """
    n = max(1, sum(bool(np.isfinite(c.p)) for c in comparisons))
    adjusted = (_step_down([test(c) for c in comparisons]) for test in _TESTS)
    return [
        c._replace(p=p, p_flips=p_flips, p_ranks=p_ranks, comparisons=n)
        for c, p, p_flips, p_ranks in zip(comparisons, *adjusted, strict=True)
    ]


_TESTS: tuple[Callable[[Comparison], float], ...] = (lambda c: c.p, lambda c: c.p_flips, lambda c: c.p_ranks)


def _step_down(values: Sequence[float]) -> list[float]:
    adjusted = list(values)
    order = sorted((i for i, p in enumerate(values) if np.isfinite(p)), key=lambda i: values[i])
    least = 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * values[i]))
        adjusted[i] = least
    return adjusted
