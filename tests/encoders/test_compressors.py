"""Compressors: the range is never left, the spread stays in its band, what is fitted is scikit-learn's."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from scipy.stats import norm
from sklearn.base import clone
from sklearn.decomposition import NMF, PCA, TruncatedSVD
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from qmm.config import to_config
from qmm.encoders import (
    LinearCompressor,
    MLPCompressor,
    NMFCompressor,
    PCACompressor,
    RandomizedSVDCompressor,
    RandomProjectionCompressor,
)
from qmm.encoders.factorisations import nonnegative_weights
from qmm.errors import InputError

RANGES = [(0.0, math.pi), (-math.pi, math.pi), (0.1, 0.2), (-1.0, 3.3)]
UNIFORM = 1 / math.sqrt(12)
"""The standard deviation of a uniform distribution, as a share of its range."""


def built(compressor: Any, width: int = 20, data: torch.Tensor | None = None) -> Any:
    compressor.build(width)
    if compressor.needs_fit:
        compressor.fit([data] if data is not None else [torch.randn(100, width)])
    return compressor


@given(
    scale=st.floats(-6, 6).map(lambda e: 10.0**e),
    shift=st.floats(-100, 100),
    bounds=st.sampled_from(RANGES),
    seed=st.integers(0, 99),
    compressor_class=st.sampled_from(
        [LinearCompressor, MLPCompressor, PCACompressor, RandomProjectionCompressor, RandomizedSVDCompressor]
    ),
)
@settings(max_examples=60, deadline=None)
def test_angles_neither_saturate_nor_collapse(
    scale: float, shift: float, bounds: tuple[float, float], seed: int, compressor_class: Any
) -> None:
    """Whatever the inputs' scale, angles spread like a uniform distribution, 0.29 of the range, give or take."""
    torch.manual_seed(seed)
    low, high = bounds
    data = scale * (torch.randn(256, 20) @ torch.randn(20, 20) + shift * torch.randn(20))
    compressor = built(compressor_class(4, low=low, high=high), data=data)
    for _ in range(3):
        compressor(data)
    for angles in (compressor(data), compressor.eval()(data)):
        spread = angles.std(0) / (high - low)
        assert (spread > 0.5 * UNIFORM).all(), spread
        assert (spread < 1.3 * UNIFORM).all(), spread
        assert low <= angles.min().item() <= angles.max().item() <= high


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_the_range_is_never_left(low: float, high: float) -> None:
    compressor = built(LinearCompressor(3, low=low, high=high)).eval()
    for extreme in (1e30, -1e30, 1e4, 0.0):
        angles = compressor(torch.full((2, 20), extreme) * torch.randn(20))
        assert low <= angles.min().item()  # as Python numbers: float32's pi is larger than pi
        assert angles.max().item() <= high


def test_the_formula() -> None:
    compressor = built(LinearCompressor(3, low=-1.0, high=2.0, gain=0.7))
    data = torch.randn(64, 20)
    z = data @ compressor.linear.weight.T
    z = (z - z.mean(0)) / z.std(0, correction=0)
    expected = torch.from_numpy(-1 + 3 * norm.cdf(0.7 * z.detach().numpy())).float()
    torch.testing.assert_close(compressor(data).detach(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("build", [lambda: LinearCompressor(3), lambda: MLPCompressor(3, hidden=[8, 8], dropout=0.1)])
def test_every_parameter_learns_and_one_sample_is_enough(build: Callable) -> None:
    compressor = built(build())
    data = torch.randn(32, 20, requires_grad=True)
    compressor(data).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in compressor.parameters())
    assert data.grad is not None
    assert compressor(data[:1]).isfinite().all()
    assert compressor(data[:0]).shape == (0, 3)
    torch.testing.assert_close(compressor.eval()(data)[:1], compressor(data[:1]))


def test_training_by_single_samples_learns_the_scale() -> None:
    compressor = built(LinearCompressor(2))
    data = 1000 * torch.randn(300, 20) + 500
    for row in data:
        compressor(row.unsqueeze(0))
    spread = compressor.eval()(data).std(0) / math.pi
    assert (spread > 0.8 * UNIFORM).all()
    assert (spread < 1.2 * UNIFORM).all()


@pytest.mark.parametrize("whiten", [True, False])
def test_pca_equals_scikit_learn(whiten: bool) -> None:
    data = torch.randn(200, 12) @ torch.randn(12, 12) + 5
    compressor = PCACompressor(4, low=-1.0, high=1.0, whiten=whiten)
    compressor.build(12)
    compressor.fit(data.split(33))
    reference = PCA(4, whiten=whiten, svd_solver="full").fit(data.double())
    scores = reference.transform(data.double())
    scores = scores if whiten else scores / math.sqrt(reference.explained_variance_[0])
    expected = torch.from_numpy(2 * norm.cdf(scores) - 1).float()
    torch.testing.assert_close(compressor(data), expected, atol=1e-4, rtol=1e-4)


REFERENCES: dict[str, tuple[Any, Any]] = {
    "gaussian": (
        lambda **o: RandomProjectionCompressor(4, seed=3, **o),
        GaussianRandomProjection(4, random_state=3),
    ),
    "sparse": (
        lambda **o: RandomProjectionCompressor(4, kind="sparse", seed=3, **o),
        SparseRandomProjection(4, random_state=3),
    ),
    "svd": (
        lambda **o: RandomizedSVDCompressor(4, seed=3, iterations=2, **o),
        TruncatedSVD(4, n_iter=2, random_state=3),
    ),
    "nmf": (
        lambda **o: NMFCompressor(4, seed=3, **o),
        NMF(4, init="nndsvda", random_state=3, max_iter=1000),
    ),
}
FITTED = pytest.mark.parametrize("name", REFERENCES)


@pytest.mark.parametrize("whiten", [True, False])
@FITTED
def test_what_is_fitted_equals_scikit_learn(name: str, whiten: bool) -> None:
    data = (torch.randn(200, 12) @ torch.randn(12, 12)).abs() + 0.1
    make, reference = REFERENCES[name][0], clone(REFERENCES[name][1])
    compressor = make(low=-1.0, high=1.0, whiten=whiten)
    compressor.build(12)
    compressor.fit(data.split(33))
    reference.fit(data.double().numpy())
    if name == "nmf":
        reference.set_params(tol=1e-12, max_iter=100_000)  # of the iteration in `transform`
        lengths = np.linalg.norm(reference.components_, axis=1)
        scores, fresh = (reference.transform(x.double().numpy()) * lengths for x in (data, data[:50] * 1.1))
    else:
        scores, fresh = (reference.transform(x.double().numpy()) for x in (data, data[:50] * 1.1))
    deviation = scores.std(0, ddof=1)
    z = (fresh - scores.mean(0)) / (deviation if whiten else deviation.max())
    expected = torch.from_numpy(2 * norm.cdf(z) - 1).float()
    torch.testing.assert_close(compressor(data[:50] * 1.1), expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["pca", *REFERENCES])
def test_what_is_fitted_travels_in_the_state_dict(name: str) -> None:
    def make() -> Any:
        compressor = PCACompressor(4) if name == "pca" else REFERENCES[name][0]()
        compressor.build(12)
        return compressor

    compressor, twin = make(), make()
    assert compressor.needs_fit
    with pytest.raises(InputError, match=r"Compressor is used before it was fitted; call fit"):
        compressor(torch.zeros(1, 12))
    compressor.fit([torch.rand(50, 12)])
    assert not compressor.needs_fit
    assert not list(compressor.parameters())
    for resumed in (twin, copy.deepcopy(make())):
        resumed.load_state_dict(compressor.state_dict())
        assert not resumed.needs_fit
        data = torch.rand(5, 12, requires_grad=True)
        assert torch.equal(resumed(data), compressor(data))
        resumed(data).sum().backward()
        assert data.grad is not None
        assert data.grad.abs().sum() > 0
    assert compressor(data[:0]).shape == (0, 4)


@given(seed=st.integers(0, 10**6), parts=st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_nonnegative_weights_are_scipys_and_their_gradient_is_right(seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    components, values = rng.uniform(size=(parts, 8)), rng.normal(size=(5, 8)) + 0.3
    found = nonnegative_weights(torch.from_numpy(values), torch.from_numpy(components))
    np.testing.assert_allclose(found, [nnls(components.T, row)[0] for row in values], atol=1e-8)
    assert torch.autograd.gradcheck(
        lambda v: nonnegative_weights(v, torch.from_numpy(components)), torch.from_numpy(values).requires_grad_()
    )


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: LinearCompressor(0), "at least 1 angle"),
        (lambda: MLPCompressor(2, low=1.0, high=1.0), "low < high"),
        (lambda: LinearCompressor(2, high=math.inf), "finite"),
        (lambda: built(PCACompressor(9), 8), "9 components of 8 features"),
        (lambda: built(PCACompressor(5), 8, torch.randn(4, 8)), "5 components from 4 samples"),
        (lambda: built(PCACompressor(3), 8, torch.randn(50, 2) @ torch.randn(2, 8)), "vary in 2 directions"),
        (lambda: built(RandomProjectionCompressor(9), 8), "RandomProjectionCompressor: 9 components of 8 features"),
        (lambda: built(RandomProjectionCompressor(3), 8, torch.ones(50, 8)), "vary in 0 directions"),
        (lambda: built(RandomizedSVDCompressor(5), 8, torch.randn(4, 8)), "SVDCompressor: 5 components from 4 samples"),
        (lambda: built(RandomizedSVDCompressor(3), 8, torch.randn(50, 2) @ torch.randn(2, 8)), "vary in 2 directions"),
        (lambda: RandomizedSVDCompressor(3, iterations=-1), "iterations=-1"),
        (lambda: RandomProjectionCompressor(3, kind="uniform"), "kind='uniform'; choose gaussian or sparse"),
        (lambda: built(RandomProjectionCompressor(6, "sparse", seed=4), 6), r"sparse directions of 6 features are empty"),
        (lambda: built(NMFCompressor(3), 8), "features go down to -.*take RandomizedSVDCompressor"),
    ],
)
def test_mistakes_are_named(use: Callable, message: str) -> None:
    with pytest.raises(InputError, match=message):
        use()


def test_described_as_plain_data() -> None:
    described = to_config(MLPCompressor(3, hidden=[5], high=2.0))
    assert described == {
        "class_path": "qmm.encoders.compressors.MLPCompressor",
        "init_args": {"features": 3, "hidden": [5], "high": 2.0},
    }
    described = to_config(RandomProjectionCompressor(3, "sparse", seed=1))
    assert described == {
        "class_path": "qmm.encoders.factorisations.RandomProjectionCompressor",
        "init_args": {"features": 3, "kind": "sparse", "seed": 1},
    }
