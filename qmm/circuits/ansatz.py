"""Ansätze: what is trained inside a register, one layer at a time."""

from qiskit.circuit import Parameter, QuantumCircuit

from qmm.circuits.contracts import Ansatz


def rotations_and_ring(n_qubits: int) -> QuantumCircuit:
    """RZ and RY on each qubit, then CX from each qubit to the next, round the register.

    Two qubits have one CX, a single qubit has none. The layer of circuit-centric classifiers (arXiv:1804.00633), with two of
    the three Euler angles, since the layer before has turned about Z last. RZ comes first, for behind the last RY it would
    change nothing that is read out in Z.
    """
    circuit = QuantumCircuit(n_qubits)
    for qubit in range(n_qubits):
        circuit.rz(Parameter(f"rz{qubit}"), qubit)
        circuit.ry(Parameter(f"ry{qubit}"), qubit)
    for qubit in range(n_qubits if n_qubits > 2 else n_qubits - 1):
        circuit.cx(qubit, (qubit + 1) % n_qubits)
    return circuit


class HardwareEfficient(Ansatz):
    """`rotations_and_ring`."""

    reference = "arXiv:1804.00633"

    def circuit(self, n_qubits: int) -> QuantumCircuit:
        return rotations_and_ring(n_qubits)
