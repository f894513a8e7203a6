"""Coupling maps: registers on lines of connected device qubits, and gates between neighbours alone.

Inside a register, a gate between qubits that are no neighbours is left out, if the register holds together without it; in
feature maps, and in ansätze that read only some of their qubits (there every gate leads somewhere), it is routed by SWAPs there
and back. Across registers, it moves to the nearest free edge between its two registers, and is left out where there is none. So
each gate keeps its registers, and with a missing modality the same gates are deleted as ever.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from qiskit.circuit import QuantumCircuit
from qiskit.transpiler import CouplingMap

from qmm.circuits import device
from qmm.errors import InputError
from qmm.registers import RegisterLayout

_TRIED = 20_000  # lines looked at before the best placement so far is taken: a second's work
_EITHER_WAY = {"rxx", "ryy", "rzz", "cz", "cp", "swap", "iswap"}


class Placement(NamedTuple):
    """Where a layout's qubits lie on a device."""

    qubits: tuple[int, ...]
    """The physical qubit of each of the layout's: `initial_layout` of Qiskit's `transpile`."""
    linked: frozenset[frozenset[int]]
    """Every two of the layout's qubits that are neighbours on the device."""


def coupling_edges(coupling_map: str | Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """The edges of a device of qiskit-ibm-runtime's snapshots ("fake_torino"), or those given, checked.

    Raises InputError for an unknown name, and for what is no edge.
    """
    if isinstance(coupling_map, str):
        return [(a, b) for a, b in device(coupling_map).coupling_map.get_edges()]
    for edge in coupling_map:
        if len(edge) != 2 or edge[0] == edge[1] or min(edge) < 0:
            raise InputError(f"edge {list(edge)} of the coupling map; an edge is two different qubits, such as [0, 1]")
    return [(a, b) for a, b in coupling_map]


def met(circuit: QuantumCircuit, layout: RegisterLayout) -> set[frozenset[str]]:
    """Every two registers that a gate of the circuit joins.

    Raises InputError for a gate across registers that acts on more than two qubits.
    """
    found = set()
    for item in circuit.data:
        owners = frozenset(layout.owner(circuit.find_bit(q).index) for q in item.qubits)
        if len(owners) > 1 and len(item.qubits) > 2:
            name = item.operation.name
            raise InputError(f"{name!r} acts on {len(item.qubits)} qubits across registers; a device couples two")
        found.add(owners)
    return {owners for owners in found if len(owners) == 2}


def place(layout: RegisterLayout, edges: Iterable[tuple[int, int]], wanted: Collection[frozenset[str]]) -> Placement:
    """Each register on a line of neighbours, qubit i next to i + 1, as many of the `wanted` pairs side by side as found.

    Registers that are to meet, be it through others, stay connected by such pairs.

    Raises InputError where the map is too small, has no line as long as a register, or cannot bring registers together.
    """
    near: dict[int, set[int]] = {}
    for a, b in edges:
        near.setdefault(a, set()).add(b)
        near.setdefault(b, set()).add(a)
    sizes = ", ".join(f"{m} {n}" for m, n in layout.sizes.items())
    if layout.n_qubits > len(near):
        raise InputError(
            f"the coupling map has {len(near)} connected qubits, the registers take {layout.n_qubits} ({sizes}); "
            "take a larger device, or smaller registers"
        )
    for modality, size in layout.sizes.items():
        if next(_lines(near, size, near), None) is None:
            raise InputError(
                f"register {modality!r} falls apart: the coupling map has no line of {size} connected qubits; "
                "take another device, or a smaller register"
            )
    lines = _Search(layout, near, wanted).best()
    qubits = [qubit for modality in layout.modalities for qubit in lines[modality]]
    where = {qubit: i for i, qubit in enumerate(qubits)}
    linked = {frozenset((where[a], where[b])) for a in qubits for b in near[a] if b in where}
    return Placement(tuple(qubits), frozenset(linked))


class _Search:
    """Register after register, each on free qubits next to one that it is to meet; back where it leads nowhere."""

    def __init__(self, layout: RegisterLayout, near: dict[int, set[int]], wanted: Collection[frozenset[str]]):
        self.layout, self.near, self.wanted = layout, near, wanted
        self.order = self._order()
        self.tries = 0
        self.found: tuple[int, dict[str, tuple[int, ...]]] | None = None
        self.furthest: dict[str, tuple[int, ...]] = {}

    def best(self) -> dict[str, tuple[int, ...]]:
        """Raises InputError naming the registers that cannot meet."""
        self._extend({})
        if self.found is not None:
            return self.found[1]
        stuck = self.order[len(self.furthest)]
        partners = [m for m in self.furthest if frozenset((m, stuck)) in self.wanted]
        size = self.layout.sizes[stuck]
        if partners:
            raise InputError(
                f"registers cannot meet: beside {' or '.join(partners)} the coupling map has no line of {size} free qubits "
                f"for {stuck!r}; take another device, smaller registers, or another entangler"
            )
        raise InputError(
            f"register {stuck!r} falls apart: beside the others the coupling map has no line of {size} free qubits; "
            "take another device, or smaller registers"
        )

    def _order(self) -> list[str]:
        """Each, where possible, after one that it is to meet."""
        left = list(self.layout.modalities)
        order: list[str] = []
        while left:
            linked = (m for m in left if any(frozenset((m, o)) in self.wanted for o in order))
            order.append(next(linked, left[0]))
            left.remove(order[-1])
        return order

    def _extend(self, placed: dict[str, tuple[int, ...]]) -> bool:
        """Whether to stop: all wanted pairs are side by side, or enough was tried."""
        if len(placed) > len(self.furthest):
            self.furthest = dict(placed)
        if len(placed) == len(self.order):
            joined = sum(self._touch(placed, *pair) for pair in self.wanted)
            if self.found is None or joined > self.found[0]:
                self.found = (joined, dict(placed))
            return joined == len(self.wanted)
        modality = self.order[len(placed)]
        for line in self._candidates(modality, placed):
            self.tries += 1
            if self._extend({**placed, modality: line}) or self.tries > _TRIED:
                return True
        return False

    def _touch(self, placed: dict[str, tuple[int, ...]], first: str, second: str) -> bool:
        return any(self.near[q].intersection(placed[second]) for q in placed[first])

    def _candidates(self, modality: str, placed: dict[str, tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
        """Lines of free qubits; those that start beside the partner placed last come first, others touch one somewhere."""
        free = set(self.near).difference(*placed.values())
        size = self.layout.sizes[modality]
        partners = [placed[m] for m in placed if frozenset((m, modality)) in self.wanted]
        if not partners:
            yield from _lines(self.near, size, sorted(free), free)
            return
        beside = {q for line in partners for p in line for q in self.near[p]} & free
        ends = [q for line in reversed(partners) for p in (line[-1], line[0]) for q in sorted(self.near[p] & free)]
        first = list(dict.fromkeys([*ends, *sorted(beside)]))
        yield from _lines(self.near, size, first, free)
        for line in _lines(self.near, size, sorted(free), free):
            if line[0] not in beside and beside.intersection(line):
                yield line


def _lines(
    near: dict[int, set[int]], length: int, starts: Iterable[int], free: Collection[int] | None = None
) -> Iterator[tuple[int, ...]]:
    """Simple paths of so many qubits from the starts, through free qubits (default: all)."""
    free = near if free is None else free
    stack: list[tuple[int, ...]] = [(start,) for start in reversed(list(starts))]
    while stack:
        line = stack.pop()
        if len(line) == length:
            yield line
        else:
            stack.extend((*line, q) for q in sorted(near[line[-1]], reverse=True) if q in free and q not in line)


def inside(circuit: QuantumCircuit, qubits: Sequence[int], placement: Placement, whole: bool) -> QuantumCircuit:
    """A register's circuit with gates between neighbours alone; `qubits` are its places in the layout.

    With `whole`, and where the register would fall apart otherwise, each gate stays: between qubits that are no neighbours it
    stands between SWAPs there and back. Else such gates are left out.
    """
    circuit = _of_two_at_most(circuit)
    local = {q: i for i, q in enumerate(qubits)}
    linked = sorted(sorted(local[q] for q in pair) for pair in placement.linked if pair <= set(qubits))
    graph = CouplingMap(linked)
    kept, routed = circuit.copy_empty_like(), circuit.copy_empty_like()
    for item in circuit.data:
        places = [circuit.find_bit(q).index for q in item.qubits]
        if len(places) < 2 or item.operation.name == "barrier" or sorted(places) in linked:
            kept.append(item)
            routed.append(item)
        else:
            path = graph.shortest_undirected_path(*places)
            swaps = list(pairwise(path[:-1]))
            for pair in swaps:
                routed.swap(*pair)
            routed.append(item.operation, path[-2:])
            for pair in reversed(swaps):
                routed.swap(*pair)
    return routed if whole or _parts(kept) > _parts(circuit) else kept


def _of_two_at_most(circuit: QuantumCircuit) -> QuantumCircuit:
    while wide := [i.operation for i in circuit.data if len(i.qubits) > 2 and i.operation.name != "barrier"]:
        if any(operation.definition is None for operation in wide):
            name = next(operation.name for operation in wide if operation.definition is None)
            raise InputError(f"{name!r} acts on more than two qubits and has no definition; a device cannot run it")
        circuit = circuit.decompose([operation.name for operation in wide])
    return circuit


def _parts(circuit: QuantumCircuit) -> int:
    return int(circuit.num_connected_components())


def across(circuit: QuantumCircuit, layout: RegisterLayout, placement: Placement) -> QuantumCircuit:
    """An entangler's circuit with gates between neighbours alone.

    Gates that are on the map stay. Another moves to the nearest edge between its two registers on which the same gate does not
    stand yet (in this direction, where that matters), its weight keeping its name; where there is none, it is left out.
    """
    items = [(i.operation, tuple(circuit.find_bit(q).index for q in i.qubits)) for i in circuit.data]
    taken = {_key(op.name, pair) for op, pair in items if frozenset(pair) in placement.linked}
    edges = [pair for a, b in map(sorted, placement.linked) for pair in ((a, b), (b, a))]
    fitted: QuantumCircuit = circuit.copy_empty_like()
    for operation, pair in items:
        if frozenset(pair) in placement.linked:
            fitted.append(operation, pair)
            continue
        owners = [layout.owner(q) for q in pair]
        free = [
            edge
            for edge in sorted(edges)
            if [layout.owner(q) for q in edge] == owners and _key(operation.name, edge) not in taken
        ]
        if free:
            nearest = min(free, key=lambda edge: abs(edge[0] - pair[0]) + abs(edge[1] - pair[1]))
            taken.add(_key(operation.name, nearest))
            fitted.append(operation, nearest)
    return fitted


def _key(name: str, pair: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    return name, tuple(sorted(pair)) if name in _EITHER_WAY else pair
