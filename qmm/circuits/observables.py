"""Observables: what is read out of the registers. Pure functions that return Pauli operators as wide as the layout."""

import math
from collections.abc import Collection, Iterator, Sequence
from itertools import combinations, product

import numpy as np
from qiskit.quantum_info import PauliList, SparsePauliOp

from qmm.errors import InputError
from qmm.registers import RegisterLayout

_MOST_STRINGS = 20_000  # beyond, a decoder that reads them is far larger than any circuit that can be simulated
_WIDEST_PROJECTORS = 8  # qubits of a register: 256 outputs of 256 Z strings each


def z_of_each(n_qubits: int, read: Sequence[int] | None = None) -> list[SparsePauliOp]:
    """Z of every qubit (of those in `read`), in their order."""
    return [_string("Z", (qubit,), n_qubits) for qubit in (range(n_qubits) if read is None else read)]


def zz_across(layout: RegisterLayout, read: Sequence[int] | None = None) -> list[SparsePauliOp]:
    """ZZ of every two qubits of different registers (both in `read`), in the order of `cross_pairs`."""
    kept = set(range(layout.n_qubits) if read is None else read)
    return [_string("ZZ", pair, layout.n_qubits) for pair in cross_pairs(layout) if kept.issuperset(pair)]


def cross_pairs(layout: RegisterLayout) -> Iterator[tuple[int, int]]:
    """Every two qubits of different registers: register pairs in order, then qubits in order."""
    for first, second in layout.pairs():
        yield from ((a, b) for a in layout.qubits(first) for b in layout.qubits(second))


def pauli_strings(
    layout: RegisterLayout, read: Sequence[int], weight: int = 1, axes: str = "XYZ", across: bool = False
) -> list[SparsePauliOp]:
    """Every Pauli string of at most `weight` factors, each of one of `axes`, on the qubits in `read`.

    Short ones come first, then in the order of their qubits, then of `axes`. With `across`, only those that act on two
    registers or more.

    Raises InputError for a weight below 1, for axes that are none, and where there are too many strings or none at all.
    """
    _check_axes(axes)
    if weight < 1:
        raise InputError(f"Pauli strings of weight {weight}; it is at least 1")
    longest = min(weight, len(read))
    n_strings = sum(math.comb(len(read), size) * len(axes) ** size for size in range(1, longest + 1))
    if n_strings > _MOST_STRINGS:
        raise InputError(
            f"{n_strings:,} Pauli strings up to weight {weight} on {len(read)} qubits, {_MOST_STRINGS:,} are the most; "
            "take a smaller weight, fewer axes, or RandomPaulis"
        )
    supports = (qubits for size in range(1, longest + 1) for qubits in combinations(read, size))
    if across:
        supports = (qubits for qubits in supports if len({layout.owner(q) for q in qubits}) > 1)
    found = [
        _string("".join(label), qubits, layout.n_qubits) for qubits in supports for label in product(axes, repeat=len(qubits))
    ]
    if not found:
        raise InputError(
            f"no Pauli string of weight {weight} acts across registers of {', '.join(layout.modalities)}; "
            "that takes two registers and a weight of 2 or more"
        )
    return found


def parities(layout: RegisterLayout, read: Sequence[int], sizes: Collection[int]) -> list[SparsePauliOp]:
    """Z on all qubits in `read` of some registers: of every m registers, for each m in `sizes`, small m first."""
    groups = (names for size in sorted(sizes) for names in combinations(layout.modalities, size))
    supports = ([qubit for qubit in read if layout.owner(qubit) in names] for names in groups)
    return [_string("Z" * len(qubits), qubits, layout.n_qubits) for qubits in supports]


def basis_state_projectors(qubits: Sequence[int], n_qubits: int) -> list[SparsePauliOp]:
    """|s><s| on `qubits` for s = 0 ... 2**k - 1, bit i of s on `qubits[i]`: the sum over Z strings of +-1 / 2**k.

    Raises InputError for more qubits than such sums are sensible for.
    """
    k = len(qubits)
    if k > _WIDEST_PROJECTORS:
        raise InputError(
            f"probabilities of the 2**{k} basis states of a register; {_WIDEST_PROJECTORS} qubits are the most, take a smaller "
            "register, or an ansatz that leaves fewer qubits to read"
        )
    subsets = np.arange(2**k)
    z = np.zeros((2**k, n_qubits), dtype=bool)
    for bit, qubit in enumerate(qubits):
        z[:, qubit] = subsets >> bit & 1
    strings = PauliList.from_symplectic(z, np.zeros_like(z))
    signs = [(-1.0) ** np.bitwise_count(subsets & state) for state in range(2**k)]
    return [SparsePauliOp(strings, sign / 2**k) for sign in signs]


def random_paulis(read: Sequence[int], n_qubits: int, count: int, locality: int, seed: int = 0) -> list[SparsePauliOp]:
    """`count` different Pauli strings on the qubits in `read`, or all that there are if these are fewer.

    Each has a random number of factors from 1 to `locality`, on random qubits, along random axes (after arXiv:2002.08953).

    Raises InputError for a count or a locality below 1.
    """
    if count < 1 or locality < 1:
        raise InputError(f"count={count}, locality={locality} of random Pauli strings; both are at least 1")
    longest = min(locality, len(read))
    count = min(count, sum(math.comb(len(read), size) * 3**size for size in range(1, longest + 1)))
    generator = np.random.default_rng(seed)
    found: dict[tuple[str, tuple[int, ...]], None] = {}
    while len(found) < count:
        size = int(generator.integers(1, longest + 1))
        qubits = tuple(sorted(generator.choice(read, size, replace=False).tolist()))
        found["".join(generator.choice(list("XYZ"), size)), qubits] = None
    return [_string(label, qubits, n_qubits) for label, qubits in found]


def _string(label: str, qubits: Sequence[int], n_qubits: int) -> SparsePauliOp:
    """`label[i]` on `qubits[i]`."""
    return SparsePauliOp.from_sparse_list([(label, qubits, 1.0)], n_qubits)


def _check_axes(axes: str) -> None:
    if not axes or set(axes) - set("XYZ") or len(set(axes)) < len(axes):
        raise InputError(f"axes={axes!r}; give some of X, Y and Z, each once, as in 'XZ'")
