"""Second step: operations -> few layers. Operations of one kind that nothing keeps apart are done together."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmm.quantum.circuit import Probabilities, Readouts
from qmm.quantum.operations import Dense, Local, Operation, Permutation, Phase, Rotation

_ZERO = 1e-12


class Layer(NamedTuple):
    """Operations of one kind, in order; those of different qubits commute."""

    kind: str
    """"local" (runs of one-qubit gates), "phase", "permutation" or "dense" (a single operation)."""
    operations: list[Any]


def cancel(operations: Iterable[Operation]) -> list[Operation]:
    """Fixed one-qubit gates that follow each other on a qubit become one, and none where they undo each other.

    RXX on neighbours, which are RZZ between Hadamard gates, become one layer of phases in this way.
    """
    kept: list[Operation | None] = []
    last: dict[int, int] = {}  # place of the last operation on each qubit
    for operation in operations:
        before = kept[last[operation.qubits[0]]] if operation.qubits[0] in last else None
        if isinstance(operation, Local) and isinstance(before, Local):
            place = last[operation.qubits[0]]
            product = operation.matrix @ before.matrix
            identity = abs(product[0, 1]) + abs(product[1, 0]) + abs(product[0, 0] - product[1, 1]) < _ZERO
            kept[place] = None if identity else Local(operation.qubits, product)
            if identity:
                del last[operation.qubits[0]]
            continue
        kept.append(operation)
        last.update(dict.fromkeys(operation.qubits, len(kept) - 1))
    return [operation for operation in kept if operation is not None]


def schedule(operations: Iterable[Operation], n_qubits: int) -> list[Layer]:
    """Each operation goes to the earliest layer of its kind behind everything that touches its qubits.

    The first layer is always "local" (it may be empty): from it the start is a product state, made by outer products.
    """
    layers = [Layer("local", [])]
    last = [-1] * n_qubits  # the last layer that touches each qubit
    for operation in cancel(operations):
        earliest = max(0, *(last[q] for q in operation.qubits))
        choices = [(_find(layers, _kind(form), earliest), form) for form in _forms(operation)]
        index, form = min(choices, key=lambda choice: choice[0])
        if index == len(layers):
            layers.append(Layer(_kind(form), []))
        layers[index].operations.append(form)
        for qubit in operation.qubits:
            last[qubit] = index
    return layers


def _find(layers: list[Layer], kind: str, earliest: int) -> int:
    if kind == "dense":
        return len(layers)
    return next((i for i in range(earliest, len(layers)) if layers[i].kind == kind), len(layers))


def _kind(operation: Operation) -> str:
    match operation:
        case Rotation() | Local():
            return "local"
        case Phase():
            return "phase"
        case Permutation():
            return "permutation"
        case Dense():
            return "dense"


def _forms(operation: Operation) -> list[Operation]:
    """The ways to write an operation, the preferred one first: RZ is also a phase, X also a permutation."""
    match operation:
        case Rotation(qubits, "Z", angle):
            return [operation, Phase(qubits, np.array([0.5, -0.5]), angle)]
        case Local(qubits, matrix) if abs(matrix[0, 1]) < _ZERO:
            return [operation, Phase(qubits, -np.angle(np.diag(matrix)), 1.0)]
        case Local(qubits, matrix) if abs(matrix[0, 0]) < _ZERO and abs(matrix[0, 1] - matrix[1, 0]) < _ZERO:
            return [operation, Permutation(qubits, np.array([1, 0]))]
    return [operation]


def fold_end(layers: list[Layer], observables: Readouts, n_qubits: int) -> tuple[list[Layer], NDArray[np.int64] | None]:
    """Without the phases and permutations at the end, where the read-out is diagonal: it sees none of the phases.

    Returns what is left, and (2**n,) where the permutations take each basis state, None if there were none.
    """
    left, moved = list(layers), None
    if not is_diagonal(observables):
        return left, None
    while left[1:] and left[-1].kind in ("phase", "permutation"):
        layer = left.pop()
        if layer.kind == "permutation":
            last = image(layer.operations, n_qubits)
            moved = last if moved is None else moved[last]
    return left, moved


def is_diagonal(observables: Readouts) -> bool:
    return isinstance(observables, Probabilities) or not any(o.paulis.x.any() for o in observables)


def image(operations: Sequence[Permutation], n_qubits: int) -> NDArray[np.int64]:
    """(2**n,): where the permutations, one after the other, take each basis state."""
    states = np.arange(2**n_qubits)
    for op in operations:
        local = sum(((states >> q) & 1) << i for i, q in enumerate(op.qubits))
        mask = sum(1 << q for q in op.qubits)
        states = (states & ~mask) | sum(((op.image[local] >> i) & 1) << q for i, q in enumerate(op.qubits))
    return states
