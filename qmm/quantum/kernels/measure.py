"""The read-out: Z strings all at once by a Walsh-Hadamard transform, other Pauli strings one by one, or probabilities."""

import numpy as np

from qmm.quantum.kernels import rows
from qmm.quantum.kernels.loops import inner, parity, spread, walsh_hadamard


@inner
def values(read, n, psi, work, out):
    """(n_outputs * S,) values of one group of samples, into `out`; `work` is overwritten."""
    out[:] = 0
    if len(read.outputs):
        _add_probabilities(out, psi, n, read.image, read.outputs)
        return
    if len(read.z_terms):
        _probabilities(work, psi, n, read.image)
        walsh_hadamard(work, n)
        terms, factors = read.z_terms, read.z_factors
        for term in range(len(terms)):
            rows.add_scaled(out, terms[term, 0], work, terms[term, 1], factors, term)
    terms, factors, signs = read.x_terms, read.x_factors, np.empty(2, psi.dtype)
    for term in range(len(terms)):
        signs[0], signs[1] = 2 * factors[term], -2 * factors[term]
        _expect(out, psi, n, terms[term, 0], terms[term, 1], terms[term, 2], terms[term, 3], signs)


@inner
def apply(read, n, psi, lam, work, weights):
    """lam = sum of weights * observable applied to psi, for (n_outputs * S,) `weights`; `work` is overwritten."""
    if len(read.outputs):
        _weigh_outputs(lam, psi, n, read.image, read.outputs, weights)
        return
    if len(read.z_terms):
        work[: len(work) // 2] = 0
        terms, factors = read.z_terms, read.z_factors
        for term in range(len(terms)):
            rows.add_scaled(work, terms[term, 1], weights, terms[term, 0], factors, term)
        walsh_hadamard(work, n)
        _weigh(lam, psi, n, read.image, work)
    else:
        lam[:] = 0
    terms, factors, signs = read.x_terms, read.x_factors, np.empty(2, psi.dtype)
    for term in range(len(terms)):
        signs[0], signs[1] = factors[term], -factors[term]
        _push(lam, psi, n, weights, terms[term, 0], terms[term, 1], terms[term, 2], terms[term, 3], signs)


# Loops of their own, with plain arrays: numba counts references to the arrays of a tuple at every use, which would make threads
# wait for each other. An empty `image` stands for no permutation.


@inner
def _probabilities(work, psi, n, image):
    if len(image):
        for row in range(1 << n):
            rows.probability(work, image[row], psi, row)
    else:
        for row in range(1 << n):
            rows.probability(work, row, psi, row)


@inner
def _weigh(lam, psi, n, image, weights):
    if len(image):
        for row in range(1 << n):
            rows.weigh(lam, row, psi, weights, image[row])
    else:
        for row in range(1 << n):
            rows.weigh(lam, row, psi, weights, row)


@inner
def _add_probabilities(out, psi, n, image, outputs):
    for row in range(1 << n):
        rows.add_probability(out, outputs[image[row] if len(image) else row], psi, row)


@inner
def _weigh_outputs(lam, psi, n, image, outputs, weights):
    for row in range(1 << n):
        rows.weigh(lam, row, psi, weights, outputs[image[row] if len(image) else row])


@inner
def _expect(out, psi, n, output, x, z, odd, signs):
    pivot = _lowest_bit(x)
    for c in range(1 << (n - 1)):
        row = spread(c, pivot)
        if odd:
            rows.expect_odd(out, output, psi, row, row ^ x, signs, parity(row & z))
        else:
            rows.expect_even(out, output, psi, row, row ^ x, signs, parity(row & z))


@inner
def _push(lam, psi, n, weights, output, x, z, odd, signs):
    pivot = _lowest_bit(x)
    for c in range(1 << (n - 1)):
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
