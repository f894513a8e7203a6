"""The other three kinds of layer: phases, permutations, fixed unitaries of several qubits."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from qiskit.circuit import Parameter
from torch import Tensor

from qmm.quantum.angles import Angles, collect, free_parameters
from qmm.quantum.operations import Dense, Permutation, Phase
from qmm.quantum.schedule import image
from qmm.quantum.strings import split_signs, z_strings


class PhaseStep(NamedTuple):
    """exp(-i phase(z)) on each basis state z, where the phase is a sum of T Z strings (see `strings.py`)."""

    angles: Angles | None
    """of P gates; None where all are fixed"""
    coefficients: Tensor
    """(P, T): what each gate's angle adds to each string"""
    fixed: Tensor
    """(T,): what the gates without parameters add"""
    high: Tensor
    """(2**(n - n//2), T), +1 or -1"""
    low: Tensor
    """(2**(n//2), T)"""

    def values(self, inputs: Tensor, weights: Tensor) -> Tensor | None:
        """([B,] P) radians, or None where all gates are fixed."""
        return None if self.angles is None else self.angles.evaluate(inputs, weights)

    def factors(self, angles: Tensor | None) -> Tensor:
        """([B,] 2**n)"""
        strings = self.fixed if angles is None else self.fixed + angles @ self.coefficients
        phases = ((strings.unsqueeze(-2) * self.high) @ self.low.mT).flatten(-2)
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
    strings = [list(z_strings(op.qubits, op.exponents)) for op in operations]
    masks = {mask: column for column, mask in enumerate(sorted({mask for own in strings for mask, _ in own}))}
    coefficients, fixed = np.zeros((len(free), len(masks))), np.zeros(len(masks))
    row = 0
    for op, own in zip(operations, strings, strict=True):
        columns, values = [masks[mask] for mask, _ in own], np.array([value for _, value in own])
        if free_parameters(op.angle):
            coefficients[row, columns] = values
            row += 1
        else:
            fixed[columns] += float(op.angle) * values
    high, low = split_signs(list(masks), n_qubits)
    return PhaseStep(
        angles=collect([op.angle for op in free], inputs, weights) if free else None,
        coefficients=torch.tensor(coefficients),
        fixed=torch.tensor(fixed),
        high=torch.tensor(high),
        low=torch.tensor(low),
    )


def compile_permutation(operations: Sequence[Permutation], n_qubits: int) -> PermuteStep:
    moved = image(operations, n_qubits)
    source = np.argsort(moved)
    return PermuteStep(torch.tensor(moved, dtype=torch.int32), torch.tensor(source, dtype=torch.int32))


def compile_dense(operation: Dense) -> DenseStep:
    return DenseStep(operation.qubits, torch.tensor(operation.matrix))
