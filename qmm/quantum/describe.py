"""What a circuit is compiled into, in words: one line for each pass over the state."""

from collections.abc import Collection, Iterable
from typing import Any

from qiskit.circuit import Parameter

from qmm.quantum.angles import free_parameters
from qmm.quantum.circuit import Circuit, Probabilities
from qmm.quantum.operations import Dense, Phase, Rotation
from qmm.quantum.schedule import Layer

_NAMES = {"local": "one-qubit gates", "phase": "phases", "permutation": "permutation", "dense": "fixed unitary"}


def describe(circuit: Circuit, layers: Iterable[Layer], moved: Any, varying: Collection[Parameter]) -> str:
    """`layers`: those that are left when permutations at the end were folded into the read-out (`moved` is not None then)."""
    start, *others = layers
    lines = [_line("product state", start.operations, varying)]
    lines += [_line(_NAMES[layer.kind], layer.operations, varying) for layer in others]
    lines.append(f"{'read-out':16}{_readout(circuit, moved is not None)}")
    sizes = f"{circuit.quantum_circuit.num_qubits} qubits, {len(circuit.inputs)} inputs, {len(circuit.weights)} weights"
    return "\n".join([sizes, *(f"{number:3}  {line}" for number, line in enumerate(lines))])


def _line(name: str, operations: list[Any], varying: Collection[Parameter]) -> str:
    qubits = sorted({qubit for op in operations for qubit in op.qubits})
    per_sample = sum(bool(_free(op).intersection(varying)) for op in operations)
    fixed = sum(not _free(op) for op in operations)
    parts = [
        f"{count} {what}"
        for count, what in (
            (per_sample, "per sample"),
            (len(operations) - per_sample - fixed, "shared by all samples"),
            (fixed, "fixed"),
        )
        if count
    ]
    size = f" on {len(operations[0].qubits)} qubits" if operations and isinstance(operations[0], Dense) else ""
    return f"{name:16}{len(operations)} gates{size} ({', '.join(parts)}), qubits {_ranges(qubits)}"


def _free(operation: Any) -> frozenset[Parameter]:
    return free_parameters(operation.angle) if isinstance(operation, Rotation | Phase) else frozenset()


def _ranges(numbers: list[int]) -> str:
    """[0, 1, 2, 5] -> "0-2, 5"."""
    if not numbers:
        return "none"
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


def _readout(circuit: Circuit, folded: bool) -> str:
    if isinstance(circuit.observables, Probabilities):
        text = f"{circuit.n_outputs} probabilities of qubits {_ranges(sorted(circuit.observables.qubits))}"
    else:
        labels = {label for observable in circuit.observables for label in observable.paulis.to_labels()}
        diagonal = sum(not set(label) & {"X", "Y"} for label in labels)
        text = f"{circuit.n_outputs} observables of {diagonal} diagonal and {len(labels) - diagonal} other Pauli strings"
    return text + (", the last permutation folded in" if folded else "")
