"""The read-out: all observables from |amplitude|**2, after a turn of basis for those with X or Y."""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.quantum_info import PauliList, SparsePauliOp
from torch import Tensor

from qmm.quantum.circuit import Probabilities, Readouts
from qmm.quantum.operations import FROM_Z
from qmm.quantum.strings import split_signs
from qmm.quantum.tensors.runs import apply_blocks, blocks


class Basis(NamedTuple):
    """T Pauli strings that one turn of single qubits makes diagonal.

    The sign of a Z string on a basis state is that of its high bits times that of its low bits, so that no table over all
    2**n states is needed for it.
    """

    turn: tuple[Tensor, ...]
    """Block unitaries (d, d) as in `apply_blocks`; none where the strings are diagonal already."""
    high: Tensor
    """(2**(n - n//2), T), +1 or -1"""
    low: Tensor
    """(2**(n//2), T)"""
    coefficients: Tensor
    """(T, n_observables)"""

    def expectations(self, state: Tensor, source: Tensor | None) -> Tensor:
        """(b, 2**n) -> (b, n_observables), the part that these strings contribute."""
        probabilities = _probabilities(apply_blocks(state, self.turn) if self.turn else state, source)
        sums = probabilities.reshape(len(state), len(self.high), len(self.low)) @ self.low
        return (sums * self.high).sum(-2) @ self.coefficients


class Readout(NamedTuple):
    bases: tuple[Basis, ...]
    outputs: Tensor | None
    """(2**n,) int32, for probabilities: the output that each basis state adds to."""
    n_outputs: int
    source: Tensor | None
    """(2**n,) int32: behind a last permutation, not applied to the state, probability z would come from source[z]."""

    def expectations(self, state: Tensor) -> Tensor:
        """(b, 2**n) -> (b, n_outputs)"""
        if self.outputs is not None:
            probabilities = _probabilities(state, self.source)
            return probabilities.new_zeros(len(state), self.n_outputs).index_add(1, self.outputs, probabilities)
        return reduce(add, [basis.expectations(state, self.source) for basis in self.bases])


def _probabilities(state: Tensor, source: Tensor | None) -> Tensor:
    probabilities = torch.view_as_real(state).square().sum(-1)
    return probabilities if source is None else probabilities.index_select(-1, source)


def compile_readout(observables: Readouts, moved: NDArray[np.int64] | None, n_qubits: int) -> Readout:
    """`moved`: where a last permutation, not applied to the state, would have taken each basis state."""
    source = None if moved is None else torch.tensor(np.argsort(moved), dtype=torch.int32)
    if isinstance(observables, Probabilities):
        outputs = torch.tensor(observables.table(n_qubits), dtype=torch.int32)
        return Readout((), outputs, observables.n_outputs, source)
    labels = sorted({label for observable in observables for label in observable.paulis.to_labels()})
    groups = PauliList(labels).group_commuting(qubit_wise=True)
    bases = tuple(_basis(group.to_labels(), observables, n_qubits) for group in groups)
    return Readout(bases, None, len(observables), source)


def _basis(labels: Sequence[str], observables: Sequence[SparsePauliOp], n_qubits: int) -> Basis:
    axes = ["".join({label[i] for label in labels} - {"I"}) for i in range(n_qubits)]  # one letter or none each
    turned = any(axis in FROM_Z for axis in axes)
    terms = [dict(observable.simplify(atol=0).to_list()) for observable in observables]
    masks = [int("0" + "".join("0" if letter == "I" else "1" for letter in label), 2) for label in labels]
    high, low = split_signs(masks, n_qubits)
    return Basis(
        turn=tuple(torch.tensor(u) for u in _turn(axes)) if turned else (),
        high=torch.tensor(high),
        low=torch.tensor(low),
        coefficients=torch.tensor([[own.get(label, 0.0).real for own in terms] for label in labels], dtype=torch.float64),
    )


def _turn(axes: Sequence[str]) -> list[NDArray[np.complex128]]:
    matrices = [FROM_Z[axis].conj().T if axis in FROM_Z else np.eye(2) for axis in axes]
    unitaries, first = [], 0
    for size in blocks(len(axes)):
        unitary = np.eye(1, dtype=complex)
        for matrix in matrices[first : first + size]:
            unitary = np.kron(unitary, matrix)
        unitaries.append(unitary)
        first += size
    return unitaries
