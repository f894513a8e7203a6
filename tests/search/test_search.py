"""A search: every trial once, whatever interrupts it; what fails or is over the budget is remembered, and not fatal."""

import json
import math
import os
import queue
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from qmm.costs.configuration import build, parse
from qmm.errors import InputError
from qmm.search import Arm, Evolution, Examined, Point, Proposer, RandomSearch, TreeSearch, make_space
from qmm.search import runner as running
from qmm.search.report import Found, front, picture, summary, table
from qmm.search.runner import Search, Tried

Qmm = Callable[..., Any]


class Numbers(Arm):
    """Points that cost the sum of their places, of which 5 are allowed."""

    name = "quantum"

    def __init__(self, sizes: tuple[int, ...] = (4, 3, 3)):
        self.space = make_space({f"c{i}": list(range(size)) for i, size in enumerate(sizes)})

    def overlay(self, point: Point) -> dict[str, Any]:
        return {"point": list(point)}

    def examine(self, point: Point) -> Examined:
        costs = {"two_qubit_gates": sum(point)}
        return Examined(costs, "over the budget: 6 of 5" if sum(point) > 5 else "", str(min(point[0], 2)) + str(point[1:]))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Trainings that take no time; "cells": their names so far, "end": where an interrupt comes, "fail": names that fail."""
    state: dict[str, Any] = {"cells": [], "end": math.inf, "fail": ()}

    def loss(cell: Any) -> float:
        return sum((option - 1.3) ** 2 for option in cell.configs[-2]["point"]) + 0.01 * cell.seed

    def run_cells(cells: list[Any], folder: Path, flags: Any, workers: Any, bar: Any, table: str | None = None):
        failures = {}
        for cell in cells:
            path = folder / "cells" / cell.name / "result.json"
            if path.is_file():
                continue
            if len(state["cells"]) >= state["end"]:
                raise KeyboardInterrupt
            state["cells"].append(cell.name)
            if cell.name in state["fail"]:
                failures[cell.name] = "exit status 1"
                continue
            path.parent.mkdir(parents=True)
            value = math.nan if cell.configs[-2]["point"] == [0, 0, 0] else loss(cell)
            path.write_text(json.dumps({"loss": value, "fit_seconds": 1.0, "parameters_fusion": 7}))
        return failures

    @contextmanager
    def open_workers(jobs: int) -> Iterator[Any]:
        yield queue.Queue(jobs)

    monkeypatch.setattr(running, "run_cells", run_cells)
    monkeypatch.setattr(running, "open_workers", open_workers)
    return state


def tried(**changes: Any) -> Tried:
    return Tried((), {"held": "out"}, (), Evolution(4, 2), 12, (0, 1), "loss", True, 0)._replace(**changes)


def run(folder: Path, jobs: int = 1, arm: Arm | None = None, retry: bool = False, **changes: Any) -> Any:
    with Search(tried(**changes), folder, jobs, 1) as search:
        return search.run(arm or Numbers(), "quantum", retry)


@pytest.mark.parametrize("proposer", [Evolution(4, 2), TreeSearch(), RandomSearch()], ids=lambda p: type(p).__name__)
def test_interrupted_it_goes_on_as_if_it_had_not_been(tmp_path: Path, trained: dict[str, Any], proposer: Proposer) -> None:
    whole = run(tmp_path / "whole", proposer=proposer)
    cells = list(trained["cells"])
    assert len(cells) == len(set(cells)) == 24
    trained["cells"].clear()
    for end in (3, 10, 11):  # between the seeds of a trial, too
        trained["end"] = end
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "broken", proposer=proposer)
    trained["end"] = math.inf
    broken = run(tmp_path / "broken", proposer=proposer)
    assert trained["cells"] == cells
    assert broken.rows == whole.rows


def test_nothing_over_the_budget_and_no_circuit_twice(tmp_path: Path, trained: dict[str, Any]) -> None:
    records = run(tmp_path, trials=100)
    run_points = [record.point for record in records.trials]
    assert all(sum(point) <= 5 for point in run_points)
    assert len({(min(point[0], 2), point[1:]) for point in run_points}) == len(run_points) == 26  # 2 and 3 are one circuit
    reasons = {record.rejection for record in records.rows if record.rejection}
    assert "over the budget: 6 of 5" in reasons
    assert any(reason.startswith("the same circuit as trial") for reason in reasons)
    assert len(records.rows) == 36
    best = records.best(lowest=True)
    assert best is not None
    assert best.point == (1, 1, 1)
    assert best.score == pytest.approx(3 * 0.09 + 0.005)
    assert best.facts == {"parameters": 7.0, "seconds": 2.0}
    again = run(tmp_path, trials=100)
    assert again.rows == records.rows


def test_several_at_a_time_are_as_many(tmp_path: Path, trained: dict[str, Any]) -> None:
    records = run(tmp_path, jobs=5)
    assert [record.number for record in records.trials] == list(range(12))
    more = run(tmp_path, jobs=2, trials=15)
    assert more.trials[:12] == records.trials
    assert len(more.trials) == 15


def test_failures_are_remembered_and_run_again_when_asked(tmp_path: Path, trained: dict[str, Any]) -> None:
    trained["fail"] = ("quantum-tuning1-seed1",)
    records = run(tmp_path, trials=36)
    failed = {record.number: record.failure for record in records.rows if record.failure}
    zero = next(record.number for record in records.rows if record.point == (0, 0, 0))
    assert failed == {1: "exit status 1", zero: "loss is not finite"}
    trained["fail"], before = (), len(trained["cells"])
    assert run(tmp_path, trials=36).rows == records.rows
    assert len(trained["cells"]) == before
    again = run(tmp_path, trials=36, retry=True)
    assert trained["cells"][before:] == ["quantum-tuning1-seed1"]
    assert again.trials[1].score is not None


def test_another_search_is_refused(tmp_path: Path, trained: dict[str, Any]) -> None:
    run(tmp_path, trials=2)
    for changes in ({"seed": 1}, {"held_out": {"other": 1}}, {"proposer": RandomSearch()}, {"flags": ("--x",)}):
        with pytest.raises(InputError, match="what is searched changed"):
            run(tmp_path, trials=2, **changes)
    with pytest.raises(InputError, match="what is searched changed"):
        run(tmp_path, trials=2, arm=Numbers((4, 3, 2)))
    with pytest.raises(InputError, match="report no 'f2'; set `metric` to one of loss"):
        run(tmp_path / "other", trials=2, metric="f2")


def test_a_budget_that_allows_nothing_says_so(tmp_path: Path, trained: dict[str, Any]) -> None:
    class Dear(Numbers):
        def examine(self, point: Point) -> Examined:
            return Examined({}, "over the budget: 9 depth of 1")

    with pytest.raises(InputError, match="of 36 points that were looked at none can be run: over the budget: 9 depth of 1"):
        run(tmp_path, arm=Dear())


def test_the_front_holds_what_nothing_cheaper_beats() -> None:
    chance = random.Random(0)
    costs = [chance.randrange(20) for _ in range(60)]
    losses = [chance.random() for _ in range(60)]
    beaten = {
        i
        for i in range(60)
        if any(
            (costs[j] <= costs[i] and losses[j] < losses[i]) or (costs[j] < costs[i] and losses[j] == losses[i])
            for j in range(60)
        )
    }
    kept = front(costs, losses)
    assert set(kept) == set(range(60)) - beaten
    assert [costs[i] for i in kept] == sorted(costs[i] for i in kept)


def test_the_report_tells_all(tmp_path: Path, trained: dict[str, Any]) -> None:
    trained["fail"] = ("quantum-tuning2-seed0",)
    found = {"quantum": Found(Numbers(), run(tmp_path / "a")), "classical": Found(Numbers(), run(tmp_path / "b", seed=1))}
    rows = table(found)
    assert rows["status"].value_counts()["failed"] == 2
    assert rows[rows["status"] == "done"]["score"].notna().all()
    text = summary(found, "loss", True, "two_qubit_gates", "qmm search", 2)
    best = found["quantum"].records.best(True)
    assert best is not None
    assert f"| quantum | 36 | 12 | 1 | {found['quantum'].records.rejected()} | {best.score:.4f} | {best.number} | 7 |" in text
    assert f"Best quantum: {Numbers().space.label(best.point)}." in text
    figure = picture(found, "loss", True, "two_qubit_gates", "title")
    steps = np.asarray(figure.axes[1].get_lines()[0].get_ydata(), float)
    assert (np.diff(steps) < 0).all()


def finished(folder: Path) -> dict[str, float]:
    return {path.parent.name: path.stat().st_mtime for path in (folder / "cells").glob("*/result.json")}


@pytest.mark.slow
def test_a_search_as_a_user_runs_it_killed_once(qmm: Qmm, tiny: list[str], tmp_path: Path) -> None:
    space: dict[str, Any] = {
        "circuit": {"layers": [1, 2], "entangler": ["qmm.fusion.Ring", "qmm.fusion.Pairs"], "reupload": [False, True]},
        "training": {"model.init_args.fusion_learning_rate": [0.01, 0.1]},
        "counterparts": ["concat"],
        "budget": {"two_qubit_gates": 6},
        "held_out": {"data": {"init_args": {"fold": 0, "folds": 3}}},
    }
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    folder = tmp_path / "search"
    args = ["search", *tiny, "--space", tmp_path / "space.yaml", "--trials", "1", "--epochs", "1", "--seeds", "1"]
    args += ["--method", "mcts", "--folder", folder, "--pictures", "false", "--trainer.logger", "false"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "qmm", *map(str, args)], stdout=log, stderr=log)
    deadline = time.monotonic() + 200
    while not finished(folder) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = finished(folder)
    assert len(before) == 1
    done = qmm(*args)
    assert finished(folder).items() >= before.items()
    rows = pd.read_parquet(folder / "trials.parquet")
    assert (rows[rows["status"] == "done"].groupby("arm").size() == 1).all()
    best = rows[(rows["arm"] == "quantum") & (rows["status"] == "done")].iloc[0]
    made = build(parse([*tiny, "--config", str(folder / "best_quantum.yaml")], "test"))
    (circuit,) = made.fusion.circuits().values()
    assert circuit.quantum_circuit.num_nonlocal_gates() == best["two_qubit_gates"] <= 6
    told = json.loads((folder / "search.json").read_text())
    assert told["quantum"]["score"] == best["score"]
    held_out = yaml.safe_load((folder / "cells" / "quantum-tuning0-seed0" / "config.yaml").read_text())
    assert held_out["data"]["init_args"]["fold"] == 0
    assert not list((folder / "cells").glob("*/test"))  # nothing has looked at the test split
    (results,) = folder.glob("best-*/results.parquet")
    last = pd.read_parquet(results)
    assert set(last["arm"]) == {"quantum", "classical"}
    assert set(last["split"]) == {"test"}
    assert "quantum - classical" in done.stdout
    with Image.open(folder / "search.png") as shown:
        assert min(shown.size) > 300


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--trials", "0"], "at least 1"),
        (["--method", "magic"], "random, evolutionary, mcts, quadratic"),
        (["--budget", "gate=3"], "did you mean 'gates'"),
        (["--cost", "swaps"], "--cost swaps; what circuits cost is one of two_qubit_gates, depth"),
        (["--space", "nowhere.yaml"], "nowhere.yaml does not exist"),
    ],
)
def test_says_what_is_wrong(qmm: Qmm, tiny: list[str], tmp_path: Path, args: list[str], message: str) -> None:
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({"circuit": {"layers": [1]}}))
    refused = qmm("search", *tiny, "--space", tmp_path / "space.yaml", "--folder", tmp_path / "s", *args, ok=False)
    assert message in refused.stderr
