"""`qmm trainability`: each point once, whatever interrupts it; tables, pictures, and what could not be measured."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from qmm.errors import InputError
from qmm.trainability import measuring, read_plan, two_design_variance
from qmm.trainability.measuring import Point, points, run
from qmm.trainability.plan import Plan
from qmm.trainability.report import markdown, series

Qmm = Callable[..., Any]
PLAN = """
circuits: {random: random, blocks: {class_path: qmm.trainability.RandomAxes, init_args: {block: 2}, depths: [2, 4]}}
qubits: [2, 3]
depths: [4]
observables: [zz, parity]
initialisers: {uniform: uniform, identity-blocks: identity-blocks}
count: 20
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    return read_plan(path)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Point]:
    """The points asked for so far."""
    asked: list[Point] = []
    original = measuring.measure

    def recorded(plan: Plan, point: Point) -> dict[str, Any]:
        asked.append(point)
        return original(plan, point)

    monkeypatch.setattr(measuring, "measure", recorded)
    return asked


def numbers(found: dict[Point, dict[str, Any]]) -> dict[Point, list[float]]:
    return {point: result["every"] for point, result in found.items()}


def test_interrupted_it_goes_on(plan: Plan, measured: list[Point], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(plan, tmp_path / "whole")
    refused = {(point.circuits, point.initialiser) for point in whole.refused}
    assert refused == {("random", "identity-blocks")}
    assert not whole.failed
    assert len(whole.found) + len(whole.refused) == len(measured) == len(list(points(plan))) == 24
    recorded = measuring.measure

    def killed(plan: Plan, point: Point) -> dict[str, Any]:
        if len(measured) == 24 + 15:
            raise KeyboardInterrupt
        return recorded(plan, point)

    monkeypatch.setattr(measuring, "measure", killed)
    with pytest.raises(KeyboardInterrupt):
        run(plan, tmp_path / "broken")
    kept = len(list((tmp_path / "broken" / "points").iterdir()))
    assert 0 < kept < len(whole.found)
    monkeypatch.setattr(measuring, "measure", recorded)
    again = run(plan, tmp_path / "broken")
    assert len(measured) == 24 + 15 + 24 - kept
    assert numbers(again.found) == numbers(whole.found)
    run(plan._replace(seed=1), tmp_path / "whole")  # another seed has points of its own
    assert len(list((tmp_path / "whole" / "points").iterdir())) == 2 * len(whole.found)


def test_a_point_that_fails_does_not_take_the_others(
    plan: Plan, measured: list[Point], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = measuring.measure

    def broken(plan: Plan, point: Point) -> dict[str, Any]:
        if point.qubits == 3 and point.initialiser == "uniform":
            raise RuntimeError("out of luck")
        return recorded(plan, point)

    monkeypatch.setattr(measuring, "measure", broken)
    outcome = run(plan, tmp_path)
    assert set(outcome.failed.values()) == {"RuntimeError: out of luck"}
    assert len(outcome.failed) == 6
    rows = series(plan, outcome)
    assert any(row.slopes["first"] is None for row in rows.values())  # a single size has none
    assert "| uniform | 20 | - | - |" in markdown(plan, rows)


def test_other_processes_measure_the_same(plan: Plan, tmp_path: Path) -> None:
    few = plan._replace(cases={"random": plan.cases["random"]}, observables=("zz",))
    alone, together = run(few, tmp_path / "alone"), run(few, tmp_path / "together", jobs=2)
    assert list(together.found) == list(alone.found)
    for point, values in numbers(alone.found).items():
        assert together.found[point]["every"] == pytest.approx(values, rel=1e-9)
    assert list(together.refused) == list(alone.refused)


def test_the_command(qmm: Qmm, tmp_path: Path) -> None:
    flags = ["--qubits", "2", "3", "--depths", "4", "2n", "--count", "20", "--folder", tmp_path]
    shown = qmm("trainability", *flags, "--initialisers", "uniform", "small-angle:spread=0.05").stdout
    assert "**random, depth 2n, observable zz**" in shown
    assert f"| *2-design, in theory* |  | {math.log(two_design_variance(3) / two_design_variance(2)):+.3f} |" in shown
    assert shown.count("| small-angle:spread=0.05 | 20 | ") == 2
    content = json.loads((tmp_path / "trainability.json").read_text())
    assert len(content["slopes"]) == 4
    row = content["slopes"][0]
    assert set(row["variance_first"]) == {"2", "3"}
    assert row["slope_first"]["low"] <= row["slope_first"]["value"] <= row["slope_first"]["high"]
    for name in ("variance_by_qubits", "variance_by_depth"):
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()[:1000]
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert min(picture.size) > 300


def test_the_command_on_a_configuration(qmm: Qmm, tiny: list[str], tmp_path: Path) -> None:
    """By default its own depth, start and read-out; registers too small for the features are told of."""
    done = qmm("trainability", *tiny, "--qubits", "3", "6", "7", "--count", "8", "--folder", tmp_path)
    assert "observable own" in done.stdout
    assert "| own | 8 |" in done.stdout
    content = json.loads((tmp_path / "trainability.json").read_text())
    sizes = {qubits for row in content["slopes"] for qubits in row["variance_every"]}
    told = {row["qubits"] for row in content["refused"]}
    assert sizes | {str(n) for n in told} == {"3", "6", "7"}
    assert sizes >= {"6", "7"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--jobs", "0"], "--jobs 0"),
        (["--observables", "pairty"], "did you mean 'parity'"),
        (["--initialisers", "own", "--qubits", "2", "--depths", "1"], "no start of their own"),
        (["--model.init_args.learning_rate", "1"], "takes a --config"),
        (["--plan", "a.yaml", "--config", "b.yaml"], "give one of the two"),
    ],
)
def test_wrong_flags_are_told_apart(qmm: Qmm, flags: list[str], message: str, tmp_path: Path) -> None:
    assert message in qmm("trainability", *flags, "--folder", tmp_path, ok=False).stderr


def test_a_plan_is_narrowed_by_flags(qmm: Qmm, tmp_path: Path, measured: list[Point]) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    flags = ["--plan", path, "--folder", tmp_path / "found", "--circuits", "blocks", "--qubits", "2"]
    qmm("trainability", *flags, "--observables", "zz", "--initialisers", "uniform", "--depths", "2")
    assert [point.name for point in measured] == ["blocks, depth 2, 2 qubits, zz, uniform"]
    stderr = qmm("trainability", *flags, "--initialisers", "unifrom", ok=False).stderr
    assert "did you mean 'uniform'" in stderr
    with pytest.raises(InputError, match="nothing to measure"):
        read_plan(path)._replace(observables=()).check()
