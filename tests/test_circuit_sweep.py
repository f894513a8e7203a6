"""`qmm circuit sweep`: every cell once, whatever interrupts it; a sweet spot that claims no more than its seeds show."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from qmm.circuits import expressibility
from qmm.costs import expressing
from qmm.costs.configuration import configured_fusion
from qmm.costs.sweep import Cell
from qmm.costs.sweet_spot import caution, describe, summarise, sweet_spot
from qmm.quantum import Circuit

Qmm = Callable[..., Any]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Few pairs of states for each estimate; the seeds asked for so far."""
    asked: list[int] = []

    def few(circuit: Circuit, seed: int) -> float:
        asked.append(seed)
        return expressibility(circuit, pairs=200, seed=seed)

    monkeypatch.setitem(expressing.METRICS, "expressibility", few)
    return asked


def test_cells_table_picture_and_sweet_spot(qmm: Qmm, tiny: list[str], tmp_path: Path, quick: list[int]) -> None:
    sizes = ["--qubits", "1", "2", "--layers", "1", "2", "--seeds", "2", "--folder", tmp_path]
    shown = qmm("circuit", "sweep", *tiny, *sizes).stdout
    table = pd.read_csv(tmp_path / "sweep.csv")
    assert table[["qubits", "layers"]].values.tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    fusion = configured_fusion([*tiny, "--model.init_args.model.fusion.init_args.layers", "2"]).fusion
    expected = [expressibility(fusion.circuits()["fusion"], pairs=200, seed=seed) for seed in (0, 1)]
    row = table[(table["qubits"] == 1) & (table["layers"] == 2)].iloc[0]
    assert row["expressibility"] == pytest.approx(sum(expected) / 2)
    assert row["two_qubit_gates"] == 6
    assert len(pd.read_parquet(tmp_path / "sweep.parquet")) == 8
    assert "Sweet spot by two qubit gates" in shown
    with Image.open(tmp_path / "sweep.png") as picture:
        assert min(picture.size) > 300
    asked = len(quick)
    qmm("circuit", "sweep", *tiny, *sizes, "--layers", "1", "2", "3")  # more cells: the old ones are kept
    assert len(quick) == asked + 4


def test_interrupted_it_goes_on(
    qmm: Qmm, tiny: list[str], tmp_path: Path, quick: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    sizes = ["--qubits", "1", "--layers", "1", "2", "--seeds", "2"]
    qmm("circuit", "sweep", *tiny, *sizes, "--folder", whole)
    estimated = expressing.METRICS["expressibility"]

    def killed(circuit: Circuit, seed: int) -> float:
        if len(quick) == 7:
            raise KeyboardInterrupt
        return estimated(circuit, seed)

    monkeypatch.setitem(expressing.METRICS, "expressibility", killed)
    with pytest.raises(KeyboardInterrupt):
        qmm("circuit", "sweep", *tiny, *sizes, "--folder", broken)
    assert len(quick) == 7
    assert len(list((broken / "cells").iterdir())) == 3
    monkeypatch.setitem(expressing.METRICS, "expressibility", estimated)
    qmm("circuit", "sweep", *tiny, *sizes, "--folder", broken)
    assert len(quick) == 8
    assert (broken / "sweep.csv").read_text() == (whole / "sweep.csv").read_text()


def test_another_configuration_is_refused(qmm: Qmm, tiny: list[str], tmp_path: Path, quick: list[int]) -> None:
    sizes = ["--qubits", "1", "--layers", "1", "--seeds", "1", "--folder", tmp_path]
    qmm("circuit", "sweep", *tiny, *sizes)
    changed = qmm("circuit", "sweep", *tiny, "--model.init_args.model.fusion.init_args.reupload", "true", *sizes, ok=False)
    assert "the configuration changed" in changed.stderr


def test_registers_that_are_too_small_say_so(qmm: Qmm, repository: Path, tmp_path: Path, quick: list[int]) -> None:
    config = ["--config", repository / "configs" / "mosi.yaml"]
    sizes = ["--layers", "1", "--seeds", "1", "--folder", tmp_path]
    shown = qmm("circuit", "sweep", *config, "--qubits", "1", "2", *sizes).stdout
    assert "Not built: 'vision': DenseAngleEncoding: 4 features for a register of 1 qubits" in shown
    refused = qmm("circuit", "sweep", *config, "--qubits", "1", *sizes, ok=False)
    assert "nothing to sweep: 'vision'" in refused.stderr


def test_accuracy_trains_every_cell(qmm: Qmm, tiny: list[str], tmp_path: Path) -> None:
    sizes = ["--qubits", "1", "--layers", "1", "2", "--seeds", "1", "--epochs", "1", "--jobs", "2", "--folder", tmp_path]
    shown = qmm("circuit", "sweep", *tiny, *sizes, "--metric", "accuracy").stdout
    table = pd.read_csv(tmp_path / "sweep.csv")
    assert table["accuracy"].between(0, 1).all()
    results = pd.read_parquet(tmp_path / "results.parquet")
    assert (results["epochs"] == 1).all()
    assert sorted(results["accuracy"]) == sorted(table["accuracy"])
    assert sorted(results["parameters_fusion"]) == sorted(table["parameters"])  # the cells are what was swept
    assert "One seed tells no spread" in shown


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--qubits", "0", "--layers", "1"], "at least 1"),
        (["--qubits", "1", "--layers", "1", "--epochs", "3"], "--epochs is for --metric accuracy"),
        (["--qubits", "1", "--layers", "1", "--tolerance", "-1"], "at least 0"),
        (["--qubits", "1", "--layers", "1", "--model.init_args.model.fusion.init_args.layers", "3"], "same in every cell"),
        (["--qubits", "1", "--layers", "1", "--model.init_args.model.counterpart", "concat"], "has no circuit"),
        (["--qubits", "1"], "--layers"),
    ],
)
def test_says_what_is_wrong(qmm: Qmm, tiny: list[str], tmp_path: Path, args: list[str], message: str) -> None:
    named = ["--model.init_args.model.decoder.init_args.classes", "[a, b]"]
    refused = qmm("circuit", "sweep", *tiny, *args, *named, "--folder", tmp_path, ok=False)
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


def cells(*gates: int) -> list[Cell]:
    """One for each number of two-qubit gates, in as many layers as its place says."""
    from qiskit.circuit import QuantumCircuit

    found = []
    for place, number in enumerate(gates, start=1):
        circuit = QuantumCircuit(2)
        for _ in range(number):
            circuit.cx(0, 1)
        found.append(Cell(1, place, {}, {"fusion": Circuit.of(circuit, observables=["ZZ"])}))
    return found


def table(metric: str, *values: list[float]) -> pd.DataFrame:
    rows = [(1, place, seed, v) for place, here in enumerate(values, start=1) for seed, v in enumerate(here)]
    return pd.DataFrame(rows, columns=["qubits", "layers", "seed", metric])


def test_the_sweet_spot_is_the_cheapest_within_a_standard_error() -> None:
    swept = cells(1, 3, 5)
    summary = summarise(swept, table("accuracy", [0.5, 0.6], [0.78, 0.80], [0.78, 0.84]), "accuracy")
    spot = sweet_spot(summary, "accuracy", "two_qubit_gates")
    assert spot.tolerance == pytest.approx(0.03)  # 0.0424 / sqrt 2
    assert (spot.cheapest["layers"], spot.best["layers"], spot.within) == (2, 3, 2)
    assert "this sweep does not tell them apart" in describe(spot, "accuracy", "two_qubit_gates", stated=False)
    assert sweet_spot(summary, "accuracy", "two_qubit_gates", 0.3).cheapest["layers"] == 1
    strict = sweet_spot(summary, "accuracy", "two_qubit_gates", 0.0)
    assert "It is the best itself" in describe(strict, "accuracy", "two_qubit_gates", stated=True)


def test_a_divergence_is_better_when_lower() -> None:
    summary = summarise(cells(1, 3), table("expressibility", [0.5, 0.5], [0.1, 0.1]), "expressibility")
    assert sweet_spot(summary, "expressibility", "depth").best["layers"] == 2


def test_a_cell_without_a_value_is_never_the_sweet_spot() -> None:
    swept = [*cells(1, 3), Cell(9, 1, {}, {}, "too small")]
    summary = summarise(swept, table("accuracy", [], [0.7, 0.8]), "accuracy")
    assert math.isnan(summary["accuracy"].iloc[0])
    assert sweet_spot(summary, "accuracy", "gates", 1.0).cheapest["layers"] == 2


def test_expressibility_of_many_qubits_comes_with_a_caution() -> None:
    summary = pd.DataFrame({"expressibility": [0.1, 0.1], "total_qubits": [6, 9]})
    assert "9 qubits" in caution(summary, "expressibility")
    assert caution(summary[:1], "expressibility") == ""
