"""The four kinds of step a circuit is lowered to. Everything is up to a global phase, which no observable sees.

Bit i of a local basis index belongs to `qubits[i]`, as in Qiskit.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import ParameterExpression

Angle: TypeAlias = float | ParameterExpression


class Rotation(NamedTuple):
    """exp(-i angle/2 P) on one qubit."""

    qubits: tuple[int]
    axis: str
    """P: X, Y or Z."""
    angle: Angle


class Local(NamedTuple):
    """A fixed unitary of one qubit."""

    qubits: tuple[int]
    matrix: NDArray[np.complex128]
    """(2, 2)"""


class Phase(NamedTuple):
    """exp(-i angle * exponents[z]) on each basis state z."""

    qubits: tuple[int, ...]
    exponents: NDArray[np.float64]
    """(2**k,)"""
    angle: Angle


class Permutation(NamedTuple):
    """|z> becomes |image[z]>."""

    qubits: tuple[int, ...]
    image: NDArray[np.int64]
    """(2**k,)"""


class Dense(NamedTuple):
    """A fixed unitary of several qubits that is none of the above."""

    qubits: tuple[int, ...]
    matrix: NDArray[np.complex128]
    """(2**k, 2**k)"""


Operation: TypeAlias = Rotation | Local | Phase | Permutation | Dense

PAULIS = {
    "X": np.array([[0, 1], [1, 0]], complex),
    "Y": np.array([[0, -1j], [1j, 0]], complex),
    "Z": np.array([[1, 0], [0, -1]], complex),
}
_HADAMARD = np.array([[1, 1], [1, -1]], complex) / np.sqrt(2)
FROM_Z = {"X": _HADAMARD, "Y": np.diag([1, 1j]) @ _HADAMARD}
"""V with P = V Z V^+, for the Pauli matrices that are not diagonal already."""
