"""Variances and slopes against numpy, closed forms, and what intervals promise."""

import math

import numpy as np
import pytest

from qmm.trainability.estimates import estimate, resampled_variances, slope, two_design_variance


def test_the_variance_is_unbiased_and_averaged_over_weights() -> None:
    gradients = np.random.default_rng(0).normal(3.0, [0.1, 2.0, 0.0], size=(50, 3))
    found = resampled_variances(gradients, seed=0, resamples=20)
    assert found.shape == (21,)
    assert found[0] == pytest.approx(gradients.var(axis=0, ddof=1).mean(), rel=1e-12)


def test_resamples_are_variances_of_rows_drawn_again() -> None:
    gradients = np.random.default_rng(1).normal(size=(7, 2))
    found = resampled_variances(gradients, seed=5, resamples=30)
    draws = np.random.default_rng(5).multinomial(7, np.full(7, 1 / 7), size=30)
    expected = [np.repeat(gradients, row, axis=0).var(axis=0).mean() * 7 / 6 for row in draws]
    np.testing.assert_allclose(found[1:], expected, rtol=1e-10)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    generator, held = np.random.default_rng(2), 0
    for seed in range(200):
        _, low, high = estimate(resampled_variances(generator.normal(size=(200, 1)), seed, resamples=200))
        held += low < 1.0 < high
    assert held / 200 > 0.95 - 5 * math.sqrt(0.05 * 0.95 / 200)


def test_the_slope_of_a_geometric_fall_is_its_logarithm() -> None:
    falling = {n: np.full(11, 3.0 * 0.5**n) for n in (2, 3, 5, 9)}
    found = slope(falling)
    assert found is not None
    np.testing.assert_allclose(found, [-math.log(2)] * 3, atol=1e-12)


def test_the_slope_is_that_of_least_squares() -> None:
    generator = np.random.default_rng(3)
    values = {n: np.exp(generator.normal(size=8)) for n in (2, 4, 6, 12)}
    found = slope(values)
    assert found is not None
    assert found.value == pytest.approx(np.polyfit(list(values), [math.log(v[0]) for v in values.values()], 1)[0])


def test_no_slope_without_two_sizes_or_without_gradients() -> None:
    assert slope({2: np.ones(5)}) is None
    assert slope({2: np.ones(5), 3: np.full(5, 1e-31)}) is None


def test_the_two_design_variance_is_that_of_haar_random_unitaries() -> None:
    """i <0| [P/2, U^+ O U] |0> with P of one qubit after RY(pi/4), averaged over axes and 4,000 random U of two qubits."""
    from scipy.stats import unitary_group

    turned = np.array([math.cos(math.pi / 8), math.sin(math.pi / 8)])
    state = np.kron(turned, turned)
    paulis = [np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])]
    operator = np.diag([1.0, -1.0, -1.0, 1.0])
    unitaries = unitary_group.rvs(4, size=4000, random_state=0)
    turned_back = unitaries.conj().transpose(0, 2, 1) @ operator @ unitaries
    gradients = []
    for place, matrix in enumerate(turned_back):
        generator = np.kron(np.eye(2), paulis[place % 3]) / 2
        gradients.append((1j * state @ (generator @ matrix - matrix @ generator) @ state).real)
    variances = resampled_variances(np.array(gradients)[:, None], seed=0, resamples=200)
    assert abs(variances[0] - two_design_variance(2)) < 5 * variances[1:].std()
