"""Studies whose truth is known: what is there is found, and what is not is not, as often as is said."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from qmm.study.statistics import claims, over_seeds_and_samples, prospect, smallest_difference, smallest_effect, smallest_p
from qmm.study.statistics.bootstrap import mean_score

STUDIES = 250
SURE = 1e-6
"""The chance of a count outside of the binomial bounds, were the rate as stated."""
Draw = Callable[[np.random.Generator, int], np.ndarray]


def normal(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.normal(0, 0.02, n)


def heavy(rng: np.random.Generator, n: int) -> np.ndarray:
    return 0.02 * rng.standard_t(2, n)


def tied(rng: np.random.Generator, n: int) -> np.ndarray:
    """Accuracies on 50 samples: many alike."""
    return rng.binomial(50, 0.7, n) / 50 - 0.7


def study(rng: np.random.Generator, leads: list[float], n_seeds: int, scatter: Draw) -> pd.DataFrame:
    """The first arm is by so much above each other one; seeds move all arms together, and each arm by itself."""
    common = rng.normal(0.7, 0.05, n_seeds)
    values = {"first": common + scatter(rng, n_seeds)}
    values |= {f"other{i}": common - lead + scatter(rng, n_seeds) for i, lead in enumerate(leads)}
    return pd.DataFrame(
        [{"arm": arm, "seed": seed, "accuracy": v} for arm, own in values.items() for seed, v in enumerate(own)]
    )


def found(leads: list[float], n_seeds: int, scatter: Draw) -> pd.DataFrame:
    """(STUDIES * claims): study, lead, verdict, p values."""
    rng = np.random.default_rng(n_seeds)
    arms = ["first", *(f"other{i}" for i in range(len(leads)))]
    return pd.DataFrame(
        [
            {"study": k, "lead": lead, "verdict": c.verdict, "flips": c.seeds.p_flips, "ranks": c.seeds.p_ranks}
            for k in range(STUDIES)
            for lead, c in zip(leads, claims(study(rng, leads, n_seeds, scatter), arms, "accuracy"), strict=True)
        ]
    )


@pytest.mark.parametrize(("n_seeds", "scatter"), [(5, normal), (10, normal), (10, heavy), (10, tied)])
def test_no_difference_gives_a_false_alarm_in_at_most_one_study_of_twenty(n_seeds: int, scatter: Draw) -> None:
    table = found([0.0, 0.0, 0.0], n_seeds, scatter)
    table["alarm"] = table["verdict"].isin(["higher", "lower"])
    most = stats.binom.isf(SURE, STUDIES, 0.05)
    assert table.groupby("study")["alarm"].any().sum() <= most
    for exact in ("flips", "ranks"):
        assert table[exact].lt(0.05).groupby(table["study"]).any().sum() <= most


@pytest.mark.parametrize("n_seeds", [4, 10])
def test_a_planted_difference_of_the_detectable_size_is_found_four_times_in_five(n_seeds: int) -> None:
    lead = smallest_difference(n_seeds, 0.02 * 2**0.5)
    hits = found([lead], n_seeds, normal)["verdict"].eq("higher").sum()
    assert stats.binom.ppf(SURE, STUDIES, 0.8) <= hits <= stats.binom.isf(SURE, STUDIES, 0.8)


def test_the_planted_difference_is_found_and_not_the_absent_ones_beside_it() -> None:
    """Four claims, one of them true: Holm's first step finds it at the stated rate, the others stay silent at theirs."""
    lead = smallest_difference(8, 0.02 * 2**0.5, comparisons=4)
    table = found([lead, 0.0, 0.0, 0.0], 8, normal)
    hits = table[table["lead"] > 0]["verdict"].eq("higher").sum()
    assert stats.binom.ppf(SURE, STUDIES, 0.8) <= hits
    assert not table[table["lead"] > 0]["verdict"].eq("lower").any()
    silent = table[table["lead"] == 0]
    alarms = silent["verdict"].isin(["higher", "lower"]).groupby(silent["study"]).any().sum()
    assert alarms <= stats.binom.isf(SURE, STUDIES, 0.05)


def drawn(rng: np.random.Generator, n_seeds: int, truth: float = 0.03) -> tuple[np.ndarray, list[int]]:
    """Differences (S, N) of 30 groups of 4 samples that turn out alike."""
    groups = np.repeat(np.arange(30), 4)
    seeds, of_group = rng.normal(0, 0.03, (n_seeds, 1)), rng.normal(0, 0.2, 30)[groups]
    return truth + seeds + of_group + rng.normal(0, 0.1, (n_seeds, 120)), groups.tolist()


@pytest.mark.parametrize("n_seeds", [3, 5, 10])
def test_the_interval_over_seeds_and_samples_covers_the_truth_as_often_as_it_says(n_seeds: int) -> None:
    rng, covered = np.random.default_rng(n_seeds), 0
    for _ in range(STUDIES):
        gaps, groups = drawn(rng, n_seeds)
        one = over_seeds_and_samples(mean_score(gaps, np.zeros_like(gaps)), groups, draws=300)
        covered += one.low <= 0.03 <= one.high
    assert covered >= stats.binom.ppf(SURE, STUDIES, 0.95)
    assert covered < STUDIES  # an interval that covers always tells nothing


def test_samples_that_belong_together_taken_for_independent_cover_too_little() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(STUDIES):
        gaps, _groups = drawn(rng, 10)
        one = over_seeds_and_samples(mean_score(gaps, np.zeros_like(gaps)), range(gaps.shape[1]), draws=300)
        covered += one.low <= 0.03 <= one.high
    assert covered < stats.binom.ppf(SURE, STUDIES, 0.95)


@pytest.mark.parametrize(("d_z", "n"), [(1.0, 10), (0.8, 15), (0.5, 34), (0.2, 199)])
def test_the_smallest_effect_agrees_with_published_sample_sizes(d_z: float, n: int) -> None:
    """Pairs that a two-sided paired t test needs at level 0.05 and power 0.8, as G*Power gives them."""
    assert smallest_effect(n) <= d_z < smallest_effect(n - 1)


def test_before_it_runs_a_study_says_what_its_seeds_can_show() -> None:
    assert smallest_p(5) == pytest.approx(stats.wilcoxon([1, 2, 3, 4, 5]).pvalue)
    assert smallest_p(5, 3) == 3 * smallest_p(5)
    assert "no conclusion" in prospect(1, 2)
    assert "their smallest p value after Holm's adjustment is 0.188; 7 seeds would do" in prospect(5, 3)
    assert smallest_p(7, 3) < 0.05 <= smallest_p(6, 3)
    assert "no distribution" not in prospect(7, 3)
