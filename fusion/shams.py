"""Shams: the quantum module with its parameters and shapes, but without what is said to make it worth having.

Where a sham does as well, entanglement across registers, or its training, has earned nothing (arXiv:2403.07059).
"""

from collections import Counter
from collections.abc import Iterator

from qiskit.circuit import ControlledGate, Instruction, QuantumCircuit
from qiskit.circuit.library import RXGate, RYGate, RZGate, UGate, XGate

from qmm.errors import InputError
from qmm.quantum import Circuit
from qmm.registers import RegisterLayout

SHAMS = ("local", "frozen")
"""Nothing meets (`sham_local`); nothing is trained (all parameters of the fusion stay at their random start)."""

_TURNS = {"rxx": RXGate, "ryy": RYGate, "rzz": RZGate, "rzx": RXGate}


def sham_local(circuit: Circuit, layout: RegisterLayout) -> Circuit:
    """Every gate across registers is replaced by the same gate, of the same weights, inside one of its two registers.

    One of its qubits stays, in its role; in place of the other comes a neighbour of that which stays. Of the possible places
    the one used least so far is taken, so that both registers get their share. Where both have a single qubit, a one-qubit gate
    of as many parameters stands there instead: the base gate of a controlled one, RX, RY, RZ for RXX (RZX), RYY, RZZ.

    Inputs, weights and observables are the same. A missing modality takes with it the gates that now stand in its register.

    Raises InputError for a gate across registers that acts on more than two qubits.
    """
    used: Counter[tuple[int, ...]] = Counter()
    drawn = circuit.quantum_circuit
    sham: QuantumCircuit = drawn.copy_empty_like()
    for item in drawn.data:
        qubits = tuple(drawn.find_bit(q).index for q in item.qubits)
        if len({layout.owner(q) for q in qubits}) < 2:
            sham.append(item)
            continue
        if len(qubits) > 2:
            name = item.operation.name
            raise InputError(f"{name!r} across registers acts on {len(qubits)} qubits; a sham is made of gates of two")
        places: list[tuple[int, ...]] = [*_inside(qubits, layout)] or [(qubit,) for qubit in qubits]
        chosen = min(places, key=lambda place: used[tuple(sorted(place))])
        used[tuple(sorted(chosen))] += 1
        sham.append(item.operation if len(chosen) == 2 else _on_one_qubit(item.operation), chosen)
    return Circuit.of(sham, circuit.inputs, circuit.weights, circuit.observables)


def _inside(qubits: tuple[int, ...], layout: RegisterLayout) -> Iterator[tuple[int, int]]:
    """One qubit of the pair as it is, and for the other a neighbour of that one in its register."""
    for stays in (0, 1):
        register = layout.qubits(layout.owner(qubits[stays]))
        for neighbour in (qubits[stays] + 1, qubits[stays] - 1):
            if neighbour in register:
                yield (qubits[0], neighbour) if stays == 0 else (neighbour, qubits[1])


def _on_one_qubit(gate: Instruction) -> Instruction:
    if isinstance(gate, ControlledGate) and gate.num_ctrl_qubits == 1:
        return gate.base_gate
    if gate.name in _TURNS:
        return _TURNS[gate.name](*gate.params)
    if not gate.params:
        return XGate()
    if len(gate.params) > 3:
        raise InputError(f"{gate.name!r} has {len(gate.params)} parameters; a gate of one qubit has three at most")
    return UGate(*gate.params, *[0.0] * (3 - len(gate.params)))
