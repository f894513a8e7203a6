"""What initialisers ask of a circuit: on how many qubits observables act, how many trained gates follow each other."""

from collections.abc import Iterator
from typing import NamedTuple

from qiskit.circuit import Parameter, QuantumCircuit

from qmm.errors import InputError
from qmm.quantum import Circuit, Probabilities


class Use(NamedTuple):
    """A gate that a weight turns."""

    weight: int
    """Its place in `circuit.weights`."""
    level: int
    """How many trained gates, at most, stand before it in its past, counted from 0."""


def locality(circuit: Circuit) -> int:
    """S: the most qubits that a term of an observable acts on, at least 1."""
    if isinstance(circuit.observables, Probabilities):
        return len(circuit.observables.qubits)
    widths = [int((o.paulis.x | o.paulis.z).sum(axis=1).max()) for o in circuit.observables]
    return max(1, *widths)


def uses(circuit: Circuit) -> list[Use]:
    """Where each weight is used, in the order of the gates: a weight that several gates share has several uses."""
    places = {weight: place for place, weight in enumerate(circuit.weights)}
    quantum_circuit = circuit.quantum_circuit
    passed = [0] * quantum_circuit.num_qubits
    found = []
    for item in quantum_circuit.data:
        if item.operation.name == "barrier":
            continue
        qubits = [quantum_circuit.find_bit(qubit).index for qubit in item.qubits]
        level = max((passed[qubit] for qubit in qubits), default=0)
        trained = [places[p] for angle in item.operation.params for p in parameters_of(angle) if p in places]
        found += [Use(place, level) for place in trained]
        for qubit in qubits:
            passed[qubit] = level + bool(trained)
    return found


def trained_layers(circuit: Circuit) -> list[list[int]]:
    """The circuit's weights, layer by layer: a layer's gates have equally many trained gates in their past. A weight that is
    used several times stands where it is first used; what no gate uses stands nowhere.

    Raises InputError for a circuit without weights.
    """
    if not circuit.weights:
        raise InputError("the circuit has no weights; there is nothing to start")
    first: dict[int, int] = {}
    for weight, level in uses(circuit):
        first.setdefault(weight, level)
    layers: list[list[int]] = [[] for _ in range(trained_depth(circuit))]
    for weight, level in first.items():
        layers[level].append(weight)
    return layers


def trained_depth(circuit: Circuit) -> int:
    """How many trained gates stand one behind another, at most; each use of a shared weight counts."""
    return max((use.level + 1 for use in uses(circuit)), default=0)


def parameters_of(angle: object) -> Iterator[Parameter]:
    yield from getattr(angle, "parameters", ())


def qubits_of(circuit: QuantumCircuit, place: int) -> tuple[int, ...]:
    """The qubits of the instruction at this place, in the gate's order."""
    return tuple(circuit.find_bit(qubit).index for qubit in circuit.data[place].qubits)
