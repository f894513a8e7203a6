"""QFL's superposition state: all features at once, each on its own branch of an index register."""

from collections.abc import Collection, Sequence

import torch
from qiskit.circuit import Parameter, ParameterExpression, QuantumCircuit
from torch import Tensor
from torch.nn.functional import pad

from qmm.circuits.contracts import Encoding, FeatureMap
from qmm.circuits.multiplexing import multiplexed_rotation, real_state, state_turns, turns_of
from qmm.errors import InputError


def uniform_superposition(indices: Collection[int], n_qubits: int) -> QuantumCircuit:
    """|0...0> -> the sum of |i> over `indices`, normalised.

    Raises InputError where the register has no such basis state.
    """
    if not indices or min(indices) < 0 or max(indices) >= 2**n_qubits:
        raise InputError(
            f"indices {sorted(indices)} in a superposition of {n_qubits} qubits; they go from 0 to {2**n_qubits - 1}"
        )
    weights = torch.tensor([float(i in indices) for i in range(2**n_qubits)], dtype=torch.float64)
    return real_state(state_turns(weights).tolist())


def superposition_encoding(indices: Collection[int], turns: Sequence[float | ParameterExpression]) -> QuantumCircuit:
    """S(x): |0...0> -> the sum over i in `indices` of |i> (cos(x_i/2)|0> + sin(x_i/2)|1>), normalised (arXiv:2510.06938).

    Qubit 0 is the signal, the others are the index i.

    Args:
        indices: Those that take part.
        turns: `turns_of` x by index, 0 where there is no feature; as many as the index register has basis states.
    """
    turn = multiplexed_rotation("y", turns)
    circuit = QuantumCircuit(turn.num_qubits)
    circuit.compose(uniform_superposition(indices, turn.num_qubits - 1), range(1, turn.num_qubits), inplace=True)
    return circuit.compose(turn, range(turn.num_qubits))


class SuperpositionEncoding(FeatureMap):
    """`superposition_encoding` of k features, each on a branch of its own, and of a constant 0 on branch 0.

    ceil(log2(k + 1)) + 1 qubits, against k/2 of dense angles. Each amplitude is linear in cos(x_i/2), sin(x_i/2) of one
    feature, so that P uploads make polynomials of degree 2P of these, over all features together.
    """

    reference = "arXiv:2510.06938"

    def least_qubits(self, features: int) -> int:
        return features.bit_length() + 1

    @property
    def n_angles(self) -> int:
        return 2 ** (self.n_qubits - 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, k) radians -> (B, 2**(n - 1)) turns."""
        return turns_of(pad(features, (1, self.n_angles - self.features - 1)))

    def circuit(self, angles: Sequence[Parameter], upload: int = 0) -> QuantumCircuit:
        return superposition_encoding(range(self.features + 1), angles)

    def describe(self) -> Encoding:
        circuit = self.circuit([Parameter(f"x{i}") for i in range(self.n_angles)])
        spectrum = "an upload is of degree 2 in cos(x/2), sin(x/2) of all features together: frequencies up to 1 in each"
        return Encoding(f"{self.features}/{self.n_qubits}", circuit.depth(), circuit.num_nonlocal_gates(), spectrum)
