"""benchmarks/perturbations.py, on a circuit that takes a moment."""

import importlib.util
import sys
from pathlib import Path

import pytest


def test_every_perturbation_is_timed_beside_none(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("perturbations_benchmark", repository / "benchmarks" / "perturbations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    command = ["perturbations.py", "--features", "2", "--batch", "4", "--rounds", "2", "--warm-up", "1"]
    monkeypatch.setattr(sys, "argv", command)
    module.main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0].removeprefix("| ") for row in rows] == list(module.cases())
    assert rows[0][2] == "1.00 |"
    assert all(float(row[1]) > 0 for row in rows)
