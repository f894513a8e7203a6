"""Polynomials: their moments, what can be known of them, and that a row is always the same."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial.legendre import leggauss
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import PolynomialFeatures

from qmm.data import PolynomialsDataModule, PolynomialsSource
from qmm.errors import InputError


def variables(values: np.ndarray, basis: str) -> np.ndarray:
    """What the polynomial is one in."""
    return np.cos(np.pi * (1 + values) / 2) if basis == "cosine" else values


def rows(source: PolynomialsSource, split: str) -> tuple[np.ndarray, np.ndarray]:
    place = source.splits[split]
    shown = [[source.raw(m, row).numpy() for m in source.present] for row in place]
    return np.array(shown, dtype=np.float64).reshape(len(place), -1), source.targets["label"][place].astype(np.float64)


@pytest.mark.parametrize("basis", ["cosine", "legendre"])
@pytest.mark.parametrize(("degree", "count", "features"), [(1, 3, 2), (2, 2, 2), (3, 2, 1)])
def test_values_are_a_polynomial_of_the_degree_and_of_no_lower_one(basis: str, degree: int, count: int, features: int) -> None:
    """Reference: scikit-learn's least squares on all monomials, which finds it exactly, and one degree lower does not."""
    source = PolynomialsSource({"train": 400}, degree, count, features, None, basis, noise=0.0)
    assert len(source.terms) == math.comb(count * features + degree, degree) - 1
    values, targets = rows(source, "train")
    for order in (degree, degree - 1):
        monomials = PolynomialFeatures(order).fit_transform(variables(values, basis))
        residual = targets - LinearRegression(fit_intercept=False).fit(monomials, targets).predict(monomials)
        assert (np.abs(residual).max() < 1e-5) == (order == degree)


@pytest.mark.parametrize("basis", ["cosine", "legendre"])
def test_mean_and_variance_are_as_stated(basis: str) -> None:
    """Reference: Gauss-Legendre for the features themselves, equally spaced midpoints for cosines; exact at these degrees."""
    if basis == "legendre":
        nodes, weights = leggauss(8)
    else:
        nodes, weights = -1 + (2 * np.arange(8) + 1) / 8, np.full(8, 2 / 8)
    grid = np.stack(np.meshgrid(*[nodes] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    weight = np.prod(np.meshgrid(*[weights / 2] * 4, indexing="ij"), axis=0).ravel()
    values = PolynomialsSource({}, 3, 2, 2, basis=basis).truth(grid)
    assert weight @ values == pytest.approx(0, abs=1e-12)
    assert weight @ values**2 == pytest.approx(1, abs=1e-12)


def test_the_best_scores_are_those_that_the_best_functions_reach() -> None:
    """Reference: least squares, on 40,000 rows, on the monomials that each is told; R² on as many new ones."""
    source = PolynomialsSource({"train": 40_000, "test": 40_000}, 2, 2, 1, noise=0.5, seed=3)
    (values, targets), (new, wanted) = rows(source, "train"), rows(source, "test")
    x, y = variables(values, "cosine"), variables(new, "cosine")

    def r2(columns: Any) -> float:
        return LinearRegression().fit(columns(x), targets).score(columns(y), wanted)

    margin = 0.02  # five standard errors of such an R²
    assert source.best_score() == pytest.approx(1 / 1.25)
    assert r2(PolynomialFeatures(2).fit_transform) == pytest.approx(source.best_score(), abs=margin)
    assert r2(lambda z: z) == pytest.approx(source.best_score(degree=1), abs=margin)
    assert r2(lambda z: np.hstack([z, z**2])) == pytest.approx(source.best_score(meeting=1), abs=margin)
    assert r2(lambda z: np.hstack([z[:, :1], z[:, :1] ** 2])) == pytest.approx(source.best_score(["m0"]), abs=margin)
    assert 0.05 < source.best_score(["m0"]) < source.best_score(meeting=1) - 0.05 < source.best_score() - 0.1
    assert source.best_score([]) == 0


@given(st.integers(0, 5), st.sampled_from(["train", "val", "test"]), st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=20, deadline=None)
def test_a_row_depends_on_seed_split_and_index_alone(seed: int, split: str, index: int, more: int) -> None:
    small = PolynomialsSource({split: index + 1}, seed=seed)
    large = PolynomialsSource({"train": 3, "val": 2, split: index + 1 + more}, seed=seed)
    a, b = small.splits[split][index], large.splits[split][index]
    assert small.ids[a] == large.ids[b]
    assert small.targets["label"][a] == pytest.approx(large.targets["label"][b], abs=1e-5)  # another block of rows
    for modality in small.present:
        assert torch.equal(small.raw(modality, a), large.raw(modality, b))
        assert small.key(modality, a) == large.key(modality, b)


def test_few_terms_one_of_them_of_full_degree() -> None:
    for seed in range(20):
        source = PolynomialsSource({}, 3, 2, 2, terms=4, seed=seed)
        degrees = [sum(k for _, k in term) for term in source.terms]
        assert len(set(source.terms)) == 4
        assert max(degrees) == 3
        assert np.linalg.norm(source.coefficients) == pytest.approx(1)
    assert len({PolynomialsSource({}, 3, 2, 2, terms=1, seed=seed).terms[0] for seed in range(40)}) > 10


def test_the_data_module() -> None:
    data = PolynomialsDataModule(size=60, val_size=0, test_size=10, batch_size=12, count=2, features=3, seed=5)
    data.setup("fit")
    assert data.classes is None
    assert data.modalities == ("m0", "m1")
    batch = next(iter(data.train_dataloader()))
    assert {m: tuple(x.values.shape) for m, x in batch.inputs.items()} == {"m0": (12, 3), "m1": (12, 3)}
    assert batch.targets["label"].dtype == torch.float32
    again = PolynomialsDataModule(size=60, val_size=0, test_size=10, count=2, features=3, seed=6, polynomial_seed=5)
    np.testing.assert_array_equal(data.source.targets["label"], again.source.targets["label"])
    other = PolynomialsDataModule(size=60, val_size=0, test_size=10, count=2, features=3, seed=6)
    assert not np.isclose(data.source.targets["label"], other.source.targets["label"]).any()


def test_arguments_are_checked() -> None:
    for arguments, message in (
        ({"basis": "hermite"}, "expected one of cosine, legendre, got 'hermite'"),
        ({"degree": 0}, "degree 0, count 3, features 2"),
        ({"sizes": {"train": -1}}, "sizes from 0"),
        ({"noise": -0.1}, "standard deviation of at least 0, got -0.1"),
        ({"terms": 28}, "has 27 terms, terms is 28"),
        ({"terms": 0}, "terms is 0"),
        ({"count": 100, "degree": 4}, "expected at most 200000"),
    ):
        with pytest.raises(InputError, match=message):
            PolynomialsSource(**{"sizes": {"train": 1}, **arguments})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no modality 'm3'; there are: m0, m1, m2"):
        PolynomialsSource({}).best_score(["m0", "m3"])
