"""The final measurements of a circuit, apart from the gates before them."""

from typing import NamedTuple

from qiskit.circuit import QuantumCircuit

from qmm.quantum.errors import CircuitError


class Measured(NamedTuple):
    unitary: QuantumCircuit
    """The circuit without its final measurements: the same qubits, classical bits and parameters."""
    qubits: dict[int, int]
    """The measured classical bits, each with the qubit that it holds at the end."""


def split_measurements(circuit: QuantumCircuit) -> Measured:
    """Takes the final measurements off a circuit, which itself stays as it is.

    Unlike Qiskit's `remove_final_measurements` it leaves registers alone, so that indices keep their meaning.

    Raises CircuitError, with the place, for a measurement that is followed by gates on its qubit.
    """
    busy: set[int] = set()
    measured: dict[int, int] = {}
    kept = []
    for place in reversed(range(len(circuit.data))):
        item = circuit.data[place]
        qubits = [circuit.find_bit(q).index for q in item.qubits]
        if item.name != "measure":
            kept.append(item)
            busy.update(() if item.name in ("barrier", "delay") else qubits)
        elif busy.isdisjoint(qubits):
            measured.setdefault(circuit.find_bit(item.clbits[0]).index, qubits[0])  # the last one overwrites
        else:
            raise CircuitError(
                f"instruction {place} ('measure' on qubits {qubits}) is followed by others on its qubit: only final "
                "measurements are exact without simulating shot by shot; measure at the end, or copy to a fresh qubit (cx)"
            )
    unitary = circuit.copy_empty_like()
    for item in reversed(kept):
        unitary.append(item)
    return Measured(unitary, measured)
