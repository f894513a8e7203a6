"""How registers meet: a graph of qubit pairs, and a gate along it. Every instruction here touches two registers, so it goes
when one of them is missing."""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence

from qiskit.circuit import QuantumCircuit

from qmm.circuits import cross_pairs
from qmm.circuits.gates import apply, check_name, check_two_qubit_gate
from qmm.config import Configurable
from qmm.errors import InputError
from qmm.registers import RegisterLayout

_COMMUTING = {"rxx", "ryy", "rzz", "cz", "cp"}
"""The same both ways round, and with itself on any other pair in either order."""
_FAN_OUT = {*_COMMUTING, "cx", "cy", "rzx", "crx", "cry", "crz"}
"""With itself in either order where no qubit is the first of one and the second of another."""


class Entangler(Configurable, ABC):
    """How registers meet in each layer."""

    reference: str = ""

    @abstractmethod
    def circuit(self, layout: RegisterLayout) -> QuantumCircuit:
        """On the layout's qubits, instructions across registers alone; what is trained is named, unique within the layer."""

    def in_layer(self, layout: RegisterLayout, layer: int, layers: int) -> QuantumCircuit:
        """What stands in one of `layers`, counted from 0: in each the same, unless a member says otherwise."""
        return self.circuit(layout)

    @property
    def order_free(self) -> bool:
        """Whether the order of the modalities matters not: in another order, the same unitary with its qubits permuted."""
        return False


def register_ring(layout: RegisterLayout) -> Iterator[tuple[int, int]]:
    """From the last qubit of each register to the first of the next, round all registers; no two qubits meet twice.

    Two registers meet at both ends (a's last with b's first, b's last with a's first), one register meets nobody.
    """
    registers = [layout.qubits(modality) for modality in layout.modalities]
    met: set[frozenset[int]] = set()
    for place, register in enumerate(registers):
        following = registers[(place + 1) % len(registers)]
        pair = (register[-1], following[0])
        if following is not register and frozenset(pair) not in met:
            met.add(frozenset(pair))
            yield pair


def abreast(layout: RegisterLayout, first: str, second: str) -> Iterator[tuple[int, int]]:
    """Qubit i of the one register with qubit i of the other; the shorter one starts again at its end."""
    a, b = layout.qubits(first), layout.qubits(second)
    yield from ((a[i % len(a)], b[i % len(b)]) for i in range(max(len(a), len(b))))


def side_by_side(layout: RegisterLayout) -> Iterator[tuple[int, int]]:
    """Of every two registers, qubit i of the one with qubit i of the other; the shorter one starts again at its end."""
    for first, second in layout.pairs():
        yield from abreast(layout, first, second)


def register_star(layout: RegisterLayout, hub: str | None = None) -> Iterator[tuple[int, int]]:
    """From the hub to every other register, `abreast`; without a name, the hub is the largest register, of equals the first.

    Raises InputError where no modality has the hub's name.
    """
    if hub is None:
        hub = max(layout.modalities, key=lambda m: layout.sizes[m])  # the first of equals
    check_name("modality to be the hub", hub, layout.modalities)
    for modality in layout.modalities:
        if modality != hub:
            yield from abreast(layout, hub, modality)


def sparse_pairs(layout: RegisterLayout, density: float = 0.3, seed: int = 0) -> list[tuple[int, int]]:
    """A random share of all pairs across registers, with at least as many as make the registers one connected graph.

    A random spanning tree of the registers, then further pairs until `density` of them all are reached (rounded); in the order
    of `cross_pairs`. The same seed and layout give the same pairs.
    """
    pairs = list(cross_pairs(layout))
    drawn = random.Random(seed).sample(pairs, len(pairs))
    joined = {modality: {modality} for modality in layout.modalities}
    tree = []
    for pair in drawn:
        a, b = (joined[layout.owner(qubit)] for qubit in pair)
        if a is not b:
            tree.append(pair)
            a |= b
            joined.update(dict.fromkeys(a, a))
    more = max(0, round(density * len(pairs)) - len(tree))
    chosen = {*tree, *[pair for pair in drawn if pair not in tree][:more]}
    return [pair for pair in pairs if pair in chosen]


def along(layout: RegisterLayout, pairs: Iterable[tuple[int, int]], gate: str) -> QuantumCircuit:
    """The gate (Qiskit's name) from the first to the second qubit of each pair.

    One with an angle is trained, a weight for each pair, named by both qubits and the gate: `vision0-audio1.zz` for RZZ,
    `vision0-audio1.crx` for CRX.
    """
    circuit = QuantumCircuit(layout.n_qubits)
    suffix = gate[1:] if gate in ("rxx", "ryy", "rzz", "rzx") else gate
    for a, b in pairs:
        apply(circuit, gate, [a, b], f"{layout.label(a)}-{layout.label(b)}.{suffix}")
    return circuit


def cx_ring(layout: RegisterLayout) -> QuantumCircuit:
    """CX along `register_ring`: nothing to train, full strength from the first step."""
    return along(layout, register_ring(layout), "cx")


def rzz_couplings(layout: RegisterLayout) -> QuantumCircuit:
    """RZZ along `side_by_side`, one trained angle each: how strongly registers meet is learnt; at 0 they do not."""
    return along(layout, side_by_side(layout), "rzz")


def cross_attention(layout: RegisterLayout, gate: str = "crx") -> QuantumCircuit:
    """Register after register queries each of the others: its qubits are turned, controlled by the other's, `abreast`.

    For every ordered pair (query, key) a controlled rotation of a trained angle from key to query, `audio0-vision0.crx`. It is
    attention by analogy, how much a register takes from another is learnt; nothing is normalised.
    """
    queries = ((query, key) for query in layout.modalities for key in layout.modalities if key != query)
    return along(layout, (pair for query, key in queries for pair in abreast(layout, key, query)), gate)


class _Graph(Entangler):
    """A graph of qubit pairs across registers, and a gate along it.

    Args:
        gate: By Qiskit's name: cx, cz, rzz, rxx, crx, ...; one with an angle is trained, one angle a pair (see `along`).
    """

    _order_free: frozenset[str] | set[str] = frozenset()
    """The gates for which the order of the modalities matters not."""

    def __init__(self, gate: str):
        self.gate = check_two_qubit_gate(gate)

    @abstractmethod
    def pairs(self, layout: RegisterLayout) -> Iterable[tuple[int, int]]:
        """Two qubits of different registers each."""

    def circuit(self, layout: RegisterLayout) -> QuantumCircuit:
        return along(layout, self.pairs(layout), self.gate)

    @property
    def order_free(self) -> bool:
        return self.gate in self._order_free


class Ring(_Graph):
    """A gate along `register_ring`. Who is next to whom depends on the order of the modalities.

    Args:
        gate: By default CX, nothing to train. Others: see `along`.
    """

    reference = "arXiv:1804.00633"

    def __init__(self, gate: str = "cx"):
        super().__init__(gate)

    def pairs(self, layout: RegisterLayout) -> Iterable[tuple[int, int]]:
        return register_ring(layout)


class Star(_Graph):
    """A gate along `register_star`, from the hub outwards.

    The order of the modalities matters not where the hub is named and the gates commute (all but ECR and iSWAP do, since
    they leave from the hub and end in the others).

    Args:
        hub: The modality in the middle; by default the largest register, of equals the first.
        gate: By default RZZ, one trained angle a pair. Others: see `along`.
    """

    reference = "arXiv:quant-ph/0602096"

    def __init__(self, hub: str | None = None, gate: str = "rzz"):
        super().__init__(gate)
        self.hub = hub

    def pairs(self, layout: RegisterLayout) -> Iterable[tuple[int, int]]:
        return register_star(layout, self.hub)

    @property
    def order_free(self) -> bool:
        return self.hub is not None and self.gate in _FAN_OUT


class AllToAll(_Graph):
    """A gate between every qubit of each register and every qubit of each other one.

    The order of the modalities matters not with gates that are the same both ways and commute: RXX, RYY, RZZ, CZ, CP.

    Args:
        gate: By default RZZ, one trained angle a pair. Others: see `along`.
    """

    reference = "arXiv:1905.10876"
    _order_free = _COMMUTING

    def __init__(self, gate: str = "rzz"):
        super().__init__(gate)

    def pairs(self, layout: RegisterLayout) -> Iterable[tuple[int, int]]:
        return cross_pairs(layout)


class Pairs(_Graph):
    """A gate along `side_by_side`.

    The order of the modalities matters not with gates that are the same both ways and commute: RXX, RYY, RZZ, CZ, CP.

    Args:
        gate: By default RZZ, one trained angle a pair. Others: see `along`.
    """

    reference = "arXiv:1411.4028"
    _order_free = _COMMUTING

    def __init__(self, gate: str = "rzz"):
        super().__init__(gate)

    def pairs(self, layout: RegisterLayout) -> Iterable[tuple[int, int]]:
        return side_by_side(layout)


class SparseGraph(_Graph):
    """A gate along `sparse_pairs`: random, but the same for the same seed. Depends on the order of the modalities.

    Args:
        density: The share of all pairs across registers, in [0, 1]; as many as connect the registers there are always.
        seed: Which graph.
        gate: By default RZZ, one trained angle a pair. Others: see `along`.
    """

    reference = "arXiv:1411.4028"

    def __init__(self, density: float = 0.3, seed: int = 0, gate: str = "rzz"):
        super().__init__(gate)
        if not 0 <= density <= 1:
            raise InputError(f"density={density}; it is the share of all pairs across registers, from 0 to 1")
        self.density, self.seed = density, seed

    def pairs(self, layout: RegisterLayout) -> Iterable[tuple[int, int]]:
        return sparse_pairs(layout, self.density, self.seed)


class CrossAttention(Entangler):
    """`cross_attention`. Registers query in the order of the modalities, and what they find depends on it.

    Args:
        gate: The controlled rotation: "crx" or "cry".
    """

    reference = "arXiv:1905.10876"

    def __init__(self, gate: str = "crx"):
        self.gate = check_name("controlled rotation", gate, ("crx", "cry"))

    def circuit(self, layout: RegisterLayout) -> QuantumCircuit:
        return cross_attention(layout, self.gate)


class NoEntangler(Entangler):
    """Registers never meet: the ablation that tells what meeting is worth. The order of the modalities matters not."""

    reference = "arXiv:2403.07059"

    def circuit(self, layout: RegisterLayout) -> QuantumCircuit:
        return QuantumCircuit(layout.n_qubits)

    @property
    def order_free(self) -> bool:
        return True


class FewMeetings(Entangler):
    """Registers meet in few layers and at few places: for a circuit that is to be cut between them.

    Each gate that is cut multiplies the shots by up to 9, three of them by 729 (`qmm.quantum.scaling.CutBackend`). First come
    gates that join registers not joined before, then those between the registers that have met the least.

    Args:
        entangler: Whose gates; by default Ring, CX from each register to the next.
        layers: Those in which registers meet, counted from 0; by default the first.
        most: Gates across registers in each of these layers, at most.
    """

    reference = "arXiv:1909.07534"

    def __init__(self, entangler: Entangler | None = None, layers: list[int] | None = None, most: int = 3):
        self.entangler, self.layers, self.most = entangler or Ring(), [0] if layers is None else layers, most
        if most < 1:
            raise InputError(f"most={most}; registers meet at one place at least, or take NoEntangler")
        if not self.layers or min(self.layers) < 0:
            raise InputError(f"layers={self.layers}; give at least one, counted from 0")

    def circuit(self, layout: RegisterLayout) -> QuantumCircuit:
        whole = self.entangler.circuit(layout)
        owners = [frozenset(layout.owner(whole.find_bit(q).index) for q in item.qubits) for item in whole.data]
        few: QuantumCircuit = whole.copy_empty_like()
        for place in sorted(_most_joining(owners)[: self.most]):
            few.append(whole.data[place])
        return few

    def in_layer(self, layout: RegisterLayout, layer: int, layers: int) -> QuantumCircuit:
        """Raises InputError where registers are to meet in a layer that there is not."""
        if max(self.layers) >= layers:
            raise InputError(f"registers are to meet in layer {max(self.layers)}; there are {layers}, counted from 0")
        return self.circuit(layout) if layer in self.layers else QuantumCircuit(layout.n_qubits)


def _most_joining(meetings: Sequence[frozenset[str]]) -> list[int]:
    """The places of meetings of registers: those of a spanning tree first, then by how often the same registers have met."""
    joined: dict[str, str] = {}

    def root(modality: str) -> str:
        while modality in joined:
            modality = joined[modality]
        return modality

    ranks = []
    for place, owners in enumerate(meetings):
        roots = sorted({root(modality) for modality in owners})
        joined.update(dict.fromkeys(roots[1:], roots[0]))
        ranks.append((len(roots) == 1, meetings[:place].count(owners), place))
    return [place for _, _, place in sorted(ranks)]
