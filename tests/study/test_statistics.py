import numpy as np
import pytest
from scipy import stats

from qmm.study import Comparison, holm, paired_difference


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


def test_p_values_agree_with_scipys_paired_t_test() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.5, 1, 6), rng.normal(0, 1, 6)
    assert paired_difference(a.tolist(), b.tolist()).p == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_holm_by_its_definition() -> None:
    """Holm (1979), worked by hand: 0.01 * 4, 0.02 * 3, 0.03 * 2, and no p value below one that was smaller before."""
    found = [Comparison(0.1, 0, 1, 5, p) for p in (0.03, 0.01, 0.04, 0.02)]
    assert [c.p for c in holm(found)] == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert [c.verdict for c in holm(found)][:2] == ["no evidence of a difference", "higher"]


def test_holm_leaves_out_what_has_no_p_value_and_stays_below_one() -> None:
    found = holm([paired_difference([0.9], [0.1]), Comparison(0.0, -1, 1, 5, 0.9), Comparison(0.0, -1, 1, 5, 0.8)])
    assert np.isnan(found[0].p)
    assert [c.p for c in found[1:]] == [1.0, 1.0]


def test_holm_keeps_the_chance_of_one_false_alarm() -> None:
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(400):
        base = rng.normal(0, 1, 5)
        found = holm([paired_difference(base.tolist(), rng.normal(0, 1, 5).tolist()) for _ in range(8)])
        alarms += any(c.p < 0.05 for c in found)
    assert alarms / 400 < 0.08
