"""benchmarks/workflow.py: every measure gives the same figures as what it is added to, or better ones."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def workflow() -> Iterator[Any]:
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    import workflow  # type: ignore[import-not-found]

    yield workflow
    sys.path.remove(folder)
    del sys.modules["workflow"]


def test_each_measure_lowers_what_it_is_for(
    workflow: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found: list[Any] = []
    monkeypatch.setattr(workflow, "table", lambda rows: found.append([outcome.figures for _, outcome in rows]))
    few = ["--samples", "12", "--micro-batch", "6", "--shots", "20", "--delay", "0", "--shot-time", "0"]
    monkeypatch.setattr(sys, "argv", ["workflow.py", *few, "--only", "readout"])
    workflow.main()
    ((written, felt, folded, batches, together, overlapped),) = found
    assert written.qin > felt.qin > folded.qin == batches.qin == together.qin == overlapped.qin
    assert written.jobs == felt.jobs == folded.jobs > batches.jobs > together.jobs == 1
    assert 1 <= overlapped.jobs <= 2
    assert len({figures.circuits for figures in found[0]}) == 1
    assert "readout, 12 samples, 20 shots, fake_guadalupe" in capsys.readouterr().out
