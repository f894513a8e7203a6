"""Z strings, products of Z on some qubits, by their masks (bit q: qubit q). Every diagonal operator is a sum of them."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import hadamard


def z_strings(qubits: Sequence[int], diagonal: ArrayLike) -> Iterator[tuple[int, float]]:
    """(mask, coefficient) of the strings whose sum has the `diagonal` (2**k,) on `qubits`; bit i of its index is qubits[i]."""
    values = np.asarray(diagonal, float)
    for index, coefficient in enumerate(hadamard(len(values)) @ values / len(values)):
        if coefficient:
            yield sum(1 << q for i, q in enumerate(qubits) if index >> i & 1), float(coefficient)


def signs(masks: Sequence[int], n_bits: int) -> NDArray[np.float64]:
    """(2**n_bits, len(masks)): +1 or -1, of each string on each basis state of the lowest qubits; higher bits are ignored."""
    states = np.arange(2**n_bits)
    return 1.0 - 2.0 * (np.bitwise_count(states[:, None] & np.array(masks, np.int64)) % 2)


def split_signs(masks: Sequence[int], n_qubits: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Signs on the high qubits, (2**(n - n//2), T), and on the low ones, (2**(n//2), T). A string's sign is their product."""
    low = n_qubits // 2
    return signs([mask >> low for mask in masks], n_qubits - low), signs(masks, low)
