"""Circuits with noise, exactly: each gate and its errors as one channel in the Pauli basis, for a batch of bindings at once.

What qiskit-aer's density matrices give (a test holds them together), many times faster where a circuit has many bindings: noise
is next to free in this basis, and what does not depend on the parameters is computed once.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import CircuitInstruction, QuantumCircuit
from qiskit.quantum_info import PTM, Operator, SuperOp
from qiskit_aer.noise import NoiseModel
from qiskit_aer.noise.errors.base_quantum_error import QuantumChannelInstruction
from qiskit_aer.noise.passes import RelaxationNoisePass

from qmm.quantum.angles import Angles, collect
from qmm.quantum.kernels.vectors import lanes
from qmm.quantum.lower import lower
from qmm.quantum.operations import Angle, Phase, Rotation

Floats = NDArray[np.float64]

_AXES = {"rx": "X", "ry": "Y", "rz": "Z", "p": "Z", "u1": "Z"}
_WIDEST_GATE = 3  # qubits
_WIDEST_VARIED = 2  # of a gate with a parameter, other than a rotation of one qubit
_ZERO = 1e-14
_ROWS = 2048  # bindings at once
_MEMORY = 2**30  # bytes, of the states of all threads


class UnsuitedError(Exception):
    """A circuit that is no sequence of channels, or one whose channels are too wide: it is left to qiskit-aer."""


class Turn(NamedTuple):
    """A channel of one qubit: factors, the first acts first; matrices (4, 4), or an axis and the place of its angle."""

    qubit: int
    factors: tuple[Floats | tuple[str, int], ...]


class Fixed(NamedTuple):
    """A channel of several qubits, (4**k, 4**k)."""

    qubits: tuple[int, ...]
    matrix: Floats


class Varied(NamedTuple):
    """exp(-i angle * exponents[z]) on each basis state z of several qubits."""

    qubits: tuple[int, ...]
    exponents: Floats
    angle: int
    """The place of its angle."""


class Errors:
    """A noise model's errors as matrices, each made once."""

    def __init__(self, model: NoiseModel | None):
        """Raises UnsuitedError for a model with errors that are not tied to gates."""
        self.model = model
        self._known: dict[Any, Floats | None] = {}
        passes = model._custom_noise_passes if model is not None else []
        if any(type(found) is not RelaxationNoisePass for found in passes):
            raise UnsuitedError("custom noise passes")
        self._passes: list[RelaxationNoisePass] = passes

    def after(self, name: str, qubits: tuple[int, ...]) -> Floats | None:
        """The error of an instruction, which its label names, or its name where it has none; None where it has no error."""
        if self.model is None or name not in self.model._noise_instructions:
            return None
        if (name, qubits) not in self._known:
            own = self.model._local_quantum_errors.get(name, {}).get(qubits)
            error = self.model._default_quantum_errors.get(name) if own is None else own
            if error is not None and error.num_qubits != len(qubits):
                raise UnsuitedError(f"an error of {error.num_qubits} qubits after {name} on {len(qubits)}")
            self._known[name, qubits] = None if error is None else transfer(SuperOp(error))
        return self._known[name, qubits]

    def while_waiting(self, delay: Any, qubit: int) -> Floats | None:
        """The error of a delay, by its duration."""
        key = "delay", delay.duration, delay.unit, qubit
        if key not in self._known:
            matrix = None
            for found in self._passes:
                if not found._ops or isinstance(delay, found._ops):
                    error = found._func(delay, [qubit])
                    if error is not None:
                        matrix = transfer(SuperOp(error)) @ (np.eye(4) if matrix is None else matrix)
            self._known[key] = matrix
        return self._known[key]

    def readout(self, qubit: int) -> Floats | None:
        """(2, 2): what is read (columns) where the qubit is in 0 and 1 (rows); None where reading is exact."""
        if self.model is None:
            return None
        error = self.model._local_readout_errors.get((qubit,), self.model._default_readout_error)
        return None if error is None else np.asarray(error.probabilities, float)

    @property
    def reads_qubit_by_qubit(self) -> bool:
        """Whether all read-out errors are of single qubits, and measuring itself disturbs nothing."""
        model = self.model
        return model is None or (
            all(len(qubits) == 1 for qubits in model._local_readout_errors)
            and "measure" not in model._local_quantum_errors
            and "measure" not in model._default_quantum_errors
        )


def transfer(channel: Any) -> Floats:
    """(4**k, 4**k): the channel in the Pauli basis; digit q of an index is the axis on qubit q."""
    return np.ascontiguousarray(PTM(channel).data.real)


class Program:
    """A circuit without measurements and its noise, ready for any bindings of its parameters.

    Raises UnsuitedError for circuits that it cannot take.
    """

    def __init__(self, circuit: QuantumCircuit, noise: Errors):
        self.n_qubits = circuit.num_qubits
        steps, angles = _Lowering(circuit, noise).result()
        self._angles: Angles = collect(angles, circuit.parameters, ())
        self._turns = [step for step in steps if isinstance(step, Turn)]
        self._varied = [step for step in steps if isinstance(step, Varied)]
        self._tape = _tape(steps, self.n_qubits)
        z = 3 << 2 * np.arange(self.n_qubits)
        self._start = (np.arange(2**self.n_qubits)[:, None] >> np.arange(self.n_qubits) & 1) @ z

    def expectations(self, bindings: Floats, strings: NDArray[np.int64], threads: int = 1) -> Floats:
        """(N, parameters) in the circuit's order -> (N, M): expectation values of Pauli strings, their digits in base 4."""
        parts = [bindings[i : i + _ROWS] for i in range(0, len(bindings), _ROWS)]
        return np.concatenate([self._batch(part, strings, threads) for part in parts])

    def probabilities(self, bindings: Floats, qubits: Sequence[int], threads: int = 1) -> Floats:
        """(N, 2**k): of the states of these qubits, the first the lowest bit."""
        k = len(qubits)
        strings = (np.arange(2**k)[:, None] >> np.arange(k) & 1) @ (3 << 2 * np.array(qubits, np.int64)) if k else np.zeros(1)
        values = self.expectations(bindings, strings.astype(np.int64), threads).reshape(len(bindings), *[2] * k)
        for axis in range(1, k + 1):
            zero, one = np.take(values, 0, axis), np.take(values, 1, axis)
            values = np.stack([zero + one, zero - one], axis)
        return values.reshape(len(bindings), -1) / 2**k

    def _batch(self, bindings: Floats, strings: NDArray[np.int64], threads: int) -> Floats:
        from qmm.quantum.execution.pauli_loops import evolve

        side = lanes(8)
        count = -(-len(bindings) // side)
        angles = self._angles.evaluate(torch.from_numpy(bindings), torch.empty(0, dtype=torch.float64)).numpy()
        angles = np.broadcast_to(angles, (len(bindings), angles.shape[-1]))
        angles = np.concatenate([angles, angles[-1:].repeat(count * side - len(angles), 0)]) if len(angles) else angles
        gates = _grouped(_turns(self._turns, angles), count, side)
        factors = _grouped(_factors(self._varied, angles, self._tape), count, side)
        out = np.empty((count, len(strings) * side))

        def run(groups: range) -> None:
            state, scratch = np.empty(4**self.n_qubits * side), np.empty(4**_WIDEST_GATE * side)
            for group in groups:
                evolve(*self._tape, gates[group], factors[group], self._start, strings, state, scratch, out[group])

        most = max(1, _MEMORY // (8 * 4**self.n_qubits * side))
        shares = [range(i, count, min(threads, most)) for i in range(min(threads, most, count))]
        if len(shares) == 1:
            run(shares[0])
        else:
            with ThreadPoolExecutor(len(shares)) as pool:
                list(pool.map(run, shares))
        return out.reshape(count, len(strings), side).transpose(0, 2, 1).reshape(-1, len(strings))[: len(bindings)]


class _Lowering:
    """A circuit's instructions as steps: what follows on one qubit until it meets another is one Turn."""

    def __init__(self, circuit: QuantumCircuit, noise: Errors):
        self._noise, self._circuit = noise, circuit
        self._pending: dict[int, list[Floats | tuple[str, int]]] = {}
        self._steps: list[Turn | Fixed | Varied] = []
        self._angles: list[Angle] = []
        self._fixed: dict[Any, Floats] = {}

    def result(self) -> tuple[list[Turn | Fixed | Varied], list[Angle]]:
        place = {qubit: i for i, qubit in enumerate(self._circuit.qubits)}
        for item in self._circuit.data:
            if item.name != "barrier":
                self._add(item, tuple(place[qubit] for qubit in item.qubits))
        for qubit in list(self._pending):
            self._flush(qubit)
        return self._steps, self._angles

    def _add(self, item: CircuitInstruction, qubits: tuple[int, ...]) -> None:
        name, label = item.name, item.label or item.name
        if item.clbits or len(qubits) > _WIDEST_GATE or (self._noise.model is not None and "_o" in name):
            raise UnsuitedError(f"{name} on {len(qubits)} qubits")
        if name == "delay":
            self._append(qubits, self._noise.while_waiting(item.operation, qubits[0]))
        elif item.is_parameterized():
            self._parametrised(item, qubits)
        else:
            self._append(qubits, self._matrix(item, name))
        self._append(qubits, self._noise.after(label, qubits))

    def _matrix(self, item: CircuitInstruction, name: str) -> Floats:
        if name == "reset":
            return np.outer([1.0, 0, 0, 1], [1.0, 0, 0, 0])
        if item.is_standard_gate():
            key = name, *item.params
            if key not in self._fixed:
                self._fixed[key] = transfer(Operator(item.operation))
            return self._fixed[key]
        operation = item.operation
        if isinstance(operation, QuantumChannelInstruction):
            return transfer(SuperOp(operation._quantum_error))
        if getattr(operation, "blocks", ()) or (not hasattr(operation, "__array__") and operation.definition is None):
            raise UnsuitedError(name)
        try:
            return transfer(Operator(operation))
        except Exception as error:  # not unitary: initialize, kraus, save_...
            raise UnsuitedError(name) from error

    def _parametrised(self, item: CircuitInstruction, qubits: tuple[int, ...]) -> None:
        if item.name in _AXES:
            self._append(qubits, (_AXES[item.name], self._angle(item.params[0])))
            return
        alone = QuantumCircuit(len(qubits))
        alone.append(item.operation, range(len(qubits)))
        for operation in lower(alone):
            own = tuple(qubits[i] for i in operation.qubits)
            if isinstance(operation, Rotation):
                self._append(own, (operation.axis, self._angle(operation.angle)))
            elif isinstance(operation, Phase):
                if len(own) > _WIDEST_VARIED:
                    raise UnsuitedError(f"{item.name} with a parameter")
                self._flush(*own)
                self._steps.append(Varied(own, operation.exponents, self._angle(operation.angle)))
            else:
                matrix = getattr(operation, "matrix", None)
                if matrix is None:
                    matrix = np.eye(len(operation.image))[np.argsort(operation.image)]
                self._append(own, transfer(Operator(matrix)))

    def _angle(self, angle: Angle) -> int:
        self._angles.append(angle)
        return len(self._angles) - 1

    def _append(self, qubits: tuple[int, ...], what: Floats | tuple[str, int] | None) -> None:
        if what is None:
            return
        if len(qubits) > 1:
            assert not isinstance(what, tuple)
            self._flush(*qubits)
            last = self._steps[-1] if self._steps else None
            if isinstance(last, Fixed) and last.qubits == qubits:  # a gate and its error
                self._steps[-1] = Fixed(qubits, what @ last.matrix)
            else:
                self._steps.append(Fixed(qubits, what))
            return
        factors = self._pending.setdefault(qubits[0], [])
        if isinstance(what, tuple) or not factors or isinstance(factors[-1], tuple):
            factors.append(what)
        else:
            factors[-1] = what @ factors[-1]

    def _flush(self, *qubits: int) -> None:
        for qubit in qubits:
            factors = self._pending.pop(qubit, None)
            if factors:
                self._steps.append(Turn(qubit, tuple(factors)))


def _tape(steps: Sequence[Turn | Fixed | Varied], n: int) -> tuple[Any, ...]:
    """What `pauli_loops.evolve` reads: steps, offsets, bases, pointers, columns, entries."""
    from qmm.quantum.execution.pauli_loops import LOCAL, SHARED, VARIED

    rows: list[list[int]] = []
    offsets, bases, pointers, columns, entries = _Stack(), _Stack(), _Stack(), _Stack(), _Stack()
    places: dict[tuple[int, ...], tuple[int, int, int]] = {}
    tables: dict[Any, int] = {}
    gate = 0
    for step in steps:
        if isinstance(step, Turn):
            rows.append([LOCAL, 2 * step.qubit, 4**n, gate, 0, 0])
            gate += 1
            continue
        k = len(step.qubits)
        if step.qubits not in places:
            own, others = list(step.qubits), [q for q in range(n) if q not in step.qubits]
            based = _digits(len(others)) @ 4 ** np.array(others, np.int64) if others else np.zeros(1, np.int64)
            places[step.qubits] = offsets.add(_digits(k) @ 4 ** np.array(own, np.int64)), bases.add(based), len(based)
        matrix = step.matrix if isinstance(step, Fixed) else _pattern(step)
        key = step.qubits, matrix.tobytes()
        if isinstance(step, Varied) or key not in tables:
            found = np.abs(matrix) > _ZERO
            found[:, 0] |= ~found.any(axis=1)  # the loop wants something in each row
            begin = columns.add((_digits(k) @ 4 ** np.array(step.qubits, np.int64))[np.nonzero(found)[1]])
            entries.add(matrix[found])
            tables[key] = pointers.add(np.concatenate([[begin], begin + np.cumsum(found.sum(axis=1))]))
        kind = SHARED if isinstance(step, Fixed) else VARIED
        rows.append([kind, places[step.qubits][0], 4**k, *places[step.qubits][1:], tables[key]])
    found_rows = np.array(rows, np.int64).reshape(-1, 6)
    integers = [stack.array(np.int64) for stack in (offsets, bases, pointers, columns)]
    return (found_rows, *integers, entries.array(np.float64))


class _Stack:
    def __init__(self) -> None:
        self.parts: list[NDArray[Any]] = []
        self.size = 0

    def add(self, part: NDArray[Any]) -> int:
        """Where it begins."""
        self.parts.append(part)
        self.size += len(part)
        return self.size - len(part)

    def array(self, dtype: Any) -> NDArray[Any]:
        return np.concatenate(self.parts).astype(dtype) if self.parts else np.zeros(0, dtype)


def _digits(k: int) -> NDArray[np.int64]:
    """(4**k, k): those of each number in base 4, the lowest first."""
    return np.arange(4**k)[:, None] >> 2 * np.arange(k) & 3


def _turns(turns: Sequence[Turn], angles: Floats) -> Floats:
    """(turns * 12, N)"""
    found = np.empty((len(turns), 3, 4, len(angles)))
    cosines, sines = np.cos(angles.T), np.sin(angles.T)
    for place, turn in enumerate(turns):
        matrix: Floats = np.eye(4)[:, :, None]
        for factor in turn.factors:
            if isinstance(factor, tuple):
                axis, slot = factor
                i, j = {"X": (2, 3), "Y": (3, 1), "Z": (1, 2)}[axis]
                cos, sin = cosines[slot], sines[slot]
                matrix = np.repeat(matrix, len(angles), -1) if matrix.shape[-1] == 1 else matrix
                matrix[i], matrix[j] = cos * matrix[i] - sin * matrix[j], sin * matrix[i] + cos * matrix[j]
            else:
                matrix = (factor @ matrix.reshape(4, -1)).reshape(4, 4, -1)
        found[place] = matrix[1:]
    return found.reshape(len(turns) * 12, len(angles))


def _diagonal_basis(k: int) -> NDArray[np.complex128]:
    """(4**k, 4**k, 4**k): T[:, m] T^-1[m, :] for the matrix elements m = (z, z') of a density matrix in the Pauli basis."""
    strings = [np.array([[1, 0], [0, 1]]), np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])]
    elements: NDArray[Any] = np.ones((1, 1, 1))
    for _ in range(k):
        elements = np.stack([np.kron(string, element) for string in strings for element in elements])
    flat = elements.reshape(4**k, -1)
    return np.einsum("pm,qm->pqm", flat.conj(), flat) / 2**k


def _differences(exponents: Floats) -> Floats:
    return (exponents[:, None] - exponents[None]).reshape(-1)


def _pattern(step: Varied) -> Floats:
    """Which entries can be other than 0."""
    basis, differences = _diagonal_basis(len(step.qubits)), _differences(step.exponents)
    found = np.zeros(basis.shape[:2])
    for difference in np.unique(differences.round(12)):
        for part in (np.isclose(differences, difference), np.isclose(differences, -difference)):
            found = np.maximum(found, np.abs(basis[..., part].sum(-1)))
    return (found > _ZERO).astype(float)


def _factors(steps: Sequence[Varied], angles: Floats, tape: tuple[Any, ...]) -> Floats:
    """(entries, N): those of the steps that differ from sample to sample, at the places of the tape's columns."""
    columns = tape[4]
    found = np.zeros((len(columns) if steps else 0, len(angles)))
    varied = [row for row in tape[0] if row[0] == 2]
    for step, row in zip(steps, varied, strict=True):
        phases = np.exp(-1j * np.multiply.outer(_differences(step.exponents), angles[:, step.angle]))
        matrix = np.einsum("pqm,mn->pqn", _diagonal_basis(len(step.qubits)), phases).real
        begin, end = tape[3][row[5]], tape[3][row[5] + row[2]]
        found[begin:end] = matrix[_pattern(step) > 0]
    return found


def _grouped(values: Floats, count: int, side: int) -> Floats:
    """(M, N) -> (groups, M * lanes)"""
    return np.ascontiguousarray(values.reshape(len(values), count, side).transpose(1, 0, 2)).reshape(count, -1)
