import numpy as np
import pytest
from scipy import stats

from qmm.study import paired_difference


def test_agrees_with_scipys_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.5, 1, 12), rng.normal(0, 1, 12)
    ours, theirs = paired_difference(a.tolist(), b.tolist()), stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert ours.mean == pytest.approx((a - b).mean())


def test_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    draws = [paired_difference(rng.normal(0.3, 1, 5).tolist(), rng.normal(0, 1, 5).tolist()) for _ in range(1000)]
    assert np.mean([d.low <= 0.3 <= d.high for d in draws]) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ([0.9, 0.91, 0.92], [0.5, 0.52, 0.5], "higher"),
        ([0.5, 0.52, 0.5], [0.9, 0.91, 0.92], "lower"),
        ([0.5, 0.9], [0.9, 0.5], "no evidence of a difference"),
        ([0.9], [0.1], "too few seeds to tell"),
        ([0.9, 0.9], [0.8, 0.8], "higher"),
    ],
)
def test_verdicts(a: list[float], b: list[float], verdict: str) -> None:
    assert paired_difference(a, b).verdict == verdict
