"""QFL's superposition state: all features at once, each on its own branch of an index register."""

from collections.abc import Collection, Mapping, Sequence

from qiskit.circuit import Parameter, ParameterExpression, QuantumCircuit

from qmm.circuits.contracts import Encoding, FeatureMap
from qmm.circuits.multiplexing import multiplexed_rotation, real_state, split_angles
from qmm.errors import InputError


def uniform_superposition(indices: Collection[int], n_qubits: int) -> QuantumCircuit:
    """|0...0> -> the sum of |i> over `indices`, normalised.

    Raises InputError where the register has no such basis state.
    """
    if not indices or min(indices) < 0 or max(indices) >= 2**n_qubits:
        raise InputError(
            f"indices {sorted(indices)} in a superposition of {n_qubits} qubits; they go from 0 to {2**n_qubits - 1}"
        )
    return real_state(split_angles([float(i in indices) for i in range(2**n_qubits)]))


def superposition_encoding(
    angles: Mapping[int, float | ParameterExpression], n_qubits: int, constant: int | None = 0
) -> QuantumCircuit:
    """S(x): |0...0> -> the sum over i of |i> (cos(x_i/2)|0> + sin(x_i/2)|1>), normalised (after arXiv:2510.06938).

    Qubit 0 is the signal, the other n - 1 are the index i. The branch `constant`, if any, has x = 0.

    Args:
        angles: x_i, by index; indices that are not named take no part.

    Raises InputError where the register has too few indices.
    """
    kept = set(angles) if constant is None else {constant, *angles}
    circuit = QuantumCircuit(n_qubits)
    circuit.compose(uniform_superposition(kept, n_qubits - 1), range(1, n_qubits), inplace=True)
    turns = [angles.get(i, 0.0) for i in range(2 ** (n_qubits - 1))]
    return circuit.compose(multiplexed_rotation("y", turns), range(n_qubits))


class SuperpositionEncoding(FeatureMap):
    """`superposition_encoding`: k features on ceil(log2(k + 1)) + 1 qubits, each on its own branch of the index, and a
    constant one; exponentially fewer qubits than angles, and each amplitude is linear in cos(x_i/2), sin(x_i/2) of one
    feature, so that P uploads make polynomials of degree 2P of these, over all features together."""

    reference = "arXiv:2510.06938"

    def least_qubits(self, features: int) -> int:
        return features.bit_length() + 1

    def circuit(self, angles: Sequence[Parameter], upload: int = 0) -> QuantumCircuit:
        return superposition_encoding(dict(enumerate(angles, start=1)), self.n_qubits)

    def describe(self) -> Encoding:
        circuit = self.circuit([Parameter(f"x{i}") for i in range(self.n_angles)])
        spectrum = "an upload is of degree 2 in cos(x/2), sin(x/2) of all features together: frequencies up to 1 in each"
        two_qubit_gates = sum(len(item.qubits) == 2 for item in circuit.data)
        return Encoding(f"{self.features}/{self.n_qubits}", circuit.depth(), two_qubit_gates, spectrum)
