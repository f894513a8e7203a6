"""What a weight does to a state, to first order, right behind the layer that its gate stands in.

States are (2**n, S, B) here: all that is done to them treats S derivatives of B samples alike, in contiguous rows.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from qiskit.circuit import Parameter
from torch import Tensor

from qmm.quantum.angles import Angles, collect, free_parameters
from qmm.quantum.circuit import Circuit
from qmm.quantum.operations import PAULIS, Phase, Rotation
from qmm.quantum.schedule import Layer
from qmm.quantum.tensors.runs import Runs, blocks, compile_runs

_NOTHING = 4  # place of a 0 behind the four entries of a matrix


class Effect(NamedTuple):
    """A gate whose angle depends on a weight."""

    weight: int
    gate: Any
    """Rotation or Phase"""
    behind: tuple[Any, ...]
    """What follows a rotation on its qubit in the same layer."""


def effects(layer: Layer, weights: Sequence[Parameter]) -> list[Effect]:
    """All that the weights do in a layer; of single qubits, block after block."""
    places = {parameter: place for place, parameter in enumerate(weights)}
    found = []
    for place, gate in enumerate(layer.operations):
        if isinstance(gate, Rotation | Phase):
            behind = [op for op in layer.operations[place + 1 :] if op.qubits == gate.qubits] if layer.kind == "local" else []
            felt = sorted(places[p] for p in free_parameters(gate.angle) if p in places)
            found += [Effect(weight, gate, tuple(behind)) for weight in felt]
    return found


class Slopes(NamedTuple):
    """d angle / d weight of m effects."""

    fixed: Tensor
    """(m,), where the angle is affine"""
    angles: Angles | None
    """of all gates, if one of them is not"""
    weights: tuple[int, ...]

    def values(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """(m,), or (B, m) where an angle is no affine function of the weights."""
        if self.angles is None:
            return self.fixed
        with torch.enable_grad():
            own = weights.detach().expand(len(inputs), -1).clone().requires_grad_()
            angles = self.angles.evaluate(inputs, own).expand(len(inputs), -1).sum(0)
            rows = [torch.autograd.grad(angle, own, retain_graph=True)[0] for angle in angles]
        return torch.stack([row[:, weight] for row, weight in zip(rows, self.weights, strict=True)], dim=1)


class Block(NamedTuple):
    """Neighbouring qubits, among them those of m turns: what the basis splits into, and which of the matrices they are."""

    higher: int
    size: int
    lower: int
    place: int

    def insert(self, state: Tensor, matrices: Sequence[Tensor]) -> Tensor:
        """(2**n, B) -> (2**n, m, B)"""
        own, batch = matrices[self.place], state.shape[-1]
        higher, size, lower, _ = self
        if own.ndim == 3:
            made = own.flatten(0, 1) @ state.view(higher, size, lower * batch)
            made = made.view(higher, len(own), size, lower, batch).permute(0, 2, 3, 1, 4)
        else:  # (B, m, d, d)
            columns = state.view(higher, size, lower, batch).permute(3, 1, 0, 2).reshape(batch, size, -1)
            made = (own.flatten(1, 2) @ columns).view(batch, -1, size, higher, lower).permute(3, 2, 4, 1, 0)
        return made.reshape(len(state), -1, batch)


class Phases(NamedTuple):
    """m diagonal gates."""

    slopes: Slopes
    exponents: Tensor
    """(2**n, m): each gate is exp(-i angle * exponents) on the basis states."""

    def insert(self, state: Tensor, inputs: Tensor, weights: Tensor) -> Tensor:
        """(2**n, B) -> (2**n, m, B)"""
        slopes = self.slopes.values(inputs, weights)
        factors = (self.exponents * slopes)[..., None] if slopes.ndim == 1 else self.exponents[..., None] * slopes.mT
        return factors * (-1j * state)[:, None]


Part: TypeAlias = Block | Phases


class Turns(NamedTuple):
    """The matrices of all turns of single qubits by a weight, each on the state behind its layer."""

    slopes: Slopes
    generators: Tensor
    """(m, 2, 2): -i/2 P"""
    behind: Runs | None
    """The gates that follow each of them."""
    tables: tuple[Tensor, ...]
    """For each size of block: (m', d, d), which of a matrix's entries stands where in that of the block."""
    counts: tuple[tuple[int, ...], ...]
    """of turns that are put in together, for each size of block"""

    def matrices(self, inputs: Tensor, weights: Tensor) -> list[Tensor]:
        """(m', d, d), or (B, m', d, d), of each `Block` by its place."""
        made = self.generators
        if self.behind is not None:
            after = self.behind.matrices(inputs, weights).squeeze(-3)
            made = after @ made @ after.mH
        made = (made * self.slopes.values(inputs, weights)[..., None, None]).flatten(-2)
        entries = torch.nn.functional.pad(made, (0, 1))
        found, first = [], 0
        for table, counts in zip(self.tables, self.counts, strict=True):
            own = entries.narrow(-2, first, len(table))
            places = table.flatten(1).expand(*own.shape[:-1], -1)
            found += own.gather(-1, places).unflatten(-1, table.shape[1:]).split(counts, dim=-3)
            first += len(table)
        return found


def compile_turns(
    groups: Sequence[Sequence[Effect]], circuit: Circuit
) -> tuple[Turns | None, list[list[tuple[Block, list[Effect]]]]]:
    """For groups of rotations that are put in together: all matrices, and for each group its blocks with their effects."""
    n_qubits = circuit.quantum_circuit.num_qubits
    sizes = blocks(n_qubits)
    tops = [n_qubits - done for done in accumulate(sizes, initial=0)]  # qubits from tops[i] - sizes[i] up to tops[i] - 1
    spots = []  # (size, group, block, effects)
    for number, group in enumerate(groups):
        for block, size in enumerate(sizes):
            low = tops[block] - size
            own = [effect for effect in group if low <= effect.gate.qubits[0] < tops[block]]
            if own:
                spots.append((size, number, block, own))
    spots.sort(key=lambda spot: spot[0])
    placed: list[list[tuple[Block, list[Effect]]]] = [[] for _ in groups]
    for place, (size, number, block, own) in enumerate(spots):
        low = tops[block] - size
        placed[number].append((Block(2 ** (n_qubits - tops[block]), 2**size, 2**low, place), own))
    if not spots:
        return None, placed
    chosen = [effect for *_, own in spots for effect in own]
    each = {size: [spot for spot in spots if spot[0] == size] for size in sorted(set(sizes))}
    tables = [
        [_table(e.gate.qubits[0] - (tops[b] - size), size) for _, _, b, own in same for e in own] for size, same in each.items()
    ]
    runs = [[op._replace(qubits=(0,)) for op in effect.behind] for effect in chosen]
    return Turns(
        slopes=compile_slopes(chosen, circuit),
        generators=torch.tensor(np.array([-0.5j * PAULIS[effect.gate.axis] for effect in chosen])),
        behind=compile_runs(runs, 1, circuit.inputs, circuit.weights) if any(runs) else None,
        tables=tuple(torch.tensor(np.array(table)) for table in tables if table),
        counts=tuple(tuple(len(own) for *_, own in same) for same in each.values() if same),
    ), placed


def compile_phases(chosen: Sequence[Effect], circuit: Circuit) -> Phases:
    basis = np.arange(2**circuit.quantum_circuit.num_qubits)
    local = [sum(((basis >> q) & 1) << i for i, q in enumerate(effect.gate.qubits)) for effect in chosen]
    exponents = np.stack([effect.gate.exponents[index] for effect, index in zip(chosen, local, strict=True)], axis=1)
    return Phases(compile_slopes(chosen, circuit), torch.tensor(exponents))


def compile_slopes(chosen: Sequence[Effect], circuit: Circuit) -> Slopes:
    weights = [effect.weight for effect in chosen]
    angles = collect([effect.gate.angle for effect in chosen], circuit.inputs, circuit.weights)
    gates = list(range(len(chosen)))
    fixed = torch.zeros(len(chosen), dtype=torch.float64) if angles.of_weights is None else angles.of_weights[weights, gates]
    return Slopes(fixed, angles if angles.formulas else None, tuple(weights))


def _table(qubit: int, size: int) -> np.ndarray:
    """(d, d): the place of the entry of a 2 x 2 matrix that a matrix of `size` qubits has there, if it acts on one of them."""
    basis = np.arange(2**size)
    bits = (basis >> qubit) & 1
    same = (basis[:, None] ^ basis) & ~(1 << qubit) == 0
    return np.where(same, 2 * bits[:, None] + bits, _NOTHING)
