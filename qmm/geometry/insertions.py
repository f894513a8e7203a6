"""What a weight does to a state, to first order, right behind the layer that its gate stands in."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from qiskit.circuit import Parameter
from torch import Tensor

from qmm.quantum.angles import Angles, collect, free_parameters
from qmm.quantum.circuit import Circuit
from qmm.quantum.operations import PAULIS, Phase, Rotation
from qmm.quantum.schedule import Layer
from qmm.quantum.tensors.runs import Runs, compile_runs


class Slopes(NamedTuple):
    """d angle / d weight of m pairs of a gate and a weight."""

    fixed: Tensor
    """(m,), where the angle is affine"""
    angles: Angles | None
    """of all gates, if one of them is not"""
    gates: tuple[int, ...]
    weights: tuple[int, ...]

    def values(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """(m,), or (B, m) where an angle is no affine function of the weights."""
        if self.angles is None:
            return self.fixed
        with torch.enable_grad():
            own = weights.detach().expand(len(inputs), -1).clone().requires_grad_()
            angles = self.angles.evaluate(inputs, own).expand(len(inputs), -1).sum(0)
            rows = [torch.autograd.grad(angle, own, retain_graph=True)[0] for angle in angles]
        return torch.stack([rows[gate][:, weight] for gate, weight in zip(self.gates, self.weights, strict=True)], dim=1)


class Turns(NamedTuple):
    """m rotations of single qubits by a weight: a matrix each on the state behind their layer."""

    slopes: Slopes
    generators: Tensor
    """(m, 2, 2): -i/2 P"""
    behind: Runs | None
    """The gates that follow each of them on its qubit, in the same layer."""
    flipped: Tensor
    """(m * 2**n,) int32: the basis state whose bit of the rotation's qubit is the other one"""
    kept: Tensor
    """(m, 2**n) int64: the place in a flattened matrix of the entry that leaves the basis state as it is"""

    def insert(self, state: Tensor, inputs: Tensor, weights: Tensor) -> Tensor:
        """(B, 2**n) -> (m, B, 2**n)"""
        matrices = self.generators
        if self.behind is not None:
            after = self.behind.matrices(inputs, weights).squeeze(-3)
            matrices = after @ matrices @ after.mH
        matrices = matrices * self.slopes.values(inputs, weights)[..., None, None]
        entries = matrices.flatten(-2)
        places = self.kept.expand(*entries.shape[:-1], -1)
        stays, comes = entries.gather(-1, places), entries.gather(-1, places ^ 1)
        if entries.ndim == 2:
            stays, comes = stays[:, None], comes[:, None]
        else:
            stays, comes = stays.transpose(0, 1), comes.transpose(0, 1)
        flipped = state.index_select(1, self.flipped).unflatten(1, (len(self.kept), -1)).transpose(0, 1)
        return (stays * state).addcmul_(comes, flipped)


class Phases(NamedTuple):
    """m diagonal gates with a weight in their angle."""

    slopes: Slopes
    exponents: Tensor
    """(m, 2**n): the gate is exp(-i angle * exponents) on each basis state."""

    def insert(self, state: Tensor, inputs: Tensor, weights: Tensor) -> Tensor:
        """(B, 2**n) -> (m, B, 2**n)"""
        slopes = self.slopes.values(inputs, weights)
        factors = (self.exponents if slopes.ndim == 1 else self.exponents[:, None]) * slopes.mT[..., None]
        return -1j * (factors[:, None] if slopes.ndim == 1 else factors) * state


Insertion: TypeAlias = Turns | Phases


class Effect(NamedTuple):
    """A gate's angle, and one of the weights that it depends on."""

    weight: int
    place: int
    """of the gate among the layer's operations"""


def effects(layer: Layer, weights: Sequence[Parameter]) -> list[Effect]:
    """All that the weights do in a layer, in the order of its operations."""
    places = {parameter: place for place, parameter in enumerate(weights)}
    found = []
    for place, operation in enumerate(layer.operations):
        if isinstance(operation, Rotation | Phase):
            felt = sorted(places[p] for p in free_parameters(operation.angle) if p in places)
            found += [Effect(weight, place) for weight in felt]
    return found


def compile_insertion(layer: Layer, chosen: Sequence[Effect], circuit: Circuit) -> Insertion:
    """Some of a layer's `effects`, in this order."""
    slopes, gates = _slopes(layer, chosen, circuit), [layer.operations[effect.place] for effect in chosen]
    n_qubits = circuit.quantum_circuit.num_qubits
    basis = np.arange(2**n_qubits)
    if layer.kind == "phase":
        return Phases(slopes, torch.tensor(np.array([gate.exponents[_local(gate, basis)] for gate in gates])))
    qubits = np.array([gate.qubits[0] for gate in gates])[:, None]
    runs = [_followers(layer.operations, effect.place) for effect in chosen]
    bits = (basis >> qubits) & 1
    return Turns(
        slopes=slopes,
        generators=torch.tensor(np.array([-0.5j * PAULIS[gate.axis] for gate in gates])),
        behind=compile_runs(runs, 1, circuit.inputs, circuit.weights) if any(runs) else None,
        flipped=torch.tensor((basis ^ (1 << qubits)).reshape(-1), dtype=torch.int32),
        kept=torch.tensor(3 * bits),
    )


def _followers(operations: Sequence[Any], place: int) -> list[Any]:
    """What comes behind an operation on its qubit, written for a circuit of that qubit alone."""
    return [op._replace(qubits=(0,)) for op in operations[place + 1 :] if op.qubits == operations[place].qubits]


def _local(gate: Phase, basis: np.ndarray) -> np.ndarray:
    return sum((((basis >> q) & 1) << i for i, q in enumerate(gate.qubits)), np.zeros_like(basis))


def _slopes(layer: Layer, chosen: Sequence[Effect], circuit: Circuit) -> Slopes:
    gates, weights = list(range(len(chosen))), [effect.weight for effect in chosen]
    angles = collect([layer.operations[effect.place].angle for effect in chosen], circuit.inputs, circuit.weights)
    fixed = torch.zeros(len(chosen), dtype=torch.float64) if angles.of_weights is None else angles.of_weights[weights, gates]
    return Slopes(fixed, angles if angles.formulas else None, tuple(gates), tuple(weights))
