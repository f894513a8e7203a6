"""The comparison's table, from histories as cells leave them; and the benchmark beside it."""

import runpy
from pathlib import Path

import pandas as pd
import pytest

from qmm.errors import InputError
from qmm.optimisers import comparison
from qmm.study.plan import Study
from qmm.study.runner import Outcome

LOSSES = {
    ("adamw", 0): [0.9, 0.5, 0.2],
    ("adamw", 1): [0.8, 0.4, 0.3],
    ("spsa", 0): [0.9, 0.8, 0.7],
    ("spsa", 1): [0.9, 0.7, 0.5],
}


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Study, Outcome, Path]:
    """Two arms, two seeds, three epochs of ten steps of 100 evaluations, a minute each."""
    rows = []
    for (arm, seed), losses in LOSSES.items():
        home = tmp_path / "cells" / f"{arm}-seed{seed}"
        home.mkdir(parents=True)
        steps = [10, 20, 30]
        history = {comparison.LOSS: losses, "quantum/steps": steps, "quantum/evaluations": [100 * s for s in steps]}
        pd.DataFrame(history).to_csv(home / "history.csv", index=False)
        scores = {"split": "val", "loss": losses[-1] + 0.1, "accuracy": 0.5, "fit_seconds": 180.0}
        rows.append({"arm": arm, "seed": seed, "choice": "", **scores})
    study = Study("x", {"adamw": (), "spsa": ()}, (0, 1), "loss")
    return study, Outcome(pd.DataFrame(rows), pd.DataFrame(), {}, {}), tmp_path


def test_steps_evaluations_and_seconds_to_a_loss(finished: tuple[Study, Outcome, Path]) -> None:
    cells = comparison.measured(*finished, aim=0.5)
    assert cells["steps_to_aim"].fillna(-1).tolist() == [20, 20, -1, 30]
    assert cells["evaluations_to_aim"].fillna(-1).tolist() == [2000, 2000, -1, 3000]
    assert cells["seconds_to_aim"].fillna(-1).tolist() == [120, 120, -1, 180]
    assert cells["train_loss"].tolist() == [0.2, 0.3, 0.7, 0.5]
    study, outcome, _ = finished
    lines = comparison.table(study, outcome, cells, "command").splitlines()
    assert lines[-2].startswith("| adamw | 0.250 ± 0.071 | 0.350 ± 0.071 | 0.500 | 20 | 2,000 | 120 | 3,000 | 180 |")
    assert "| 30 (1 of 2 seeds) |" in lines[-1]
    assert comparison.measured(*finished)["aim"].tolist() == [0.7] * 4  # the highest that a cell ends at: all reach it


def test_cells_that_counted_nothing_are_named(finished: tuple[Study, Outcome, Path]) -> None:
    path = finished[2] / "cells" / "spsa-seed1" / "history.csv"
    pd.read_csv(path).drop(columns="quantum/evaluations").to_csv(path, index=False)
    with pytest.raises(InputError, match=r"spsa-seed1 has no quantum/evaluations; .*CountEvaluations"):
        comparison.measured(*finished)
    with pytest.raises(SystemExit, match=r"study none\.yaml does not exist"):
        comparison.main(["--config", "none.yaml"])


def test_the_benchmark_runs(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(repository / "benchmarks" / "natural_gradient.py"))["main"]
    main(["--widths", "2", "2", "--layers", "1", "--batch", "4", "--repeats", "1", "--rows", "2"])
    printed = capsys.readouterr().out
    assert "| gradient |" in printed
    assert "| natural, block, of 2 samples |" in printed
