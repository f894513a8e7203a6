"""Tuning: the same grid for every arm, on a part of the training split; what it chose is what the seeds run with."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from qmm.errors import InputError
from qmm.study import ALL, Study, Tuning, read_study
from qmm.study.report import plot, summary
from qmm.study.runner import Outcome, choose

GRID = {"model.init_args.fusion_learning_rate": [0.01, 0.1], "model.init_args.weight_decay": [0.0]}
CHOICES = ["fusion_learning_rate 0.01, weight_decay 0.0", "fusion_learning_rate 0.1, weight_decay 0.0"]
HELD_OUT = {"data": {"init_args": {"fold": 0, "folds": 3}}}


def study(**tuning: Any) -> Study:
    chosen = Tuning(HELD_OUT, {"low": {"lr": 1}, "high": {"lr": 2}}, (0,), "accuracy", False)._replace(**tuning)
    return Study("s", {"a": ({"x": 1},), "b": ({"x": 2},)}, (3, 4), "accuracy", chosen)


def trials(**scores: float) -> pd.DataFrame:
    rows = [
        {"arm": name[0], "size": ALL, "choice": name[2:], "trial": int(name[2:] == "high"), "seed": 0, "accuracy": score}
        for name, score in scores.items()
    ]
    return pd.DataFrame(rows)


def test_every_arm_is_tried_with_every_choice_on_what_is_held_out() -> None:
    cells = study().trials()
    assert [(c.arm, c.choice) for c in cells] == [("a", "low"), ("a", "high"), ("b", "low"), ("b", "high")]
    assert cells[1].configs == ({"x": 1}, {"lr": 2}, HELD_OUT)
    assert cells[1].name == "a-tuning1-seed0"


def test_seeds_run_with_what_was_chosen_and_see_all_of_the_training_split() -> None:
    cells = study().cells({"a": "high", "b": "low"})
    assert [(c.arm, c.seed, c.configs[-1]) for c in cells] == [
        ("a", 3, {"lr": 2}),
        ("b", 3, {"lr": 1}),
        ("a", 4, {"lr": 2}),
        ("b", 4, {"lr": 1}),
    ]
    assert study().cells() == []


def test_the_best_mean_is_chosen_and_of_equals_the_first() -> None:
    table = trials(a_low=0.5, a_high=0.6, b_low=0.4, b_high=0.4)
    assert choose(study(), table) == {"a": "high", "b": "low"}
    assert choose(study(lowest=True), table) == {"a": "low", "b": "low"}


def test_an_arm_that_is_not_tuned_to_the_end_is_not_chosen_for() -> None:
    assert choose(study(), trials(a_low=0.5, b_low=0.4, b_high=0.3)) == {"b": "low"}
    assert choose(study(), pd.DataFrame()) == {}


def test_a_metric_that_cells_do_not_report_is_named() -> None:
    with pytest.raises(InputError, match="report no 'f2'"):
        choose(study(metric="f2"), trials(a_low=0.5))


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ({"grid": GRID}, "holds out a part"),
        ({"held_out": HELD_OUT}, "method grid takes `grid`"),
        ({"grid": GRID, "held_out": HELD_OUT, "trials": 3}, "others `space` and `trials`"),
        ({"grid": GRID, "held_out": HELD_OUT, "seedz": 3}, "has the keys"),
        ({"grid": GRID, "held_out": {}}, "holds out a part"),
        ({"grid": {"a.b": 3}, "held_out": HELD_OUT}, "maps settings"),
        ({"grid": GRID, "held_out": HELD_OUT, "best": "nearest"}, "'highest' or 'lowest'"),
        ({"grid": GRID, "held_out": HELD_OUT, "seeds": "x"}, "`seeds`"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, tuning: Any, message: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(json.dumps({"configs": [], "arms": {"a": [{"x": 1}]}, "seeds": 1, "tuning": tuning}))
    with pytest.raises(InputError, match=message):
        read_study(path)


def test_a_tuned_study_as_a_user_runs_it(qmm: Callable[..., Any], tiny: list[str], tmp_path: Path, repository: Path) -> None:
    concat = str(repository / "configs" / "fusion" / "concat.yaml")
    content: dict[str, Any] = {
        "configs": [tiny[1], tiny[3], {"trainer": {"max_epochs": 1}, "pictures": False}],
        "arms": {"quantum": [], "concat": [concat]},
        "seeds": [0],
        "counterparts": False,
        "tuning": {"grid": GRID, "held_out": HELD_OUT, "metric": "loss", "best": "lowest"},
    }
    (tmp_path / "s.yaml").write_text(json.dumps(content))
    folder = tmp_path / "study"
    done = qmm("study", "--config", tmp_path / "s.yaml", "--folder", folder)
    tried, table = pd.read_parquet(folder / "tuning.parquet"), pd.read_parquet(folder / "results.parquet")
    assert len(tried) == 4
    assert set(tried["split"]) == {"val"}
    assert set(tried["samples"]) == {16}  # a third of the 48 training samples
    assert not list((folder / "cells").glob("*tuning*/test"))  # nothing has looked at the test split
    best = {arm: rows.set_index("choice")["loss"].idxmin() for arm, rows in tried.groupby("arm")}
    for row in table.to_dict("records"):
        assert row["choice"] == best[row["arm"]]
        used = yaml.safe_load(row["config"])
        assert f"fusion_learning_rate {used['model']['init_args']['fusion_learning_rate']}," in row["choice"]
        assert used["data"]["init_args"]["fold"] is None
    assert set(table["split"]) == {"test"}
    assert "chosen ones bold" in done.stdout
    assert not (folder / "cells" / "quantum-seed0" / "circuit.png").exists()
    before = {path: path.stat().st_mtime for path in folder.glob("cells/*/result.json")}
    qmm("study", "--config", tmp_path / "s.yaml", "--folder", folder)
    assert {path: path.stat().st_mtime for path in folder.glob("cells/*/result.json")} == before
    content["tuning"]["metric"] = "accuracy"
    (tmp_path / "s.yaml").write_text(json.dumps(content))
    again = qmm("study", "--config", tmp_path / "s.yaml", "--folder", folder, ok=False)
    assert "the configuration of quantum, concat changed" in again.stderr


def finished(n_arms: int) -> tuple[Study, Outcome]:
    """A study of many arms whose second one is frozen and whose last is too large."""
    arms: dict[str, tuple[Any, ...]] = {f"arm{i}": () for i in range(n_arms)}
    rows = [
        {"arm": arm, "seed": seed, "accuracy": 0.5 + 0.1 * i + 0.001 * (seed * (i + 1) % 3), "split": "val", "fit_seconds": 1.0}
        | {"parameters_fusion": 0 if i == 1 else 60, "parameters_fusion_total": 160 if i == n_arms - 1 else 60}
        | {"parameters_decoder": 40, "parameters_decoder_total": 40}
        for i, arm in enumerate(arms)
        for seed in range(5)
    ]
    return Study("many", arms, tuple(range(5)), "accuracy"), Outcome(pd.DataFrame(rows), pd.DataFrame(), {}, {})


def test_the_report_labels_excess_and_frozen_parameters_and_adjusts_p_values() -> None:
    text = summary(*finished(4), "qmm study")
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| arm")}
    assert "| 100 |" in rows["arm0"]
    assert "| 100, 40 of them trained |" in rows["arm1"]
    assert "| 200, 160" not in text
    assert "(+100%)" in rows["arm3"]
    assert "adjusted for 3 comparisons (Holm)" in text
    assert "| arm0 - arm3 | -0.300" in text
    assert "| lower |" in rows["arm0 - arm3"]


def test_the_plot_has_room_for_fourteen_arms() -> None:
    study, outcome = finished(14)
    figure = plot(study, outcome.table)
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(boxes) == 14
    assert not any(a.overlaps(b) for a, b in pairwise(boxes))
