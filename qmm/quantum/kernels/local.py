"""Local layers: their runs multiplied up, one pass over the state for up to three qubits, the product state at the start."""

from typing import Any

from qmm.quantum.kernels import euler, rows
from qmm.quantum.kernels.loops import inner, set_row, spread


def _forward(kind: int) -> Any:
    apply = rows.butterfly(kind)

    @inner
    def run(state, n, gates, first, size, a, b, c):
        """The gates on `size` qubits, of a, b, c."""
        p, q, r = 1 << a, 1 << b, 1 << c
        if size == 1:
            for i in range(1 << (n - 1)):
                z = spread(i, a)
                apply(state, (z, z | p), gates, (first + a,))
        elif size == 2:
            for i in range(1 << (n - 2)):
                z = spread(spread(i, a), b)
                apply(state, (z, z | p, z | q, z | p | q), gates, (first + a, first + b))
        else:
            for i in range(1 << (n - 3)):
                z = spread(spread(spread(i, a), b), c)
                y = z | r
                octet = (z, z | p, z | q, z | p | q, y, y | p, y | q, y | p | q)
                apply(state, octet, gates, (first + a, first + b, first + c))

    return run


def _backward(kind: int) -> Any:
    apply = rows.butterfly_back(kind)

    @inner
    def run(psi, lam, n, gates, first, size, a, b, gradients):
        p, q = 1 << a, 1 << b
        if size == 1:
            for i in range(1 << (n - 1)):
                z = spread(i, a)
                apply(psi, lam, (z, z | p), gates, (first + a,), gradients)
        else:
            for i in range(1 << (n - 2)):
                z = spread(spread(i, a), b)
                apply(psi, lam, (z, z | p, z | q, z | p | q), gates, (first + a, first + b), gradients)

    return run


_REAL, _IMAGINARY = rows.REAL, rows.IMAGINARY
_real, _imaginary, _general = (_forward(kind) for kind in (_REAL, _IMAGINARY, rows.GENERAL))
_real_back, _imaginary_back, _general_back = (_backward(kind) for kind in (_REAL, _IMAGINARY, rows.GENERAL))


@inner
def compose(local, trig, gates, varying, lanes):
    """The matrices of the runs that differ from sample to sample, or of those that do not."""
    runs, rotations = local.runs, local.rotations
    for run in range(len(runs)):
        if runs[run, 3] != varying:
            continue
        set_row(gates, 4 * run, lanes, 1.0)
        for i in range(1, 4):
            set_row(gates, 4 * run + i, lanes, 0.0)
        for number in range(runs[run, 0], runs[run, 1]):
            axis, slot = rotations[number, 0], rotations[number, 1]
            if axis == 0:
                rows.rotate_x(gates, run, trig, slot)
            elif axis == 1:
                rows.rotate_y(gates, run, trig, slot)
            else:
                rows.rotate_z(gates, run, trig, slot)
        kind = runs[run, 2]
        if kind == euler.REAL:
            rows.settle_real(gates, run)
        elif kind == euler.REFLECTION:
            rows.settle_reflection(gates, run)
        elif kind == euler.IMAGINARY:
            rows.settle_imaginary(gates, run)
        else:
            rows.settle_general(gates, run)


@inner
def pull(local, trig, gradients, angles):
    """From the runs' gradients to those of their rotations, the last one first."""
    runs, rotations = local.runs, local.rotations
    for run in range(len(runs)):
        for number in range(runs[run, 1] - 1, runs[run, 0] - 1, -1):
            axis, slot = rotations[number, 0], rotations[number, 1]
            if axis == 0:
                rows.pull_x(gradients, run, trig, slot, angles)
            elif axis == 1:
                rows.pull_y(gradients, run, trig, slot, angles)
            else:
                rows.pull_z(gradients, run, trig, slot, angles)


@inner
def forward(local, layer, n, state, gates):
    first, passes = layer * n, local.passes
    for number in range(local.layers[layer, 0], local.layers[layer, 1]):
        kind, size = passes[number, 0], passes[number, 1]
        a, b, c = passes[number, 2], passes[number, 3], passes[number, 4]
        if kind == _REAL:
            _real(state, n, gates, first, size, a, b, c)
        elif kind == _IMAGINARY:
            _imaginary(state, n, gates, first, size, a, b, c)
        else:
            _general(state, n, gates, first, size, a, b, c)


@inner
def backward(local, layer, n, psi, lam, gates, gradients):
    """Undoes the layer on both states, and adds Im <lam|P|psi> behind it for each run to its `gradients`."""
    first, passes = layer * n, local.passes
    for number in range(local.layers[layer, 2], local.layers[layer, 3]):
        kind, size, a, b = passes[number, 0], passes[number, 1], passes[number, 2], passes[number, 3]
        if kind == _REAL:
            _real_back(psi, lam, n, gates, first, size, a, b, gradients)
        elif kind == _IMAGINARY:
            _imaginary_back(psi, lam, n, gates, first, size, a, b, gradients)
        else:
            _general_back(psi, lam, n, gates, first, size, a, b, gradients)


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
