"""Angle encodings: a feature is the angle of a rotation of its own."""

import math
from collections.abc import Sequence

from qiskit.circuit import Parameter, ParameterExpression, QuantumCircuit

from qmm.circuits.contracts import Encoding, FeatureMap
from qmm.circuits.feature_maps.spectrum import say_frequencies
from qmm.circuits.gates import check_name
from qmm.errors import InputError


def angle_encoding(angles: Sequence[Parameter], n_qubits: int) -> QuantumCircuit:
    """RY with the first n angles, one a qubit, then RZ with the rest: up to two angles a qubit.

    From |0>, a qubit with angles (a, b) becomes cos(a/2)|0> + exp(ib) sin(a/2)|1> (up to a phase): the point with polar
    angle a and azimuth b on its Bloch sphere, so a and b in [0, pi] never coincide with other values.

    Raises InputError for more than 2n angles.
    """
    if len(angles) > 2 * n_qubits:
        raise InputError(f"{len(angles)} angles for {n_qubits} qubits; a register holds two a qubit, {2 * n_qubits} here")
    circuit = QuantumCircuit(n_qubits)
    for place, angle in enumerate(angles):
        rotate = circuit.ry if place < n_qubits else circuit.rz
        rotate(angle, place % n_qubits)
    return circuit


def rotation_encoding(angles: Sequence[float | ParameterExpression], n_qubits: int, axis: str = "y") -> QuantumCircuit:
    """Qubit i is turned by angle i about the axis: exp(-i angle_i sigma/2). For "z" after a Hadamard gate, since |0> does not
    feel RZ: (|0> + exp(i angle)|1>)/sqrt(2). Qubits without an angle are left alone.

    Raises InputError for another axis than "x", "y", "z", and for more angles than qubits.
    """
    check_name("axis", axis, ("x", "y", "z"))
    if len(angles) > n_qubits:
        raise InputError(f"{len(angles)} angles for {n_qubits} qubits; a register holds one a qubit")
    circuit = QuantumCircuit(n_qubits)
    for qubit, angle in enumerate(angles):
        if axis == "z":
            circuit.h(qubit)
        getattr(circuit, f"r{axis}")(angle, qubit)
    return circuit


class AngleEncoding(FeatureMap):
    """`rotation_encoding`: a feature a qubit, as the angle of RX, RY, or RZ behind a Hadamard gate (arXiv:1605.05775).

    Args:
        axis: "x", "y" or "z". Measured in Z at once, only "x" and "y" are seen.
    """

    reference = "arXiv:1605.05775"

    def __init__(self, axis: str = "y"):
        super().__init__()
        self.axis = check_name("axis", axis, ("x", "y", "z"))

    def least_qubits(self, features: int) -> int:
        return features

    def circuit(self, angles: Sequence[Parameter], upload: int = 0) -> QuantumCircuit:
        return rotation_encoding(angles, self.n_qubits, self.axis)

    def describe(self) -> Encoding:
        return self.described("1", say_frequencies(self))


class DenseAngleEncoding(FeatureMap):
    """`angle_encoding`: two features a qubit, its polar angle and its azimuth (arXiv:2003.01695)."""

    reference = "arXiv:2003.01695"

    def least_qubits(self, features: int) -> int:
        return math.ceil(features / 2)

    def circuit(self, angles: Sequence[Parameter], upload: int = 0) -> QuantumCircuit:
        return angle_encoding(angles, self.n_qubits)

    def describe(self) -> Encoding:
        return self.described("2", say_frequencies(self))
