"""Density matrices of many samples under gates and noise, in the Pauli basis, in vector instructions.

A state of one group of samples is 4**n rows, row r the expectation values, in all samples, of the Pauli string whose axis on
qubit q is digit q of r in base 4: I, X, Y, Z. In this basis everything is real, and most noise is nearly diagonal.
"""

import hashlib
from pathlib import Path
from typing import Any

from numba import njit

from qmm.quantum.kernels import loops, rows, vectors
from qmm.quantum.kernels.vectors import Index, Memory, vector_function

LOCAL, SHARED, VARIED = range(3)
"""Kinds of steps: a channel of one qubit; one of several that is the same for all samples; one that differs."""


@vector_function
def _turn(state: Memory, quad: list[Index], gates: Memory, gate: Index) -> None:
    """A channel of one qubit: 3 rows of 4 vectors, since the first row of a channel that keeps the trace is (1, 0, 0, 0)."""
    values = [state[row] for row in quad]
    for k, row in enumerate(quad[1:]):
        total = gates[gate * 12 + 4 * k] * values[0]
        for j in range(1, 4):
            total = total + gates[gate * 12 + (4 * k + j)] * values[j]
        state[row] = total


@vector_function
def _copy(target: Memory, to: Index, source: Memory, row: Index) -> None:
    target[to] = source[row]


@vector_function
def _scaled(out: Memory, to: Index, values: Memory, row: Index, factors: Memory, place: Index) -> None:
    """out[to] = factor * values[row]"""
    out[to] = factors.splat(place) * values[row]


@vector_function
def _product(out: Memory, to: Index, values: Memory, row: Index, factors: Memory, place: Index) -> None:
    """out[to] = factors[place] * values[row], a factor of its own for each sample"""
    out[to] = factors[place] * values[row]


@vector_function
def _add_product(out: Memory, to: Index, values: Memory, row: Index, factors: Memory, place: Index) -> None:
    out[to] = out[to] + factors[place] * values[row]


@loops.inner
def _evolve(steps, offsets, bases, pointers, columns, entries, gates, factors, start, wanted, state, scratch, out):  # type: ignore[no-untyped-def]
    lanes = len(out) // len(wanted)
    state[:] = 0.0
    for row in start:
        loops.set_row(state, row, lanes, 1.0)
    for step in range(len(steps)):
        kind, first, size = steps[step, 0], steps[step, 1], steps[step, 2]
        if kind == LOCAL:  # first: the lower digit's place in bits; size: the rows; then the gate
            unit, gate = 1 << first, steps[step, 3]
            for i in range(size // 4):
                row = loops.spread(loops.spread(i, first), first)
                _turn(state, (row, row + unit, row + 2 * unit, row + 3 * unit), gates, gate)
            continue
        begin, count, table = steps[step, 3], steps[step, 4], steps[step, 5]
        for place in range(begin, begin + count):
            base = bases[place]
            p = pointers[table]
            for i in range(size):
                end = pointers[table + i + 1]
                if kind == SHARED:
                    _scaled(scratch, i, state, base + columns[p], entries, p)
                    for q in range(p + 1, end):
                        rows.add_scaled(scratch, i, state, base + columns[q], entries, q)
                else:
                    _product(scratch, i, state, base + columns[p], factors, p)
                    for q in range(p + 1, end):
                        _add_product(scratch, i, state, base + columns[q], factors, q)
                p = end
            for i in range(size):
                _copy(state, base + offsets[first + i], scratch, i)
    for i in range(len(wanted)):
        _copy(out, i, state, wanted[i])


def _compiled(version: str) -> Any:
    """numba's cache on disk looks at this file alone; `version`, a part of its key, stands for the files that it imports."""

    def evolve(steps, offsets, bases, pointers, columns, entries, gates, factors, start, wanted, state, scratch, out):  # type: ignore[no-untyped-def]
        version  # noqa: B018
        _evolve(steps, offsets, bases, pointers, columns, entries, gates, factors, start, wanted, state, scratch, out)

    try:
        return njit(cache=True, nogil=True)(evolve)
    except RuntimeError:  # no folder that can be written to
        return njit(nogil=True)(evolve)


_FILES = (__file__, loops.__file__, rows.__file__, vectors.__file__)
evolve = _compiled(hashlib.sha256(b"".join(Path(file).read_bytes() for file in _FILES)).hexdigest())
