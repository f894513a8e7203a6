"""Kernel PCA: scikit-learn's on the same Gram matrix, whose entries are Qiskit's fidelities."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter
from qiskit.quantum_info import Statevector, state_fidelity
from scipy.stats import norm
from sklearn.decomposition import PCA
from sklearn.decomposition import KernelPCA as Reference
from sklearn.metrics.pairwise import rbf_kernel

from qmm.circuits import AngleEncoding, DenseAngleEncoding, FeatureMap, ZZEncoding
from qmm.config import to_config
from qmm.contracts import Compressor
from qmm.encoders import QuantumKernelPCA, RBFKernelPCA
from qmm.errors import InputError
from qmm.quantum.execution import Ideal, PrimitiveBackend
from qmm.training.cli import instantiate


def built(compressor: Any, data: torch.Tensor) -> Any:
    compressor.build(data.shape[1])
    compressor.fit(data.split(17))
    return compressor


def angles_of(data: torch.Tensor, fresh: torch.Tensor, inputs: int, bandwidth: float) -> list[np.ndarray]:
    pca = PCA(inputs, whiten=True, svd_solver="full").fit(data.double().numpy())
    return [math.pi * bandwidth * norm.cdf(pca.transform(x.double().numpy())) for x in (data, fresh)]


def fidelities(x: np.ndarray, y: np.ndarray, feature_map: FeatureMap) -> np.ndarray:
    """By Qiskit's own state vectors."""
    feature_map.build(x.shape[1], feature_map.least_qubits(x.shape[1]))
    parameters = [Parameter(f"x{i}") for i in range(feature_map.n_angles)]
    circuit = feature_map.circuit(parameters)

    def prepared(angles: np.ndarray) -> list[Statevector]:
        rows = feature_map(torch.from_numpy(angles)).tolist()
        return [Statevector(circuit.assign_parameters(dict(zip(parameters, row, strict=True)))) for row in rows]

    left, right = prepared(x), prepared(y)
    return np.array([[state_fidelity(a, b) for b in right] for a in left])


CASES = [
    (lambda **o: QuantumKernelPCA(3, inputs=4, **o), 0.5, "dense"),
    (lambda **o: QuantumKernelPCA(3, inputs=4, feature_map=ZZEncoding(), bandwidth=0.3, **o), 0.3, "zz"),
    (lambda **o: RBFKernelPCA(3, inputs=4, **o), 0.5, "rbf"),
]


@pytest.mark.parametrize("whiten", [True, False])
@pytest.mark.parametrize(("make", "bandwidth", "kind"), CASES, ids=[case[2] for case in CASES])
def test_equals_scikit_learn(make: Callable[..., Any], bandwidth: float, kind: str, whiten: bool) -> None:
    data, fresh = torch.randn(40, 6), torch.randn(5, 6)
    compressor = built(make(low=-1.0, high=1.0, whiten=whiten), data)
    x, z = angles_of(data, fresh, 4, bandwidth)
    if kind == "rbf":
        gram, cross = rbf_kernel(x, x, 1 / 4), rbf_kernel(z, x, 1 / 4)
    else:
        feature_map = DenseAngleEncoding() if kind == "dense" else ZZEncoding()
        gram, cross = fidelities(x, x, feature_map), fidelities(z, x, feature_map)
    reference = Reference(3, kernel="precomputed", eigen_solver="dense").fit(gram)
    deviation = reference.transform(gram).std(0, ddof=1)
    expected = reference.transform(cross) / (deviation if whiten else deviation.max())
    found = compressor.scores(fresh).numpy()
    signs = np.sign((found * expected).sum(0))  # of an eigenvector, which is either
    np.testing.assert_allclose(found * signs, expected, atol=2e-3)
    np.testing.assert_allclose(compressor(fresh).numpy() * signs, 2 * norm.cdf(expected) - 1, atol=2e-3)


def test_landmarks_are_bounded_and_scores_are_standardised_over_all_samples() -> None:
    data = torch.randn(100, 6)
    compressor = built(QuantumKernelPCA(2, landmarks=12, inputs=3), data)
    assert compressor.landmarks.shape == (12, 3)
    scores = compressor.scores(data)
    torch.testing.assert_close(scores.mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(scores.std(0), torch.ones(2), atol=1e-4, rtol=0)
    known = compressor.front(data)
    assert all((known - landmark).abs().sum(1).min() < 1e-5 for landmark in compressor.landmarks)
    other = built(QuantumKernelPCA(2, landmarks=12, inputs=3, seed=1), data)
    assert not torch.equal(other.landmarks, compressor.landmarks)


@pytest.mark.parametrize(("make", "bandwidth", "kind"), CASES, ids=[case[2] for case in CASES])
def test_what_is_fitted_travels_and_hands_gradients_on(make: Callable[..., Any], bandwidth: float, kind: str) -> None:
    data = torch.randn(40, 6)
    compressor = make()
    compressor.build(6)
    with pytest.raises(InputError, match="used before it was fitted"):
        compressor(data)
    compressor.fit([data])
    twin = instantiate(Compressor, to_config(compressor))
    twin.build(6)
    twin.load_state_dict(compressor.state_dict())
    assert not twin.needs_fit
    features = data[:5].double().requires_grad_()
    assert torch.equal(twin(features), compressor(features))
    assert not [p for p in compressor.parameters() if p.requires_grad]
    compressor(features).sum().backward()
    assert features.grad is not None
    assert features.grad.abs().sum() > 0
    rows = compressor.front(data[:5]).double().requires_grad_()
    assert torch.autograd.gradcheck(compressor.double()._project, rows, atol=1e-6)
    assert compressor(data[:0]).shape == (0, 3)


def test_another_backend_measures_overlaps() -> None:
    """One circuit for each sample and landmark; what it costs is bounded by the landmarks."""
    data, shots = torch.randn(30, 5), 4000
    compressor = built(QuantumKernelPCA(2, landmarks=6, inputs=2, feature_map=AngleEncoding()), data)
    backend = PrimitiveBackend(Ideal(), shots=shots, seed=2)
    x, y = compressor.front(data[:3]), compressor.landmarks
    exact = compressor.kernel(x, y)
    compressor.run_on(backend)
    measured = compressor.kernel(x, y)
    assert backend.ledger.snapshot().circuits > 0
    assert not torch.equal(measured, exact)
    deviation = (exact * (1 - exact) / shots).sqrt()
    assert ((measured - exact).abs() <= 5 * deviation + 1e-6).all()
    before = backend.ledger.snapshot().circuits
    compressor.fit([data])
    assert backend.ledger.snapshot().circuits == before  # it simulates
    assert compressor.backend is backend


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: QuantumKernelPCA(4, landmarks=4), "landmarks=4, inputs=6; expected more landmarks than the 4 features"),
        (lambda: RBFKernelPCA(2, bandwidth=0.0), "bandwidth=0.0; expected a number above 0"),
        (lambda: built(QuantumKernelPCA(4), torch.randn(4, 6)), "4 components from 4 samples"),
        (lambda: built(QuantumKernelPCA(3, inputs=3), torch.randn(50, 2) @ torch.randn(2, 6)), "vary in 2 directions"),
        (lambda: built(QuantumKernelPCA(4, inputs=1, feature_map=AngleEncoding()), torch.randn(50, 6)), "varies in 2 only"),
    ],
)
def test_mistakes_are_named(use: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        use()
