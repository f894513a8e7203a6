"""benchmarks/selection.py on problems so small that they take a moment."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from qmm.discrete import QAOA, Exhaustive, TabuSearch


@pytest.fixture(scope="module")
def benchmark(repository: Path) -> Any:
    spec = importlib.util.spec_from_file_location("selection_benchmark", repository / "benchmarks" / "selection.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_compares_all_ways_and_computes_nothing_twice(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ways = {"exhaustive": Exhaustive(), "tabu search": TabuSearch(reads=2), "QAOA": QAOA(layers=1, steps=2)}
    monkeypatch.setattr(benchmark, "solvers", lambda seed: ways)
    command = ["selection.py", "--out", str(tmp_path), "--sizes", "6", "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", command)
    benchmark.main()
    printed = capsys.readouterr().out
    rows = {row["way"]: row for row in json.loads((tmp_path / "6-0.json").read_text())}
    assert set(rows) == {"most relevant", "greedy", *ways}
    assert rows["exhaustive"]["gap"] == 0
    assert all(row["gap"] > -1e-12 for row in rows.values() if row["feasible"])
    assert rows["tabu search"]["gap"] < 1e-9
    assert "6 features, 1 problems" in printed

    def fails(*_: Any) -> None:
        raise AssertionError("computed twice")

    monkeypatch.setattr(benchmark, "rows_of", fails)
    benchmark.main()
    assert capsys.readouterr().out == printed
