"""benchmarks/initialisers.py: its table says what the results say."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest


@pytest.fixture
def initialisers() -> Iterator[Any]:
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    import initialisers  # type: ignore[import-not-found]

    yield initialisers
    sys.path.remove(folder)
    del sys.modules["initialisers"]


def test_the_table(initialisers: Any) -> None:
    columns = ["arm", "seed", "start_gradient_variance", "loss", "accuracy", "fit_seconds"]
    rows = [("own", 0, 1e-4, 1.0, 0.5, 10.0), ("own", 1, 1e-2, 2.0, 0.7, 20.0), ("other", 1, 1e-3, 1.75, 0.6, 30.0)]
    head, _, own, other = initialisers.table(pd.DataFrame(rows, columns=columns), "own").splitlines()
    assert "difference from own" in head
    assert own == "| own | 2 | 1.0e-03 (1.0e-04 to 1.0e-02) | 1.500 ± 0.707 |  | 0.600 ± 0.141 | 15 s |"
    assert other == "| other | 1 | 1.0e-03 (1.0e-03 to 1.0e-03) | 1.750 | -0.250 | 0.600 | 30 s |"
