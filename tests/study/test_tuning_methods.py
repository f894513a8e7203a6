"""Settings drawn at random, and what Optuna proposes: alike for every arm, and each time a study is started."""

import math
from collections.abc import Mapping
from statistics import median
from typing import Any

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from qmm.study import ALL, Study, Tuning
from qmm.study.runner import choose
from qmm.study.tuning import Range, draw, propose

SPACE: dict[str, Any] = {"m.rate": Range(1e-4, 1.0, True), "m.width": Range(2, 6, whole=True), "kind": ["x", "y"]}


@given(count=st.integers(1, 20), low=st.floats(1e-6, 0.1), factor=st.floats(2, 1e4))
def test_random_settings_lie_in_their_ranges_differ_and_are_the_same_again(count: int, low: float, factor: float) -> None:
    space = SPACE | {"m.rate": Range(low, low * factor, True)}
    found = draw(space, count)
    assert len(found) == count
    assert draw(space, count) == found
    for overlay in found.values():
        assert low * 0.99 <= overlay["m"]["rate"] <= low * factor * 1.01  # three digits are kept
        assert overlay["m"]["width"] in range(2, 7)
        assert overlay["kind"] in ("x", "y")


def test_a_logarithmic_range_is_drawn_from_by_its_logarithm() -> None:
    rates = [overlay["m"]["rate"] for overlay in draw(SPACE, 400).values()]
    below = sum(rate < 1e-2 for rate in rates) / len(rates)
    assert abs(below - 0.5) < 5 * math.sqrt(0.25 / 400)


def off(overlay: Mapping[str, Any]) -> float:
    """Best at a rate of 0.01 and kind y."""
    return abs(math.log10(overlay["m"]["rate"]) + 2) + (overlay["kind"] == "x")


def test_optuna_comes_nearer_than_chance_and_starts_where_it_was() -> None:
    scores: dict[int, float] = {}
    for number in range(40):
        choices = propose(SPACE, 40, scores, lowest=True)
        assert len(choices) == number + 1
        scores[number] = off(list(choices.values())[-1])
    late, early = [scores[n] for n in range(20, 40)], [scores[n] for n in range(10)]  # the first ten are drawn at random
    assert median(late) < 0.6 * median(early)
    assert list(propose(SPACE, 40, dict(list(scores.items())[:7]), lowest=True)) == list(choices)[:8]
    assert list(propose(SPACE, 40, scores, lowest=True)) == list(choices)


def tuned_study() -> Study:
    tuning = Tuning({}, {}, (0,), "loss", True, folds=2, method="optuna", trials=5, space=SPACE)
    return Study("s", {"a": ({},), "b": ({},)}, (1,), "loss", tuning, sizes=(50, ALL))


def test_trials_follow_from_scores_and_seeds_run_with_the_best() -> None:
    study, done = tuned_study(), pd.DataFrame()
    for round_ in range(1, 6):
        cells = study.trials(done)
        assert len(cells) == 2 * 2 * 2 * round_  # arms, sizes, folds
        rows = []
        for cell in cells:
            overlay = next(c for c in cell.configs if isinstance(c, dict) and "m" in c)
            row = {"arm": cell.arm, "size": cell.size, "trial": cell.trial, "choice": cell.choice, "seed": cell.seed}
            rows.append(row | {"loss": off(overlay) + cell.part * (1 if cell.arm == "a" else -1)})
        done = pd.DataFrame(rows)
    assert study.trials(done) == cells
    assert study.amount() == 2 * 2 * (5 * 2 + 1)
    chosen = choose(study, done)
    assert set(chosen) == {"a", "b", "a-n50", "b-n50"}
    for name, arm, size in (("a", "a", ALL), ("b-n50", "b", 50)):
        own = done[(done["arm"] == arm) & (done["size"] == size)]
        assert chosen[name] == own.groupby("choice")["loss"].mean().idxmin()
    final = study.settled(done).cells(chosen)
    assert [cell.name for cell in final] == ["a-n50-seed1", "b-n50-seed1", "a-seed1", "b-seed1"]
    assert all(any(isinstance(c, dict) and "m" in c for c in cell.configs) for cell in final)


def test_an_arm_with_a_failed_trial_is_asked_no_more_and_not_chosen_for() -> None:
    study = tuned_study()._replace(sizes=(ALL,))
    rows = [
        {"arm": arm, "size": ALL, "trial": 0, "choice": "c", "seed": 0, "loss": loss}
        for arm, losses in {"a": [0.1, 0.2], "b": [0.1]}.items()
        for loss in losses
    ]
    trials = study.trials(pd.DataFrame(rows))
    assert {cell.arm for cell in trials if cell.trial == 1} == {"a"}
    assert choose(study, pd.DataFrame(rows)) == {}


def test_spaces_of_an_arms_own_hold_at_every_size() -> None:
    study = tuned_study()
    assert study.tuning is not None
    tuning = study.tuning._replace(own_spaces={"b": {"other.rate": Range(1.0, 2.0)}}, trials=1)
    study = study._replace(tuning=tuning)
    rows = [
        {"arm": c.arm, "size": c.size, "trial": c.trial, "choice": c.choice, "seed": c.seed, "loss": 0.5}
        for c in study.trials()
    ]
    done = pd.DataFrame(rows)
    cells = study.settled(done).cells(choose(study, done))
    assert len(cells) == 4
    for cell in cells:
        assert any(("other" if cell.arm == "b" else "m") in config for config in cell.configs)
