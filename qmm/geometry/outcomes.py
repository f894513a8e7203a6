"""The classical Fisher information of what is measured, and how many weights count by it."""

import math

import numpy as np
import torch
from qiskit import QuantumCircuit
from torch import Tensor

from qmm.errors import InputError
from qmm.geometry.derivatives import gather, kept, plan
from qmm.geometry.fisher import checked, weight_blocks
from qmm.quantum import Circuit, CompiledCircuit, Probabilities
from qmm.quantum.settings import settings

_UNLIKELY = 1e-12  # an outcome below it counts for nothing: what one would see of it is as rare


def classical_fisher(circuit: Circuit | CompiledCircuit, inputs: Tensor, weights: Tensor) -> Tensor:
    """F_ij = sum over outcomes z of d_i p(z) d_j p(z) / p(z), of one shot of each sample: (B, W, W).

    Outcomes are those of the qubits that the read-out needs, in the bases that it needs: where observables need several
    measurement settings, these take turns, and F is the mean of theirs. Never more than the quantum Fisher information, 4 times
    `fubini_study`, in any direction.

    Arguments and errors as in `fubini_study`.
    """
    compiled = circuit if isinstance(circuit, CompiledCircuit) else CompiledCircuit(circuit)
    inputs, weights = checked(compiled, inputs, weights)
    measured = kept(compiled, "measured", lambda: _measured(compiled))
    total = weights.new_zeros(len(inputs), weights.shape[-1], weights.shape[-1])
    for turned in measured:
        total += _of_one_setting(turned, inputs, weights)
    return total / max(1, len(measured))


def local_effective_dimension(fisher: Tensor, data_size: int = 10_000) -> float:
    """How many weights count, here, for one who learns from so many samples (arXiv:2112.04807): log det(1 + k F) / log k,
    where F is the Fisher information (W, W), a mean over samples, scaled to a trace of W, and k = n / (2 pi log n).

    Between 0 and W, about the rank of F for much data. 0 where nothing that is measured depends on the weights. Raises
    InputError for a data size below 19, which the formula cannot take, and for a matrix of another shape.
    """
    if fisher.ndim != 2 or fisher.shape[0] != fisher.shape[1]:
        raise InputError(f"a Fisher information of shape {tuple(fisher.shape)}; give (W, W), the mean over samples")
    if data_size < 2 or data_size <= 2 * math.pi * math.log(data_size):
        raise InputError(f"an effective dimension for data of size {data_size}; the formula needs 19 or more")
    own = fisher.detach().double()
    trace = own.trace()
    if trace <= 0:
        return 0.0
    factor = data_size / (2 * math.pi * math.log(data_size))
    eigenvalues = torch.linalg.eigvalsh(own * (len(own) / trace)).clamp(min=0)
    return float(torch.log1p(factor * eigenvalues).sum() / math.log(factor))


def _of_one_setting(circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> Tensor:
    used = [weight for block in weight_blocks(circuit) for weight in block]
    fisher = weights.new_zeros(len(inputs), weights.shape[-1], weights.shape[-1])
    if not used:
        return fisher
    observables = circuit.circuit.observables
    assert isinstance(observables, Probabilities)
    table = torch.tensor(observables.table(circuit.circuit.quantum_circuit.num_qubits), device=weights.device)

    def see(_: int, state: Tensor, derivatives: Tensor) -> tuple[Tensor, Tensor]:
        changes = 2 * (state.conj()[:, None] * derivatives).real
        zero = changes.new_zeros(observables.n_outputs, *changes.shape[1:])
        likely = zero[:, 0].index_add(0, table, state.abs().square())
        return likely, zero.index_add(0, table, changes)

    own = plan(circuit, [used], inputs.device, inputs.dtype, whole=True)
    parts = []
    for ((likely, changes),) in gather(circuit, inputs, weights, own, see):
        roots = changes / likely.clamp(min=_UNLIKELY).sqrt()[:, None] * (likely > _UNLIKELY)[:, None]
        parts.append(torch.einsum("zib,zjb->bij", roots, roots))
    places = torch.tensor(own.groups[0], device=weights.device)
    fisher[:, places[:, None], places] = torch.cat(parts)
    return fisher


def _measured(circuit: CompiledCircuit) -> list[CompiledCircuit]:
    """For each measurement setting the circuit up to its outcomes."""
    found = []
    for setting in settings(circuit.circuit):
        written: QuantumCircuit = circuit.circuit.quantum_circuit.copy()
        for qubit in np.flatnonzero(setting.basis.x):
            if setting.basis.z[qubit]:
                written.sdg(int(qubit))
            written.h(int(qubit))
        read = circuit.circuit.observables
        if not isinstance(read, Probabilities):
            read = Probabilities(tuple(int(q) for q in np.flatnonzero(setting.basis.x | setting.basis.z)))
        found.append(CompiledCircuit(circuit.circuit._replace(quantum_circuit=written, observables=read)))
    return found
