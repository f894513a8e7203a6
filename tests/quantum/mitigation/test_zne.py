"""Extrapolation: against numpy's and scipy's fits, and where depolarizing noise says that it helps."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from qiskit.circuit import QuantumCircuit
from qiskit_aer.noise import NoiseModel, depolarizing_error
from scipy.optimize import curve_fit

from qmm.quantum import Circuit
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.execution import Estimates
from qmm.quantum.mitigation import ZeroNoiseExtrapolation
from qmm.quantum.mitigation.zne import exponential, polynomial

KINDS: list[dict[str, Any]] = [
    {},
    {"extrapolation": "polynomial"},
    {"extrapolation": "exponential"},
    {"factors": [1, 1.5, 2], "gates": "all"},
]


@pytest.fixture
def depolarizing() -> NoiseModel:
    noise = NoiseModel(basis_gates=["rz", "sx", "x", "cz", "delay"])
    noise.add_all_qubit_quantum_error(depolarizing_error(0.05, 2), ["cz"])
    return noise


def estimates(values: NDArray[np.float64], errors: float | NDArray[np.float64]) -> list[Estimates]:
    """(factors, N, P)"""
    return [Estimates(v, np.broadcast_to(np.asarray(errors) ** 2, v.shape)) for v in values]


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_polynomials_are_those_of_numpy(degree: int) -> None:
    rng = np.random.default_rng(degree)
    factors, values = np.array([1.0, 1.7, 3.0, 5.0]), rng.normal(size=(4, 3, 2))
    found = polynomial(factors, estimates(values, 0.1), degree)
    expected = np.polyfit(factors, values.reshape(4, -1), degree)[-1].reshape(3, 2)
    np.testing.assert_allclose(found.values, expected, atol=1e-10)
    drawn = values[..., None] + 0.1 * rng.normal(size=(*values.shape, 4000))
    observed = np.polyfit(factors, drawn.reshape(4, -1), degree)[-1].reshape(3, 2, -1).var(axis=-1)
    np.testing.assert_allclose(found.variances, observed, rtol=0.15)  # 6 standard errors of a variance from 4000


def test_exponentials_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    factors = np.array([1.0, 3.0, 5.0])
    amplitude, rate = rng.uniform(0.3, 0.9, (4, 3)) * rng.choice([-1, 1], (4, 3)), rng.uniform(-0.25, -0.05, (4, 3))
    errors = np.array([0.01, 0.02, 0.03])
    values = amplitude * np.exp(rate * factors[:, None, None]) + errors[:, None, None] * rng.normal(size=(3, 4, 3))
    found = exponential(factors, [Estimates(v, np.full(v.shape, e**2)) for v, e in zip(values, errors, strict=True)])
    for place in np.ndindex(4, 3):
        y = values[:, *place]
        expected, covariance = curve_fit(
            lambda x, a, b: a * np.exp(b * x), factors, y, p0=[y[0], -0.1], sigma=errors, absolute_sigma=True
        )
        assert found.values[place] == pytest.approx(expected[0], abs=1e-5)
        assert found.variances[place] == pytest.approx(covariance[0, 0], rel=1e-3)


def test_what_no_exponential_fits_is_extrapolated_linearly() -> None:
    """Other signs; zeros; and errors as large as the values, of which nothing is known."""
    factors = np.array([1.0, 3.0, 5.0])
    values = np.array([[[0.02, 0.0, 0.01]], [[-0.01, 0.0, 0.03]], [[0.01, 0.0, 0.09]]])
    found = exponential(factors, estimates(values, 0.1))
    for mine, linear in zip(found, polynomial(factors, estimates(values, 0.1), 1), strict=True):
        np.testing.assert_array_equal(mine, linear)


def test_values_without_spread() -> None:
    """As of shots that all agree: fitted alike, and certain."""
    factors = np.array([1.0, 3.0])
    values = 0.8 * np.exp(-0.1 * factors)[:, None, None]
    found = exponential(factors, estimates(values, 0.0))
    np.testing.assert_allclose(found.values, 0.8)
    np.testing.assert_array_equal(found.variances, 0)


def test_depolarizing_noise_is_taken_out(
    noisy: Callable, models: Callable, reference: Callable, depolarizing: NoiseModel
) -> None:
    """With 20,000 shots errors of chance are an eighth of those of noise."""
    found = []
    for seed in range(2):
        circuit, inputs, weights = models(seed, 3, 2, ["IIZ", "IZZ", "XXI"])
        expected = reference(circuit.circuit, inputs, weights)
        tried = [noisy(depolarizing, m, 20_000, seed)[0] for m in ([], *([ZeroNoiseExtrapolation(**k)] for k in KINDS))]
        found.append([(b.submit(circuit, inputs, weights).result() - expected).abs().mean().item() for b in tried])
    none, *mitigated = np.mean(found, axis=0)
    assert none > 0.05
    assert max(mitigated) < 0.5 * none


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_without_noise_errors_are_those_of_chance(
    noisy: Callable, models: Callable, reference: Callable, options: dict[str, Any]
) -> None:
    circuit, inputs, weights = models(4, 3, 2, ["IIZ", ["IZZ", "ZZI"], "XXI"], samples=60)
    backend, _ = noisy(None, [ZeroNoiseExtrapolation(**options)], shots=500)
    job = backend.submit(circuit, inputs, weights)
    z = (job.result() - reference(circuit.circuit, inputs, weights)) / job.variances().sqrt()
    assert z.abs().max() < 5
    assert abs(z.mean()) < 5 / np.sqrt(z.numel())
    assert abs(z.square().mean() - 1) < 5 * np.sqrt(2 / z.numel())


def test_shots_of_each_factor(noisy: Callable, models: Callable, depolarizing: NoiseModel) -> None:
    circuit, inputs, weights = models(0, 3, 1, ["IIZ", "XXX"])
    backend, sent = noisy(depolarizing, [ZeroNoiseExtrapolation(factors=[1, 2, 3, 5])], shots=70)
    backend.submit(circuit, inputs, weights).result()
    assert sent.shots == 4 * 70 * len(inputs) * 2  # bases
    assert sent.jobs == 1


def test_circuits_without_gates_to_fold(noisy: Callable) -> None:
    circuit = QuantumCircuit(1)
    circuit.ry(0.3, 0)
    backend, sent = noisy(None, [ZeroNoiseExtrapolation()], shots=100)
    backend.submit(CompiledCircuit(Circuit.of(circuit, observables=["Z"])), torch.zeros(1, 0), torch.zeros(0)).result()
    assert sent.shots == 100


def test_factors_that_one_gate_cannot_tell_apart(noisy: Callable) -> None:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    backend, _ = noisy(None, [ZeroNoiseExtrapolation(factors=[2.7, 2.9])])
    with pytest.raises(CircuitError, match=r"so few gates to fold that the factors \(2.7, 2.9\) become \[3.0, 3.0\]"):
        backend.submit(CompiledCircuit(Circuit.of(circuit, observables=["ZZ"])), torch.zeros(1, 0), torch.zeros(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factors": [0.5, 1]}, "1 or more"),
        ({"factors": [1, 1]}, "each factor once"),
        ({"factors": [1]}, "needs 2 factors or more, and 1 came"),
        ({"extrapolation": "polynomial", "degree": 3}, "degree 3 needs 4 factors"),
        ({"extrapolation": "polynomial", "degree": 0}, "degree=0"),
        ({"extrapolation": "quadratic"}, "take linear, polynomial or exponential"),
        ({"gates": "one-qubit"}, "two-qubit or all"),
    ],
)
def test_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CircuitError, match=message):
        ZeroNoiseExtrapolation(**options)
