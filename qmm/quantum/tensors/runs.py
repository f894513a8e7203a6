"""Local layers: runs of one-qubit gates on every qubit, multiplied up to matrices of blocks of up to four qubits."""

from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import Parameter
from torch import Tensor

from qmm.quantum.angles import Angles, collect
from qmm.quantum.operations import PAULIS, Local, Rotation

_BLOCK_QUBITS = 4  # matrices of 16 x 16; one of all qubits was slower from 6 qubits on (one core, B=32)


class Runs(NamedTuple):
    """L local layers of at most r gates on each of n qubits, the first gate first."""

    angles: Angles
    """of R rotations"""
    generators: Tensor
    """(R, 2, 2), -iP of each rotation exp(-i angle/2 P)"""
    fixed: Tensor
    """(F, 2, 2), matrices without angle"""
    table: Tensor
    """(r * L * n,) int64, which of the R + F gates; the highest qubit comes first."""
    shape: tuple[int, int, int]
    """(r, L, n)"""

    def matrices(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """The runs' products, ([B,] L, n, 2, 2)."""
        half = (self.angles.evaluate(inputs, weights) / 2)[..., None, None]
        gates = half.cos() * torch.eye(2, dtype=half.dtype, device=half.device) + half.sin() * self.generators
        if len(self.fixed):
            gates = torch.cat([gates, self.fixed.expand(*gates.shape[:-3], *self.fixed.shape)], dim=-3)
        gates = gates.index_select(-3, self.table)
        runs = gates.unflatten(-3, self.shape).unbind(-5)
        return reduce(lambda product, gate: gate @ product, runs)

    def layers(self, inputs: Tensor, weights: Tensor) -> list[list[Tensor]]:
        """For each layer its blocks' unitaries ([B,] 2**k, 2**k), the highest qubits' block first."""
        products = _products(self.matrices(inputs, weights))
        return [list(layer) for layer in zip(*(block.unbind(-3) for block in products), strict=True)]

    def product_state(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """The first layer applied to |0...0>: (B, 2**n), or (1, 2**n) if it is the same for all samples."""
        columns = _products(self.matrices(inputs, weights)[..., 0, :, :, :1])
        state = reduce(kron, columns)
        return state.reshape(1 if state.ndim == 2 else len(state), state.shape[-2])


def blocks(n_qubits: int) -> list[int]:
    """Nearly equal sizes of at most four: 6 -> [3, 3], 7 -> [4, 3]."""
    count = -(-n_qubits // _BLOCK_QUBITS)
    return [n_qubits // count + (i < n_qubits % count) for i in range(count)]


def _products(matrices: Tensor) -> list[Tensor]:
    """(..., n, 2, c) -> for each block (..., 2**k, c**k). Blocks of one size are multiplied together."""
    products, first = [], 0
    for size, same in groupby(blocks(matrices.shape[-3])):
        count = len(list(same))
        parts = matrices.narrow(-3, first, count * size).unflatten(-3, (count, size))
        products += reduce(kron, parts.unbind(-3)).unbind(-3)
        first += count * size
    return products


def kron(a: Tensor, b: Tensor) -> Tensor:
    """(..., i, j) and (..., k, l) -> (..., i*k, j*l)"""
    product = a[..., :, None, :, None] * b[..., None, :, None, :]
    return product.reshape(*product.shape[:-4], a.shape[-2] * b.shape[-2], a.shape[-1] * b.shape[-1])


def apply_blocks(state: Tensor, unitaries: Sequence[Tensor]) -> Tensor:
    """(b, 2**n) with block unitaries ([B,] d, d), the highest qubits' first.

    Each product moves its block behind the others, so that after all of them the order is the old one again.
    """
    size = state.shape[-1]
    for unitary in unitaries:
        d = unitary.shape[-1]
        state = state.reshape(len(state), d, size // d).mT @ unitary.mT
    return state.reshape(len(state), size)


def apply_blocks_between(state: Tensor, spare: Tensor, unitaries: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """`apply_blocks` from one buffer (b, 2**n) to the other and back: returns the one with the result first."""
    rows, size = state.shape
    for unitary in unitaries:
        d = unitary.shape[-1]
        torch.matmul(state.view(rows, d, size // d).mT, unitary.mT, out=spare.view(rows, size // d, d))
        state, spare = spare, state
    return state, spare


def compile_runs(
    layers: Sequence[Iterable[Rotation | Local]], n_qubits: int, inputs: Sequence[Parameter], weights: Sequence[Parameter]
) -> Runs:
    rotations = [op for layer in layers for op in layer if isinstance(op, Rotation)]
    matrices: list[NDArray[np.complex128]] = []
    table = [[[] for _ in range(n_qubits)] for _ in layers]  # type: list[list[list[int]]]
    turn = 0
    for layer, runs in zip(layers, table, strict=True):
        for op in layer:
            run = runs[n_qubits - 1 - op.qubits[0]]
            if isinstance(op, Local):
                run.append(len(rotations) + len(matrices))
                matrices.append(op.matrix)
            else:
                run.append(turn)
                turn += 1
    longest = max(1, *(len(run) for runs in table for run in runs))
    if any(len(run) < longest for runs in table for run in runs):
        identity = len(rotations) + len(matrices)
        matrices.append(np.eye(2, dtype=complex))
        table = [[run + [identity] * (longest - len(run)) for run in runs] for runs in table]
    return Runs(
        angles=collect([op.angle for op in rotations], inputs, weights),
        generators=torch.tensor(np.array([-1j * PAULIS[op.axis] for op in rotations], complex).reshape(-1, 2, 2)),
        fixed=torch.tensor(np.array(matrices, complex).reshape(-1, 2, 2)),
        table=torch.tensor(table).permute(2, 0, 1).reshape(-1),
        shape=(longest, len(layers), n_qubits),
    )
