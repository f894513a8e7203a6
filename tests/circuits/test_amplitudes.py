"""Amplitude encodings, exact and approximate: their states, their fidelity, and gradients that stay finite."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import UnitaryGate
from qiskit.quantum_info import Statevector, random_unitary

from qmm.circuits import AmplitudeEncoding, ApproximateAmplitudeEncoding, FeatureMap, fit_staircase
from qmm.quantum import Circuit, expectations

FEATURE = st.floats(-3, 3)


def exact(values) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)


def built(feature_map: Any, features: int, spare: int = 0, uploads: int = 1) -> Any:
    feature_map.build(features, feature_map.least_qubits(features) + spare, uploads)
    return feature_map.double()


def bound(feature_map: FeatureMap, features, upload: int = 0) -> QuantumCircuit:
    """The circuit of an upload with the angles of one row of features."""
    named = [Parameter(f"x{i}") for i in range(feature_map.n_angles)]
    angles = feature_map(exact(features)[None])[0].tolist()
    circuit = feature_map.circuit(named, upload)
    return circuit.assign_parameters({n: a for n, a in zip(named, angles, strict=True) if n in circuit.parameters})


def state(feature_map: FeatureMap, features) -> np.ndarray:
    return Statevector(bound(feature_map, features)).data


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    """Up to a phase."""
    assert abs(abs(np.vdot(found, expected)) - 1) < 1e-9


def measured(feature_map: FeatureMap, n_observables: int = 4) -> Any:
    """features -> expectation values in a fixed random basis, differentiable."""
    named = [Parameter(f"x{i}") for i in range(feature_map.n_angles)]
    circuit = feature_map.circuit(named)
    circuit.append(UnitaryGate(random_unitary(2**circuit.num_qubits, seed=3)), range(circuit.num_qubits))
    n = circuit.num_qubits
    labels = ["".join("Z" if (m >> q) & 1 else "I" for q in reversed(range(n))) for m in range(1, 2**n)]
    read = Circuit.of(circuit, named, (), labels[:n_observables])
    return lambda features: expectations(read, feature_map(features), features.new_zeros(0))


@given(st.lists(st.sampled_from([0.0, -0.2, 1.0, -3.0, 1e-12, 1e150]) | FEATURE, min_size=1, max_size=9).filter(any))
def test_amplitudes_are_the_features_over_their_length(features):
    feature_map = built(AmplitudeEncoding(), len(features))
    scaled = np.array(features) / np.abs(features).max()
    expected = np.zeros(2**feature_map.n_qubits)
    expected[: len(features)] = scaled / np.linalg.norm(scaled)
    np.testing.assert_allclose(state(feature_map, features), expected, atol=1e-9)
    assert set(bound(feature_map, features).count_ops()) <= {"ry", "cx"}


@given(st.lists(FEATURE, min_size=1, max_size=5).filter(lambda x: max(map(abs, x)) > 1e-3))
def test_the_norm_is_kept_as_an_angle(features):
    size = np.linalg.norm(features)
    feature_map = built(AmplitudeEncoding("angle"), len(features))
    direction = np.zeros(2**feature_map.index_qubits)
    direction[: len(features)] = features / size
    polar = math.atan(size / math.sqrt(len(features)))
    np.testing.assert_allclose(state(feature_map, features), np.kron([math.cos(polar), math.sin(polar)], direction), atol=1e-9)


def nearest_of_rank_two(vector: np.ndarray) -> np.ndarray:
    """Cut by cut, from the highest qubit on, the two largest singular values are kept."""
    n_qubits = len(vector).bit_length() - 1
    left, rest = np.ones((1, 1)), vector[None]
    for _ in range(n_qubits - 1):
        u, s, v = np.linalg.svd(rest.reshape(2 * rest.shape[0], -1), full_matrices=False)
        left = (left @ u[:, :2].reshape(left.shape[-1], -1)).reshape(-1, min(2, len(s)))
        rest = s[:2, None] * v[:2]
    found = (left @ rest).reshape(-1)
    return found / np.linalg.norm(found)


@pytest.mark.parametrize("features", [1, 2, 3, 4, 8, 13, 16, 32])
def test_a_staircase_is_the_truncated_matrix_product_state(features):
    row = np.random.default_rng(features).normal(size=features)
    feature_map = built(ApproximateAmplitudeEncoding(), features)
    whole = np.zeros(2**feature_map.n_qubits)
    whole[:features] = row / np.linalg.norm(row)
    found = state(feature_map, row)
    assert_same(found, nearest_of_rank_two(whole))
    fidelity = feature_map.fidelity(exact(row)[None])
    np.testing.assert_allclose(fidelity, [abs(np.vdot(found, whole)) ** 2], atol=1e-9)
    assert fidelity > 1 - 1e-9 or feature_map.n_qubits > 3


def test_more_layers_come_nearer():
    rows = exact(np.random.default_rng(0).normal(size=(8, 32)))
    fidelities = torch.stack([fit_staircase(rows, layers).fidelity for layers in range(1, 7)])
    assert (fidelities.diff(dim=0) > 0).all()
    assert fidelities[-1].mean() > 0.95
    feature_map = built(ApproximateAmplitudeEncoding(3), 32)
    found = [abs(np.vdot(state(feature_map, row), (row / row.norm()).numpy())) ** 2 for row in rows]
    np.testing.assert_allclose(feature_map.fidelity(rows), found, atol=1e-9)


@pytest.mark.parametrize("layers", [1, 2])
def test_states_of_low_rank_are_exact_and_do_the_gradient_no_harm(layers):
    smooth = torch.sin(torch.linspace(0.3, 4, 32, dtype=torch.float64))
    spike, flat = torch.eye(32, dtype=torch.float64)[5], torch.ones(32, dtype=torch.float64)
    rows = torch.stack([smooth, spike, flat, flat.cumsum(0), -spike]).float().requires_grad_()
    feature_map = ApproximateAmplitudeEncoding(layers)
    feature_map.build(32, 5)
    torch.testing.assert_close(feature_map.fidelity(rows), torch.ones(5), atol=1e-5, rtol=0)
    assert torch.autograd.grad(measured(feature_map)(rows).sum(), rows)[0].isfinite().all()


@pytest.mark.parametrize("layers", [1, 2])
def test_the_gradient_of_an_approximate_state(layers):
    feature_map = built(ApproximateAmplitudeEncoding(layers), 16)
    rows = exact(np.random.default_rng(4).normal(size=(2, 16))).requires_grad_()
    assert torch.autograd.gradcheck(measured(feature_map), (rows,))
    assert torch.autograd.gradcheck(feature_map, (rows,))
    assert torch.autograd.gradcheck(feature_map.fidelity, (rows,))


@pytest.mark.parametrize("make", [AmplitudeEncoding, ApproximateAmplitudeEncoding])
def test_gradients_are_finite_near_zero_and_with_zeros_among_the_features(make):
    feature_map = make()
    feature_map.build(8, 3)
    rows = torch.zeros(4, 8)
    rows[0, 3] = 1e-30
    rows[1] = 1e-20 * torch.arange(8)
    rows[2, ::3] = 1.0
    rows[3] = torch.tensor([1.0, 2.0, 1e-12, -1e-12, 0.0, 0.0, 1e-25, 0.0])
    rows.requires_grad_()
    angles = feature_map(rows)
    assert angles.isfinite().all()
    assert torch.autograd.grad(measured(feature_map)(rows).sum(), rows)[0].isfinite().all()


def test_rounding_does_not_drown_the_gradient_of_a_branch_with_little_weight():
    double, single = AmplitudeEncoding(), AmplitudeEncoding()
    double.build(8, 3)
    single.build(8, 3)
    row = exact([[1.0, -0.5, 2.0, 0.3, 0.1, 0.7, 1e-7, -2e-7]])
    wanted, found = (
        torch.autograd.grad(measured(m)(x.requires_grad_()).sum(), x)[0].double()
        for m, x in ((double, row.clone()), (single, row.float()))
    )
    torch.testing.assert_close(found[:, :6], wanted[:, :6], atol=1e-5, rtol=1e-4)
    assert found[:, 6:].abs().max() < 10 * wanted.abs().max()
