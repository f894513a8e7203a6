"""Multiplexed (uniformly controlled) rotations: the angle of a rotation depends on the basis state of other qubits.

Each is a row of one-qubit rotations between CX or CZ (arXiv:quant-ph/0407010), a parameter each. Their angles, here called
turns, are a Walsh-Hadamard transform of the angles by basis state. That half is classical and differentiable, so that the
size of a circuit and of its parameters stays linear in the number of basis states.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from qiskit.circuit import ParameterExpression, QuantumCircuit
from torch import Tensor

from qmm.errors import InputError


def multiplexed_rotation(axis: str, turns: Sequence[float | ParameterExpression]) -> QuantumCircuit:
    """sum_j |j><j| (x) R_axis(angle_j), for turns = `turns_of(angles)`.

    Qubit 0 is turned, the others are the k controls, bit i of j on qubit i + 1.

    Args:
        axis: "x", "y" or "z".
        turns: 2**k of them.

    Raises InputError for another number of turns.
    """
    n_controls = _log2(len(turns))
    circuit = QuantumCircuit(n_controls + 1)
    rotate = {"x": circuit.rx, "y": circuit.ry, "z": circuit.rz}[axis]
    reverse = circuit.cz if axis == "x" else circuit.cx  # on both sides of a rotation it turns it round
    for step, turn in enumerate(turns):
        rotate(turn, 0)
        if n_controls:
            changed = _gray(step) ^ _gray((step + 1) % len(turns))
            reverse(changed.bit_length(), 0)
    return circuit


def turns_of(angles: Tensor) -> Tensor:
    """(..., 2**k) rotation angles by basis state of the k controls -> the turns of `multiplexed_rotation`, as many."""
    return angles @ _walsh(_log2(angles.shape[-1])).to(angles)


def real_state(turns: Sequence[float | ParameterExpression]) -> QuantumCircuit:
    """|0...0> -> the state of k qubits with amplitudes sqrt(p), for the 2**k - 1 turns = `state_turns(p)`.

    From the highest qubit on, a multiplexed RY of each shares out what the basis states of the higher ones have to carry.
    """
    n_qubits = _log2(len(turns) + 1)
    circuit = QuantumCircuit(n_qubits)
    for level in range(n_qubits):
        share = multiplexed_rotation("y", turns[2**level - 1 : 2 ** (level + 1) - 1])
        circuit.compose(share, range(n_qubits - 1 - level, n_qubits), inplace=True)
    return circuit


def state_turns(probabilities: Tensor) -> Tensor:
    """(2**k,) probabilities, differentiable where they are not 0 -> the (2**k - 1,) turns of `real_state`."""
    turns = []
    for level in range(_log2(len(probabilities))):
        low, high = probabilities.reshape(2**level, 2, -1).sum(dim=2).unbind(dim=1)
        shared = (low > 0) & (high > 0)
        ratio = torch.atan2(*(torch.where(shared, half, 1.0).sqrt() for half in (high, low)))
        turns.append(turns_of(torch.where(shared, 2 * ratio, torch.pi * (high > 0).to(ratio))))
    return torch.cat(turns)


def diagonal_phases(turns: Sequence[float | ParameterExpression]) -> QuantumCircuit:
    """diag(exp(i phases)) up to a global phase, for the 2**k - 1 turns = `phase_turns(phases)`."""
    n_qubits, start = _log2(len(turns) + 1), 0
    circuit = QuantumCircuit(n_qubits)
    for qubit in range(n_qubits):
        n_turns = 2 ** (n_qubits - 1 - qubit)
        circuit.compose(multiplexed_rotation("z", turns[start : start + n_turns]), range(qubit, n_qubits), inplace=True)
        start += n_turns
    return circuit


def phase_turns(phases: Tensor) -> Tensor:
    """(2**k,) phases -> the (2**k - 1,) turns of `diagonal_phases`: from the lowest qubit on, differences and means."""
    turns = []
    while len(phases) > 1:
        low, high = phases.reshape(-1, 2).unbind(dim=1)
        turns.append(turns_of(high - low))
        phases = (low + high) / 2
    return torch.cat(turns)


def _gray(step: int) -> int:
    return step ^ (step >> 1)


@lru_cache
def _walsh(n_controls: int) -> Tensor:
    """[j, step]: whether basis state j turns the rotation of that step round, as +-2**-k."""
    n = 2**n_controls
    return torch.tensor(
        [[(-1) ** (j & _gray(step)).bit_count() / n for step in range(n)] for j in range(n)], dtype=torch.float64
    )


def _log2(number: int) -> int:
    if number < 1 or number & (number - 1):
        raise InputError(f"{number} angles for the basis states of some qubits; give a power of two, 0 where nothing turns")
    return number.bit_length() - 1
