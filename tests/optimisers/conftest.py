"""Circuits and layers that the tests of optimisers share."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from torch import Tensor

from qmm.quantum import Circuit, QuantumLayer

MakeLayer = Callable[..., QuantumLayer]


def rotations(n: int = 3, layers: int = 2, observables: tuple[str, ...] = ("ZZI", "XII")) -> Circuit:
    """RY inputs, then layers of RY, RZ and a ring of CX; every weight one rotation."""
    x, w = ParameterVector("x", n), ParameterVector("w", 2 * n * layers)
    circuit = QuantumCircuit(n)
    for i in range(n):
        circuit.ry(x[i], i)
    weights = iter(w)
    for _ in range(layers):
        for i in range(n):
            circuit.ry(next(weights), i)
            circuit.rz(next(weights), i)
        for i in range(n):
            circuit.cx(i, (i + 1) % n)
    return Circuit.of(circuit, list(x), list(w), observables)


@pytest.fixture
def layer() -> QuantumLayer:
    """Three qubits, 12 weights, complex128."""
    torch.manual_seed(0)
    return QuantumLayer(rotations(), dtype=torch.complex128)


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def closure_of() -> Callable[..., Any]:
    """`closure_of(optimizer, loss)`: what torch's users write, and Lightning does."""

    def make(optimizer: Any, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def closure() -> Tensor:
            optimizer.zero_grad()
            value = loss()
            value.backward()
            return value

        return closure

    return make
