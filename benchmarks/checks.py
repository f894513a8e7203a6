"""The reference of the race (ours in complex128) against Qiskit's own state vector, values and gradients."""

import warnings
from typing import Any

import families
import numpy as np
from qiskit.quantum_info import Statevector
from race import Data, Worker, difference

from qmm.quantum import Circuit

QUBITS = 5
"""Of the check: every gate of the families is there, and Qiskit takes seconds."""
STENCIL = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
"""Fourth-order central differences: shift in steps -> weight."""
STEP = 3e-3


def qiskit_values(circuit: Circuit, angles: Any) -> Any:
    """(n_observables,) for one sample's inputs and weights in a row."""
    named = dict(zip((*circuit.inputs, *circuit.weights), angles, strict=True))
    used = {p: value for p, value in named.items() if p in circuit.quantum_circuit.parameters}
    with warnings.catch_warnings(action="ignore"):  # scipy, on matrix exponentials
        state = Statevector(circuit.quantum_circuit.assign_parameters(used))
    return np.array([state.expectation_value(o).real for o in circuit.observables])


def qiskit_step(circuit: Circuit, data: Data) -> list[Any]:
    """Values and both gradients of sum(values * mixture), as a worker's step answers them."""
    values, gradients = [], []
    for inputs, mixture in zip(data.inputs, data.mixture, strict=True):
        angles = np.concatenate([inputs, data.weights])
        values.append(qiskit_values(circuit, angles))
        shifts = STEP * np.eye(len(angles))
        sums = [[c * qiskit_values(circuit, angles + k * shift) @ mixture for k, c in STENCIL.items()] for shift in shifts]
        gradients.append([sum(terms) / STEP for terms in sums])
    stacked, n_inputs = np.array(gradients), len(circuit.inputs)
    return [np.array(values), stacked[:, :n_inputs], stacked[:, n_inputs:].sum(axis=0)]


def against_qiskit(worker: Worker, family: str, dtype: str = "complex128", tolerance: float = 1e-8, layers: int = 2) -> float:
    """The greatest difference; raises SystemExit beyond `tolerance`, since nothing could be compared then."""
    circuit = families.circuit(family, QUBITS, layers)
    data = Data.drawn(circuit, 2)
    worker.ready(circuit, data, dtype, "cpu", 300)
    gap = difference(worker.run("step", 300)[1], qiskit_step(circuit, data))
    if gap > tolerance:
        raise SystemExit(f"{worker.name} in {dtype} differs from Qiskit by {gap:.1e} on {family}, {tolerance:.0e} is allowed")
    return gap
