"""Tensor networks of two-qubit blocks that lead to one qubit: tree, matrix product state, MERA."""

from collections.abc import Sequence

from qiskit.circuit import QuantumCircuit

from qmm.circuits.ansatz.layers import block, check_rotations, rotate
from qmm.circuits.contracts import Ansatz
from qmm.circuits.gates import check_two_qubit_gate, without_unfelt

_ROTATIONS = ("rz", "ry")


def halved(qubits: Sequence[int]) -> tuple[list[tuple[int, int]], list[int]]:
    """Neighbours in pairs, and who goes on: of each pair the second, and the last where their number is odd."""
    pairs = list(zip(qubits[::2], qubits[1::2], strict=False))
    return pairs, [b for _, b in pairs] + list(qubits[len(pairs) * 2 :])


def tree_tensor_network(
    n_qubits: int, rotations: Sequence[str] = _ROTATIONS, gate: str = "cx", disentangle: bool = False
) -> QuantumCircuit:
    """A block on each pair (a, b), of which b goes on to the next level, until the last qubit is left: n - 1 blocks.

    Where a level has an odd number, the last passes it untouched. With `disentangle`, each level first has blocks between
    neighbours of different pairs: (1, 2), (3, 4), ... of its qubits. A single qubit is turned alone.
    """
    circuit = QuantumCircuit(n_qubits)
    level, qubits = 0, list(range(n_qubits))
    while len(qubits) > 1:
        pairs, left = halved(qubits)
        for a, b in zip(qubits[1::2], qubits[2::2], strict=False) if disentangle else ():
            block(circuit, a, b, rotations, gate, f"{level}.u.")
        for a, b in pairs:
            block(circuit, a, b, rotations, gate, f"{level}.")
        level, qubits = level + 1, left
    return _finished(circuit, rotations)


def mera(n_qubits: int, rotations: Sequence[str] = _ROTATIONS, gate: str = "cx") -> QuantumCircuit:
    """`tree_tensor_network` with disentanglers, of open ends."""
    return tree_tensor_network(n_qubits, rotations, gate, disentangle=True)


def matrix_product_state(n_qubits: int, rotations: Sequence[str] = _ROTATIONS, gate: str = "cx") -> QuantumCircuit:
    """A block on (0, 1), on (1, 2), ..., one after the other: a staircase to the last qubit, of bond dimension 2.

    A single qubit is turned alone.
    """
    circuit = QuantumCircuit(n_qubits)
    for a in range(n_qubits - 1):
        block(circuit, a, a + 1, rotations, gate, f"{a}.")
    return _finished(circuit, rotations)


def _finished(circuit: QuantumCircuit, rotations: Sequence[str]) -> QuantumCircuit:
    if circuit.num_qubits == 1:
        rotate(circuit, rotations, 0)
    return without_unfelt(circuit, [circuit.num_qubits - 1])


class _ToTheLast(Ansatz):
    """Blocks that lead to the register's last qubit, the only one that is read.

    Args:
        rotations: Of both qubits of a block, in this order: "rx", "ry", "rz".
        gate: The two-qubit gate of a block, by Qiskit's name, from the qubit that is left to the one that goes on.
    """

    def __init__(self, rotations: Sequence[str] = _ROTATIONS, gate: str = "cx"):
        self.rotations, self.gate = check_rotations(rotations), check_two_qubit_gate(gate)

    def read(self, n_qubits: int) -> tuple[int, ...]:
        return (n_qubits - 1,)


class TreeTensorNetwork(_ToTheLast):
    """`tree_tensor_network`: depth grows with log n."""

    reference = "arXiv:1804.03680"

    def circuit(self, n_qubits: int) -> QuantumCircuit:
        return tree_tensor_network(n_qubits, self.rotations, self.gate)


class MatrixProductState(_ToTheLast):
    """`matrix_product_state`: depth grows with n, gates between neighbours alone."""

    reference = "arXiv:1803.11537"

    def circuit(self, n_qubits: int) -> QuantumCircuit:
        return matrix_product_state(n_qubits, self.rotations, self.gate)


class MERA(_ToTheLast):
    """`mera`, the multi-scale entanglement renormalisation ansatz: a tree that also sees what its branches share."""

    reference = "arXiv:1804.03680"

    def circuit(self, n_qubits: int) -> QuantumCircuit:
        return mera(n_qubits, self.rotations, self.gate)
