"""Clifford data regression: the line from noisy to exact values, and the circuits that it is fitted on."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import Generator
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.providers import BackendV2
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_aer.noise import NoiseModel, depolarizing_error

from qmm.quantum import Circuit, CompiledCircuit, expectations
from qmm.quantum.errors import CircuitError
from qmm.quantum.execution import Estimates, Execution, PrimitiveBackend, Request
from qmm.quantum.execution.simulators.aer import Aer
from qmm.quantum.mitigation import CliffordDataRegression, near_clifford
from qmm.quantum.mitigation import regression as module
from qmm.quantum.mitigation.near_clifford import NearClifford
from qmm.quantum.mitigation.regression import fit
from qmm.quantum.settings import parts

LABELS: list[str | list[str]] = ["IIZ", "ZZI", "XIY", ["YZZ", "XIY"]]


def request(compiled: CompiledCircuit, bindings: np.ndarray) -> Request:
    circuit = compiled.circuit
    return Request(circuit.quantum_circuit, (*circuit.inputs, *circuit.weights), bindings, parts(circuit).measurement, 1000)


def execution(seed: int = 0) -> Execution:
    return Execution(None, lambda: None, np.random.default_rng(seed), lambda requests: [], lambda request: request, {})


def exact(own: Request) -> np.ndarray:
    compiled = Circuit.of(own.circuit, own.parameters, (), list(own.measurement.observables))
    return expectations(compiled, torch.from_numpy(own.bindings), torch.empty(0, dtype=torch.float64)).numpy()


def bindings(rng: Generator, compiled: CompiledCircuit, n: int = 3) -> np.ndarray:
    return rng.uniform(-2, 2, (n, len(compiled.circuit.inputs) + len(compiled.circuit.weights)))


@pytest.mark.parametrize("widest", [20, 1], ids=["near-Clifford", "Clifford"])
def test_global_depolarising_noise_is_undone_exactly(models: Callable, monkeypatch: pytest.MonkeyPatch, widest: int) -> None:
    """It scales all values by one factor, so that the line is the division by it; without shots, nothing is left over."""
    monkeypatch.setattr(module, "_WIDEST_STATE", widest)
    circuit, kept = models(2, 3, 2, LABELS)[0], 0.6
    own = request(circuit, bindings(np.random.default_rng(0), circuit))
    mitigation, where = CliffordDataRegression(40), execution()
    for _ in range(2):  # with training, and without
        expansion = mitigation.expand(own, where)
        (sent,) = expansion.requests
        noisy = kept * exact(sent)
        found = expansion.combine([Estimates(noisy, np.zeros_like(noisy))])
        np.testing.assert_allclose(found.values, exact(own), atol=1e-9)
        np.testing.assert_allclose(found.variances, 0, atol=1e-18)
    assert len(sent.bindings) == len(own.bindings)


def test_an_offset_is_taken_off(models: Callable) -> None:
    circuit = models(2, 3, 2, LABELS)[0]
    own = request(circuit, bindings(np.random.default_rng(0), circuit))
    expansion = CliffordDataRegression().expand(own, execution())
    noisy = 0.7 * exact(expansion.requests[0]) - 0.1
    np.testing.assert_allclose(expansion.combine([Estimates(noisy, np.zeros_like(noisy))]).values, exact(own), atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_noise_of_shots_does_not_flatten_the_line(seed: int) -> None:
    """exact = 1.5 noisy + 0.2, and noisy values with errors as large as their spread: least squares would give 0.75."""
    rng, k, sigma = np.random.default_rng(seed), 20_000, 0.3
    truth = rng.normal(0, 0.3, (k, 1))
    line = fit(truth + rng.normal(0, sigma, (k, 1)), np.full((k, 1), sigma**2), 1.5 * truth + 0.2)
    naive = np.polyfit((truth + rng.normal(0, sigma, (k, 1)))[:, 0], (1.5 * truth + 0.2)[:, 0], 1)[0]
    assert naive == pytest.approx(0.75, abs=0.03)
    assert line.slope.item() == pytest.approx(1.25, abs=0.03)  # half of the spread is chance: half of the correction
    assert line(Estimates(np.zeros((1, 1)), np.zeros((1, 1)))).values.item() == pytest.approx(0.2, abs=0.02)


def test_values_that_differ_by_chance_alone_are_left_alone() -> None:
    """Exact values all 0, noisy ones scattered about 0.1: the slope stays 1, the offset goes."""
    rng = np.random.default_rng(0)
    noisy = 0.1 + rng.normal(0, 0.03, (400, 2))
    line = fit(noisy, np.full((400, 2), 0.03**2), np.zeros((400, 2)))
    np.testing.assert_allclose(line.slope, 1, atol=0.4)
    found = line(Estimates(np.full((1, 2), 0.6), np.full((1, 2), 0.03**2)))
    np.testing.assert_allclose(found.values, 0.5, atol=0.2)
    constant = fit(np.full((5, 1), 0.3), np.zeros((5, 1)), np.full((5, 1), 0.5))
    assert constant(Estimates(np.array([[0.3]]), np.zeros((1, 1)))).values.item() == pytest.approx(0.5)


def test_stated_variances_hold_the_error_of_the_fit() -> None:
    """Of 500 fits on 12 circuits each: the mean of squared errors over what was stated."""
    rng, sigma, kept = np.random.default_rng(0), 0.02, 0.8
    ratios = []
    for _ in range(500):
        truth = rng.uniform(-1, 1, (12, 1))
        line = fit(kept * truth + rng.normal(0, sigma, (12, 1)), np.full((12, 1), sigma**2), truth)
        value = rng.uniform(-1, 1)
        found = line(Estimates(np.array([[kept * value + rng.normal(0, sigma)]]), np.array([[sigma**2]])))
        ratios.append((found.values.item() - value) ** 2 / found.variances.item())
    assert 0.7 < np.mean(ratios) < 1.3


def test_training_circuits(models: Callable) -> None:
    """The share that was asked for stands on multiples of pi/2, one half near the samples; the rest is a sample's."""
    circuit, share, k = models(2, 3, 2, LABELS)[0], 0.75, 60
    own = request(circuit, bindings(np.random.default_rng(0), circuit))
    (sent,) = CliffordDataRegression(k, share).expand(own, execution()).requests
    rows, training = sent.bindings[:3], sent.bindings[3:]
    assert training.shape == (k, rows.shape[1])
    turns = training / (np.pi / 2)
    moved = np.isclose(turns, np.round(turns))
    assert set(moved.sum(axis=1)) == {round(share * rows.shape[1])}
    distance = np.abs(training[:, None] - rows)  # (k, samples, angles)
    assert np.all((distance < 1e-12).any(axis=1) | moved)
    near, far = (distance[half].min(axis=1)[moved[half]] for half in (slice(k // 2), slice(k // 2, None)))
    assert near.max() < far.max() < np.pi
    assert near.mean() < np.pi / 4 < far.mean()
    spread = exact(sent)[3:].std(axis=0)
    assert np.all(exact(sent)[3 + k // 2 :].std(axis=0) > spread)
    assert len({tuple(row) for row in np.round(training, 9).tolist()}) > 0.9 * k


def test_numbers_are_moved_too(models: Callable) -> None:
    """Weights that stand in the circuit as numbers: the same training, the same values."""
    circuit = models(2, 3, 2, LABELS)[0].circuit
    quantum_circuit = circuit.quantum_circuit.copy()
    quantum_circuit.u(0.3, -0.2, np.pi / 2, 1)
    quantum_circuit.crx(0.7, 0, 2)
    rng = np.random.default_rng(0)
    weights = dict(zip(circuit.weights, rng.uniform(-2, 2, len(circuit.weights)).tolist(), strict=True))
    fixed = quantum_circuit.assign_parameters(weights)
    compiled = CompiledCircuit(Circuit.of(fixed, circuit.inputs, (), circuit.observables))
    own = request(compiled, rng.uniform(-2, 2, (3, 3)))
    expansion = CliffordDataRegression(40, 1.0).expand(own, execution())
    (sent,) = expansion.requests
    np.testing.assert_allclose(exact(sent)[:3], exact(own), atol=1e-9)
    turns = sent.bindings[3:] / (np.pi / 2)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-9)
    assert sent.bindings.shape[1] > len(weights)
    noisy = 0.8 * exact(sent)
    found = expansion.combine([Estimates(noisy, np.zeros_like(noisy))])
    told = exact(sent)[3:].std(axis=0) > 1e-6
    assert told.sum() >= 3
    np.testing.assert_allclose(found.values[:, told], exact(own)[:, told], atol=1e-9)


def test_controlled_phases_are_moved_to_multiples_of_pi() -> None:
    """And what one angle turns twice, or by a formula, is moved wherever it stands by itself."""
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(3)
    circuit.h([0, 1, 2])
    circuit.cp(a, 0, 1)
    circuit.rzz(a * b, 1, 2)
    circuit.rx(a, 0)
    circuit.rx(b, 2)
    compiled = CompiledCircuit(Circuit.of(circuit, [a, b], (), ["ZZZ", "YII"]))
    (sent,) = CliffordDataRegression(50, 1.0).expand(request(compiled, np.array([[0.4, 2.0]])), execution()).requests
    step = {
        p: np.pi if item.operation.num_ctrl_qubits else np.pi / 2
        for item in sent.circuit.data
        for p in item.operation.params
        if isinstance(p, Parameter) and hasattr(item.operation, "num_ctrl_qubits")
    }
    for column, parameter in zip(sent.bindings[1:].T, sent.parameters, strict=True):
        turns = column / step.get(parameter, np.pi / 2)
        np.testing.assert_allclose(turns, np.round(turns), atol=1e-9)
    own = Statevector(circuit.assign_parameters({a: 0.4, b: 2.0}))
    np.testing.assert_allclose(
        exact(sent)[0], [own.expectation_value(SparsePauliOp(p)).real for p in ("ZZZ", "YII")], atol=1e-9
    )


@pytest.mark.parametrize("seed", range(6))
def test_values_of_near_clifford_circuits(seed: int) -> None:
    """Every kind of gate; a third of the angles anywhere, the others at multiples of pi/2."""
    rng, n = np.random.default_rng(seed), 4
    circuit, parameters = QuantumCircuit(n), [Parameter(f"a{i}") for i in range(24)]
    gates = {1: ("rx", "ry", "rz", "p"), 2: ("rxx", "ryy", "rzz", "rzx", "cp", "crx")}
    fixed = {1: ("h", "s", "sdg", "sx", "x", "y", "z", "t"), 2: ("cx", "cz", "ecr", "swap", "iswap", "cy")}
    for parameter in parameters:
        for own, angles in ((fixed, []), (gates, [2 * parameter])):
            width = int(rng.integers(1, 3))
            getattr(circuit, str(rng.choice(own[width])))(*angles, *rng.permutation(n)[:width].tolist())
    observables = [
        SparsePauliOp(["".join(rng.choice(list("IXYZ"), n)) for _ in range(4)], rng.normal(size=4)) for _ in range(5)
    ]
    rows = rng.integers(-4, 5, (6, 24)) * np.pi / 4
    rows = np.where(rng.random(rows.shape) < 1 / 3, rng.uniform(-3, 3, rows.shape), rows)
    states = [Statevector(circuit.assign_parameters(dict(zip(parameters, row, strict=True)))) for row in rows]
    expected = [[state.expectation_value(o).real for o in observables] for state in states]
    np.testing.assert_allclose(NearClifford(circuit, parameters).values(rows, observables), expected, atol=1e-10)


def test_too_many_strings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_clifford, "_MOST_STRINGS", 8)
    circuit = QuantumCircuit(4)
    for _ in range(2):
        circuit.t(range(4))
        circuit.h(range(4))
    with pytest.raises(CircuitError, match="more than 8 Pauli strings"):
        NearClifford(circuit, []).values(np.zeros((1, 0)), [SparsePauliOp("ZZZZ")])


def ghz(n: int) -> tuple[CompiledCircuit, np.ndarray]:
    a = Parameter("a")
    circuit = QuantumCircuit(n)
    circuit.ry(a, 0)
    for i in range(n - 1):
        circuit.cx(i, i + 1)
    observables = [SparsePauliOp("Z" * n), SparsePauliOp("I" * (n - 1) + "Z")]
    return CompiledCircuit(Circuit.of(circuit, [a], (), observables)), np.array([[0.3]])


@pytest.mark.parametrize("n_qubits", [17, 70])
def test_wide_circuits(n_qubits: int) -> None:
    """cos(a/2)|0...0> + sin(a/2)|1...1>: the Z of one qubit is cos(a), the product of all is that too, or 1."""
    compiled, values = ghz(n_qubits)
    expansion = CliffordDataRegression(12).expand(request(compiled, values), execution())
    rows = expansion.requests[0].bindings[:, 0]
    exactly = np.stack([np.cos(rows) if n_qubits % 2 else np.ones_like(rows), np.cos(rows)], axis=1)
    noisy = 0.5 * exactly
    found = expansion.combine([Estimates(noisy, np.zeros_like(noisy))])
    np.testing.assert_allclose(found.values, exactly[:1], atol=1e-9)


def test_few_angles_of_wide_circuits_are_left(models: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = models(2, 3, 2, LABELS)[0]
    own = request(circuit, bindings(np.random.default_rng(0), circuit))
    monkeypatch.setattr(module, "_WIDEST_STATE", 2)
    monkeypatch.setattr(module, "_LEFT", 3)
    training = CliffordDataRegression(20, 0.5).expand(own, execution()).requests[0].bindings[3:]
    turns = training / (np.pi / 2)
    assert set(np.isclose(turns, np.round(turns)).sum(axis=1)) == {training.shape[1] - 3}


def noise() -> NoiseModel:
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.04, 2), ["cz"])
    return model


def test_better_than_none(device: BackendV2, models: Callable) -> None:
    """Local noise: root mean square errors over 24 values, 20,000 shots; and the stated errors hold."""
    circuit, inputs, weights = models(6, 4, 3, ["IIIZ", "IZZI", "ZIII", "XXII"], samples=6)
    ideal = expectations(circuit.circuit, inputs, weights).numpy()
    provider = Aer(device=device, noise=noise())
    found = {}
    for name, mitigation in (("none", []), ("cdr", [CliffordDataRegression()])):
        job = PrimitiveBackend(provider, 20_000, mitigation).submit(circuit, inputs, weights)
        found[name] = np.sqrt(np.mean((job.estimates().values - ideal) ** 2))
    z = (job.estimates().values - ideal) / np.sqrt(job.estimates().variances)
    assert found["none"] > 3 * found["cdr"]
    assert np.mean(z**2) < 6  # noise that differs from circuit to circuit leaves more than a line takes


def test_unbiased_without_noise(noisy: Callable, models: Callable) -> None:
    circuit, inputs, weights = models(7, 3, 2, LABELS)
    backend, _ = noisy(None, [CliffordDataRegression()], shots=4000)
    for _ in range(2):
        found = backend.submit(circuit, inputs, weights).estimates()
        z = (found.values - expectations(circuit.circuit, inputs, weights).numpy()) / np.sqrt(found.variances)
        assert np.abs(z).max() < 4.5
        assert np.mean(z**2) < 2.2


def test_trained_once_for_a_circuit_and_its_observables(noisy: Callable, models: Callable) -> None:
    backend, sent = noisy(None, [CliffordDataRegression(10)], shots=100)
    circuit, inputs, weights = models(7, 3, 2, ["IIZ", "ZZI"])
    others = CompiledCircuit(circuit.circuit._replace(observables=(SparsePauliOp("ZZZ"),)))
    for compiled, rows in ((circuit, 13), (circuit, 3), (others, 13), (others, 3), (circuit, 3)):
        sent.pubs.clear()
        backend.submit(compiled, inputs, weights).result()
        assert sum(number for _, number, _ in sent.pubs) == rows
        assert sent.shots == rows * 100
    other_backend, sent = noisy(None, backend.mitigation, shots=100)
    other_backend.submit(circuit, inputs, weights).result()
    assert sent.shots == 13 * 100  # another device


def test_no_bindings(models: Callable) -> None:
    circuit = models(2, 3, 2, LABELS)[0]
    expansion = CliffordDataRegression().expand(request(circuit, np.zeros((0, 15))), execution())
    empty = Estimates(np.zeros((0, 4)), np.zeros((0, 4)))
    assert expansion.combine([empty]).values.shape == (0, 4)


@pytest.mark.parametrize("arguments", [{"circuits": 2}, {"replaced": 1.5}, {"circuits": 0}])
def test_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(CircuitError, match="circuits="):
        CliffordDataRegression(**arguments)
