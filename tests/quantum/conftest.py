"""Random circuits over the whole gate set, and the reference: Qiskit's own state vector, one sample at a time."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.random import Generator
from qiskit.circuit import ControlledGate, Parameter, ParameterExpression, QuantumCircuit
from qiskit.circuit.library import PauliEvolutionGate, UnitaryGate
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.quantum_info import SparsePauliOp, Statevector, random_unitary
from torch import Tensor

from qmm.quantum import Circuit

_NOT_UNITARY = {"measure", "reset", "delay", "global_phase"}
GATES = {name: gate for name, gate in get_standard_gate_name_mapping().items() if name not in _NOT_UNITARY}


@pytest.fixture
def statevector() -> Callable[[Circuit, list[float], list[float]], Statevector]:
    """Qiskit's state of one sample's inputs and weights."""

    def compute(circuit: Circuit, inputs: list[float], weights: list[float]) -> Statevector:
        values = dict(zip((*circuit.inputs, *circuit.weights), inputs + weights, strict=True))
        used = {p: v for p, v in values.items() if p in circuit.quantum_circuit.parameters}
        with warnings.catch_warnings(action="ignore"):  # scipy, on the matrix exponential of Qiskit's evolution gate
            return Statevector(circuit.quantum_circuit.assign_parameters(used))

    return compute


@pytest.fixture
def reference(statevector) -> Callable[[Circuit, Tensor, Tensor], Tensor]:
    """(B, n_inputs), (W,) or (B, W) -> (B, n_observables) float64, from `Statevector.expectation_value`."""

    def compute(circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        rows = []
        for x, w in zip(inputs.tolist(), weights.expand(len(inputs), -1).tolist(), strict=True):
            state = statevector(circuit, x, w)
            rows.append([state.expectation_value(o).real for o in circuit.observables])
        return torch.tensor(rows, dtype=torch.float64)

    return compute


def random_expression(rng: Generator, parameters: list[Parameter]) -> ParameterExpression | float:
    a, b = (parameters[i] for i in rng.integers(len(parameters), size=2))
    forms: list[Callable[[], ParameterExpression | float]] = [
        lambda: a,
        lambda: a,
        lambda: 2 * a * b + b / 3,
        lambda: 0.5 - a,
        lambda: (a + 2 * b).sin() + b.cos() * a,
        lambda: (a * b / 4).exp() + (a**2 + 1).log(),
        lambda: b.arctan() - (a / 4).tan(),
        lambda: (a / 4).abs() * b,
        lambda: float(rng.normal()),
    ]
    return forms[rng.integers(len(forms))]()


def random_circuit(rng: Generator, n_qubits: int, n_gates: int, expressions: bool = True) -> Circuit:
    """Gates of Qiskit's whole named set, their controlled versions, unitaries, evolutions and sub-circuits."""
    inputs = [Parameter(f"x[{i}]") for i in range(3)]
    weights = [Parameter(f"w {i}") for i in range(3)]
    shared = inputs + weights

    def angle() -> ParameterExpression | float:
        return random_expression(rng, shared) if expressions else shared[rng.integers(len(shared))]

    circuit = QuantumCircuit(n_qubits, global_phase=0.3)
    names = list(GATES)
    for _ in range(n_gates):
        gate = GATES[names[rng.integers(len(names))]].to_mutable()
        gate.params = [angle() for _ in gate.params]
        kind = rng.integers(12)
        if kind == 0 and gate.num_qubits < n_qubits and not isinstance(gate, ControlledGate):
            gate = gate.control(1, ctrl_state=int(rng.integers(2)))
        elif kind == 1:
            gate = UnitaryGate(random_unitary(2 ** int(rng.integers(1, min(3, n_qubits) + 1)), seed=int(rng.integers(1000))))
        elif kind == 2:
            gate = PauliEvolutionGate(_random_operator(rng, min(3, n_qubits)), time=angle())
        elif kind == 3:
            inner = QuantumCircuit(min(2, n_qubits), global_phase=shared[0])
            inner.rx(angle(), 0)
            inner.cx(0, 1) if n_qubits > 1 else inner.h(0)
            inner.p(angle(), inner.num_qubits - 1)
            gate = inner.to_gate()
            circuit.barrier()
        if gate.num_qubits <= n_qubits:
            circuit.append(gate, rng.permutation(n_qubits)[: gate.num_qubits].tolist())
    circuit.ry(inputs[0] + weights[0], 0)  # so that every circuit depends on both
    return Circuit.of(circuit, inputs, weights, [_random_operator(rng, n_qubits) for _ in range(3)])


def _random_operator(rng: Generator, n_qubits: int) -> SparsePauliOp:
    labels = ["".join(rng.choice(list("IXYZ"), n_qubits)) for _ in range(rng.integers(1, 4))]
    return SparsePauliOp(labels, rng.normal(size=len(labels)))


@pytest.fixture
def circuits() -> Callable[..., Circuit]:
    """(seed, n_qubits, n_gates, expressions=True) -> a random circuit of three inputs, three weights, three observables."""
    return lambda seed, *sizes, **options: random_circuit(np.random.default_rng(seed), *sizes, **options)
