"""Shots split over variants, balanced flips, and what several estimates give together."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution import Estimates
from qmm.quantum.mitigation.randomizing import averaged, balanced_flips, pooled, power_of_two, split


@given(st.integers(1, 500), st.integers(1, 64))
def test_every_shot_is_taken_and_every_variant_gets_one(shots: int, variants: int) -> None:
    parts = split(shots, variants)
    assert sum(parts) == shots
    assert len(parts) == min(shots, variants)
    assert max(parts) - min(parts) <= 1 <= min(parts)


@given(st.integers(0, 2**32), st.integers(1, 5), st.data())
def test_flips_are_balanced(seed: int, bits: int, data: st.DataObject) -> None:
    patterns = 2**bits
    k = data.draw(st.integers(1, patterns // 2))
    flips = balanced_flips(np.random.default_rng(seed), k, patterns)
    signs = 1 - 2.0 * flips
    for size in (1, 2, 3):
        for together in combinations(range(k), size):
            assert signs[:, together].prod(axis=1).sum() == 0
    opposite = {tuple(row) for row in (~flips).tolist()}
    assert opposite == {tuple(row) for row in flips.tolist()}


def test_each_flip_is_drawn() -> None:
    """Of many qubits, more than a code of this size tells apart; and of a single pattern."""
    rng = np.random.default_rng(0)
    for k, patterns, draws in ((12, 8, 300), (3, 1, 2000)):
        signs = np.stack([1 - 2.0 * balanced_flips(rng, k, patterns) for _ in range(draws)])
        for together in [(0,), (k - 1,), *combinations(range(min(k, 4)), 2), tuple(range(3)), tuple(range(k))]:
            means = signs[:, :, together].prod(axis=2).mean(axis=1)
            assert abs(means.mean()) < 5 / np.sqrt(draws), together


def test_numbers_of_patterns() -> None:
    assert power_of_two("randomizations", 8) == 8
    for wrong in (0, -2, 12, 2.0, True):
        with pytest.raises(CircuitError, match="randomizations="):
            power_of_two("randomizations", wrong)  # type: ignore[arg-type]


def sample(rng: np.random.Generator, means: np.ndarray, shots: list[int]) -> list[Estimates]:
    """+1 and -1 of these means, drawn for each variant, as a backend estimates them."""
    found = []
    for mean, n in zip(means, shots, strict=True):
        drawn = np.where(rng.random((n, 1, 1)) < (1 + mean) / 2, 1.0, -1.0)
        found.append(Estimates(drawn.mean(axis=0), drawn.var(axis=0) / max(1, n - 1)))
    return found


@pytest.mark.parametrize(("shots", "spread"), [([40] * 16, 0.0), ([40] * 16, 0.4), ([1] * 30, 0.3), ([3, 3, 2, 2, 2], 0.3)])
def test_variances_of_averages(shots: list[int], spread: float) -> None:
    """Stated against observed over 1500 repetitions: never less, and at most half as much again."""
    rng = np.random.default_rng(3)
    found = [averaged(sample(rng, 0.3 + spread * rng.choice([-1, 1], len(shots)), shots), shots) for _ in range(1500)]
    values, variances = (np.array([e[i].item() for e in found]) for i in range(2))
    assert abs(values.mean() - 0.3) < 5 * values.std() / np.sqrt(len(values))
    assert 0.9 < variances.mean() / values.var() < 1.6


def test_one_variant_is_itself() -> None:
    estimates = Estimates(np.array([[0.2, 0.3]]), np.array([[0.01, 0.02]]))
    for combine in (averaged, pooled):
        found = combine([estimates], [50])
        np.testing.assert_allclose(found.values, estimates.values)
        np.testing.assert_allclose(found.variances, estimates.variances)


def test_pooled_is_as_from_all_shots() -> None:
    rng = np.random.default_rng(5)
    bits = rng.choice([-1.0, 1.0], (20, 1, 1))
    pieces = np.split(bits, [1, 8, 15])
    estimates = [Estimates(p.mean(axis=0), p.var(axis=0) / max(1, len(p) - 1)) for p in pieces]
    found = pooled(estimates, [len(p) for p in pieces])
    np.testing.assert_allclose(found.values, bits.mean(axis=0))
    np.testing.assert_allclose(found.variances, bits.var(axis=0) / 19)
