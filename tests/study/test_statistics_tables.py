"""Statistics of a study's table: samples, sizes, noise."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from qmm.errors import InputError
from qmm.study.statistics import (
    area_differences,
    areas,
    claims,
    effective_robustness,
    learning_curves,
    macro_f1,
    mean_score,
    over_seeds_and_samples,
    relative_robustness,
    robustness,
    robustness_curves,
    sample_interval,
)


def test_resampled_scores_and_f1_are_those_of_weighted_samples() -> None:
    rng = np.random.default_rng(0)
    target, a, b = rng.integers(0, 3, (3, 4, 50))
    weights = rng.integers(0, 3, (2, 50)).astype(float)
    for seed in range(4):
        for row in range(2):
            w = weights[row]
            scores = [f1_score(target[seed], x[seed], average="macro", sample_weight=w) for x in (a, b)]
            assert macro_f1(target, a, b)(weights)[row, seed] == pytest.approx(scores[0] - scores[1])
            gap = np.average((target == a)[seed], weights=w) - np.average((target == b)[seed], weights=w)
            assert mean_score(1.0 * (target == a), 1.0 * (target == b))(weights)[row, seed] == pytest.approx(gap)


def test_samples_that_a_seed_did_not_see_do_not_count() -> None:
    a = np.array([[1.0, 0.0, np.nan, np.nan], [np.nan, np.nan, 1.0, 1.0]])
    assert mean_score(a, np.zeros_like(a))(np.ones((1, 4))).tolist() == [[0.5, 1.0]]


def test_the_interval_is_that_of_its_two_parts() -> None:
    """Samples all alike: only seeds scatter, and it is Student's; seeds all alike: the bootstrap of the samples."""
    seeds = np.array([[0.1], [0.2], [0.4]])
    only_seeds = over_seeds_and_samples(mean_score(np.tile(seeds, 40), np.zeros((3, 40))), range(40))
    assert only_seeds.error == pytest.approx(np.std(seeds, ddof=1) / 3**0.5)
    assert only_seeds.high - only_seeds.mean == pytest.approx(4.302653 * only_seeds.error)
    samples = np.tile(np.random.default_rng(0).normal(0, 1, 40), (3, 1))
    only_samples = over_seeds_and_samples(mean_score(samples, np.zeros((3, 40))), range(40), draws=20_000)
    assert only_samples.error == pytest.approx(np.std(samples[0], ddof=1) / 40**0.5, rel=0.025)  # five errors of a bootstrap's
    assert over_seeds_and_samples(mean_score(np.ones((3, 40)), np.zeros((3, 40))), range(40)).low == 1.0
    assert np.isnan(over_seeds_and_samples(mean_score(samples[:1], samples[1:2]), range(40)).low)


def table(metric: str = "accuracy", lead: float = 0.3, n_seeds: int = 6, sizes: tuple[int, ...] = ()) -> pd.DataFrame:
    """Arms a and b on 40 samples of 20 speakers; a is right more often by `lead`."""
    rng, rows = np.random.default_rng(0), []
    target = rng.integers(0, 2, 40)
    for arm, rate in (("a", 0.6 + lead), ("b", 0.6)):
        for seed in range(n_seeds):
            for size in sizes or (0,):
                predicted = np.where(rng.random(40) < rate, target, 1 - target)
                value = (predicted == target).mean() if metric == "accuracy" else f1_score(target, predicted, average="macro")
                samples = [
                    {"id": f"s{i}", "target": f"c{t}", "prediction": f"c{p}", "group": i // 2}
                    for i, (t, p) in enumerate(zip(target, predicted, strict=True))
                ]
                row: dict[str, Any] = {"arm": arm, "seed": seed, metric: float(value), "predictions": samples}
                rows.append(row | ({"size": size} if sizes else {}))
    return pd.DataFrame(rows)


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
def test_predictions_of_the_cells_give_the_interval_over_samples(metric: str) -> None:
    known = table(metric)
    found = sample_interval(known, "a", "b", metric)
    assert found is not None
    means = known.groupby("arm")[metric].mean()
    assert found.mean == pytest.approx(means["a"] - means["b"])
    assert (found.seeds, found.groups) == (6, 20)
    assert found.low < found.mean < found.high
    ungrouped: Any = [[{**s, "group": None} for s in own] for own in known["predictions"]]
    again = sample_interval(known.assign(predictions=ungrouped), "a", "b", metric)
    assert again is not None
    assert again.groups == 40


def test_predictions_of_regression_give_the_interval_of_the_mean_absolute_error() -> None:
    rng, rows = np.random.default_rng(0), []
    target = rng.normal(0, 1, 30)
    for arm, noise in (("a", 0.1), ("b", 0.5)):
        for seed in range(3):
            predicted = target + rng.normal(0, noise, 30)
            samples = [{"id": i, "target": t, "prediction": p} for i, (t, p) in enumerate(zip(target, predicted, strict=True))]
            rows.append({"arm": arm, "seed": seed, "mae": np.abs(predicted - target).mean(), "predictions": samples})
    found = sample_interval(pd.DataFrame(rows), "a", "b", "mae")
    assert found is not None
    assert found.high < 0


def test_what_predictions_do_not_tell_has_no_interval_over_samples() -> None:
    known = table()
    assert sample_interval(known.assign(loss=1.0), "a", "b", "loss") is None
    assert (
        sample_interval(known.assign(accuracy=known["accuracy"] + 0.01 * (known["arm"] == "a")), "a", "b", "accuracy") is None
    )
    assert sample_interval(known.drop(columns="predictions"), "a", "b", "accuracy") is None
    twice: Any = [[*own, own[0]] for own in known["predictions"]]
    assert sample_interval(known.assign(predictions=twice), "a", "b", "accuracy") is None
    fewer: Any = [own[:30] if arm == "a" else own for arm, own in zip(known["arm"], known["predictions"], strict=True)]
    assert sample_interval(known.assign(predictions=fewer), "a", "b", "accuracy") is None
    captions: Any = [[{**s, "target": ["one", "other"]} for s in own] for own in known["predictions"]]
    assert sample_interval(known.assign(predictions=captions), "a", "b", "accuracy") is None


def test_claims_are_adjusted_over_all_sizes_and_name_theirs() -> None:
    found = claims(table(sizes=(100, -1)), ["a", "b"], "accuracy")
    assert [claim.size for claim in found] == [100, -1]
    assert all(claim.seeds.comparisons == 2 for claim in found)
    assert found[0].in_words().startswith("With 100 training samples: a is higher than b")
    assert found[1].in_words().startswith("With all training samples: ")
    assert claims(table(), ["a", "b", "not run"], "accuracy")[0].other == "b"
    assert claims(table(), ["not run", "a"], "accuracy") == []


def test_a_verdict_that_other_samples_could_overturn_says_so() -> None:
    """Seeds agree, for all err on the same samples; but it is three samples of forty, or two."""
    rows = []
    for seed in range(8):
        for arm, n_right in (("a", 30 - seed % 2), ("b", 27)):
            samples = [{"id": i, "target": 1, "prediction": int(i < n_right)} for i in range(40)]
            rows.append({"arm": arm, "seed": seed, "accuracy": n_right / 40, "predictions": samples})
    (claim,) = claims(pd.DataFrame(rows), ["a", "b"], "accuracy")
    assert claim.verdict == "higher"
    assert claim.samples is not None
    assert claim.samples.low <= 0 <= claim.samples.high
    assert "Other samples might tell otherwise" in claim.in_words()


def test_the_area_under_a_low_data_curve_is_its_mean_height_over_the_logarithm_of_the_size() -> None:
    rows: list[dict[str, Any]] = [
        {"arm": arm, "seed": seed, "size": size, "accuracy": 0.5 + slope * float(math.log10(n)) + 0.01 * seed}
        for arm, slope in (("a", 0.1), ("b", 0.05))
        for seed in range(3)
        for size, n in ((-1, 10_000), (100, 100), (1000, 1000))
    ]
    curves = learning_curves(pd.DataFrame(rows), "accuracy", all_samples=10_000)
    assert curves["size"].tolist()[:3] == [100, 1000, 10_000]
    assert areas(curves)["a"].tolist() == pytest.approx([0.5 + 0.1 * 3 + 0.01 * seed for seed in range(3)])
    assert area_differences(curves, ["a", "b"])["b"].mean == pytest.approx(0.05 * 3)
    assert areas(curves[1:])["a"].isna().tolist() == [True, False, False]
    assert area_differences(curves[1:], ["a", "b"])["b"].n == 2
    with pytest.raises(InputError, match="all_samples"):
        learning_curves(pd.DataFrame(rows), "accuracy")
    with pytest.raises(InputError, match="two training sizes"):
        areas(curves[curves["size"] == 100])


def test_robustness_is_multibenchs_but_for_its_width() -> None:
    """There, on levels 0.1 apart: sum((f_i + f_i+1) * 0.1 / 2), and sum(f - (LF + f_0 - LF_0)) in place of an area."""
    rng = np.random.default_rng(0)
    levels, f, late = np.arange(11) / 10, rng.random(11), rng.random(11)
    assert relative_robustness(levels, f) == pytest.approx(sum((f[i] + f[i + 1]) * 0.1 / 2 for i in range(10)))
    assert relative_robustness(3 * levels, f) == pytest.approx(relative_robustness(levels, f))
    gap = f - (late + f[0] - late[0])
    assert effective_robustness(levels, f, late) == pytest.approx(0.1 * (gap.sum() - gap[-1] / 2))
    with pytest.raises(InputError, match="ascending"):
        relative_robustness([0, 0.5, 0.5], [1, 1, 1])


def noisy(fall: dict[str, float], levels: tuple[float, ...] = (0.5, 1.0)) -> pd.DataFrame:
    def measured(drop: float, start: float) -> list[dict[str, Any]]:
        noise = [
            {"kind": "noise", "modality": "audio", "level": x, "metric": "accuracy", "value": start - drop * x} for x in levels
        ]
        gone = {"kind": "missing", "modality": "audio", "level": 1.0, "metric": "accuracy", "value": start - 2 * drop}
        return [*noise, gone, {**gone, "metric": "f1", "value": 0.0}]

    return pd.DataFrame(
        [
            {"arm": arm, "seed": 0, "accuracy": 0.9 - 0.1 * i, "robustness": measured(drop, 0.9 - 0.1 * i)}
            for i, (arm, drop) in enumerate(fall.items())
        ]
    )


def test_robustness_of_a_table_starts_at_the_clean_metric_and_compares_with_the_baseline() -> None:
    found = {(r.arm, r.kind): r for r in robustness(robustness_curves(noisy({"late": 0.4, "ours": 0.2}), "accuracy"), "late")}
    assert found["ours", "noise"].relative == pytest.approx(0.8 - 0.1)
    assert found["ours", "noise"].effective == pytest.approx(0.1)  # falls half as far
    assert found["ours", "noise"].retained == pytest.approx(0.7 / 0.8)
    assert found["late", "noise"].effective == pytest.approx(0.0)
    assert found["ours", "missing"].relative == pytest.approx(0.4)
    assert found["ours", "missing"].effective == pytest.approx(0.4)
    assert all(np.isnan(r.effective) for r in robustness(robustness_curves(noisy({"ours": 0.2}), "accuracy")))


def test_robustness_at_other_levels_than_the_baselines_is_refused() -> None:
    uneven = pd.concat([noisy({"late": 0.4}), noisy({"ours": 0.2}, (0.25, 1.0))])
    with pytest.raises(InputError, match="must be the same"):
        robustness(robustness_curves(uneven, "accuracy"), "late")
    with pytest.raises(InputError, match="no column `robustness`"):
        robustness_curves(pd.DataFrame([{"arm": "a"}]), "accuracy")


def test_on_folds_each_seed_has_samples_of_its_own_and_the_interval_still_covers() -> None:
    """Six speakers, each scored by two seeds alone: what is drawn leaves some seeds without samples."""
    rng = np.random.default_rng(5)
    inside, draws = 0, 200
    for _ in range(draws):
        of_speaker = rng.normal(0.1, 0.05, 6)
        a, b = np.full((12, 120), np.nan), np.full((12, 120), np.nan)
        for seed in range(12):
            own = slice(20 * (seed % 6), 20 * (seed % 6) + 20)
            b[seed, own] = rng.random(20) < 0.5
            a[seed, own] = rng.random(20) < 0.5 + of_speaker[seed % 6]
        found = over_seeds_and_samples(mean_score(a, b), np.repeat(range(6), 20).tolist(), draws=400)
        assert found.groups == 6
        inside += found.low <= 0.1 <= found.high
    assert inside / draws > 0.95 - 5 * (0.95 * 0.05 / draws) ** 0.5
