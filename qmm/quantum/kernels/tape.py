"""A circuit as the kernels read it: arrays of numbers, in the order in which things happen."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter

from qmm.quantum.angles import Angles, collect, free_parameters
from qmm.quantum.circuit import Circuit, Probabilities, Readouts
from qmm.quantum.kernels.euler import GENERAL, kind, split_layers
from qmm.quantum.operations import Angle, Dense, Operation, Phase, Rotation
from qmm.quantum.schedule import Layer, fold_end, image, schedule
from qmm.quantum.strings import z_strings

Ints = NDArray[np.int64]
Floats = NDArray[Any]
LOCAL, PHASE, PERMUTATION, DENSE = range(4)
_KINDS = {"local": LOCAL, "phase": PHASE, "permutation": PERMUTATION, "dense": DENSE}
_AXES = "XYZ"
_RADIX = 3  # qubits in one pass over the state: 16 vectors of amplitudes, half of AVX-512's registers
_RADIX_BACK = 2  # the same for two states
_FEW_QUBITS = 4  # a step of phases on so few has its gradient summed over the others at once


class Local(NamedTuple):
    """L layers of one-qubit gates (the first makes the product state), each with a run of rotations for every qubit."""

    runs: Ints
    """(L n, 4): first rotation, end, kind, 1 if it differs from sample to sample; layer by layer, qubit 0 first"""
    rotations: Ints
    """(., 2): axis (X, Y, Z = 0, 1, 2), slot of half the angle"""
    layers: Ints
    """(L, 4): first pass, end; first backward pass, end"""
    passes: Ints
    """(., 5): kind of gate, number of qubits, up to three (backward: two) qubits, the lowest first"""


class Phases(NamedTuple):
    """P steps of diagonal gates."""

    steps: Ints
    """(P, 7): first gate, first gate that differs from sample to sample, end; first term, end; where the step's qubits start,
    their number: those that its gates touch if they are few, else all"""
    gates: Ints
    """(., 4): lowest qubit, number of qubits, where its qubits and its entries start; the highest lowest qubit first"""
    qubits: Ints
    entries: Ints
    """0: no phase; s + 1: exp(-i angle) of slot s; -(s + 1): its conjugate"""
    terms: Ints
    """(., 2): slot and mask of Z strings on the step's qubits, whose sum with `factors` is what the slot's angle multiplies"""
    factors: Floats


class Denses(NamedTuple):
    """Fixed unitaries of several qubits."""

    steps: Ints
    """(., 3): number of qubits, where its qubits and its matrix start"""
    qubits: Ints
    matrices: Floats
    """Real and imaginary parts side by side, row by row"""


class Read(NamedTuple):
    """What is read out."""

    image: Ints
    """(2**n,), or (0,): where permutations at the end take each basis state"""
    outputs: Ints
    """(2**n,) for probabilities, or (0,)"""
    z_terms: Ints
    """(., 2): output and mask of Z strings"""
    z_factors: Floats
    x_terms: Ints
    """(., 4): output, mask of X and Y, mask of Z and Y, 1 for an odd number of Y"""
    x_factors: Floats


class Tape(NamedTuple):
    """Integers are int64 (images: int32); floats have the precision of the state. A slot is an angle of which cosine and sine
    are needed."""

    n_qubits: int
    n_shared: int
    """Slots below this one are the same for all samples."""
    n_slots: int
    n_outputs: int
    steps: Ints
    """(T, 2): LOCAL, PHASE, PERMUTATION or DENSE, and which one of its kind"""
    local: Local
    phases: Phases
    images: NDArray[np.int32]
    """(., 2**n): where each permutation takes each basis state"""
    denses: Denses
    read: Read

    def to(self, dtype: np.dtype[Any]) -> "Tape":
        return self._replace(
            phases=self.phases._replace(factors=self.phases.factors.astype(dtype)),
            denses=self.denses._replace(matrices=self.denses.matrices.astype(dtype)),
            read=self.read._replace(z_factors=self.read.z_factors.astype(dtype), x_factors=self.read.x_factors.astype(dtype)),
        )


class _Slots:
    """Angles by their place, each only once; those of `varying` parameters behind the others."""

    def __init__(self, wanted: Iterable[tuple[Angle, float]], varying: Collection[Parameter]):
        unique = dict.fromkeys(wanted)
        self.shared = [key for key in unique if not free_parameters(key[0]).intersection(varying)]
        self.sample = [key for key in unique if free_parameters(key[0]).intersection(varying)]
        self.places = {key: place for place, key in enumerate((*self.shared, *self.sample))}


def compile_tape(
    circuit: Circuit, operations: Sequence[Operation], varying: Collection[Parameter]
) -> tuple[Tape, Angles, Angles]:
    """The tape, and the angles of its slots: those that all samples share, and those that depend on `varying` parameters."""
    n = circuit.quantum_circuit.num_qubits
    layers, moved = kernel_layers(circuit, operations)
    slots = _Slots((want for layer in layers for op in layer.operations for want in _wanted(op)), varying)
    local = [layer.operations for layer in layers if layer.kind == "local"]
    phases = [layer.operations for layer in layers if layer.kind == "phase"]
    images: dict[bytes, int] = {}  # each only once: layers often repeat their ring of CX
    seen = dict.fromkeys(_KINDS, 0)
    steps = []
    for layer in layers:
        which = seen[layer.kind]
        if layer.kind == "permutation":
            which = images.setdefault(image(layer.operations, n).astype(np.int32).tobytes(), len(images))
        steps.append((_KINDS[layer.kind], which))
        seen[layer.kind] += 1
    tape = Tape(
        n_qubits=n,
        n_shared=len(slots.shared),
        n_slots=len(slots.places),
        n_outputs=circuit.n_outputs,
        steps=_table(steps[1:], 2),
        local=_local(local, n, slots),
        phases=_phases(phases, n, slots),
        images=np.frombuffer(b"".join(images), np.int32).reshape(-1, 2**n),
        denses=_denses([layer.operations[0] for layer in layers if layer.kind == "dense"]),
        read=_read(circuit.observables, moved, n),
    )
    return tape, _angles(slots.shared, circuit), _angles(slots.sample, circuit)


def kernel_layers(circuit: Circuit, operations: Sequence[Operation]) -> tuple[list[Layer], Ints | None]:
    """The layers, and where a last permutation that is left to the read-out takes each basis state."""
    n = circuit.quantum_circuit.num_qubits
    return fold_end(split_layers(schedule(operations, n), n), circuit.observables, n)


def _table(rows: Sequence[Any] | Ints, width: int | None = None) -> Ints:
    table = np.array(rows, np.int64)
    return table if width is None else table.reshape(-1, width)


def _wanted(operation: Any) -> list[tuple[Angle, float]]:
    match operation:
        case Rotation(_, _, angle):
            return [(angle, 0.5)]
        case Phase(_, exponents, angle):
            return [(angle, size) for size in sorted(set(np.abs(exponents[exponents != 0]).tolist()))]
    return []


def _angles(keys: Sequence[tuple[Angle, float]], circuit: Circuit) -> Angles:
    angles = collect([angle for angle, _ in keys], circuit.inputs, circuit.weights)
    return angles.scaled(np.array([factor for _, factor in keys]))


def _local(local: Sequence[Sequence[Rotation]], n: int, slots: _Slots) -> Local:
    runs, rotations, layers, passes = [], [], [], []  # type: ignore[var-annotated]
    for number, operations in enumerate(local):
        by_kind: dict[int, list[int]] = {}
        for qubit in range(n):
            run = [op for op in operations if op.qubits[0] == qubit]
            placed = [(_AXES.index(op.axis), slots.places[op.angle, 0.5]) for op in run]
            form = GENERAL if number == 0 else kind(run)
            varies = any(slot >= len(slots.shared) for _, slot in placed)
            runs.append((len(rotations), len(rotations) + len(run), form, varies))
            rotations += placed
            if run and number > 0:
                by_kind.setdefault(_PASS_KIND[form], []).append(qubit)
        bounds = [len(passes)]
        for radix in (_RADIX, _RADIX_BACK):
            for form, qubits in sorted(by_kind.items()):
                for group in np.array_split(qubits, -(-len(qubits) // radix)):
                    passes.append((form, len(group), *group, *[0] * (_RADIX - len(group))))
            bounds.append(len(passes))
        layers.append((*bounds[:2], *bounds[1:]))
    return Local(_table(runs, 4), _table(rotations, 2), _table(layers, 4), _table(passes, 2 + _RADIX))


_PASS_KIND = (0, 0, 1, 2)  # of REAL, REFLECTION, IMAGINARY, GENERAL runs: real, imaginary and general butterflies


def _phases(phases: Sequence[Sequence[Phase]], n: int, slots: _Slots) -> Phases:
    steps, gates, qubits, entries = [], [], [], []  # type: ignore[var-annotated]
    terms, factors = [], []  # type: ignore[var-annotated]
    for operations in phases:
        groups = [], []  # type: ignore[var-annotated]
        involved = sorted({q for op in operations for q in op.qubits})
        if len(involved) > _FEW_QUBITS:
            involved = list(range(n))
        first_term, first_qubit = len(terms), len(qubits)
        qubits += involved
        for op in operations:
            own = [_entry(op, e, slots) for e in op.exponents]
            groups[any(abs(entry) > len(slots.shared) for entry in own)].append((op, own))
            places = [involved.index(q) for q in op.qubits]
            for term, factor in _slot_strings(places, own):
                terms.append(term)
                factors.append(factor)
        bounds = [len(gates)]
        for group in groups:
            for op, own in sorted(group, key=lambda pair: -min(pair[0].qubits)):
                gates.append((min(op.qubits), len(op.qubits), len(qubits), len(entries)))
                qubits += op.qubits
                entries += own
            bounds.append(len(gates))
        steps.append((*bounds, first_term, len(terms), first_qubit, len(involved)))
    return Phases(
        _table(steps, 7), _table(gates, 4), _table(qubits), _table(entries), _table(terms, 2), np.array(factors, float)
    )


def _slot_strings(places: Sequence[int], entries: Sequence[int]) -> Iterable[tuple[tuple[int, int], float]]:
    """((slot, mask), factor): what each slot's angle multiplies, as a sum of Z strings."""
    for slot in sorted({abs(entry) - 1 for entry in entries if entry}):
        diagonal = [np.sign(entry) * (abs(entry) == slot + 1) for entry in entries]
        for mask, factor in z_strings(places, diagonal):
            yield (slot, mask), factor


def _entry(phase: Phase, exponent: float, slots: _Slots) -> int:
    if exponent == 0:
        return 0
    place = slots.places[phase.angle, abs(exponent)] + 1
    return place if exponent > 0 else -place


def _denses(denses: Sequence[Dense]) -> Denses:
    rows, qubits, matrices = [], [], []  # type: ignore[var-annotated]
    start = 0
    for dense in denses:
        rows.append((len(dense.qubits), len(qubits), start))
        qubits += dense.qubits
        matrices.append(dense.matrix.reshape(-1))
        start += dense.matrix.size
    flat = np.concatenate(matrices) if matrices else np.zeros(0, complex)
    return Denses(_table(rows, 3), _table(qubits), flat.view(np.float64))


def _read(observables: Readouts, moved: Ints | None, n: int) -> Read:
    z_terms, x_terms, z_factors, x_factors = [], [], [], []
    outputs: Ints = _table([])
    if isinstance(observables, Probabilities):
        outputs, observables = observables.table(n), ()
    weights = 1 << np.arange(n)
    for output, observable in enumerate(observables):
        terms = observable.simplify(atol=0)
        for x, z, coefficient in zip(terms.paulis.x, terms.paulis.z, terms.coeffs.real, strict=True):
            if not x.any():
                z_terms.append((output, z @ weights))
                z_factors.append(coefficient)
            else:
                ys = int((x & z).sum())
                sign = (-1) ** ((ys + 1) // 2)  # of i**ys, and -1 for odd ones: the kernels take Im, or multiply by -i
                x_terms.append((output, x @ weights, z @ weights, ys % 2))
                x_factors.append(coefficient * sign)
    return Read(
        image=_table([] if moved is None else moved),
        outputs=outputs,
        z_terms=_table(z_terms, 2),
        z_factors=np.array(z_factors, float),
        x_terms=_table(x_terms, 4),
        x_factors=np.array(x_factors, float),
    )
