"""What happens to single rows of a state, in vector instructions.

A state of one group of samples is 2**n rows; row z is two vectors, the real and the imaginary parts of amplitude z of all
samples of the group. A one-qubit gate is four vectors (see `settle_*`), an angle two: its cosine and its sine.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from qmm.quantum.kernels.vectors import Index, Memory, Vector, vector_function


class Complex(NamedTuple):
    re: Vector
    im: Vector

    def __add__(self, other: "Complex") -> "Complex":  # type: ignore[override]
        return Complex(self.re + other.re, self.im + other.im)

    def __sub__(self, other: "Complex") -> "Complex":
        return Complex(self.re - other.re, self.im - other.im)

    def __mul__(self, other: "Complex") -> "Complex":  # type: ignore[override]
        return Complex(self.re * other.re - self.im * other.im, self.re * other.im + self.im * other.re)

    def times(self, real: Vector) -> "Complex":
        return Complex(self.re * real, self.im * real)

    def conj(self) -> "Complex":
        return Complex(self.re, -self.im)


def _load(memory: Memory, row: Index | int) -> Complex:
    return Complex(memory[row * 2], memory[row * 2 + 1])


def _store(memory: Memory, row: Index | int, value: Complex) -> None:
    memory[row * 2], memory[row * 2 + 1] = value


def _im(a: Complex, b: Complex) -> Vector:
    """Im(a* b)"""
    return a.re * b.im - a.im * b.re


def _re(a: Complex, b: Complex) -> Vector:
    """Re(a* b)"""
    return a.re * b.re + a.im * b.im


# --- one-qubit gates ---
# A run of rotations is first a unit quaternion (a, b, c, d), standing for a - i (b X + c Y + d Z); then its matrix in one of
# three forms: REAL (four entries), IMAGINARY (cosine and sine of an X rotation), GENERAL (the entries alpha and beta of SU(2)).


def _rotate(axis: int) -> Any:
    others = {0: (2, 3), 1: (3, 1), 2: (1, 2)}[axis]

    @vector_function
    def turn(gates: Memory, gate: Index, trig: Memory, slot: Index) -> None:
        """quaternion = exp(-i angle/2 P) quaternion"""
        q = [gates[gate * 4 + i] for i in range(4)]
        cos, sin = trig[slot * 2], trig[slot * 2 + 1]
        p, (r, s) = axis + 1, others
        gates[gate * 4] = cos * q[0] - sin * q[p]
        gates[gate * 4 + p] = cos * q[p] + sin * q[0]
        gates[gate * 4 + r] = cos * q[r] - sin * q[s]
        gates[gate * 4 + s] = cos * q[s] + sin * q[r]

    return turn


rotate_x, rotate_y, rotate_z = (_rotate(axis) for axis in range(3))


def _settle(form: Callable[[Vector, Vector, Vector, Vector], Sequence[Vector]]) -> Any:
    @vector_function
    def settle(gates: Memory, gate: Index) -> None:
        for i, entry in enumerate(form(*(gates[gate * 4 + i] for i in range(4)))):
            gates[gate * 4 + i] = entry

    return settle


settle_real = _settle(lambda a, b, c, d: (a, -c, c, a))
settle_reflection = _settle(lambda a, b, c, d: (d, b, b, -d))  # an odd number of reflections: real up to a factor -i
settle_imaginary = _settle(lambda a, b, c, d: (a, b))
settle_general = _settle(lambda a, b, c, d: (a, -d, c, -b))


def _multiply_real(g: list[Vector], x: Complex, y: Complex) -> tuple[Complex, Complex]:
    return x.times(g[0]) + y.times(g[1]), x.times(g[2]) + y.times(g[3])


def _multiply_imaginary(g: list[Vector], x: Complex, y: Complex) -> tuple[Complex, Complex]:
    cos, sin = g[:2]
    return (
        Complex(cos * x.re + sin * y.im, cos * x.im - sin * y.re),
        Complex(cos * y.re + sin * x.im, cos * y.im - sin * x.re),
    )


def _multiply_general(g: list[Vector], x: Complex, y: Complex) -> tuple[Complex, Complex]:
    alpha, beta = Complex(g[0], g[1]), Complex(g[2], g[3])
    return alpha * x - beta.conj() * y, beta * x + alpha.conj() * y


class _Form(NamedTuple):
    multiply: Callable[[list[Vector], Complex, Complex], tuple[Complex, Complex]]
    invert: Callable[[list[Vector]], list[Vector]]
    axes: str
    """Generators whose gradient can be other than zero."""


_FORMS = (
    _Form(_multiply_real, lambda g: [g[0], g[2], g[1], g[3]], "Y"),
    _Form(_multiply_imaginary, lambda g: [g[0], -g[1]], "X"),
    _Form(_multiply_general, lambda g: [g[0], -g[1], -g[2], -g[3]], "XYZ"),
)
REAL, IMAGINARY, GENERAL = range(3)


def _gate(gates: Memory, gate: Index, form: _Form) -> list[Vector]:
    return [gates[gate * 4 + i] for i in range(2 if form is _FORMS[IMAGINARY] else 4)]


def _pairs(count: int, bit: int) -> list[tuple[int, int]]:
    return [(i, i | 1 << bit) for i in range(count) if not i >> bit & 1]


def butterfly(kind: int) -> Any:
    """(state, rows, gates, which): the gates `which`, the first on the lowest qubit, on 2**k rows."""
    form = _FORMS[kind]

    @vector_function
    def apply(state: Memory, rows: list[Index], gates: Memory, which: list[Index]) -> None:
        values = [_load(state, row) for row in rows]
        for bit, gate in enumerate(which):
            g = _gate(gates, gate, form)
            for i, j in _pairs(len(rows), bit):
                values[i], values[j] = form.multiply(g, values[i], values[j])
        for row, value in zip(rows, values, strict=True):
            _store(state, row, value)

    return apply


def butterfly_back(kind: int) -> Any:
    """(psi, lam, rows, gates, which, gradients): adds Im <lam|P|psi> of each gate, then undoes the gates on both states."""
    form = _FORMS[kind]
    products: dict[str, Callable[[Complex, Complex, Complex, Complex], Vector]] = {
        "X": lambda l0, l1, p0, p1: _im(l0, p1) + _im(l1, p0),
        "Y": lambda l0, l1, p0, p1: _re(l1, p0) - _re(l0, p1),
        "Z": lambda l0, l1, p0, p1: _im(l0, p0) - _im(l1, p1),
    }

    @vector_function
    def apply(psi: Memory, lam: Memory, rows: list[Index], gates: Memory, which: list[Index], gradients: Memory) -> None:
        states = [[_load(memory, row) for row in rows] for memory in (psi, lam)]
        for bit, gate in enumerate(which):
            g = form.invert(_gate(gates, gate, form))
            for axis in form.axes:
                place = gate * 3 + "XYZ".index(axis)
                total = gradients[place]
                for i, j in _pairs(len(rows), bit):
                    total = total + products[axis](states[1][i], states[1][j], states[0][i], states[0][j])
                gradients[place] = total
            for values in states:
                for i, j in _pairs(len(rows), bit):
                    values[i], values[j] = form.multiply(g, values[i], values[j])
        for memory, values in zip((psi, lam), states, strict=True):
            for row, value in zip(rows, values, strict=True):
                _store(memory, row, value)

    return apply


def _pull(axis: int) -> Any:
    r, s = {0: (1, 2), 1: (2, 0), 2: (0, 1)}[axis]

    @vector_function
    def pull(gradients: Memory, gate: Index, trig: Memory, slot: Index, angles: Memory) -> None:
        """The gradient of the run's last rotation goes to its angle; what is left is seen from before that rotation."""
        cos, sin = trig[slot * 2], trig[slot * 2 + 1]
        angles[slot] = angles[slot] + gradients[gate * 3 + axis]
        double_cos, double_sin = cos * cos - sin * sin, cos * sin + cos * sin
        first, second = gradients[gate * 3 + r], gradients[gate * 3 + s]
        gradients[gate * 3 + r] = double_cos * first + double_sin * second
        gradients[gate * 3 + s] = double_cos * second - double_sin * first

    return pull


pull_x, pull_y, pull_z = (_pull(axis) for axis in range(3))


# --- the product state at the start ---


@vector_function
def grow(source: Memory, row: Index, target: Memory, zero: Index, one: Index, gates: Memory, gate: Index) -> None:
    """One more qubit: its first column times the row, to the rows where the qubit is 0 and 1."""
    value = _load(source, row)
    column = _load(gates, gate * 2), _load(gates, gate * 2 + 1)
    _store(target, zero, column[0] * value)
    _store(target, one, column[1] * value)


@vector_function
def contract(lam: Memory, row: Index, prefixes: Memory, prefix: Index, gates: Memory, gate: Index, parts: Memory) -> None:
    """The reverse of `grow`: adds conj(lam) * prefix to the gradients of the column, and removes the qubit from lam."""
    pair = _load(lam, row * 2), _load(lam, row * 2 + 1)
    before = _load(prefixes, prefix)
    total = None
    for bit, value in enumerate(pair):
        _store(parts, bit, _load(parts, bit) + value.conj() * before)
        term = _load(gates, gate * 2 + bit).conj() * value
        total = term if total is None else total + term
    assert total is not None
    _store(lam, row, total)


@vector_function
def column_gradient(parts: Memory, gates: Memory, gate: Index, gradients: Memory) -> None:
    """Im(parts . P column) of X, Y, Z, from what `contract` added up."""
    e = _load(parts, 0), _load(parts, 1)
    c = _load(gates, gate * 2), _load(gates, gate * 2 + 1)
    gradients[gate * 3] = (e[0] * c[1] + e[1] * c[0]).im
    gradients[gate * 3 + 1] = (e[1] * c[0] - e[0] * c[1]).re
    gradients[gate * 3 + 2] = (e[0] * c[0] - e[1] * c[1]).im


# --- phases ---


@vector_function
def add_cross(out: Memory, to: Index, psi: Memory, lam: Memory, row: Index) -> None:
    """out[to] += Im(lam* psi)"""
    out[to] = out[to] + _im(_load(lam, row), _load(psi, row))


@vector_function
def copy_row(target: Memory, to: Index, source: Memory, row: Index) -> None:
    _store(target, to, _load(source, row))


@vector_function
def phase_minus(table: Memory, row: Index, trig: Memory, slot: Index) -> None:
    """row *= exp(-i angle)"""
    _store(table, row, _load(table, row) * _load(trig, slot).conj())


@vector_function
def phase_plus(table: Memory, row: Index, trig: Memory, slot: Index) -> None:
    _store(table, row, _load(table, row) * _load(trig, slot))


@vector_function
def multiply(state: Memory, row: Index, table: Memory) -> None:
    _store(state, row, _load(state, row) * _load(table, row))


@vector_function
def multiply_conj(state: Memory, row: Index, table: Memory) -> None:
    _store(state, row, _load(state, row) * _load(table, row).conj())


@vector_function
def multiply_shared(state: Memory, row: Index, table: Memory, place: Index) -> None:
    """By the complex number at `place` of a table of numbers that are the same for all samples."""
    _store(state, row, _load(state, row) * Complex(table.splat(place * 2), table.splat(place * 2 + 1)))


@vector_function
def multiply_shared_conj(state: Memory, row: Index, table: Memory, place: Index) -> None:
    _store(state, row, _load(state, row) * Complex(table.splat(place * 2), table.splat(place * 2 + 1)).conj())


@vector_function
def cross(out: Memory, row: Index, psi: Memory, lam: Memory) -> None:
    """out[row] = Im(lam* psi)"""
    out[row] = _im(_load(lam, row), _load(psi, row))


# --- fixed unitaries of several qubits ---


@vector_function
def add_multiple(out: Memory, to: Index, state: Memory, row: Index, matrix: Memory, entry: Index) -> None:
    """out[to] += entry * state[row]"""
    factor = Complex(matrix.splat(entry * 2), matrix.splat(entry * 2 + 1))
    _store(out, to, _load(out, to) + factor * _load(state, row))


@vector_function
def add_multiple_conj(out: Memory, to: Index, state: Memory, row: Index, matrix: Memory, entry: Index) -> None:
    factor = Complex(matrix.splat(entry * 2), matrix.splat(entry * 2 + 1)).conj()
    _store(out, to, _load(out, to) + factor * _load(state, row))


# --- read-out ---


@vector_function
def probability(out: Memory, to: Index, psi: Memory, row: Index) -> None:
    value = _load(psi, row)
    out[to] = _re(value, value)


@vector_function
def add_probability(out: Memory, to: Index, psi: Memory, row: Index) -> None:
    value = _load(psi, row)
    out[to] = out[to] + _re(value, value)


@vector_function
def hadamard(values: Memory, rows: list[Index]) -> None:
    """Sums and differences, over 2**k rows."""
    parts = [values[row] for row in rows]
    for bit in range(len(rows).bit_length() - 1):
        for i, j in _pairs(len(rows), bit):
            parts[i], parts[j] = parts[i] + parts[j], parts[i] - parts[j]
    for row, part in zip(rows, parts, strict=True):
        values[row] = part


@vector_function
def add_scaled(out: Memory, to: Index, values: Memory, row: Index, factors: Memory, place: Index) -> None:
    """out[to] += factor * values[row]"""
    out[to] = out[to] + factors.splat(place) * values[row]


@vector_function
def weigh(lam: Memory, row: Index, psi: Memory, weights: Memory, place: Index) -> None:
    """lam[row] = weights[place] * psi[row]"""
    _store(lam, row, _load(psi, row).times(weights[place]))


def _exchange(odd: bool) -> tuple[Any, Any]:
    """For Pauli strings with X or Y: with an even or an odd number of Y."""

    @vector_function
    def expect(out: Memory, to: Index, psi: Memory, row: Index, partner: Index, factors: Memory, place: Index) -> None:
        """out[to] += factor Re(psi[partner]* psi[row]), or Im for odd strings"""
        product = (_im if odd else _re)(_load(psi, partner), _load(psi, row))
        out[to] = out[to] + factors.splat(place) * product

    @vector_function
    def push(
        lam: Memory, psi: Memory, row: Index, partner: Index, weights: Memory, output: Index, factors: Memory, place: Index
    ) -> None:
        """Adds weight * factor * the string's part on these two rows, applied to psi, to lam."""
        scale = weights[output] * factors.splat(place)
        a, b = _load(psi, row).times(scale), _load(psi, partner).times(scale)
        if odd:
            a, b = Complex(a.im, -a.re), Complex(-b.im, b.re)
        _store(lam, partner, _load(lam, partner) + a)
        _store(lam, row, _load(lam, row) + b)

    return expect, push


expect_even, push_even = _exchange(False)
expect_odd, push_odd = _exchange(True)
