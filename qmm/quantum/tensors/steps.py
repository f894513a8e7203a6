"""The other three kinds of layer, as tables over all 2**n basis states: phases, permutations, fixed dense unitaries."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import Parameter
from torch import Tensor

from qmm.quantum.angles import Angles, collect, free_parameters
from qmm.quantum.operations import Dense, Permutation, Phase
from qmm.quantum.schedule import image


class PhaseStep(NamedTuple):
    angles: Angles | None
    """of P gates; None where all are fixed"""
    exponents: Tensor
    """(P, 2**n)"""
    fixed: Tensor
    """(2**n,) radians of the gates without parameters"""

    def values(self, inputs: Tensor, weights: Tensor) -> Tensor | None:
        """([B,] P) radians, or None where all gates are fixed."""
        return None if self.angles is None else self.angles.evaluate(inputs, weights)

    def factors(self, angles: Tensor | None) -> Tensor:
        """([B,] 2**n)"""
        phases = self.fixed if angles is None else self.fixed + angles @ self.exponents
        return torch.polar(torch.ones_like(phases), -phases)


class PermuteStep(NamedTuple):
    image: Tensor
    """(2**n,) int32: basis state z goes to image[z]."""
    source: Tensor
    """(2**n,) int32: amplitude z comes from source[z]."""


class DenseStep(NamedTuple):
    qubits: tuple[int, ...]
    matrix: Tensor
    """(2**k, 2**k); bit i of its index belongs to qubits[i]."""

    def apply(self, state: Tensor, matrix: Tensor) -> Tensor:
        """(b, 2**n), multiplied by `matrix` instead of its own."""
        b, n, k = len(state), state.shape[-1].bit_length() - 1, len(self.qubits)
        axes = [n - q for q in reversed(self.qubits)]  # axis 0 is the batch, axis 1 the highest qubit
        front = list(range(1, k + 1))
        moved = state.reshape(b, *[2] * n).movedim(axes, front)
        product = matrix @ moved.reshape(b, 2**k, 2 ** (n - k))
        return product.reshape(moved.shape).movedim(front, axes).reshape(b, 2**n)


def compile_phases(
    operations: Sequence[Phase], n_qubits: int, inputs: Sequence[Parameter], weights: Sequence[Parameter]
) -> PhaseStep:
    free = [op for op in operations if free_parameters(op.angle)]
    fixed = np.zeros(2**n_qubits)
    for op in operations:
        if not free_parameters(op.angle):
            fixed += float(op.angle) * op.exponents[local_index(op.qubits, n_qubits)]
    tables = [op.exponents[local_index(op.qubits, n_qubits)] for op in free]
    return PhaseStep(
        angles=collect([op.angle for op in free], inputs, weights) if free else None,
        exponents=torch.tensor(np.array(tables).reshape(len(free), 2**n_qubits)),
        fixed=torch.tensor(fixed),
    )


def compile_permutation(operations: Sequence[Permutation], n_qubits: int) -> PermuteStep:
    moved = image(operations, n_qubits)
    source = np.argsort(moved)
    return PermuteStep(torch.tensor(moved, dtype=torch.int32), torch.tensor(source, dtype=torch.int32))


def compile_dense(operation: Dense) -> DenseStep:
    return DenseStep(operation.qubits, torch.tensor(operation.matrix))


def local_index(qubits: Sequence[int], n_qubits: int) -> NDArray[np.int64]:
    """(2**n,): what the bits of each basis state are on `qubits`, as a number."""
    states = np.arange(2**n_qubits)
    return sum((((states >> q) & 1) << i for i, q in enumerate(qubits)), np.zeros_like(states))
