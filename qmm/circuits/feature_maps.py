"""Feature maps: a register's angles -> a circuit that writes them into its qubits."""

import math
from collections.abc import Sequence

from qiskit.circuit import Parameter, QuantumCircuit

from qmm.circuits.contracts import Encoding, FeatureMap
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


class DenseAngleEncoding(FeatureMap):
    """`angle_encoding`: two features a qubit, its polar angle and its azimuth (arXiv:2003.01695)."""

    reference = "arXiv:2003.01695"

    def least_qubits(self, features: int) -> int:
        return math.ceil(features / 2)

    def circuit(self, angles: Sequence[Parameter], upload: int = 0) -> QuantumCircuit:
        return angle_encoding(angles, self.n_qubits)

    def describe(self) -> Encoding:
        return Encoding("2", 1 + (self.features > self.n_qubits), 0, "frequencies {-1, 0, 1} in each feature, an upload")
