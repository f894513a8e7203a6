"""IdentityBlocks: random angles, and a circuit that nevertheless starts as if its trained blocks were not there."""

import math
from typing import NamedTuple

import torch
from qiskit.circuit import CircuitInstruction, Parameter, ParameterExpression
from torch import Tensor

from qmm.circuits.gates import ROTATIONS, TRAINED
from qmm.errors import InputError
from qmm.initialisers.base import Initialiser
from qmm.initialisers.structure import qubits_of
from qmm.quantum import Circuit

_UNDONE_BY_MINUS = {*ROTATIONS, *TRAINED, "p", "u1"}
_SYMMETRIC = {"rxx", "ryy", "rzz", "cp", "cz", "swap", "iswap"}


class Undoing(NamedTuple):
    """Which weights of a circuit undo each other."""

    pairs: list[tuple[int, int]]
    """Places among its weights: if the second is minus the first, both gates and all between them that is not of the feature
    map are the identity."""
    others: list[int]

    @property
    def share(self) -> float:
        """Of the weights, those that stand in pairs."""
        return 2 * len(self.pairs) / max(1, 2 * len(self.pairs) + len(self.others))


def undoing(circuit: Circuit) -> Undoing:
    """The pairs of gates U(a) ... U(b) that nest, with nothing between them on their qubits but what cancels as well.

    A gate cancels with the last one that is left before it on its qubits, if that is its inverse, or a rotation of the same
    kind whose weight, like its own, turns no other gate.
    """
    quantum_circuit = circuit.quantum_circuit
    places = {weight: place for place, weight in enumerate(circuit.weights)}
    count: dict[Parameter, int] = {}
    for item in quantum_circuit.data:
        for angle in item.operation.params:
            for parameter in getattr(angle, "parameters", ()):
                count[parameter] = count.get(parameter, 0) + 1
    left: list[list[int]] = [[] for _ in range(quantum_circuit.num_qubits)]
    pairs = []
    for place, item in enumerate(quantum_circuit.data):
        if item.operation.name in ("barrier", "id"):
            continue
        qubits = qubits_of(quantum_circuit, place)
        before = {left[qubit][-1] if left[qubit] else None for qubit in qubits}
        earlier = next(iter(before)) if len(before) == 1 else None
        if earlier is not None and len(qubits_of(quantum_circuit, earlier)) == len(qubits):
            first = quantum_circuit.data[earlier]
            turned = _own(first, places, count), _own(item, places, count)
            alike = _alike(first, qubits_of(quantum_circuit, earlier), item, qubits)
            if alike and (None not in turned or _inverse(first, item)):
                if turned[0] is not None and turned[1] is not None:
                    pairs.append((turned[0], turned[1]))
                for qubit in qubits:
                    left[qubit].pop()
                continue
        for qubit in qubits:
            left[qubit].append(place)
    paired = {place for pair in pairs for place in pair}
    return Undoing(sorted(pairs), [place for place in range(len(circuit.weights)) if place not in paired])


def _own(item: CircuitInstruction, places: dict[Parameter, int], count: dict[Parameter, int]) -> int | None:
    """The place of the weight that is the gate's angle as it stands, and no other gate's."""
    if item.operation.name not in _UNDONE_BY_MINUS or len(item.operation.params) != 1:
        return None
    angle = item.operation.params[0]
    if not isinstance(angle, Parameter) or angle not in places or count[angle] > 1:
        return None
    return places[angle]


def _alike(first: CircuitInstruction, before: tuple[int, ...], second: CircuitInstruction, after: tuple[int, ...]) -> bool:
    """Whether they act on the same qubits in the same way, apart from their angles."""
    if before != after and not (set(before) == set(after) and first.operation.name in _SYMMETRIC):
        return False
    return first.operation.num_qubits == second.operation.num_qubits and (
        first.operation.name == second.operation.name or first.operation.name == second.operation.inverse().name
    )


def _inverse(first: CircuitInstruction, second: CircuitInstruction) -> bool:
    """Of gates whose angles, if any, are numbers."""
    free = (isinstance(p, ParameterExpression) and p.parameters for item in (first, second) for p in item.operation.params)
    return not any(free) and bool(first.operation.inverse() == second.operation)


class IdentityBlocks(Initialiser):
    """Half of the weights random, the other half so that they undo these: each block U(theta) U(theta)^dagger is the identity.

    The circuit starts shallow, however deep it is, with gradients as of a shallow one; that holds for the first step.
    Blocks are found in the circuit as it is (`undoing`), a weight that nothing undoes starts at 0. A circuit is refused where
    fewer weights than `least` stand in blocks: rotations and CX in layers, all in the same order, undo nothing, and angles of
    0 would be another method. `qmm.circuits.Mirrored` makes layers of any ansatz that do: each followed by its inverse.

    Args:
        low, high: The random half is uniform between them, in radians.
        least: The share of the weights that must stand in pairs.
    """

    reference = "arXiv:1903.05076"

    def __init__(self, low: float = -math.pi, high: float = math.pi, least: float = 0.5):
        self.low, self.high, self.least = low, high, least

    def draw(self, circuit: Circuit, generator: torch.Generator, count: int = 1) -> Tensor:
        """Raises InputError where too few weights stand in blocks, with the share that does."""
        found = undoing(circuit)
        if not found.pairs or found.share < self.least:
            raise InputError(
                f"IdentityBlocks: of {len(circuit.weights)} weights {2 * len(found.pairs)} undo each other "
                f"({found.share:.0%}, at least {self.least:.0%} are to); take a mirrored ansatz, qmm.circuits.Mirrored, with "
                "rotations 'rx' and 'ry' (a RZ at the end is not felt, and left out), or another initialiser"
            )
        weights = torch.zeros(count, len(circuit.weights), dtype=torch.float64)
        first, second = map(list, zip(*found.pairs, strict=True))
        drawn = torch.rand((count, len(first)), generator=generator, dtype=torch.float64)
        weights[:, first] = self.low + (self.high - self.low) * drawn
        weights[:, second] = -weights[:, first]
        return weights
