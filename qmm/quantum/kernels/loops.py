"""What the loops over rows have in common.

Sizes: n qubits, N = 2**n rows, S samples side by side. Arrays of floats are flat; a state has N * 2 * S numbers.
"""

from typing import Any

from numba import njit

from qmm.quantum.kernels import rows

inner: Any = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
"""For functions that only compiled ones call: without what Python would need, they compile in half the time."""


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
