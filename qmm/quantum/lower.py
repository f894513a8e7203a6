"""First step: any Qiskit circuit of unitary gates -> a list of rotations, phases, permutations and fixed unitaries."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import (
    AnnotatedOperation,
    ControlledGate,
    Gate,
    Instruction,
    ParameterExpression,
    QuantumCircuit,
)
from qiskit.circuit.library import PauliEvolutionGate, UnitaryGate
from qiskit.quantum_info import Operator, SparsePauliOp
from qiskit.transpiler.passes import HighLevelSynthesis

from qmm.quantum.errors import CircuitError
from qmm.quantum.operations import FROM_Z, Angle, Dense, Local, Operation, Permutation, Phase, Rotation

# exp(-i angle G) with G diagonal after turning each qubit's axis to Z: axes (first qubit first), then the diagonal of G.
_PARITY = np.array([0.5, -0.5, -0.5, 0.5])
_GENERATED = {
    "rx": ("X", _PARITY[:2]),
    "ry": ("Y", _PARITY[:2]),
    "rz": ("Z", _PARITY[:2]),
    "p": ("Z", np.array([0.0, -1.0])),
    "u1": ("Z", np.array([0.0, -1.0])),
    "rxx": ("XX", _PARITY),
    "ryy": ("YY", _PARITY),
    "rzz": ("ZZ", _PARITY),
    "rzx": ("ZX", _PARITY),
}
_IGNORED = {"barrier", "delay", "id"}
_MATRIX_QUBITS = 3  # standard gates up to here are taken by their matrix, larger ones by their definition
_MONOMIAL_QUBITS = 4  # up to here they are looked at for a permutation with phases, which RC3X is
_ZERO = 1e-12


def lower(circuit: QuantumCircuit) -> list[Any]:
    """The circuit's operations in order, exact up to a global phase.

    Raises CircuitError, with the instruction's name and place, for measurements, resets of qubits in use, control flow and
    whatever else is not unitary.
    """
    operations: list[Operation] = []
    used: set[int] = set()
    for place, item in enumerate(circuit.data):
        qubits = tuple(circuit.find_bit(q).index for q in item.qubits)
        try:
            operations += _instruction(item.operation, qubits, used)
        except CircuitError as error:
            raise CircuitError(f"instruction {place} ({item.operation.name!r} on qubits {list(qubits)}): {error}") from error
        if item.operation.name != "barrier":
            used.update(qubits)
    return operations


def _instruction(gate: Any, qubits: tuple[int, ...], used: set[int]) -> Iterator[Operation]:
    name = gate.name
    if name in _IGNORED or (name == "reset" and not used.intersection(qubits)):
        return
    if isinstance(gate, AnnotatedOperation):
        yield from _definition(synthesised(gate), qubits, used)
    elif isinstance(gate, PauliEvolutionGate):
        yield from _evolution(gate, qubits)
    elif isinstance(gate, Gate) and (generated := _generated(gate)):
        yield from _turned(*generated, gate.params[0], qubits)
    elif name in ("u", "u2", "u3") and is_parametrised(gate):
        theta, phi, lam = gate.params if len(gate.params) == 3 else (np.pi / 2, *gate.params)
        yield Rotation((qubits[0],), "Z", lam)
        yield Rotation((qubits[0],), "Y", theta)
        yield Rotation((qubits[0],), "Z", phi)
    elif isinstance(gate, Gate) and not is_parametrised(gate) and (fixed := _fixed(gate, qubits)) is not None:
        yield from fixed
    elif getattr(gate, "definition", None) is not None and not getattr(gate, "blocks", ()):
        yield from _definition(gate.definition, qubits, used)
    else:
        raise CircuitError(_refusal(name))


def _refusal(name: str) -> str:
    remedy = {
        "measure": "the observables are the read-out; remove measurements (circuit.remove_final_measurements())",
        "reset": "only a qubit that no gate has touched yet can be reset; take a fresh qubit instead",
    }.get(name, "only unitary gates are simulated; give the gate a definition, or write it as a UnitaryGate")
    return f"{name!r} is not a unitary gate that can be compiled exactly: {remedy}"


def _definition(circuit: QuantumCircuit, qubits: tuple[int, ...], used: set[int]) -> Iterator[Operation]:
    inner = set(used)
    for item in circuit.data:
        own = tuple(qubits[circuit.find_bit(q).index] for q in item.qubits)
        yield from _instruction(item.operation, own, inner)
        inner.update(own)


def synthesised(gate: AnnotatedOperation) -> QuantumCircuit:
    circuit = QuantumCircuit(gate.num_qubits)
    circuit.append(gate, range(gate.num_qubits))
    return HighLevelSynthesis()(circuit)


def is_parametrised(gate: Instruction) -> bool:
    return any(isinstance(p, ParameterExpression) and p.parameters for p in gate.params)


def _generated(gate: Gate) -> tuple[str, NDArray[np.float64]] | None:
    """Axes and diagonal of the generator of a one-parameter gate, controlled or not; None for other gates."""
    if not isinstance(gate, ControlledGate):
        return _GENERATED.get(gate.name)
    base = _GENERATED.get(gate.base_gate.name)
    if base is None or len(gate.params) != 1:
        return None
    axes, diagonal = base
    controlled = np.zeros((len(diagonal), 2**gate.num_ctrl_qubits))
    controlled[:, gate.ctrl_state] = diagonal
    return "Z" * gate.num_ctrl_qubits + axes, controlled.reshape(-1)


def _turned(axes: str, diagonal: NDArray[np.float64], angle: Angle, qubits: Sequence[int]) -> Iterator[Operation]:
    if len(axes) == 1:
        yield Rotation((qubits[0],), axes, (diagonal[0] - diagonal[1]) * angle)
        return
    turned = [(qubit, FROM_Z[axis]) for qubit, axis in zip(qubits, axes, strict=True) if axis != "Z"]
    yield from (Local((qubit,), matrix.conj().T) for qubit, matrix in turned)
    yield Phase(tuple(qubits), diagonal, angle)
    yield from (Local((qubit,), matrix) for qubit, matrix in turned)


def _fixed(gate: Gate, qubits: tuple[int, ...]) -> list[Operation] | None:
    """A gate without free parameters, or None where its definition serves better."""
    has_matrix = hasattr(gate, "__array__")
    known = has_matrix and (gate.num_qubits <= _MATRIX_QUBITS or gate.definition is None)
    if known or isinstance(gate, UnitaryGate) or (has_matrix and gate.num_qubits <= _MONOMIAL_QUBITS):
        structured = _monomial(Operator(gate).data, qubits)
        if structured is not None:
            return structured
    of_one_qubit = isinstance(gate, ControlledGate) and gate.base_gate.num_qubits == 1
    if of_one_qubit and len(gate.params) <= 3:  # CU has a fourth, a phase that its base gate does not know
        return _controlled(gate, qubits)
    if known or isinstance(gate, UnitaryGate):
        return [_unitary(Operator(gate).data, qubits)]
    return None


def _unitary(matrix: NDArray[np.complex128], qubits: tuple[int, ...]) -> Operation:
    return Local((qubits[0],), matrix) if len(qubits) == 1 else Dense(qubits, matrix)


def _monomial(matrix: NDArray[np.complex128], qubits: tuple[int, ...]) -> list[Operation] | None:
    """Matrices with one entry in each column: a permutation, then phases. One-qubit gates stay matrices."""
    if len(qubits) == 1:
        return [Local((qubits[0],), matrix)]
    if np.any((np.abs(matrix) > _ZERO).sum(axis=0) != 1):
        return None
    image = np.abs(matrix).argmax(axis=0)
    phases = np.angle(matrix[image, np.arange(len(image))])
    operations: list[Operation] = []
    if np.any(image != np.arange(len(image))):
        operations.append(Permutation(qubits, image))
    if np.any(np.abs(phases - phases[0]) > _ZERO):
        exponents = np.empty_like(phases)
        exponents[image] = -phases
        operations.append(Phase(qubits, exponents, 1.0))
    return operations


def _controlled(gate: ControlledGate, qubits: tuple[int, ...]) -> list[Operation]:
    """A fixed one-qubit gate under controls: phases between two turns of the target."""
    values, vectors = np.linalg.eig(Operator(gate.base_gate).data)
    vectors = np.linalg.qr(vectors)[0]  # eigenvectors of a unitary, made orthogonal where eigenvalues coincide
    exponents = np.zeros((2, 2**gate.num_ctrl_qubits))
    exponents[:, gate.ctrl_state] = -np.angle(values)
    target = (qubits[-1],)
    return [Local(target, vectors.conj().T), Phase(qubits, exponents.reshape(-1), 1.0), Local(target, vectors)]


def _evolution(gate: PauliEvolutionGate, qubits: tuple[int, ...]) -> Iterator[Operation]:
    """exp(-i time H), exact (no product formula), as Qiskit's own matrix of the gate."""
    for part in gate.operator if isinstance(gate.operator, list) else [gate.operator]:
        terms = part if isinstance(part, SparsePauliOp) else SparsePauliOp.from_sparse_observable(part)
        if np.any(np.abs(terms.coeffs.imag) > _ZERO):
            raise CircuitError("the Hamiltonian has complex coefficients; a time evolution needs real ones")
        if len(terms.paulis.group_commuting()) == 1:
            for pauli, coefficient in zip(terms.paulis, terms.coeffs.real, strict=True):
                yield from _pauli_rotation(pauli.to_label()[::-1], 2 * coefficient * gate.time, qubits)
        else:
            values, vectors = np.linalg.eigh(terms.to_matrix())
            yield _unitary(vectors.conj().T, qubits)
            yield Phase(qubits, values, gate.time)
            yield _unitary(vectors, qubits)


def _pauli_rotation(axes: str, angle: Angle, qubits: Sequence[int]) -> Iterator[Operation]:
    active = [(qubit, axis) for qubit, axis in zip(qubits, axes, strict=True) if axis != "I"]
    if active:
        parity = np.bitwise_count(np.arange(2 ** len(active))) % 2
        yield from _turned("".join(axis for _, axis in active), 0.5 - parity, angle, [qubit for qubit, _ in active])
