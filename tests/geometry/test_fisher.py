"""The Fubini-Study metric against Qiskit's QFI, closed forms, and derivatives of Qiskit's state vectors."""

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import Statevector
from qiskit_machine_learning.gradients import QFI, LinCombQGT
from torch import Tensor

from qmm.errors import InputError
from qmm.geometry import fubini_study, tangents, weight_blocks
from qmm.quantum import Circuit, CircuitError, CompiledCircuit

_STEP = 1e-5


def by_differences(circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
    """(W, W) of one sample, by central differences of Qiskit's state vectors: right to about 1e-9."""

    def state(angles: np.ndarray) -> np.ndarray:
        bound = dict(zip((*circuit.inputs, *circuit.weights), [*inputs.tolist(), *angles], strict=True))
        used = {p: bound[p] for p in circuit.quantum_circuit.parameters}
        return Statevector(circuit.quantum_circuit.assign_parameters(used)).data

    own, steps = weights.numpy(), _STEP * np.eye(len(weights))
    derivatives = np.array([(state(own + step) - state(own - step)) / (2 * _STEP) for step in steps])
    overlaps = derivatives.conj() @ state(own)
    return torch.tensor((derivatives.conj() @ derivatives.T - np.outer(overlaps, overlaps.conj())).real)


def test_is_a_quarter_of_qiskits_quantum_fisher_information(layered, angles):
    circuit = layered()
    inputs, weights = angles(circuit, 2)
    qfi = QFI(LinCombQGT(StatevectorEstimator()))
    for row, own in zip(inputs, fubini_study(circuit, inputs, weights), strict=True):
        values = dict(zip((*circuit.inputs, *circuit.weights), [*row.tolist(), *weights.tolist()], strict=True))
        order = [values[p] for p in circuit.quantum_circuit.parameters]
        (expected,) = qfi.run([circuit.quantum_circuit], [order], [list(circuit.weights)]).result().qfis
        assert np.allclose(4 * own, expected, rtol=0, atol=1e-8)


def test_closed_form_of_a_rotated_qubit():
    """RY(theta) then RZ(phi): diag(1, sin(theta)**2) / 4, the metric of the Bloch sphere."""
    theta, phi = Parameter("theta"), Parameter("phi")
    circuit = QuantumCircuit(1)
    circuit.ry(theta, 0)
    circuit.rz(phi, 0)
    own = Circuit.of(circuit, [], [theta, phi], ["Z"])
    weights = torch.tensor([[0.3, 1.0], [2.0, -0.4]], dtype=torch.float64)
    expected = torch.stack([torch.diag(torch.tensor([1, w.sin() ** 2])) / 4 for w in weights[:, 0]])
    assert torch.allclose(fubini_study(own, weights.new_zeros(2, 0), weights), expected, rtol=0, atol=1e-14)


@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")  # Qiskit's own matrix of a time evolution
@pytest.mark.parametrize("per_sample", [False, True])
def test_agrees_with_differences_of_qiskits_states(circuit, per_sample, angles):
    inputs, weights = angles(circuit, 2, per_sample)
    found = fubini_study(circuit, inputs, weights)
    for row, own, metric in zip(inputs, weights.expand(2, -1), found, strict=True):
        assert torch.allclose(metric, by_differences(circuit, row, own), rtol=0, atol=2e-9)


@pytest.mark.parametrize("per_sample", [False, True])
def test_blocks_diagonal_mean_and_tangents_are_parts_of_the_full_metric(circuit, per_sample, angles):
    inputs, weights = angles(circuit, 3, per_sample)
    full = fubini_study(circuit, inputs, weights)
    assert torch.allclose(fubini_study(circuit, inputs, weights, "diagonal"), full.diagonal(dim1=1, dim2=2), atol=1e-13)
    for blocks in (None, [[0, 3, 2], [4]]):
        own = weight_blocks(circuit) if blocks is None else blocks
        inside = torch.eye(full.shape[-1], dtype=torch.bool)
        for block in own:
            inside[torch.tensor(block)[:, None], block] = True
        found = fubini_study(circuit, inputs, weights, "block", blocks)
        assert torch.allclose(found, full * inside, rtol=0, atol=1e-13)
    for kind in ("full", "block", "diagonal"):
        each = fubini_study(circuit, inputs, weights, kind)
        assert torch.allclose(fubini_study(circuit, inputs, weights, kind, mean=True), each.mean(0), rtol=0, atol=1e-13)
    moved = tangents(circuit, inputs, weights)
    assert torch.allclose((moved @ moved.mH).real, full, rtol=0, atol=1e-13)


def test_batches_larger_than_a_chunk_and_single_precision(monkeypatch, layered, angles):
    circuit = CompiledCircuit(layered(4, 2))
    inputs, weights = angles(circuit.circuit, 7)
    expected = fubini_study(circuit, inputs, weights)
    monkeypatch.setattr("qmm.geometry.derivatives._CHUNK_BYTES", 3 * 17 * 16 * 16)  # three samples of complex128
    assert torch.allclose(fubini_study(circuit, inputs, weights), expected, rtol=0, atol=1e-13)
    assert torch.allclose(fubini_study(circuit, inputs, weights, mean=True), expected.mean(0), rtol=0, atol=1e-13)
    single = fubini_study(circuit, inputs.float(), weights.float())
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), expected, rtol=0, atol=1e-6)


def test_samples_that_do_not_differ_and_weights_without_gates():
    weight, idle = Parameter("weight"), Parameter("idle")
    circuit = QuantumCircuit(1)
    circuit.ry(weight, 0)
    own = Circuit.of(circuit, [], [idle, weight], ["Z"])
    found = fubini_study(own, torch.zeros(3, 0), torch.zeros(2))
    assert torch.allclose(found, torch.diag(torch.tensor([0.0, 0.25])).expand(3, 2, 2))
    assert weight_blocks(own) == [[1]]
    still = Circuit.of(QuantumCircuit(1), [], [idle], ["Z"])
    assert not fubini_study(still, torch.zeros(3, 0), torch.zeros(1)).any()
    assert not tangents(still, torch.zeros(3, 0), torch.zeros(1)).any()


def test_refuses_what_it_cannot_do(layered, angles):
    circuit = layered()
    inputs, weights = angles(circuit, 2)
    with pytest.raises(InputError, match="kind='half'; choose one of full, block, diagonal"):
        fubini_study(circuit, inputs, weights, "half")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at most once"):
        fubini_study(circuit, inputs, weights, "block", [[0, 1], [1]])
    with pytest.raises(InputError, match="set kind='block'"):
        fubini_study(circuit, inputs, weights, "full", [[0]])
    with pytest.raises(InputError, match="no samples"):
        fubini_study(circuit, inputs[:0], weights)
    with pytest.raises(CircuitError, match="weights have shape"):
        fubini_study(circuit, inputs, weights[:3])
