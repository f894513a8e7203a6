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
from qmm.quantum.tensors.runs import apply_blocks, blocks


class Basis(NamedTuple):
    """Pauli strings that one turn of single qubits makes diagonal."""

    turn: tuple[Tensor, ...]
    """Block unitaries (d, d) as in `apply_blocks`; none where the strings are diagonal already."""
    values: Tensor
    """(2**n, n_observables): what each basis state adds to each observable."""

    def expectations(self, state: Tensor) -> Tensor:
        """(b, 2**n) -> (b, n_observables), the part that these strings contribute."""
        turned = apply_blocks(state, self.turn) if self.turn else state
        return torch.view_as_real(turned).square().sum(-1) @ self.values


class Readout(NamedTuple):
    bases: tuple[Basis, ...]
    outputs: Tensor | None
    """(2**n,) int64, for probabilities: the output that each basis state adds to."""
    n_outputs: int

    def expectations(self, state: Tensor) -> Tensor:
        """(b, 2**n) -> (b, n_outputs)"""
        if self.outputs is not None:
            probabilities = torch.view_as_real(state).square().sum(-1)
            return probabilities.new_zeros(len(state), self.n_outputs).index_add(1, self.outputs, probabilities)
        return reduce(add, [basis.expectations(state) for basis in self.bases])


def compile_readout(observables: Readouts, moved: NDArray[np.int64] | None, n_qubits: int) -> Readout:
    """`moved`: where a last permutation, not applied to the state, would have taken each basis state."""
    if isinstance(observables, Probabilities):
        outputs = observables.table(n_qubits)
        table = torch.tensor(outputs if moved is None else outputs[moved])
        return Readout((), table, observables.n_outputs)
    labels = sorted({label for observable in observables for label in observable.paulis.to_labels()})
    groups = PauliList(labels).group_commuting(qubit_wise=True)
    bases = [_basis(group.to_labels(), observables, n_qubits) for group in groups]
    if moved is not None:
        bases = [basis._replace(values=basis.values[torch.tensor(moved)]) for basis in bases]
    return Readout(tuple(bases), None, len(observables))


def _basis(labels: Sequence[str], observables: Sequence[SparsePauliOp], n_qubits: int) -> Basis:
    axes = ["".join({label[i] for label in labels} - {"I"}) for i in range(n_qubits)]  # one letter or none each
    values = np.zeros((2**n_qubits, len(observables)))
    states = np.arange(2**n_qubits)
    for label in labels:
        active = sum(1 << (n_qubits - 1 - i) for i, letter in enumerate(label) if letter != "I")
        signs = 1.0 - 2.0 * (np.bitwise_count(states & active) % 2)
        for column, observable in enumerate(observables):
            same = np.array(observable.paulis.to_labels()) == label
            values[:, column] += observable.coeffs[same].sum().real * signs
    turned = any(axis in FROM_Z for axis in axes)
    return Basis(tuple(torch.tensor(u) for u in _turn(axes)) if turned else (), torch.tensor(values))


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
