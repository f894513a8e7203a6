"""Passes over a state: each is a loop over rows, compiled by numba, with the vector instructions of `rows.py` inside.

Sizes: n qubits, N = 2**n rows, S samples side by side. Arrays of floats are flat; a state has N * 2 * S numbers.
"""

from typing import Any

import numpy as np
from numba import njit

from qmm.quantum.kernels import rows

inner: Any = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
_REAL, _IMAGINARY, _GENERAL = rows.REAL, rows.IMAGINARY, rows.GENERAL


@inner
def spread(number: int, bit: int) -> int:
    """A 0 is pushed in at `bit`; the bits above move up."""
    low = number & ((1 << bit) - 1)
    return ((number ^ low) << 1) | low


@inner
def parity(number: int) -> int:
    for shift in (32, 16, 8, 4, 2, 1):
        number ^= number >> shift
    return number & 1


@inner
def set_row(values: Any, row: int, lanes: int, number: float) -> None:
    for lane in range(row * lanes, (row + 1) * lanes):
        values[lane] = number


@inner
def walsh_hadamard(values, n):
    """In place: values[m] = sum over z of (-1)**parity(m & z) values[z]."""
    for bit in range(0, n - 1, 2):
        p, q = 1 << bit, 2 << bit
        for c in range(1 << (n - 2)):
            z = spread(spread(c, bit), bit + 1)
            rows.hadamard(values, (z, z | p, z | q, z | p | q))
    if n % 2:
        half = 1 << (n - 1)
        for z in range(half):
            rows.hadamard(values, (z, z | half))


# --- local layers ---


def _forward(kind: int) -> tuple[Any, Any, Any]:
    apply = rows.butterfly(kind)

    @inner
    def one(state, n, gates, a, first):
        p = 1 << a
        for c in range(1 << (n - 1)):
            z = spread(c, a)
            apply(state, (z, z | p), gates, (first + a,))

    @inner
    def two(state, n, gates, a, b, first):
        p, q = 1 << a, 1 << b
        for c in range(1 << (n - 2)):
            z = spread(spread(c, a), b)
            apply(state, (z, z | p, z | q, z | p | q), gates, (first + a, first + b))

    @inner
    def three(state, n, gates, a, b, c, first):
        p, q, r = 1 << a, 1 << b, 1 << c
        for i in range(1 << (n - 3)):
            z = spread(spread(spread(i, a), b), c)
            y = z | r
            octet = (z, z | p, z | q, z | p | q, y, y | p, y | q, y | p | q)
            apply(state, octet, gates, (first + a, first + b, first + c))

    return one, two, three


def _backward(kind: int) -> tuple[Any, Any]:
    apply = rows.butterfly_back(kind)

    @inner
    def one(psi, lam, n, gates, a, first, gradients):
        p = 1 << a
        for c in range(1 << (n - 1)):
            z = spread(c, a)
            apply(psi, lam, (z, z | p), gates, (first + a,), gradients)

    @inner
    def two(psi, lam, n, gates, a, b, first, gradients):
        p, q = 1 << a, 1 << b
        for c in range(1 << (n - 2)):
            z = spread(spread(c, a), b)
            apply(psi, lam, (z, z | p, z | q, z | p | q), gates, (first + a, first + b), gradients)

    return one, two


_real1, _real2, _real3 = _forward(_REAL)
_imaginary1, _imaginary2, _imaginary3 = _forward(_IMAGINARY)
_general1, _general2, _general3 = _forward(_GENERAL)
_real_back1, _real_back2 = _backward(_REAL)
_imaginary_back1, _imaginary_back2 = _backward(_IMAGINARY)
_general_back1, _general_back2 = _backward(_GENERAL)


@inner
def local_forward(local, layer, n, state, gates):
    first = layer * n
    for number in range(local.layers[layer, 0], local.layers[layer, 1]):
        kind, size, a, b, c = local.passes[number]
        if kind == _REAL:
            if size == 1:
                _real1(state, n, gates, a, first)
            elif size == 2:
                _real2(state, n, gates, a, b, first)
            else:
                _real3(state, n, gates, a, b, c, first)
        elif kind == _IMAGINARY:
            if size == 1:
                _imaginary1(state, n, gates, a, first)
            elif size == 2:
                _imaginary2(state, n, gates, a, b, first)
            else:
                _imaginary3(state, n, gates, a, b, c, first)
        elif size == 1:
            _general1(state, n, gates, a, first)
        elif size == 2:
            _general2(state, n, gates, a, b, first)
        else:
            _general3(state, n, gates, a, b, c, first)


@inner
def local_backward(local, layer, n, psi, lam, gates, gradients):
    first = layer * n
    for number in range(local.layers[layer, 2], local.layers[layer, 3]):
        kind, size, a, b, _ = local.passes[number]
        if kind == _REAL:
            if size == 1:
                _real_back1(psi, lam, n, gates, a, first, gradients)
            else:
                _real_back2(psi, lam, n, gates, a, b, first, gradients)
        elif kind == _IMAGINARY:
            if size == 1:
                _imaginary_back1(psi, lam, n, gates, a, first, gradients)
            else:
                _imaginary_back2(psi, lam, n, gates, a, b, first, gradients)
        elif size == 1:
            _general_back1(psi, lam, n, gates, a, first, gradients)
        else:
            _general_back2(psi, lam, n, gates, a, b, first, gradients)


# --- the product state at the start ---


@inner
def product_state(state, n, gates, lanes):
    """The first n gates' columns, multiplied out."""
    set_row(state, 0, lanes, 1.0)
    set_row(state, 1, lanes, 0.0)
    for level in range(n):
        for row in range((1 << level) - 1, -1, -1):
            rows.grow(state, row, state, 2 * row, 2 * row + 1, gates, n - 1 - level)


@inner
def product_gradient(lam, heap, n, gates, parts, gradients, lanes):
    """Gradients of the first n gates. `lam` and `heap` are overwritten; heap node i holds the product of i's leading bits."""
    set_row(heap, 2, lanes, 1.0)
    set_row(heap, 3, lanes, 0.0)
    for level in range(n - 1):
        for node in range(1 << level, 2 << level):
            rows.grow(heap, node, heap, 2 * node, 2 * node + 1, gates, n - 1 - level)
    for qubit in range(n):
        level = n - 1 - qubit
        parts[:] = 0
        for row in range(1 << level):
            rows.contract(lam, row, heap, (1 << level) + row, gates, qubit, parts)
        rows.column_gradient(parts, gates, qubit, gradients)


# --- phases ---


@inner
def _entry(gates, gate, qubits, entries, prefix, lowest):
    """The gate's entry on the basis states whose bits from `lowest` up are `prefix`."""
    index, first = 0, gates[gate, 2]
    for i in range(gates[gate, 1]):
        index |= ((prefix >> (qubits[first + i] - lowest)) & 1) << i
    return entries[gates[gate, 3] + index]


@inner
def shared_phases(phases, step, n, cosines, sines, table):
    """(2 N,): the complex factors of the step's gates that are the same for all samples."""
    gates, qubits, entries = phases.gates, phases.qubits, phases.entries
    gate, end = phases.steps[step, 0], phases.steps[step, 1]
    table[0], table[1] = 1.0, 0.0
    for lowest in range(n - 1, -1, -1):
        last = gate
        while last < end and gates[last, 0] == lowest:
            last += 1
        for prefix in range((2 << (n - 1 - lowest)) - 1, -1, -1):
            parent = prefix >> 1 << 1
            re, im = table[parent], table[parent + 1]
            for g in range(gate, last):
                entry = _entry(gates, g, qubits, entries, prefix, lowest)
                if entry != 0:
                    slot = abs(entry) - 1
                    cos, sin = cosines[slot], sines[slot] if entry < 0 else -sines[slot]
                    re, im = re * cos - im * sin, re * sin + im * cos
            table[2 * prefix], table[2 * prefix + 1] = re, im
        gate = last


@inner
def sample_phases(phases, step, n, trig, table, lanes):
    """A state-like table of the factors that differ from sample to sample."""
    gates, qubits, entries = phases.gates, phases.qubits, phases.entries
    gate, end = phases.steps[step, 1], phases.steps[step, 2]
    set_row(table, 0, lanes, 1.0)
    set_row(table, 1, lanes, 0.0)
    for lowest in range(n - 1, -1, -1):
        last = gate
        while last < end and gates[last, 0] == lowest:
            last += 1
        for prefix in range((2 << (n - 1 - lowest)) - 1, -1, -1):
            rows.copy_row(table, prefix, table, prefix >> 1)
            for g in range(gate, last):
                entry = _entry(gates, g, qubits, entries, prefix, lowest)
                if entry > 0:
                    rows.phase_minus(table, prefix, trig, entry - 1)
                elif entry < 0:
                    rows.phase_plus(table, prefix, trig, -entry - 1)
        gate = last


@inner
def multiply(state, table, count, conj):
    if conj:
        for row in range(count):
            rows.multiply_conj(state, row, table)
    else:
        for row in range(count):
            rows.multiply(state, row, table)


@inner
def multiply_shared(state, table, first, count, conj):
    if conj:
        for row in range(count):
            rows.multiply_shared_conj(state, row, table, first + row)
    else:
        for row in range(count):
            rows.multiply_shared(state, row, table, first + row)


@inner
def phase_gradient(phases, step, n, psi, lam, work, angles):
    """Im <lam|D|psi> of each gate's diagonal generator D, a sum of Z strings, added to its slots."""
    first, size = phases.steps[step, 5], phases.steps[step, 6]
    if size == n:
        for row in range(1 << n):
            rows.cross(work, row, psi, lam)
    else:
        work[: len(work) >> (n - size + 1)] = 0
        for row in range(1 << n):
            index = 0
            for i in range(size):
                index |= ((row >> phases.qubits[first + i]) & 1) << i
            rows.add_cross(work, index, psi, lam, row)
    walsh_hadamard(work, size)
    for term in range(phases.steps[step, 3], phases.steps[step, 4]):
        rows.add_scaled(angles, phases.terms[term, 0], work, phases.terms[term, 1], phases.factors, term)


# --- permutations and fixed unitaries ---


@inner
def permute(target, state, image):
    for row in range(len(image)):
        rows.copy_row(target, image[row], state, row)


@inner
def permute_back(target, state, image):
    for row in range(len(image)):
        rows.copy_row(target, row, state, image[row])


@inner
def dense(target, state, denses, which, n, adjoint):
    size, first, start = denses.steps[which]
    qubits = denses.qubits[first : first + size]
    ordered = np.sort(qubits)
    offsets = np.zeros(1 << size, np.int64)
    for index in range(1 << size):
        for i in range(size):
            offsets[index] |= ((index >> i) & 1) << qubits[i]
    target[:] = 0
    for c in range(1 << (n - size)):
        z = c
        for i in range(size):
            z = spread(z, ordered[i])
        for i in range(1 << size):
            for j in range(1 << size):
                if adjoint:
                    rows.add_multiple_conj(
                        target, z | offsets[i], state, z | offsets[j], denses.matrices, start + (j << size) + i
                    )
                else:
                    rows.add_multiple(target, z | offsets[i], state, z | offsets[j], denses.matrices, start + (i << size) + j)


# --- read-out ---


@inner
def measure(read, n, psi, work, out, lanes):
    """(n_outputs * S,) values of one group of samples, into `out`; `work` is overwritten."""
    count = 1 << n
    out[:] = 0
    if len(read.outputs):
        for row in range(count):
            place = read.image[row] if len(read.image) else row
            rows.add_probability(out, read.outputs[place], psi, row)
        return
    if len(read.z_terms):
        for row in range(count):
            rows.probability(work, read.image[row] if len(read.image) else row, psi, row)
        walsh_hadamard(work, n)
        for term in range(len(read.z_terms)):
            rows.add_scaled(out, read.z_terms[term, 0], work, read.z_terms[term, 1], read.z_factors, term)
    signs = np.empty(2, psi.dtype)
    for term in range(len(read.x_terms)):
        output, x, z, odd = read.x_terms[term]
        pivot = _lowest_bit(x)
        signs[0], signs[1] = 2 * read.x_factors[term], -2 * read.x_factors[term]
        for c in range(count // 2):
            row = spread(c, pivot)
            if odd:
                rows.expect_odd(out, output, psi, row, row ^ x, signs, parity(row & z))
            else:
                rows.expect_even(out, output, psi, row, row ^ x, signs, parity(row & z))


@inner
def measure_back(read, n, psi, lam, work, weights):
    """lam = sum of weights * observable applied to psi, for (n_outputs * S,) `weights`; `work` is overwritten."""
    count = 1 << n
    if len(read.outputs):
        for row in range(count):
            place = read.image[row] if len(read.image) else row
            rows.weigh(lam, row, psi, weights, read.outputs[place])
        return
    if len(read.z_terms):
        work[: len(work) // 2] = 0
        for term in range(len(read.z_terms)):
            rows.add_scaled(work, read.z_terms[term, 1], weights, read.z_terms[term, 0], read.z_factors, term)
        walsh_hadamard(work, n)
        for row in range(count):
            rows.weigh(lam, row, psi, work, read.image[row] if len(read.image) else row)
    else:
        lam[:] = 0
    signs = np.empty(2, psi.dtype)
    for term in range(len(read.x_terms)):
        output, x, z, odd = read.x_terms[term]
        pivot = _lowest_bit(x)
        signs[0], signs[1] = read.x_factors[term], -read.x_factors[term]
        for c in range(count // 2):
            row = spread(c, pivot)
            if odd:
                rows.push_odd(lam, psi, row, row ^ x, weights, output, signs, parity(row & z))
            else:
                rows.push_even(lam, psi, row, row ^ x, weights, output, signs, parity(row & z))


@inner
def _lowest_bit(number):
    bit = 0
    while not (number >> bit) & 1:
        bit += 1
    return bit
