"""The reference of the race (ours in complex128) against Qiskit's own state vector, values and gradients."""

import warnings
from typing import Any

import numpy as np
from qiskit.quantum_info import Statevector
from race import Data, Worker, difference

from qmm.quantum import Circuit

LARGEST = 15
"""Qubits; the reference of a wider circuit is checked on the family's circuit of so many, for Qiskit would take minutes."""
SAMPLES = 2
STENCIL = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
"""Fourth-order central differences: shift in steps -> weight."""
STEP = 1e-3


def qiskit_values(circuit: Circuit, angles: Any) -> Any:
    """(n_observables,) for one sample's inputs and weights in a row."""
    named = dict(zip((*circuit.inputs, *circuit.weights), angles, strict=True))
    used = {p: value for p, value in named.items() if p in circuit.quantum_circuit.parameters}
    with warnings.catch_warnings(action="ignore"):  # scipy, on matrix exponentials
        state = Statevector(circuit.quantum_circuit.assign_parameters(used))
    return np.array([state.expectation_value(o).real for o in circuit.observables])


def qiskit_step(circuit: Circuit, data: Data, directions: Any) -> list[Any]:
    """Values (B, n_observables), and how fast sum(values * mixture) grows when the inputs of one sample, or all weights,
    move along each direction (D, n_inputs + n_weights): (B, D) and (D,)."""
    n_inputs, values, by_inputs, by_weights = len(circuit.inputs), [], [], []
    for inputs, mixture in zip(data.inputs, data.mixture, strict=True):
        angles = np.concatenate([inputs, data.weights])
        values.append(qiskit_values(circuit, angles))
        for kind, slopes in ((slice(n_inputs), by_inputs), (slice(n_inputs, None), by_weights)):
            shifts = np.zeros_like(directions)
            shifts[:, kind] = STEP * directions[:, kind]
            slopes.append(
                [sum(c * qiskit_values(circuit, angles + k * s) @ mixture for k, c in STENCIL.items()) / STEP for s in shifts]
            )
    return [np.array(values), np.array(by_inputs), np.sum(by_weights, axis=0)]


def against_qiskit(
    worker: Worker, circuit: Circuit, dtype: str = "complex128", tolerance: float = 1e-8, directions: Any = None
) -> float:
    """The greatest difference of values, and of gradients along `directions`. By default these are two random ones, of unit
    length: a gradient that is wrong anywhere is wrong along them too, and a state vector is computed 16 times a sample.

    Raises SystemExit beyond `tolerance`: nothing could be compared with the reference then.
    """
    data = Data.drawn(circuit, SAMPLES)
    n_inputs, n_angles = len(circuit.inputs), len(circuit.inputs) + len(circuit.weights)
    if directions is None:
        drawn = np.random.default_rng(1).normal(size=(2, n_angles))
        directions = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    worker.ready(circuit, data, dtype, "cpu", 300)
    values, grad_inputs, grad_weights = worker.run("step", 300)[1]
    found = [values, grad_inputs @ directions[:, :n_inputs].T, directions[:, n_inputs:] @ grad_weights]
    gap = difference(found, qiskit_step(circuit, data, directions))
    if gap > tolerance:
        raise SystemExit(f"{worker.name} in {dtype} differs from Qiskit by {gap:.1e}, {tolerance:.0e} is allowed")
    return gap
