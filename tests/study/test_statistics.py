import numpy as np
import pytest
from scipy import stats

from qmm.study import Comparison, holm, paired_difference
from qmm.study.statistics import rank_biserial, sign_flip_p, signed_rank_p, smallest_difference, standardised


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


@pytest.mark.parametrize("n", [2, 5, 12, 20])
def test_exact_tests_agree_with_scipys(n: int) -> None:
    d = np.random.default_rng(n).normal(0.3, 1, n)
    flips = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=2**14, rng=1)
    tolerance = 1e-12 if n <= 13 else 5 * (0.25 / 2**13) ** 0.5  # beyond, both draw at random
    assert sign_flip_p(d) == pytest.approx(flips.pvalue, abs=tolerance)
    assert signed_rank_p(d) == pytest.approx(stats.wilcoxon(d).pvalue, abs=tolerance)


def test_ties_and_zeros_agree_with_scipys_exact_test() -> None:
    d = np.array([0.1, 0.1, 0.0, -0.1, 0.2, 0.3 - 0.1, 0.1])  # 0.3 - 0.1 is not quite 0.2, but of the same rank
    nonzero = d[d != 0].round(12)
    exact = stats.wilcoxon(nonzero, method=stats.PermutationMethod(n_resamples=2**10))
    assert signed_rank_p(d) == pytest.approx(exact.pvalue, abs=1e-12)
    assert signed_rank_p([0.0, 0.0, 0.0]) == 1.0
    assert sign_flip_p([0.0, 0.0]) == 1.0
    assert np.isnan(sign_flip_p([0.1]))


def test_effect_sizes_by_hand() -> None:
    d = [0.3, 0.1, -0.2, 0.0]
    assert standardised(d) == pytest.approx(0.05 / np.std(d, ddof=1))
    assert rank_biserial(d) == pytest.approx((3 + 1 - 2) / 6)  # ranks of 0.3, 0.1, -0.2 are 3, 1, 2; the zero has none
    assert rank_biserial([1.0, 2.0]) == 1.0
    assert np.isnan(standardised([0.25, 0.25]))
    found = paired_difference(d, [0.0] * 4)
    assert (found.d_z, found.rank_biserial) == (standardised(d), rank_biserial(d))


def test_holm_adjusts_every_test_and_makes_the_detectable_difference_larger() -> None:
    a, b = [0.9, 0.92, 0.91, 0.95, 0.96], [0.5, 0.54, 0.5, 0.53, 0.5]
    alone = paired_difference(a, b)
    pair = holm([alone, alone])
    assert pair[0].p_flips == pytest.approx(2 * alone.p_flips) == pytest.approx(0.125)
    assert pair[0].p_ranks == pytest.approx(2 * alone.p_ranks)
    assert pair[0].detectable > alone.detectable
    assert alone.detectable == pytest.approx(smallest_difference(5, float(np.std(np.subtract(a, b), ddof=1))))


def test_verdicts_in_words_say_what_they_rest_on() -> None:
    b = [0.5, 0.51, 0.52, 0.5, 0.53, 0.52, 0.5, 0.51]
    a = [x + gap for x, gap in zip(b, [0.1, 0.12, 0.09, 0.1, 0.11, 0.08, 0.1, 0.13], strict=True)]
    clear = paired_difference(a, b).in_words("quantum", "concat")
    assert clear.startswith("quantum is higher than concat by 0.104 (95 % interval +0.090 to +0.117, p < 0.001, 8 pairs)")
    assert clear.endswith("so says the sign-flip test (p = 0.008).")
    few = paired_difference(b[:4], a[:4]).in_words("quantum", "concat")
    assert few.startswith("quantum is lower than concat")
    assert "rests on the t test alone: with 4 pairs the sign-flip test cannot go below p = 0.125" in few
    none = paired_difference(b, b[::-1]).in_words("x", "y")
    assert none.startswith("No evidence of a difference between x and y")
    assert "would have shown 80% of the time" in none
    assert paired_difference([0.5], [0.4]).in_words("x", "y") == "x against y: too few seeds to tell."
    assert "every pair differs by the same" in paired_difference([0.5, 0.75], [0.25, 0.5]).in_words("x", "y")
    outlier = holm([paired_difference([0.1, 0.1, 0.1, 0.1, 0.1, -0.02, 0.1, 0.1], [0.0] * 8)] * 4)[0]
    assert outlier.verdict == "higher"
    assert "the sign-flip test does not confirm it" in outlier.in_words("x", "y")
