"""The read-out: Z strings all at once by a Walsh-Hadamard transform, other Pauli strings one by one, or probabilities."""

import numpy as np

from qmm.quantum.kernels import rows
from qmm.quantum.kernels.loops import inner, parity, spread, walsh_hadamard


@inner
def values(read, n, psi, work, out, lanes):
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
def apply(read, n, psi, lam, work, weights):
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
