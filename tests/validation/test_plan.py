"""Cross-validation: which cells, on which folds, and what a difference over folds is worth."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from qmm.study import Study
from qmm.validation import CrossValidation, Validated, corrected_difference
from qmm.validation.report import differences, summary

STUDY = Study("s", {"a": ({"x": 1},), "b": ({"x": 1}, {"y": 2})}, (0, 1), "accuracy")


def test_every_arm_trains_without_each_fold_once_a_seed() -> None:
    plan = CrossValidation(STUDY, 3)
    cells = plan.cells()
    assert len(cells) == 2 * 3 * 2
    assert len({cell.name for cell in cells}) == 12
    assert [cell.name for cell in cells[:3]] == ["a-fold0-seed0", "b-fold0-seed0", "a-fold1-seed0"]
    assert cells[3].configs == ({"x": 1}, {"y": 2}, {"data": {"init_args": {"fold": 1, "folds": 3}}})
    assert all(cell.trial is not None for cell in cells)  # scored on what is held out, never on test


def test_a_group_goes_into_every_cell() -> None:
    plan = CrossValidation(STUDY, 2, "speaker", r"(\d+)")
    assert plan.overlay(1) == {"data": {"init_args": {"fold": 1, "folds": 2, "group": "speaker", "group_pattern": r"(\d+)"}}}


def test_the_corrected_t_test_is_the_formula() -> None:
    """t = mean / (s sqrt(1/k + n_test/n_train)), here with folds of equal size; wider than Student's by sqrt(1 + k/(k - 1))."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.7, 0.1, 10), rng.normal(0.65, 0.1, 10)
    found = corrected_difference(a.tolist(), b.tolist())
    d = a - b
    t = d.mean() / (d.std(ddof=1) * np.sqrt(1 / 10 + 30 / 270))
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), 9))
    plain = stats.ttest_rel(a, b)
    low, high = plain.confidence_interval(0.95)
    assert (found.high - found.low) / (high - low) == pytest.approx(np.sqrt(1 + 10 / 9))
    assert found.mean == pytest.approx(d.mean())
    assert found.p > plain.pvalue


def test_one_fold_and_equal_differences_say_what_they_can() -> None:
    assert np.isnan(corrected_difference([0.5], [0.4]).p)
    assert corrected_difference([0.5, 0.75], [0.25, 0.5]).p == 0
    assert corrected_difference([0.5, 0.7], [0.5, 0.7]).verdict == "no evidence of a difference"


def found(drop: bool = False) -> Validated:
    rows: list[dict[str, Any]] = [
        {"arm": arm, "fold": fold, "seed": seed, "accuracy": 0.5 + 0.1 * fold + 0.02 * seed + lead, "loss": 1.0, "samples": 10}
        for fold in range(3)
        for seed in (0, 1)
        for arm, lead in (("a", 0.01 * fold), ("b", 0.0))
        if not (drop and arm == "b" and fold == 2)
    ]
    predictions = pd.DataFrame([{**row, "id": f"{row['fold']}"} for row in rows])
    return Validated(pd.DataFrame(rows), predictions, {})


def test_the_summary_has_every_fold_its_spread_and_the_paired_difference() -> None:
    plan = CrossValidation(STUDY, 3)
    text = summary(plan, found(), "qmm crossval", "speaker")
    a = [0.51, 0.62, 0.73]  # means over two seeds
    assert f"| a | {np.mean(a):.3f} ± {np.std(a, ddof=1):.3f} | 0.510 | 0.620 | 0.730 |" in text
    assert "groups of 'speaker' kept whole" in text
    assert "| a - b | +0.010 |" in text
    assert "different samples" not in text
    compared = differences(plan, found())["b"]
    assert compared.n == 3
    assert compared.mean == pytest.approx(0.01)


def test_a_failed_cell_is_left_out_of_the_pairs_and_told() -> None:
    plan, left = CrossValidation(STUDY, 3), found(drop=True)
    assert differences(plan, left)["b"].n == 2
    assert "| b | 0.560 ± 0.071 | 0.510 | 0.610 | failed |" in summary(plan, left, "c")


def test_arms_that_drop_other_samples_are_told() -> None:
    uneven = found()
    uneven.predictions.loc[uneven.predictions["arm"].eq("b") & uneven.predictions["fold"].eq(1), "id"] = "another"
    assert "scored on different samples in folds 1" in summary(CrossValidation(STUDY, 3), uneven, "c")
