"""Multiplexed (uniformly controlled) rotations: the angle of a rotation depends on the basis state of other qubits.

Möttönen et al., arXiv:quant-ph/0407010. Angles may be parameters; what is built are one-qubit rotations, whose angles are
linear in those given, and CX or CZ.
"""

from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import ParameterExpression, QuantumCircuit

from qmm.errors import InputError


def multiplexed_rotation(axis: str, angles: Sequence[float | ParameterExpression]) -> QuantumCircuit:
    """sum_j |j><j| (x) R_axis(angles[j]): qubit 0 is turned, the others are the k controls, bit i of j on qubit i + 1.

    Args:
        axis: "x", "y" or "z".
        angles: 2**k of them; where one is 0, nothing happens.

    Raises InputError for another number of angles.
    """
    n_controls = len(angles).bit_length() - 1
    if len(angles) != 2**n_controls:
        raise InputError(f"{len(angles)} angles for a multiplexed rotation; it takes one for each basis state of its controls")
    circuit = QuantumCircuit(n_controls + 1)
    if all(not isinstance(angle, ParameterExpression) and angle == 0 for angle in angles):
        return circuit
    rotate = {"x": circuit.rx, "y": circuit.ry, "z": circuit.rz}[axis]
    flip = circuit.cz if axis == "x" else circuit.cx  # what turns the rotation round
    for step in range(len(angles)):
        gray, following = step ^ (step >> 1), (step + 1) ^ ((step + 1) >> 1)
        signed = [angle if (j & gray).bit_count() % 2 == 0 else -angle for j, angle in enumerate(angles)]
        rotate(reduce(add, signed) / len(angles), 0)
        if n_controls:
            flip(1 + min((gray ^ following).bit_length() - 1, n_controls - 1), 0)
    return circuit


def real_state(splits: Sequence[Sequence[float | ParameterExpression]]) -> QuantumCircuit:
    """|0...0> -> a state of k qubits with real amplitudes, from the angles of a binary tree over its basis states.

    `splits[level][prefix]` (2**level angles each, k levels) shares out the weight of the basis states whose `level` highest
    bits are `prefix`: cos^2(angle/2) of it to those whose next bit is 0.
    """
    n_qubits = len(splits)
    circuit = QuantumCircuit(n_qubits)
    for level, angles in enumerate(splits):
        target = n_qubits - 1 - level
        circuit.compose(multiplexed_rotation("y", angles), range(target, n_qubits), inplace=True)
    return circuit


def split_angles(probabilities: Sequence[float] | NDArray[np.float64]) -> list[list[float]]:
    """The angles with which `real_state` prepares sqrt(probabilities), 2**k of them; 0 where there is nothing to share."""
    weights = np.asarray(probabilities, dtype=float)
    n_qubits = len(weights).bit_length() - 1
    halves = [weights.reshape(2**level, 2, -1).sum(axis=2) for level in range(n_qubits)]
    return [(2 * np.arctan2(np.sqrt(half[:, 1]), np.sqrt(half[:, 0]))).tolist() for half in halves]


def diagonal_phases(phases: Sequence[float | ParameterExpression]) -> QuantumCircuit:
    """diag(exp(i phases)), 2**k of them, up to a global phase."""
    n_qubits = len(phases).bit_length() - 1
    circuit = QuantumCircuit(n_qubits)
    left = list(phases)
    for qubit in range(n_qubits):
        pairs = list(zip(left[::2], left[1::2], strict=True))
        turn = multiplexed_rotation("z", [high - low for low, high in pairs])
        circuit.compose(turn, range(qubit, n_qubits), inplace=True)
        left = [(low + high) / 2 for low, high in pairs]
    return circuit
