"""Primitives and providers that a user names in YAML."""

from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from qmm.quantum import Circuit, CircuitError, CompiledCircuit, ExactBackend
from qmm.quantum.backends import Backend
from qmm.quantum.execution import Given, PrimitiveBackend

ANGLE = ParameterVector("x", 1)


OWN = """
from qiskit.primitives import StatevectorSampler
from qmm.quantum.execution import Provider

class OwnProvider(Provider):
    name, device = "mine", None

    def __init__(self, calls: int):
        self.calls = calls

    def sampler(self, seed):
        return StatevectorSampler(seed=seed)
"""


def read(text: str) -> PrimitiveBackend:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--backend", type=Backend)
    primitive = f"{{class_path: qmm.quantum.execution.PrimitiveBackend, init_args: {{shots: 2000, primitive: {text}}}}}"
    return parser.instantiate_classes(parser.parse_args([f"--backend={primitive}"])).backend


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("{class_path: qiskit.primitives.StatevectorSampler}", None),
        ("{class_path: qiskit.primitives.StatevectorEstimator, init_args: {seed: 3}}", None),
        ("{class_path: qiskit_aer.primitives.SamplerV2, init_args: {seed: 3}}", None),
        ("{class_path: qiskit_aer.primitives.EstimatorV2}", None),
        (
            "{class_path: qiskit.primitives.BackendSamplerV2, init_args: {backend: "
            "{class_path: qiskit_ibm_runtime.fake_provider.FakeManilaV2}}}",
            "fake_manila",
        ),
        ("{class_path: users_own.OwnProvider, init_args: {calls: 3}}", None),
    ],
)
def test_from_yaml(text: str, device: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users_own.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    backend = read(text)
    assert getattr(backend.provider.device, "name", None) == device
    made = QuantumCircuit(2)
    made.ry(ANGLE[0], 0)
    made.cx(0, 1)
    compiled = CompiledCircuit(Circuit.of(made, list(ANGLE), [], ["ZI", "XX"]))
    angles = torch.tensor([[0.3], [1.2]], dtype=torch.float64), torch.empty(0, dtype=torch.float64)
    exact = ExactBackend().submit(compiled, *angles).result()
    found = backend.submit(compiled, *angles).result()
    torch.testing.assert_close(found, exact, atol=5 / 2000**0.5 + (0.2 if device else 0), rtol=0)


@pytest.mark.parametrize("wrong", [3, "a sampler", object()])
def test_what_is_no_primitive(wrong: Any) -> None:
    with pytest.raises(CircuitError, match="give a Provider, or one of Qiskit's V2 primitives"):
        Given(wrong)
