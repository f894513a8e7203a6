"""benchmarks/autoencoders.py on a few compressors of the embedded set."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA

from qmm.encoders import ClassicalAutoencoder, PCACompressor, QuantumAutoencoder


@pytest.fixture
def benchmark() -> Iterator[Any]:
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    yield importlib.import_module("autoencoders")
    sys.path.remove(folder)
    for name in ("autoencoders", "feature_sets"):
        del sys.modules[name]


def test_it_measures_what_comes_back_and_computes_nothing_twice(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ways = {
        "PCA": lambda k, width, seed: PCACompressor(k),
        "quantum": lambda k, width, seed: QuantumAutoencoder(k, latent=2, layers=1, steps=3, seed=seed),
        "classical": lambda k, width, seed: ClassicalAutoencoder(k, steps=50, seed=seed),
    }
    monkeypatch.setattr(benchmark, "COMPRESSORS", ways)
    monkeypatch.setattr(sys, "argv", ["autoencoders.py", "--out", str(tmp_path), "--sets", "digits", "--seeds", "1"])
    benchmark.main()
    printed = capsys.readouterr().out
    assert "digits: pixels** (64 features, 10 classes, 1 seeds" in printed
    found = {way: json.loads((tmp_path / f"digits-pixels-k4-{way}-0.json").read_text()) for way in ways}
    digits = benchmark.read("digits")["pixels"]
    chosen = np.sort(np.random.default_rng(0).permutation(len(digits.train.classes))[: int(0.8 * len(digits.train.classes))])
    train, val = (x.double().numpy() for x in (digits.train.features[chosen], digits.val.features))
    pca = PCA(4, svd_solver="full").fit(train)
    lost = (val - pca.inverse_transform(pca.transform(val))) ** 2
    assert found["PCA"]["linear"] == pytest.approx(1 - lost.sum() / ((val - train.mean(0)) ** 2).sum(), abs=1e-4)
    assert 0 < found["quantum"]["fidelity"] <= found["quantum"]["bound"]
    assert (
        found["quantum"]["fidelity_untouched"] < found["quantum"]["fidelity_eigenvectors"] <= found["quantum"]["bound"] + 1e-6
    )
    assert found["classical"]["own"] == pytest.approx(found["classical"]["linear"], abs=0.2)
    assert all(0.1 < row["logistic"] < 1 for row in found.values())
    assert found["classical"]["parameters"] == 64 * 4 + 64 + 4

    def fails(*_: Any) -> None:
        raise AssertionError("computed twice")

    monkeypatch.setattr(benchmark, "cell", fails)
    monkeypatch.setattr(benchmark, "sizes", fails)
    benchmark.main()
    assert capsys.readouterr().out == printed
