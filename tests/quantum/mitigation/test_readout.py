"""TREX: unbiased under any read-out errors, correlated ones too; its calibration runs once, and its variances cover."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BackendEstimatorV2
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError

from qmm.quantum import Circuit, Probabilities
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.execution import PrimitiveBackend
from qmm.quantum.mitigation import Trex

LABELS: list[str | list[str]] = ["IIZ", "XXI", ["YIZ", "IZI", "YZZ"], "ZZZ"]  # three bases that measure all qubits


@pytest.fixture(scope="module")
def correlated() -> NDArray[np.float64]:
    """Of three qubits: any outcome read as any other, ones as zeros more often, and two qubits together."""
    rng = np.random.default_rng(7)
    confusion = 0.015 * rng.random((8, 8))
    for state in range(8):
        for bit in range(3):
            confusion[state ^ 1 << bit, state] += 0.06 if state >> bit & 1 else 0.01
        confusion[state ^ 3, state] += 0.05 * (state & 3 == 3)
    confusion[np.arange(8), np.arange(8)] = 0
    return confusion + np.diag(1 - confusion.sum(axis=0))


def test_correlated_errors_are_taken_out(misread: Callable, models: Callable, reference: Callable, correlated: NDArray) -> None:
    for seed in range(3):
        circuit, inputs, weights = models(seed, 3, 2, LABELS, samples=4)
        expected = reference(circuit.circuit, inputs, weights)
        plain = misread(correlated, shots=20_000, seed=seed)[0].submit(circuit, inputs, weights)
        trex = misread(correlated, [Trex(shots=100_000)], shots=20_000, seed=seed)[0].submit(circuit, inputs, weights)
        worse, better = ((job.result() - expected).abs() for job in (plain, trex))
        assert (worse / plain.variances().sqrt()).max() > 10
        assert (better / trex.variances().sqrt()).max() < 5
        assert better.mean() < 0.3 * worse.mean()


def test_probabilities_are_unbiased(misread: Callable, models: Callable, correlated: NDArray) -> None:
    """Outputs of seven strings each, of which one calibration gives all."""
    observed, inputs, weights = models(0, 3, 2, ["ZZZ"], samples=4)
    circuit = CompiledCircuit(observed.circuit._replace(observables=Probabilities((0, 1, 2))))
    expected = misread(np.eye(8), shots=400_000, seed=5)[0].submit(circuit, inputs, weights).result()
    backend, _ = misread(correlated, [Trex(shots=200_000)], shots=200_000)
    job = backend.submit(circuit, inputs, weights)
    error = (job.result() - expected).abs()
    assert (error / (job.variances() + 1 / 400_000).sqrt()).max() < 5
    plain = misread(correlated, shots=200_000)[0].submit(circuit, inputs, weights).result()
    assert error.mean() < 0.2 * (plain - expected).abs().mean()


@pytest.mark.parametrize(
    ("shots", "calibration"), [(400, 100_000), (20_000, 400)], ids=["of the circuit", "of the calibration"]
)
def test_stated_variances_cover(
    misread: Callable, models: Callable, reference: Callable, correlated: NDArray, shots: int, calibration: int
) -> None:
    """Over 40 backends, each calibrated anew; one error dominates, then the other."""
    circuit, inputs, weights = models(3, 3, 1, LABELS, samples=1)
    expected = reference(circuit.circuit, inputs, weights)
    found = []
    for seed in range(40):
        job = misread(correlated, [Trex(8, shots=calibration)], shots=shots, seed=seed)[0].submit(circuit, inputs, weights)
        found.append(((job.result() - expected) / job.variances().sqrt())[0])
    z = torch.stack(found)
    assert (z.mean(dim=0).abs() < 5 / np.sqrt(len(z))).all()
    assert ((z.square().mean(dim=0) - 1).abs() < 5 * np.sqrt(2 / len(z))).all()


def test_without_errors_nothing_changes(misread: Callable, models: Callable, reference: Callable) -> None:
    circuit, inputs, weights = models(1, 3, 1, LABELS, samples=40)
    job = misread(np.eye(8), [Trex(4)], shots=2000)[0].submit(circuit, inputs, weights)
    expected = reference(circuit.circuit, inputs, weights)
    z = ((job.result() - expected) / job.variances().sqrt())[expected.abs() < 0.98]  # else shots may all agree
    assert z.abs().max() < 5
    assert abs(z.square().mean() - 1) < 5 * np.sqrt(2 / z.numel())


def test_the_calibration_runs_once(misread: Callable, models: Callable) -> None:
    """For the same qubits and strings; new strings take another one."""
    backend, sent = misread(np.eye(8), [Trex(8, shots=805)], shots=100)
    circuit, inputs, weights = models(1, 3, 1, LABELS, samples=2)
    for submitted in (1, 2):
        backend.submit(circuit, inputs, weights).result()
        assert sent.shots == 8 * 101 + submitted * 2 * 3 * 100
        assert sent.jobs == 1 + submitted
    other, *_ = models(1, 3, 1, ["XYZ", "IYZ"], samples=2)
    backend.submit(other, inputs, weights).result()
    assert sent.shots == 2 * 8 * 101 + 2 * 2 * 3 * 100 + 2 * 100


def test_shots_are_split_over_flips(misread: Callable, models: Callable) -> None:
    circuit, inputs, weights = models(1, 3, 1, ["ZZZ"], samples=2)
    for shots, patterns in ((100, 16), (3, 2), (1, 1)):
        backend, sent = misread(np.eye(8), [Trex(shots=64)], shots=shots)
        backend.submit(circuit, inputs, weights).result()
        own = sent.pubs[1:]
        assert sum(bindings for _, bindings, _ in own) == 2 * patterns
        assert sum(bindings * each for _, bindings, each in own) == 2 * shots
        assert len(own) == 1 + (shots % patterns > 0)  # PUBs: one circuit, equal shots


def test_estimators_are_mitigated_too(models: Callable, reference: Callable) -> None:
    """Which measure on their own: flips and scales are part of circuit and observables."""
    noise = NoiseModel()
    noise.add_all_qubit_readout_error(ReadoutError([[0.98, 0.02], [0.09, 0.91]]))
    circuit, inputs, weights = models(2, 3, 1, LABELS)
    expected = reference(circuit.circuit, inputs, weights)
    errors = []
    for mitigation in ([], [Trex(8, shots=40_000)]):
        simulator = AerSimulator(noise_model=noise, max_parallel_threads=1, seed_simulator=1)
        backend = PrimitiveBackend(BackendEstimatorV2(backend=simulator), shots=10_000, mitigation=mitigation)
        errors.append((backend.submit(circuit, inputs, weights).result() - expected).abs())
    assert errors[1].mean() < 0.3 * errors[0].mean()
    assert errors[1].max() < 0.08


def test_read_out_that_tells_nothing(misread: Callable) -> None:
    confusion = np.full((2, 2), 0.5)
    circuit = QuantumCircuit(1)
    circuit.h(0)
    backend, _ = misread(confusion, [Trex(shots=1000)])
    with pytest.raises(CircuitError, match=r"of the product of Z on qubits \[0\]; 1000 shots do not tell it from 0"):
        backend.submit(CompiledCircuit(Circuit.of(circuit, observables=["Z"])), torch.zeros(1, 0), torch.zeros(0))


@pytest.mark.parametrize("options", [{"randomizations": 0}, {"randomizations": 10}, {"shots": 0}])
def test_refused(options: dict[str, int]) -> None:
    with pytest.raises(CircuitError, match=next(iter(options))):
        Trex(**options)
