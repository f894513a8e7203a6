"""Intervals that allow for other seeds and for other samples, from the predictions of every cell."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

DRAWS = 2000
"""The standard error of a bootstrap's standard error is then 1.6 % of it."""
_AT_ONCE = 100

Floats = NDArray[np.float64]
PerSeed = Callable[[Floats], Floats]
"""Weights of samples (R, N) -> difference of the metric (R, S), by seed."""


class Interval(NamedTuple):
    """Of a mean difference, over seeds and samples."""

    mean: float
    low: float
    high: float
    """NaN with fewer than two seeds or two groups of samples."""
    error: float
    seeds: int
    groups: int


def over_seeds_and_samples(
    difference: PerSeed, groups: Sequence[Hashable], draws: int = DRAWS, seed: int = 0, confidence: float = 0.95
) -> Interval:
    """Interval of the mean over seeds of a difference, were other seeds drawn and other samples like these.

    `groups` (N,) tells which samples belong together; they are drawn whole, n - 1 of n groups with replacement, so that the
    variance is not too small (doi:10.1080/01621459.1988.10478591). Seeds and samples are crossed as in the multi-bootstrap
    (arXiv:2106.16163). The variances of the two are added, which counts twice what only a seed and a sample together tell: the
    interval errs on the wide side. It takes Student's quantile at Satterthwaite's degrees of freedom: percentiles over a few
    seeds cannot reach beyond the outermost one, and cover too little.
    """
    codes, names = pd.factorize(pd.Series(list(groups), dtype=object))
    each = difference(np.ones((1, len(codes))))[0]
    n_seeds, n_groups, mean = len(each), len(names), float(np.mean(each))
    if n_seeds < 2 or n_groups < 2:
        return Interval(mean, float("nan"), float("nan"), float("nan"), n_seeds, n_groups)
    rng = np.random.default_rng(seed)
    means: list[Floats] = []
    for begin in range(0, draws, _AT_ONCE):
        drawn = rng.multinomial(n_groups - 1, np.full(n_groups, 1 / n_groups), size=min(_AT_ONCE, draws - begin))
        seen = np.ma.masked_invalid(difference(drawn[:, codes].astype(float)))  # a seed may have none of the groups drawn
        means.append(seen.mean(1).filled(np.nan))
    of_seeds = float(np.var(each, ddof=1)) / n_seeds
    of_samples = float(np.nanvar(np.concatenate(means), ddof=1))
    error = (of_seeds + of_samples) ** 0.5
    if error == 0:
        return Interval(mean, mean, mean, 0.0, n_seeds, n_groups)
    freedom = (of_seeds + of_samples) ** 2 / (of_seeds**2 / (n_seeds - 1) + of_samples**2 / (n_groups - 1))
    reach = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * error
    return Interval(mean, mean - reach, mean + reach, error, n_seeds, n_groups)


def mean_score(a: Floats, b: Floats) -> PerSeed:
    """The difference of mean scores; a, b: (S, N) score of each sample, NaN where a seed did not see it."""
    gap = np.subtract(a, b)
    seen = np.isfinite(gap)
    gap = np.where(seen, gap, 0.0)

    def difference(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore"):  # a seed of whose samples none was drawn
            return np.asarray((weights @ gap.T) / (weights @ seen.T.astype(float)))

    return difference


def macro_f1(target: NDArray[np.int64], a: NDArray[np.int64], b: NDArray[np.int64]) -> PerSeed:
    """The difference of F1, averaged over classes that occur; target, a, b: (S, N) class numbers, -1 where a seed did not see
    the sample."""
    classes = int(max(target.max(), a.max(), b.max())) + 1

    def one(weights: Floats, true: NDArray[np.int64], predicted: NDArray[np.int64]) -> Floats:
        counted = weights[:, true >= 0]
        is_true, is_predicted = (np.eye(classes)[labels[true >= 0]] for labels in (true, predicted))
        both = counted @ (is_true * is_predicted)
        either = counted @ is_true + counted @ is_predicted
        f1 = np.divide(2 * both, either, out=np.zeros_like(both), where=either > 0)
        with np.errstate(invalid="ignore"):
            return np.asarray(f1.sum(1) / (either > 0).sum(1))

    def difference(weights: Floats) -> Floats:
        return np.stack([one(weights, t, x) - one(weights, t, y) for t, x, y in zip(target, a, b, strict=True)], 1)

    return difference


def sample_interval(table: pd.DataFrame, first: str, other: str, metric: str, draws: int = DRAWS) -> Interval | None:
    """As `over_seeds_and_samples`, of two arms of a study's table, with the seeds that both have.

    Groups are the predictions' own, else every sample is one. None where predictions do not tell the metric: the arms saw other
    samples, it is neither accuracy, macro F1 nor mean absolute error, or what comes out is not what the cells reported.
    """
    wanted = {"arm", "seed", "predictions", metric}
    if metric not in _METRICS or not wanted <= set(table):
        return None
    rows = [
        {"arm": arm, "seed": seed, **sample}
        for arm, seed, samples in table.loc[table["arm"].isin([first, other]), ["arm", "seed", "predictions"]].values
        for sample in samples
    ]
    flat = pd.DataFrame(rows, columns=["arm", "seed", "id", "target", "prediction", "group"])
    if not len(flat) or not flat[["target", "prediction"]].map(np.isscalar).to_numpy().all():
        return None
    one, two = (flat[flat["arm"] == arm].drop(columns="arm") for arm in (first, other))
    both = one.merge(two[["seed", "id", "prediction"]], on=["seed", "id"], suffixes=("", "_other"))
    if not len(both) or both.duplicated(["seed", "id"]).any() or len(both) < max(len(one), len(two)):
        return None  # the last: one has samples that the other has not
    difference, ids = _METRICS[metric](both)
    reported = [table[table["arm"] == arm].set_index("seed")[metric] for arm in (first, other)]
    gap = (reported[0] - reported[1]).sort_index()
    ours = difference(np.ones((1, len(ids))))[0]
    if len(gap) != len(ours) or not np.allclose(gap, ours, atol=1e-4):
        return None
    group = both.drop_duplicates("id").set_index("id")["group"].reindex(ids)
    return over_seeds_and_samples(difference, list(group.where(group.notna(), pd.Series(ids, ids))), draws)


def _wide(both: pd.DataFrame, values: Any, missing: float = np.nan) -> pd.DataFrame:
    """(S, N)"""
    return both.assign(value=values).pivot(index="seed", columns="id", values="value").sort_index().fillna(missing)


def _accuracy(both: pd.DataFrame) -> tuple[PerSeed, list[Hashable]]:
    right = [_wide(both, (both["target"] == both[p]).astype(float)) for p in ("prediction", "prediction_other")]
    return mean_score(right[0].to_numpy(), right[1].to_numpy()), list(right[0].columns)


def _absolute_error(both: pd.DataFrame) -> tuple[PerSeed, list[Hashable]]:
    target = both["target"].astype(float)
    off = [_wide(both, (target - both[p].astype(float)).abs()) for p in ("prediction", "prediction_other")]
    return mean_score(off[0].to_numpy(), off[1].to_numpy()), list(off[0].columns)


def _macro_f1(both: pd.DataFrame) -> tuple[PerSeed, list[Hashable]]:
    columns = ("target", "prediction", "prediction_other")
    codes = pd.factorize(pd.concat([both[c] for c in columns]))[0].reshape(3, -1)
    wide = [_wide(both, codes[i], -1) for i in range(3)]
    target, a, b = (w.to_numpy().astype(np.int64) for w in wide)
    return macro_f1(target, a, b), list(wide[0].columns)


_METRICS = {"accuracy": _accuracy, "f1": _macro_f1, "mae": _absolute_error}
