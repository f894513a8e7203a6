"""Layers that turn every qubit, entangle it with others, and read all of them."""

from collections import Counter
from collections.abc import Iterator, Sequence

from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import efficient_su2, n_local

from qmm.circuits.contracts import Ansatz
from qmm.circuits.gates import ROTATIONS, apply, check_name, check_two_qubit_gate, is_diagonal, without_unfelt
from qmm.errors import InputError

PATTERNS = ("ring", "linear", "reverse_linear", "circular", "full", "pairwise", "sca")
"""Which qubits of a register meet: Qiskit's names, and "ring", from each qubit to the next, round the register."""


def check_rotations(rotations: Sequence[str]) -> tuple[str, ...]:
    """Raises InputError for unknown ones, and where RX and RY are both missing: RZ alone never changes what Z measures."""
    for name in rotations:
        check_name("rotation", name, ROTATIONS)
    if not {"rx", "ry"}.intersection(rotations):
        raise InputError(f"rotations {list(rotations)}; name 'rx' or 'ry' among them, RZ alone changes nothing read out in Z")
    return tuple(rotations)


def rotate(circuit: QuantumCircuit, rotations: Sequence[str], qubit: int, prefix: str = "") -> None:
    """The rotations on one qubit, their weights named `<prefix>ry0`, and `<prefix>ry0.1` where RY comes a second time."""
    for place, name in enumerate(rotations):
        before = list(rotations[:place]).count(name)
        apply(circuit, name, [qubit], f"{prefix}{name}{qubit}" + (f".{before}" if before else ""))


def entangling(n_qubits: int, gate: str, pattern: str) -> QuantumCircuit:
    """The gate on every two qubits that meet by the pattern; nothing on a single qubit. Weights are named `rxx0-1`."""
    circuit = QuantumCircuit(n_qubits)
    for a, b in _pairs(n_qubits, pattern):
        apply(circuit, gate, [a, b], f"{gate}{a}-{b}")
    return circuit


def _pairs(n_qubits: int, pattern: str) -> Iterator[tuple[int, int]]:
    if n_qubits == 1:
        return
    if pattern == "ring":
        yield from ((q, (q + 1) % n_qubits) for q in range(n_qubits if n_qubits > 2 else 1))
        return
    drawn = n_local(n_qubits, [], "cx", pattern, reps=1, skip_final_rotation_layer=True)
    for item in drawn.data:
        a, b = (drawn.find_bit(q).index for q in item.qubits)
        yield a, b


def hardware_efficient(
    n_qubits: int, rotations: Sequence[str] = ("rz", "ry"), gate: str = "cx", entanglement: str = "ring"
) -> QuantumCircuit:
    """`rotations` on each qubit, then the gate on every two qubits that meet; nothing that Z would not feel.

    A diagonal gate (CZ, RZZ) comes before the rotations instead, for behind them Z would not feel it. What is left out:
    rotations about Z that nothing but diagonal gates and controls follow, so name RZ before RY.
    """
    turned, met = QuantumCircuit(n_qubits), entangling(n_qubits, gate, entanglement)
    for qubit in range(n_qubits):
        rotate(turned, rotations, qubit)
    layer = met.compose(turned) if is_diagonal(gate) else turned.compose(met)
    return without_unfelt(layer, range(n_qubits))


def rotations_and_ring(n_qubits: int) -> QuantumCircuit:
    """RZ and RY on each qubit, then CX from each qubit to the next, round the register.

    Two qubits have one CX, a single qubit has none. The layer of circuit-centric classifiers (arXiv:1804.00633), with two of
    the three Euler angles, since the layer before has turned about Z last. RZ comes first, for behind the last RY it would
    change nothing that is read out in Z.
    """
    return hardware_efficient(n_qubits)


def block(circuit: QuantumCircuit, a: int, b: int, rotations: Sequence[str], gate: str, prefix: str) -> None:
    """Both qubits turned, then the gate from `a` to `b`; a diagonal gate comes first, as in `hardware_efficient`."""
    if is_diagonal(gate):
        apply(circuit, gate, [a, b], f"{prefix}{gate}{a}-{b}")
    for qubit in (a, b):
        rotate(circuit, rotations, qubit, prefix)
    if not is_diagonal(gate):
        apply(circuit, gate, [a, b], f"{prefix}{gate}{a}-{b}")


def bricks(qubits: Sequence[int]) -> list[list[tuple[int, int]]]:
    """Neighbours in two rows, the second shifted by one: [[(0, 1), (2, 3)], [(1, 2)]] of four."""
    rows = [[(a, b) for a, b in zip(qubits[start::2], qubits[start + 1 :: 2], strict=False)] for start in (0, 1)]
    return [row for row in rows if row]


def brickwork(n_qubits: int, rotations: Sequence[str] = ("rz", "ry"), gate: str = "cx") -> QuantumCircuit:
    """A `block` on each pair (0, 1), (2, 3), ..., then on (1, 2), (3, 4), ...: depth does not grow with the register.

    A single qubit is turned alone.
    """
    circuit = QuantumCircuit(n_qubits)
    for row, pairs in enumerate(bricks(range(n_qubits))):
        for a, b in pairs:
            block(circuit, a, b, rotations, gate, f"{row}.")
    if n_qubits == 1:
        rotate(circuit, rotations, 0)
    return without_unfelt(circuit, range(n_qubits))


def efficient_su2_layer(
    n_qubits: int, su2_gates: Sequence[str] = ("ry", "rz"), entanglement: str = "reverse_linear"
) -> QuantumCircuit:
    """Qiskit's `efficient_su2` of one repetition: rotations, CX by the pattern, rotations, the last RZ left out.

    Its weights are renamed by gate, qubit and turn: `ry0.0` before the CX, `ry0.1` behind it.
    """
    drawn = efficient_su2(n_qubits, list(su2_gates), entanglement, reps=1)
    seen: Counter[str] = Counter()
    names = {}
    for item in drawn.data:
        if item.operation.params:
            place = f"{item.operation.name}{drawn.find_bit(item.qubits[0]).index}"
            names[item.operation.params[0]] = Parameter(f"{place}.{seen[place]}")
            seen[place] += 1
    return without_unfelt(drawn.assign_parameters(names), range(n_qubits))


class HardwareEfficient(Ansatz):
    """`hardware_efficient`: by default `rotations_and_ring`.

    Args:
        rotations: Of every qubit, in this order: "rx", "ry", "rz".
        gate: The two-qubit gate, by Qiskit's name; one with an angle is trained.
        entanglement: Who meets whom, one of `PATTERNS`.
    """

    reference = "arXiv:1804.00633"

    def __init__(self, rotations: Sequence[str] = ("rz", "ry"), gate: str = "cx", entanglement: str = "ring"):
        self.rotations, self.gate = check_rotations(rotations), check_two_qubit_gate(gate)
        self.entanglement = check_name("entanglement", entanglement, PATTERNS)

    def circuit(self, n_qubits: int) -> QuantumCircuit:
        return hardware_efficient(n_qubits, self.rotations, self.gate, self.entanglement)


class Brickwork(Ansatz):
    """`brickwork`, the alternating layered ansatz.

    Args:
        rotations: Of both qubits of a brick, in this order: "rx", "ry", "rz".
        gate: The two-qubit gate of a brick, by Qiskit's name.
    """

    reference = "arXiv:2001.00550"

    def __init__(self, rotations: Sequence[str] = ("rz", "ry"), gate: str = "cx"):
        self.rotations, self.gate = check_rotations(rotations), check_two_qubit_gate(gate)

    def circuit(self, n_qubits: int) -> QuantumCircuit:
        return brickwork(n_qubits, self.rotations, self.gate)


class EfficientSU2(Ansatz):
    """`efficient_su2_layer`.

    Args:
        su2_gates: Rotations of every qubit, in this order, before the CX and behind it.
        entanglement: Who meets whom, one of Qiskit's patterns.
    """

    reference = "arXiv:1704.05018"

    def __init__(self, su2_gates: Sequence[str] = ("ry", "rz"), entanglement: str = "reverse_linear"):
        self.su2_gates = check_rotations(su2_gates)
        self.entanglement = check_name("entanglement", entanglement, PATTERNS[1:])

    def circuit(self, n_qubits: int) -> QuantumCircuit:
        return efficient_su2_layer(n_qubits, self.su2_gates, self.entanglement)
