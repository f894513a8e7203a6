"""What a circuit costs."""

from typing import NamedTuple

from qmm.quantum import Circuit


class Counts(NamedTuple):
    qubits: int
    depth: int
    """Gates on the longest path, barriers apart."""
    gates: int
    two_qubit_gates: int
    """Gates of two qubits or more: what hardware pays for."""
    inputs: int
    """Angles given per sample."""
    parameters: int
    """Trained angles."""
    observables: int


def count(circuit: Circuit) -> Counts:
    """Counts of the circuit as it is written; a transpiler adds to them what a device asks for."""
    gates = [item for item in circuit.quantum_circuit.data if item.operation.name != "barrier"]
    return Counts(
        qubits=circuit.quantum_circuit.num_qubits,
        depth=circuit.quantum_circuit.depth(lambda item: item.operation.name != "barrier"),
        gates=len(gates),
        two_qubit_gates=sum(len(item.qubits) > 1 for item in gates),
        inputs=len(circuit.inputs),
        parameters=len(circuit.weights),
        observables=len(circuit.observables),
    )
