"""Primitives and providers that a user names in YAML."""

from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.primitives import BaseSamplerV2, StatevectorSampler
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import BackendV2
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from qmm.quantum import Circuit, CircuitError, CompiledCircuit, ExactBackend
from qmm.quantum.backends import Backend
from qmm.quantum.execution import Given, PrimitiveBackend
from qmm.quantum.execution.simulators.region import narrowed

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


class Strict(BaseSamplerV2):
    """A device's sampler, which takes its gates alone."""

    def __init__(self, device: BackendV2):
        self.backend = device
        self._sampler = StatevectorSampler(seed=3)

    def run(self, pubs: Any, *, shots: int | None = None) -> Any:
        coerced = [SamplerPub.coerce(pub, shots) for pub in pubs]
        for pub in coerced:
            assert {item.name for item in pub.circuit.data} <= {*self.backend.operation_names, "barrier"}
        narrow = [SamplerPub(_narrowed(pub.circuit), pub.parameter_values, pub.shots) for pub in coerced]
        return self._sampler.run(narrow)


def _narrowed(circuit: QuantumCircuit) -> QuantumCircuit:
    """On the qubits that it uses."""
    used = sorted({circuit.find_bit(q).index for item in circuit.data if item.name != "barrier" for q in item.qubits})
    return narrowed(circuit, tuple(used))


def test_a_devices_sampler_gets_its_own_gates_alone() -> None:
    circuit = QuantumCircuit(2)
    circuit.ry(ANGLE[0], 0)
    circuit.cx(0, 1)
    compiled = CompiledCircuit(Circuit.of(circuit, list(ANGLE), observables=["XX", "YY", "ZI"]))
    angles = torch.tensor([[0.4], [1.3]], dtype=torch.float64)
    backend = PrimitiveBackend(Strict(FakeManilaV2()), shots=20_000)
    found = backend.submit(compiled, angles, angles.new_empty(0)).result()
    torch.testing.assert_close(found, ExactBackend().submit(compiled, angles, angles.new_empty(0)).result(), atol=0.04, rtol=0)
