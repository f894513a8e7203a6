"""Where a circuit is cut: at gates between its registers, at wires that are marked, or where few cuts make it fit a device."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from qiskit.circuit import Barrier, QuantumCircuit
from qiskit.quantum_info import PauliList
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from qmm.quantum.errors import CircuitError
from qmm.quantum.scaling.decompositions import Decomposition, Placed, as_turns, decompose, decompose_wire, expand

_MARK = "cut wire"


class Cut(NamedTuple):
    """A gate or a wire that is cut."""

    decomposition: Decomposition
    qubits: tuple[int, ...]
    """Of the circuit: two of a gate, one of a wire."""

    def __str__(self) -> str:
        where = " and ".join(map(str, self.qubits))
        return f"{self.decomposition.name} on {where}: {self.decomposition.gamma**2:.4g}"


class End(NamedTuple):
    """Stands among a fragment's operations where a cut ends."""

    cut: int
    side: int


class Fragment(NamedTuple):
    """A part of a circuit that no gate joins to the others."""

    name: str
    wires: tuple[int, ...]
    """Its qubits, by their numbers among those of all fragments."""
    steps: tuple[Placed, ...]
    """Operations, and Ends, on its own qubits."""


class Pieces(NamedTuple):
    fragments: tuple[Fragment, ...]
    cuts: tuple[Cut, ...]
    last: tuple[int, ...]
    """The wire on which each of the circuit's qubits ends."""


def cut_wire(circuit: QuantumCircuit, qubit: int) -> None:
    """Marks a place where `CutBackend` cuts the wire of a qubit: after what is on it so far.

    To all others the mark is a barrier on that qubit.
    """
    circuit.append(Barrier(1, label=_MARK), [qubit])


def is_marked(circuit: QuantumCircuit) -> bool:
    """Whether `cut_wire` marked anything."""
    return any(_is_mark(item.operation) for item in circuit.data)


def register_labels(circuit: QuantumCircuit) -> list[str]:
    """The name of each qubit's register; "" where it has none."""
    found = [circuit.find_bit(qubit).registers for qubit in circuit.qubits]
    return [registers[0][0].name if registers else "" for registers in found]


def sever(
    circuit: QuantumCircuit,
    labels: Sequence[str] | None = None,
    gates: Collection[int] = (),
    wires: Mapping[int, Sequence[int]] | None = None,
) -> Pieces:
    """Cuts a circuit.

    Args:
        circuit: Without measurements.
        labels: One for each qubit: gates between qubits of different labels are cut, and each label is a fragment. None: what
            stays joined is a fragment, named "0", "1", ...
        gates: Places of further instructions of two qubits to be cut.
        wires: Qubits whose wires are cut before the instruction at a place, besides those that are marked.

    Raises CircuitError for an instruction that cannot be cut, and for measurements and resets.
    """
    knife = _Knife(circuit.num_qubits, labels)
    for place, item in enumerate(circuit.data):
        qubits = tuple(circuit.find_bit(q).index for q in item.qubits)
        for qubit in (wires or {}).get(place, ()):
            knife.cut_wire(qubit)
        try:
            knife.add(item.operation, qubits, bool(item.clbits), place in gates)
        except CircuitError as error:
            raise CircuitError(f"instruction {place} ({item.operation.name!r} on qubits {list(qubits)}): {error}") from error
    return knife.pieces()


def is_last(fragment: Fragment, strings: PauliList, place: int, qubit: int) -> bool:
    """Whether neither a gate nor an observable meets a qubit of a fragment after one of its steps."""
    later = any(qubit in qubits for _, qubits in fragment.steps[place + 1 :])
    return not later and not (strings.x | strings.z)[:, qubit].any()


class _Knife:
    def __init__(self, n_qubits: int, labels: Sequence[str] | None):
        self._labels = labels
        self._at = list(range(n_qubits))
        self._n_wires = n_qubits
        self._steps: list[Placed] = []
        self._cuts: list[Cut] = []

    def cut_wire(self, qubit: int) -> None:
        self._sever(Cut(decompose_wire(), (qubit,)), (self._at[qubit], self._n_wires))
        self._at[qubit] = self._n_wires
        self._n_wires += 1

    def add(self, operation: Any, qubits: tuple[int, ...], classical: bool, cut: bool) -> None:
        if classical or operation.name == "reset":
            raise CircuitError("only unitary gates are cut; the observables are the read-out, remove measurements and resets")
        if _is_mark(operation):
            for qubit in qubits:
                self.cut_wire(qubit)
        elif operation.name == "barrier" or not (cut or self._crosses(qubits)):
            self._steps.append((operation, tuple(self._at[q] for q in qubits)))
        else:
            for part, own in expand(operation, qubits):
                self._add_cut(part, own) if cut or self._crosses(own) else self.add(part, own, False, False)

    def _add_cut(self, gate: Any, qubits: tuple[int, ...]) -> None:
        for part, own in as_turns(gate, qubits):
            if len(own) == 2:
                self._sever(Cut(decompose(part)._replace(name=gate.name), own), (self._at[own[0]], self._at[own[1]]))
            else:
                self.add(part, own, False, False)

    def _crosses(self, qubits: Iterable[int]) -> bool:
        return self._labels is not None and len({self._labels[q] for q in qubits}) > 1

    def _sever(self, cut: Cut, wires: tuple[int, int]) -> None:
        self._steps += [(End(len(self._cuts), side), (wire,)) for side, wire in enumerate(wires)]
        self._cuts.append(cut)

    def pieces(self) -> Pieces:
        names = self._labels if self._labels is not None and self._n_wires == len(self._labels) else self._components()
        members: dict[str, list[int]] = {}
        for wire, name in enumerate(names):
            members.setdefault(name, []).append(wire)
        fragments = (Fragment(name, tuple(own), tuple(_within(self._steps, own))) for name, own in members.items())
        return Pieces(tuple(fragments), tuple(self._cuts), tuple(self._at))

    def _components(self) -> list[str]:
        joined = [pair for operation, wires in self._steps if not _is_barrier(operation) for pair in pairwise(wires)]
        a, b = np.array(joined, dtype=np.int64).reshape(-1, 2).T
        graph = coo_array((np.ones(len(a)), (a, b)), shape=(self._n_wires, self._n_wires))
        return [str(number) for number in connected_components(graph, directed=False)[1]]


def _within(steps: Sequence[Placed], wires: Sequence[int]) -> Iterable[Placed]:
    """The steps on these wires, barriers of others narrowed down to them."""
    place = {wire: i for i, wire in enumerate(wires)}
    for operation, own in steps:
        inside = tuple(place[wire] for wire in own if wire in place)
        if inside:
            yield (Barrier(len(inside)) if len(inside) < len(own) else operation), inside


def _is_mark(operation: Any) -> bool:
    return bool(operation.name == "barrier" and operation.label == _MARK)


def _is_barrier(operation: Any) -> bool:
    return not isinstance(operation, End) and operation.name == "barrier"
