"""Layers that are followed by their inverse, with weights of its own: blocks that can start as the identity."""

from qiskit.circuit import Parameter, QuantumCircuit, Qubit

from qmm.circuits.ansatz.layers import HardwareEfficient
from qmm.circuits.contracts import Ansatz
from qmm.circuits.gates import without_unfelt
from qmm.errors import InputError


def mirrored(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit U(a), then U(b)^dagger: its gates in reversed order, those with an angle with a weight of their own, named
    `ry0.back`; with b = -a it is the identity. Gates without an angle that would meet their inverse in the middle are left out.

    Every angle is one parameter.
    """
    kept = _without_trailing(circuit)
    back: QuantumCircuit = kept.copy_empty_like()
    for item in reversed(kept.data):
        if item.operation.params:
            renamed = [Parameter(f"{angle.name}.back") for angle in item.operation.params]
            back.append(type(item.operation)(*renamed), item.qubits)
        else:
            back.append(item.operation.inverse(), item.qubits)
    return kept.compose(back)


def _without_trailing(circuit: QuantumCircuit) -> QuantumCircuit:
    """Without the gates that no gate with an angle follows."""
    followed: set[Qubit] = set()
    kept = []
    for item in reversed(circuit.data):
        if item.operation.params or followed.intersection(item.qubits):
            followed.update(item.qubits)
            kept.append(item)
    found: QuantumCircuit = circuit.copy_empty_like()
    for item in reversed(kept):
        found.append(item)
    return found


class Mirrored(Ansatz):
    """`depth` layers of an ansatz and their inverse as one layer (`mirrored`), for `qmm.initialisers.IdentityBlocks`.

    Args:
        ansatz: By default HardwareEfficient with RX and RY, which both undo themselves at the end of a layer; a RZ there is
            not felt, and left out.
        depth: Its layers in a block, before it is undone.
    """

    reference = "arXiv:1903.05076"

    def __init__(self, ansatz: Ansatz | None = None, depth: int = 2):
        if depth < 1:
            raise InputError(f"depth={depth}; a block has at least one layer")
        self.ansatz, self.depth = ansatz or HardwareEfficient(("rx", "ry")), depth

    def circuit(self, n_qubits: int) -> QuantumCircuit:
        layer, block = self.ansatz.circuit(n_qubits), QuantumCircuit(n_qubits)
        for place in range(self.depth):
            own = {p: Parameter(f"{place}.{p.name}") for p in layer.parameters}
            block.compose(layer.assign_parameters(own), inplace=True)
        return without_unfelt(mirrored(block), self.ansatz.read(n_qubits))

    def read(self, n_qubits: int) -> tuple[int, ...]:
        return self.ansatz.read(n_qubits)
