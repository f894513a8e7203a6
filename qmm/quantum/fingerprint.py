"""What a QuantumCircuit holds, as a key: circuits can be changed at any time, so that their identity says nothing."""

import pickle
from collections.abc import Hashable
from typing import Any

from qiskit.circuit import ControlledGate, Gate, Instruction, QuantumCircuit
from qiskit.circuit.library import UnitaryGate


class Fingerprint:
    """Equal for circuits of equal qubits, classical bits, parameters and instructions, whatever their registers are called."""

    __slots__ = ("_content", "_hash")

    def __init__(self, circuit: QuantumCircuit):
        self._content = _content(circuit)
        self._hash = hash(self._content)  # tuples do not remember theirs

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Fingerprint) and self._hash == other._hash and self._content == other._content
        )


def _content(circuit: QuantumCircuit) -> Hashable:
    places = {bit: place for place, bit in enumerate((*circuit.qubits, *circuit.clbits))}
    instructions = [
        (
            *((item.name, *item.params) if item.is_standard_gate() else (_operation(item.operation),)),
            *[places[bit] for bit in (*item.qubits, *item.clbits)],
        )
        for item in circuit.data
    ]
    return circuit.num_qubits, circuit.num_clbits, tuple(circuit.parameters), tuple(instructions)


def _operation(operation: Any) -> Hashable:
    if type(operation) in (Gate, Instruction, ControlledGate) and operation.definition is not None:
        return operation.name, _content(operation.definition)
    if isinstance(operation, UnitaryGate):  # whose pickles depend on how the matrix lies in memory
        return operation.params[0].shape, operation.params[0].tobytes()
    try:  # whatever its class keeps, in whichever attributes; only compared, never loaded
        return pickle.dumps(operation)
    except Exception:  # a user's class may raise anything here; its circuits are compiled anew each time
        return object()
