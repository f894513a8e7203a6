"""Ansätze: what is trained inside a register."""

from collections.abc import Sequence

from qiskit.circuit import Parameter, QuantumCircuit


def rotations_and_ring(ry: Sequence[Parameter], rz: Sequence[Parameter]) -> QuantumCircuit:
    """One layer: RY and RZ on each qubit, then CX from each qubit to the next, round the register.

    Two qubits have one CX, a single qubit has none. The layer of circuit-centric classifiers (arXiv:1804.00633), with two
    of the three Euler angles, since the next layer's RZ would repeat the third.
    """
    n_qubits = len(ry)
    circuit = QuantumCircuit(n_qubits)
    for qubit, (y, z) in enumerate(zip(ry, rz, strict=True)):
        circuit.ry(y, qubit)
        circuit.rz(z, qubit)
    for qubit in range(n_qubits if n_qubits > 2 else n_qubits - 1):
        circuit.cx(qubit, (qubit + 1) % n_qubits)
    return circuit
