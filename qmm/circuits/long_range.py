"""Layers of growing connectivity: qubits meet their neighbours, then those further off."""

from qiskit.circuit import Parameter, QuantumCircuit

from qmm.circuits.contracts import Ansatz
from qmm.errors import InputError


def long_range_layer(n_qubits: int, connectivity: int) -> QuantumCircuit:
    """For c = 1 ... connectivity, and for each qubit q in turn: CX from q to q + c, round the register, then RY of q + c.

    Of n qubits, c reaches n - 1; a single qubit has one RY.
    """
    circuit = QuantumCircuit(n_qubits)
    if n_qubits == 1:
        circuit.ry(Parameter("ry0"), 0)
    for distance in range(1, min(connectivity, n_qubits - 1) + 1):
        for control in range(n_qubits):
            target = (control + distance) % n_qubits
            circuit.cx(control, target)
            circuit.ry(Parameter(f"ry{control}-{target}"), target)
    return circuit


class LongRange(Ansatz):
    """`long_range_layer`, `depth` times, as on all-to-all connected ion traps (arXiv:2504.08732).

    Args:
        connectivity: How far a CX reaches.
        depth: How many layers follow each other.
    """

    reference = "arXiv:2504.08732"

    def __init__(self, connectivity: int = 2, depth: int = 1):
        if connectivity < 1 or depth < 1:
            raise InputError(f"connectivity={connectivity}, depth={depth}; both must be at least 1")
        self.connectivity, self.depth = connectivity, depth

    def circuit(self, n_qubits: int) -> QuantumCircuit:
        circuit = QuantumCircuit(n_qubits)
        for layer in range(self.depth):
            part = long_range_layer(n_qubits, self.connectivity)
            prefix = f"{layer}." if self.depth > 1 else ""
            circuit.compose(part.assign_parameters({p: Parameter(prefix + p.name) for p in part.parameters}), inplace=True)
        return circuit
