"""Circuits with noise, exactly, for a batch of bindings at once.

What qiskit-aer's density matrices give (a test holds them together), many times faster where a circuit has many bindings: noise
is next to free in the Pauli basis, and what does not depend on the parameters is computed once.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import QuantumCircuit

from qmm.quantum.angles import Angles, collect
from qmm.quantum.execution.simulators.channels import WIDEST_GATE, Errors, Fixed, Floats, Lowering, Step, Turn, Varied
from qmm.quantum.kernels.vectors import lanes

_ZERO = 1e-14
_ROWS = 2048  # bindings at once
_MEMORY = 2**30  # bytes, of the states of all threads


class Program:
    """A circuit without measurements and its noise, ready for any bindings of its parameters.

    Raises UnsuitedError for circuits that it cannot take.
    """

    def __init__(self, circuit: QuantumCircuit, noise: Errors):
        self.n_qubits = circuit.num_qubits
        steps, angles = Lowering(circuit, noise).result()
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
        from qmm.quantum.execution.simulators.pauli_loops import evolve

        side = lanes(8)
        count = -(-len(bindings) // side)
        angles = self._angles.evaluate(torch.from_numpy(bindings), torch.empty(0, dtype=torch.float64)).numpy()
        angles = np.broadcast_to(angles, (len(bindings), angles.shape[-1]))
        angles = np.concatenate([angles, angles[-1:].repeat(count * side - len(angles), 0)]) if len(angles) else angles
        gates = _grouped(_turns(self._turns, angles), count, side)
        factors = _grouped(_factors(self._varied, angles, self._tape), count, side)
        out = np.empty((count, len(strings) * side))

        def run(groups: range) -> None:
            state, scratch = np.empty(4**self.n_qubits * side), np.empty(4**WIDEST_GATE * side)
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


def _tape(steps: Sequence[Step], n: int) -> tuple[Any, ...]:
    """What `pauli_loops.evolve` reads: steps, offsets, bases, pointers, columns, entries."""
    from qmm.quantum.execution.simulators.pauli_loops import LOCAL, SHARED, VARIED

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
