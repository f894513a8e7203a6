"""Circuits that the instruments are tried on."""

from collections.abc import Callable

import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit.library import PauliEvolutionGate, UnitaryGate
from qiskit.quantum_info import SparsePauliOp, random_unitary
from torch import Tensor

from qmm.quantum import Circuit


def layered(n_qubits: int = 3, layers: int = 2, upload: bool = False) -> Circuit:
    """Angles, then RY, RZ and a ring of CX, over and over; with `upload` the angles come again in each layer."""
    circuit = QuantumCircuit(n_qubits)
    x, w = ParameterVector("x", n_qubits), iter(ParameterVector("w", 2 * n_qubits * layers))
    for layer in range(layers):
        for qubit in range(n_qubits):
            if upload or not layer:
                circuit.rx(x[qubit], qubit)
            circuit.ry(next(w), qubit)
            circuit.rz(next(w), qubit)
        for qubit in range(n_qubits):
            circuit.cx(qubit, (qubit + 1) % n_qubits)
    return Circuit.of(circuit, list(x), observables=["Z" * n_qubits])


def motley(n_qubits: int = 5) -> Circuit:
    """Shared weights, weights in two places of an angle, angles that are no affine functions, gates of all kinds."""
    x, (a, b, c, d, e), unused = Parameter("x"), (Parameter(name) for name in "abcde"), Parameter("unused")
    circuit = QuantumCircuit(n_qubits)
    circuit.ry(a, 0)
    circuit.rx(x + 2 * a, 0)
    circuit.h(range(1, n_qubits))
    circuit.rz(b * x, 1)
    circuit.rzz(b, 0, 1)
    circuit.cp(c, 1, 2)
    circuit.append(UnitaryGate(random_unitary(4, seed=1)), [4, 2])
    circuit.crx(c + d, 2, 0)
    circuit.u(d, a, 0.3, 3)
    circuit.rx((x * e).sin(), 3)
    circuit.append(PauliEvolutionGate(SparsePauliOp(["XXZ", "ZIX"], [0.3, -0.7]), time=e), [0, 1, 4])
    circuit.ry(d, 4)
    circuit.cx(4, 1)
    circuit.rxx(e, 1, 3)
    return Circuit.of(circuit, [x], [a, b, unused, c, d, e], observables=["Z" * n_qubits])


def angles(circuit: Circuit, batch: int, per_sample: bool = False, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(batch, len(circuit.inputs), generator=generator, dtype=torch.float64)
    size = (batch, len(circuit.weights)) if per_sample else (len(circuit.weights),)
    return inputs, torch.randn(size, generator=generator, dtype=torch.float64)


@pytest.fixture(name="layered")
def _layered() -> Callable[..., Circuit]:
    return layered


@pytest.fixture(name="motley")
def _motley() -> Callable[..., Circuit]:
    return motley


@pytest.fixture(name="angles")
def _angles() -> Callable[..., tuple[Tensor, Tensor]]:
    return angles


@pytest.fixture(params=["motley", "nine qubits", "upload"])
def circuit(request: pytest.FixtureRequest) -> Circuit:
    made = {"motley": motley, "nine qubits": lambda: motley(9), "upload": lambda: layered(4, 3, upload=True)}
    return made[request.param]()
