"""M3: mthree's own corrections, errors of read-out undone, and variances that cover."""

import sys
from collections.abc import Callable

import mthree
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import Pauli, SparsePauliOp

from qmm.quantum import Circuit
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.mitigation import M3, subspace
from qmm.quantum.mitigation.subspace import Flips, _Corrected

LABELS: list[str | list[str]] = ["IIZ", "XXI", ["YIZ", "IZI", "YZZ"], "ZZZ"]
ZEROS, ONES = np.array([0.02, 0.04, 0.01]), np.array([0.08, 0.05, 0.11])  # how often they are read wrongly


@pytest.fixture(scope="module")
def independent() -> NDArray[np.float64]:
    """(8, 8): each qubit is read wrongly by itself."""
    confusion = np.eye(1)
    for zero, one in zip(ZEROS, ONES, strict=True):
        confusion = np.kron(np.array([[1 - zero, one], [zero, 1 - one]]), confusion)
    return confusion


@pytest.mark.parametrize("direct", [True, False])
def test_values_are_those_of_mthree(monkeypatch: pytest.MonkeyPatch, direct: bool) -> None:
    """By LU factors of all strings seen and by mthree's own solver, on qubits in any order."""
    if not direct:
        monkeypatch.setattr(subspace, "_DIRECT", 1)
    rng = np.random.default_rng(0)
    bits = rng.random((2, 3000, 3)) < np.array([0.2, 0.6, 0.9])
    basis = Pauli("ZIXYI")  # of qubits 1, 2 and 4
    observables = [SparsePauliOp("IIXII"), SparsePauliOp(["ZIXII", "ZIXYI", "IIIYI"], [0.3, -1.2, 0.7])]
    flips = Flips((1, 2, 4), np.stack([ZEROS, ONES]), np.zeros((2, 3)))
    found = _Corrected(flips, None).read(bits, basis, observables)
    mitigator = mthree.M3Mitigation()
    cals = [np.array([[1 - p, q], [p, 1 - q]], np.float32) for p, q in zip(ZEROS, ONES, strict=True)]
    mitigator.cals_from_matrices([None, cals[0], cals[1], None, cals[2]])
    for row, values in zip(bits, found.values, strict=True):
        strings, counts = np.unique(row, axis=0, return_counts=True)
        named = {"".join("01"[int(b)] for b in s[::-1]): int(n) for s, n in zip(strings, counts, strict=True)}
        quasi = mitigator.apply_correction(named, [1, 2, 4], distance=3)
        first, *others = (quasi.expval(string) for string in ("IZI", "ZZI", "ZZZ", "IIZ"))
        np.testing.assert_allclose(values, [first, np.dot([0.3, -1.2, 0.7], others)], atol=1e-5)


def test_mthree_bounds_the_variance_from_above(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are too many strings to solve for the variance itself."""
    bits = np.random.default_rng(0).random((1, 3000, 3)) < np.array([0.2, 0.6, 0.9])
    flips = Flips((0, 1, 2), np.stack([ZEROS, ONES]), np.zeros((2, 3)))
    observables = [SparsePauliOp("ZZZ"), SparsePauliOp(["ZII", "IIZ"])]
    own = _Corrected(flips, None).read(bits, Pauli("ZZZ"), observables)
    monkeypatch.setattr(subspace, "_DIRECT", 1)
    bound = _Corrected(flips, None).read(bits, Pauli("ZZZ"), observables)
    np.testing.assert_allclose(bound.values, own.values, atol=1e-4)
    assert (bound.variances > own.variances).all()
    assert (bound.variances < 12 * own.variances).all()


def test_errors_are_taken_out(
    misread: Callable, models: Callable, reference: Callable, independent: NDArray[np.float64]
) -> None:
    for seed in range(3):
        circuit, inputs, weights = models(seed, 3, 2, LABELS, samples=3)
        expected = reference(circuit.circuit, inputs, weights)
        plain = misread(independent, shots=10_000, seed=seed)[0].submit(circuit, inputs, weights)
        m3 = misread(independent, [M3(shots=100_000)], shots=10_000, seed=seed)[0].submit(circuit, inputs, weights)
        worse, better = ((job.result() - expected).abs() for job in (plain, m3))
        assert (worse / plain.variances().sqrt()).max() > 10
        assert (better / m3.variances().sqrt()).max() < 5
        assert better.mean() < 0.3 * worse.mean()


@pytest.mark.parametrize(("shots", "calibration"), [(400, 50_000), (10_000, 400)], ids=["circuit", "calibration"])
def test_stated_variances_cover(
    misread: Callable, models: Callable, reference: Callable, independent: NDArray[np.float64], shots: int, calibration: int
) -> None:
    """Over 40 backends, each calibrated anew; one error dominates, then the other."""
    circuit, inputs, weights = models(3, 3, 1, LABELS, samples=1)
    expected = reference(circuit.circuit, inputs, weights)
    found = []
    for seed in range(40):
        job = misread(independent, [M3(shots=calibration)], shots=shots, seed=seed)[0].submit(circuit, inputs, weights)
        found.append(((job.result() - expected) / job.variances().sqrt())[0])
    z = torch.stack(found)
    assert (z.mean(dim=0).abs() < 5 / np.sqrt(len(z))).all()
    assert ((z.square().mean(dim=0) - 1).abs() < 5 * np.sqrt(2 / len(z))).all()


def test_the_calibration_runs_once(misread: Callable, models: Callable) -> None:
    """Whatever is measured of the same qubits."""
    backend, sent = misread(np.eye(8), [M3(shots=805)], shots=100)
    circuit, inputs, weights = models(1, 3, 1, LABELS, samples=2)
    for submitted in (1, 2):
        backend.submit(circuit, inputs, weights).result()
        assert sent.shots == 816 + submitted * 2 * 3 * 100
    other, *_ = models(1, 3, 1, ["XYZ", "IYZ"], samples=2)
    backend.submit(other, inputs, weights).result()
    assert sent.shots == 816 + 2 * 2 * 3 * 100 + 2 * 100


def test_read_out_that_tells_nothing(misread: Callable) -> None:
    circuit = QuantumCircuit(1)
    circuit.h(0)
    backend, _ = misread(np.array([[0.2, 0.8], [0.8, 0.2]]), [M3(shots=1000)])
    with pytest.raises(CircuitError, match="what is read of qubit 0 is no better than chance"):
        backend.submit(CompiledCircuit(Circuit.of(circuit, observables=["Z"])), torch.zeros(1, 0), torch.zeros(0))


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, misread: Callable, models: Callable) -> None:
    monkeypatch.setitem(sys.modules, "mthree", None)
    backend, _ = misread(np.eye(8), [M3()])
    with pytest.raises(CircuitError, match=r'pip install "qmm\[mthree\]"'):
        backend.submit(*models(1, 3, 1, LABELS))


@pytest.mark.parametrize("options", [{"shots": 0}, {"distance": 0}])
def test_refused(options: dict[str, int]) -> None:
    with pytest.raises(CircuitError, match=next(iter(options))):
        M3(**options)
