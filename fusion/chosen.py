"""Entanglers that say what was chosen: which qubits or registers meet, and in which layer how."""

from collections.abc import Iterable, Iterator, Sequence

from qiskit.circuit import Parameter, QuantumCircuit

from qmm.circuits.gates import check_name
from qmm.errors import InputError
from qmm.registers import RegisterLayout

from .entanglers import _COMMUTING, Entangler, Ring, _Graph, abreast, side_by_side


def given_pairs(layout: RegisterLayout, pairs: Iterable[str]) -> Iterator[tuple[int, int]]:
    """The qubits of pairs such as "vision0-audio1", in the order given: qubits by their labels, registers by their names.

    Two registers meet `abreast`, a qubit meets each qubit of a register. Where a name is that of a register and of a qubit, the
    register is meant. Raises InputError for what the layout does not have, for a pair in one register, and for one given twice.
    """
    places = {layout.label(q): (q,) for q in range(layout.n_qubits)} | {m: layout.qubits(m) for m in layout.modalities}
    met: set[frozenset[int]] = set()
    for pair in pairs:
        first, second = _ends(pair, places)
        both = first in layout.modalities and second in layout.modalities
        meetings = abreast(layout, first, second) if both else ((a, b) for a in places[first] for b in places[second])
        for a, b in meetings:
            if layout.owner(a) == layout.owner(b):
                raise InputError(f"pair {pair!r} lies in one register, {layout.owner(a)}; entanglers join different ones")
            if frozenset((a, b)) in met:
                raise InputError(f"pair {pair!r}: {layout.label(a)} and {layout.label(b)} meet already; give each pair once")
            met.add(frozenset((a, b)))
            yield a, b


def _ends(pair: str, known: Iterable[str]) -> tuple[str, str]:
    """Cut at a "-" with a known name on both sides; names may hold others."""
    names = list(known)
    cuts = [(pair[:i], pair[i + 1 :]) for i, letter in enumerate(pair) if letter == "-"]
    found = next((cut for cut in cuts if cut[0] in names and cut[1] in names), None)
    if found is None:
        if not cuts:
            raise InputError(f"pair {pair!r}; give two qubits or registers, joined by a hyphen: vision0-audio1, vision-audio")
        for name in cuts[0]:
            check_name(f"qubit or register in the pair {pair!r}", name, names)
    assert found is not None  # else one of the names above was refused
    return found


class GivenPairs(_Graph):
    """A gate along pairs of qubits or registers that are named, in their order (`given_pairs`).

    What `qmm.discrete.register_coupling` chooses among nodes named by their labels has this form. The order of the modalities
    matters not where pairs are given, since they name it.

    Args:
        pairs: "vision0-audio1" joins two qubits, "vision-audio" two registers side by side, "vision0-audio" a qubit with each
            of a register. By default every two registers.
        gate: By default RZZ, one trained angle a pair. Others: see `along`.
    """

    reference = "arXiv:1411.4028"

    def __init__(self, pairs: list[str] | None = None, gate: str = "rzz"):
        super().__init__(gate)
        self.given = None if pairs is None else tuple(pairs)

    def pairs(self, layout: RegisterLayout) -> Iterable[tuple[int, int]]:
        return side_by_side(layout) if self.given is None else given_pairs(layout, self.given)

    @property
    def order_free(self) -> bool:
        return self.given is not None or self.gate in _COMMUTING


class ByLayer(Entangler):
    """Another entangler in each layer: the first in layer 0, the second in layer 1, ...; after the last, the first again.

    Those beyond the number of layers are not used. `qmm.discrete.entangler_placement` chooses one for each layer.

    Args:
        entanglers: By layer; by default Ring, CX from each register to the next, in all.
    """

    reference = "arXiv:2010.08561"

    def __init__(self, entanglers: list[Entangler] | None = None):
        if entanglers is not None and not entanglers:
            raise InputError("entanglers=[]; give at least one, NoEntangler where registers are not to meet")
        self.entanglers: Sequence[Entangler] = entanglers or [Ring()]

    def circuit(self, layout: RegisterLayout) -> QuantumCircuit:
        """All of them one after the other, weights preceded by the place of their entangler: what meets in any layer."""
        whole = QuantumCircuit(layout.n_qubits)
        for place, entangler in enumerate(self.entanglers):
            part = entangler.circuit(layout)
            whole.compose(part.assign_parameters({p: Parameter(f"{place}.{p.name}") for p in part.parameters}), inplace=True)
        return whole

    def in_layer(self, layout: RegisterLayout, layer: int, layers: int) -> QuantumCircuit:
        return self.entanglers[layer % len(self.entanglers)].in_layer(layout, layer, layers)

    @property
    def order_free(self) -> bool:
        return all(entangler.order_free for entangler in self.entanglers)
