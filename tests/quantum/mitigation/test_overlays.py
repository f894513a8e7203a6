"""The overlays of configs/backend/mitigation, laid over a backend."""

from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser

from qmm.quantum import Backend
from qmm.quantum.execution import PrimitiveBackend

FOLDER = Path("configs/backend/mitigation")
EXPECTED = {
    "backpropagation": ["OperatorBackpropagation"],
    "pec": ["ProbabilisticErrorCancellation"],
    "symmetrisation": ["Symmetrisation"],
    "symmetrisation_trex": ["Symmetrisation", "Trex"],
    "regression": ["CliffordDataRegression"],
    "detection": ["FourTwoTwo"],
    "trex": ["Trex"],
    "m3": ["M3"],
    "zne": ["ZeroNoiseExtrapolation"],
    "zne_exponential": ["ZeroNoiseExtrapolation"],
    "zne_polynomial": ["ZeroNoiseExtrapolation"],
    "twirling": ["PauliTwirling"],
    "decoupling": ["DynamicalDecoupling"],
    "waits": ["DynamicalDecoupling"],
    "trex_twirling": ["PauliTwirling", "Trex"],
    "trex_zne": ["ZeroNoiseExtrapolation", "Trex"],
    "twirling_zne": ["ZeroNoiseExtrapolation", "PauliTwirling"],
    "decoupling_zne": ["ZeroNoiseExtrapolation", "DynamicalDecoupling"],
}
BASE = {
    "class_path": "qmm.quantum.execution.PrimitiveBackend",
    "init_args": {"primitive": {"class_path": "qmm.quantum.execution.Aer"}},
}


def test_none_is_forgotten(repository: Path) -> None:
    assert {path.stem for path in (repository / FOLDER).glob("*.yaml")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_overlays_make_what_they_name(repository: Path, tmp_path: Path, name: str) -> None:
    overlay = yaml.safe_load((repository / FOLDER / f"{name}.yaml").read_text())["model"]["init_args"]["model"]
    files = []
    for i, content in enumerate(({"backend": BASE}, overlay)):
        files += ["--config", str(tmp_path / f"{i}.yaml")]
        (tmp_path / f"{i}.yaml").write_text(yaml.safe_dump(content))
    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_argument("--backend", type=Backend)
    backend = parser.instantiate_classes(parser.parse_args(files)).backend
    assert isinstance(backend, PrimitiveBackend)
    assert [type(m).__name__ for m in backend.mitigation] == EXPECTED[name]
