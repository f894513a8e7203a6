"""The Fubini-Study metric from measured overlaps: for circuits that run on shots, or on a device."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import Parameter, QuantumCircuit
from torch import Tensor

from qmm.geometry.derivatives import kept
from qmm.geometry.fisher import Kind, checked, entries
from qmm.quantum import Backend, Circuit, CompiledCircuit, Probabilities, expectations
from qmm.quantum.gradients.unrolling import Unrolled, unroll


class Overlap(NamedTuple):
    """|<psi(b)|psi(a)>|**2 as the first output of a circuit, with every angle by itself."""

    compiled: CompiledCircuit
    """Its inputs are the angles a, then the angles b; it has no weights."""
    unrolled: Unrolled


def sampled_fubini_study(
    circuit: Circuit | CompiledCircuit,
    inputs: Tensor,
    weights: Tensor,
    backend: Backend | None = None,
    kind: Kind = "full",
    blocks: Sequence[Sequence[int]] | None = None,
) -> Tensor:
    """`fubini_study`, estimated from overlaps: compute, uncompute with other angles, and see how often all qubits are 0.

    Every angle of the circuit is shifted by itself (arXiv:2008.06517): with A of them that weights reach, one overlap for
    each, and four for every two that are asked for, 2 A**2 - A in all of a full metric, times the samples. Shots make the
    estimate noisy, not biased; it may then have negative eigenvalues, so regularise before you invert it.

    Args:
        circuit, inputs, weights, kind, blocks: As in `fubini_study`.
        backend: Where overlaps are measured; by default exactly.

    Returns:
        (B, W, W), or (B, W) of a diagonal, of the dtype of the weights.

    Raises what `fubini_study` raises, and CircuitError for gates whose angles obey no shift rule.
    """
    compiled = circuit if isinstance(circuit, CompiledCircuit) else CompiledCircuit(circuit)
    inputs, weights = checked(compiled, inputs, weights)
    wanted = entries(compiled, kind, blocks)
    overlap = kept(compiled, "overlap", lambda: _overlap(compiled))
    unrolled, own = overlap.unrolled, weights.expand(len(inputs), -1).double().cpu()
    x, n_inputs = inputs.double().cpu(), inputs.shape[1]
    chosen = np.flatnonzero(unrolled.of_weights)
    slopes = unrolled.slopes(chosen, x, own)[..., n_inputs:]
    touched = (slopes != 0).any(dim=0).double()
    needed = torch.triu(touched @ wanted.double() @ touched.mT > 0).numpy()
    first, second = np.nonzero(needed)
    shifts, signs, owner = _shifts(first, second)
    at = unrolled.angles.evaluate(x, own).expand(len(x), -1)
    moved = at[:, None].repeat(1, len(shifts), 1)
    moved[:, :, chosen] += torch.tensor(_points(shifts, len(chosen)))
    angles = torch.cat([moved, at[:, None].expand_as(moved)], dim=-1).flatten(0, 1).to(weights)
    values = expectations(overlap.compiled, angles, angles.new_zeros(0), backend)[:, 0].double().cpu().view(len(x), -1)
    of_angles = torch.zeros(len(x), len(chosen), len(chosen), dtype=torch.float64)
    sums = torch.zeros(len(x), len(first), dtype=torch.float64).index_add(1, torch.tensor(owner), values * torch.tensor(signs))
    same = torch.tensor(first == second)
    found = torch.where(same, (1 - sums) / 4, -sums / 8)
    of_angles[:, first, second] = found
    of_angles[:, second, first] = found
    metric = (slopes.mT @ of_angles @ slopes * wanted).to(weights)
    return metric.diagonal(dim1=1, dim2=2) if kind == "diagonal" else metric


def _shifts(first: NDArray[np.int64], second: NDArray[np.int64]) -> tuple[list[dict[int, float]], list[float], list[int]]:
    """What is added to angles, with which sign it counts, and for which pair: (1 - f(pi)) / 4 on the diagonal; elsewhere
    -1/8 of f(+, +) - f(+, -) - f(-, +) + f(-, -)."""
    shifts, signs, owner = [], [], []
    for pair, (i, j) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        if i == j:
            shifts.append({i: math.pi})
            signs.append(1.0)
            owner.append(pair)
            continue
        for a in (1, -1):
            for b in (1, -1):
                shifts.append({i: a * math.pi / 2, j: b * math.pi / 2})
                signs.append(float(a * b))
                owner.append(pair)
    return shifts, signs, owner


def _points(shifts: list[dict[int, float]], n_angles: int) -> NDArray[np.float64]:
    points = np.zeros((len(shifts), n_angles))
    for row, shift in enumerate(shifts):
        points[row, list(shift)] = list(shift.values())
    return points


def _overlap(circuit: CompiledCircuit) -> Overlap:
    n_qubits = circuit.circuit.quantum_circuit.num_qubits
    everything = Probabilities(tuple(range(n_qubits)))  # so that no angle is out of sight
    unrolled = unroll(CompiledCircuit(circuit.circuit._replace(observables=everything)))
    there = unrolled.compiled.circuit
    names = [Parameter(f"uncomputed[{place}]") for place in range(len(there.inputs))]
    back = there.quantum_circuit.assign_parameters(dict(zip(there.inputs, names, strict=True))).inverse()
    written: QuantumCircuit = there.quantum_circuit.compose(back)
    none = Probabilities(tuple(range(n_qubits)), (0,) + (1,) * (2**n_qubits - 1))
    return Overlap(CompiledCircuit(Circuit.of(written, [*there.inputs, *names], (), none)), unrolled)
