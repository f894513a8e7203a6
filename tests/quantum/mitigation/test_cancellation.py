"""Probabilistic error cancellation: the inverse of known noise, unbiased, at the price that it names."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.library import RZZGate
from qiskit.primitives import StatevectorSampler
from qiskit.providers import BackendV2
from qiskit.quantum_info import PTM, PauliLindbladMap, QubitSparsePauli, SuperOp, pauli_basis
from qiskit_aer.noise import (
    NoiseModel,
    amplitude_damping_error,
    coherent_unitary_error,
    depolarizing_error,
    pauli_error,
    thermal_relaxation_error,
)

from qmm.quantum import Circuit, CompiledCircuit, expectations
from qmm.quantum.errors import CircuitError
from qmm.quantum.execution import Execution, PrimitiveBackend, Request
from qmm.quantum.execution.simulators.aer import Aer
from qmm.quantum.execution.simulators.noise import Noise
from qmm.quantum.mitigation import FourTwoTwo, ProbabilisticErrorCancellation
from qmm.quantum.mitigation.pauli_noise import ModelledNoise, StatedNoise, lindblad, rates_to_terms
from qmm.quantum.settings import parts

PAULI = {"XZ": 0.02, "ZI": 0.01, "YY": 0.01}
LABELS: list[str | list[str]] = ["IIZ", "ZZI", "XIY", "IXX", ["YZZ", "XIY"]]


def model(two: Any, one: Any = None) -> NoiseModel:
    """Of every cz, and every sx."""
    noise = NoiseModel(basis_gates=["rz", "sx", "x", "cz"])
    noise.add_all_qubit_quantum_error(two, ["cz"])
    if one is not None:
        noise.add_all_qubit_quantum_error(one, ["sx"])
    return noise


def stochastic() -> Any:
    return pauli_error([*PAULI.items(), ("II", 1 - sum(PAULI.values()))])


def skewed() -> Any:
    """No Pauli channel: coherent, and it relaxes."""
    relaxing = thermal_relaxation_error(50e3, 60e3, 1.5e3).tensor(amplitude_damping_error(0.03))
    return coherent_unitary_error(RZZGate(0.2).to_matrix()).compose(relaxing)


def estimates(backend: PrimitiveBackend, model: tuple) -> tuple[np.ndarray, np.ndarray]:
    circuit, inputs, weights = model
    return backend.submit(circuit, inputs, weights).estimates()


def z_scores(backend: PrimitiveBackend, model: tuple) -> np.ndarray:
    circuit, inputs, weights = model
    values, variances = estimates(backend, model)
    return (values - expectations(circuit.circuit, inputs, weights).numpy()) / np.sqrt(variances)


@pytest.mark.parametrize("error", [stochastic(), skewed()], ids=["pauli", "skewed"])
def test_fidelities_are_those_of_the_twirled_channel(error: Any) -> None:
    channel = SuperOp(error)
    twirled = sum(SuperOp(p).compose(channel).compose(SuperOp(p)).data for p in pauli_basis(2)) / 16
    found = ModelledNoise(model(error)).fidelities("cz", (3, 1))
    assert found is not None
    np.testing.assert_allclose(np.diag(found), PTM(SuperOp(twirled)).data, atol=1e-12)
    as_map = PauliLindbladMap.from_sparse_list(rates_to_terms(lindblad(found), [0, 1]), 2)
    again = [as_map.pauli_fidelity(QubitSparsePauli(label)) for label in pauli_basis(2).to_labels()]
    np.testing.assert_allclose(again, found, atol=1e-12)


def test_errors_of_an_edge_go_before_those_of_all() -> None:
    noise = model(depolarizing_error(0.1, 2))
    noise.add_quantum_error(depolarizing_error(0.2, 2), ["cz"], [0, 1])
    found = ModelledNoise(noise)
    for qubits, p in (((0, 1), 0.2), ((1, 0), 0.1)):
        np.testing.assert_allclose(found.fidelities("cz", qubits), [1, *[1 - p] * 15], atol=1e-12)  # type: ignore[arg-type]
    assert found.fidelities("cx", (0, 1)) is None


def test_stated_errors_are_those_of_the_same_model() -> None:
    stated, modelled = StatedNoise({"cz": PAULI, "cz 2 1": {"XX": 0.1}}), ModelledNoise(model(stochastic()))
    np.testing.assert_allclose(stated.fidelities("cz", (0, 1)), modelled.fidelities("cz", (0, 1)), atol=1e-12)  # type: ignore[arg-type]
    assert stated.fidelities("cz", (2, 1)).min() == pytest.approx(0.8)  # type: ignore[union-attr]
    assert stated.fidelities("sx", (0,)) is None


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ({"cz": {"XX": 0.1, "X": 0.1}}, "Pauli strings of the gate's width"),
        ({"cz": {"XA": 0.1}}, "Pauli strings of the gate's width"),
        ({"cz": {"XX": 0.7, "XY": 0.7}}, "1.4 in all"),
        ({"cz": {"XX": -0.1}}, "below 0"),
    ],
)
def test_what_is_no_noise(errors: dict, message: str) -> None:
    with pytest.raises(CircuitError, match=message):
        ProbabilisticErrorCancellation(noise=errors)


@pytest.mark.parametrize(
    "noise",
    [model(stochastic(), depolarizing_error(0.004, 1)), model(skewed())],
    ids=["pauli", "skewed"],
)
def test_unbiased(device: BackendV2, models: Callable, noise: NoiseModel) -> None:
    """Each of 15 values within 4 of its standard errors, which without it are further off than 10."""
    circuit = models(1, 3, 2, LABELS)
    provider = Aer(device=device, noise=noise)
    assert np.abs(z_scores(PrimitiveBackend(provider, 40_000), circuit)).max() > 10
    found = z_scores(PrimitiveBackend(provider, 40_000, [ProbabilisticErrorCancellation(400)], seed=2), circuit)
    assert np.abs(found).max() < 4
    assert 0.3 < np.mean(found**2) < 2.5


def test_noise_of_one_qubit_gates(device: BackendV2, models: Callable) -> None:
    """Depolarising, it is undone exactly; left alone, it stays."""
    circuit = models(3, 3, 2, LABELS)
    provider = Aer(device=device, noise=model(depolarizing_error(0.01, 2), depolarizing_error(0.02, 1)))
    found, left = (
        z_scores(PrimitiveBackend(provider, 40_000, [ProbabilisticErrorCancellation(400, one_qubit_gates=own)]), circuit)
        for own in (True, False)
    )
    assert np.abs(found).max() < 4
    assert np.mean(left**2) > 4


def test_on_simulators_of_any_gate_circuits_are_rewritten(models: Callable) -> None:
    noise = NoiseModel()
    noise.add_all_qubit_quantum_error(stochastic(), ["cx"])
    circuit = QuantumCircuit(2)
    circuit.ry(0.4, 0)
    circuit.rxx(0.7, 0, 1)
    circuit.ry(0.3, 1)
    own = CompiledCircuit(Circuit.of(circuit, observables=["ZZ", "XI", "YX"]))
    values = own, torch.zeros(1, 0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    backend = PrimitiveBackend(Aer(noise=noise), 40_000, [ProbabilisticErrorCancellation(400)])
    assert np.abs(z_scores(backend, values)).max() < 4


@pytest.mark.parametrize(("samples", "shots"), [(50, 1000), (20, 200)])
def test_stated_variances_cover(device: BackendV2, models: Callable, samples: int, shots: int) -> None:
    """Over 25 submissions, each with other draws."""
    circuit, provider = models(5, 2, 2, ["ZZ", "XY"]), Aer(device=device, noise=model(stochastic()))
    backend = PrimitiveBackend(provider, shots, [ProbabilisticErrorCancellation(samples)])
    found = np.stack([z_scores(backend, circuit) for _ in range(25)])
    assert abs(found.mean()) < 5 / np.sqrt(25)
    assert 0.5 < np.mean(found**2) < 1.7


@pytest.mark.parametrize("q", [0.0, 0.004])
def test_overhead_is_the_product_of_the_gates(device: BackendV2, caplog: pytest.LogCaptureFixture, q: float) -> None:
    """Depolarising noise of n qubits has 4**n - 1 equal rates -log(1 - p) / 4**n, and gamma = exp(2 sum of rates).

    There are three cz, and nine dressings with two sx each: before each cz on its qubits, and at the end.
    """
    p = 0.03
    circuit = QuantumCircuit(3)
    for a, b in ((0, 1), (1, 2), (0, 1)):
        circuit.cz(a, b)
        circuit.sx([0, 1, 2])
    own = Request(circuit, (), np.zeros((1, 0)), parts(Circuit.of(circuit, observables=["ZZZ"])).measurement, 10)
    noise = model(depolarizing_error(p, 2), depolarizing_error(q, 1))
    where = Execution(device, lambda: noise, np.random.default_rng(0), lambda requests: [], lambda request: request, {})
    mitigation = ProbabilisticErrorCancellation(max_overhead=2)
    with caplog.at_level(logging.INFO, logger="qmm"):
        found = mitigation.overhead(own, where)
    assert found.gamma == pytest.approx((1 - p) ** (-3 * 15 / 8) * (1 - q) ** (-2 * 9 * 3 / 2))
    assert found.sampling == pytest.approx(found.gamma**2)
    assert f"gamma = {found.gamma:.4g}, gamma**2 = {found.sampling:.4g}" in caplog.text


def test_what_costs_too_much_is_refused_with_both_numbers(device: BackendV2, models: Callable) -> None:
    circuit, inputs, weights = models(0, 3, 2, LABELS)
    provider = Aer(device=device, noise=model(depolarizing_error(0.1, 2)))
    backend = PrimitiveBackend(provider, 10, [ProbabilisticErrorCancellation(max_overhead=2)])
    bare = Request(circuit.circuit.quantum_circuit, (), np.zeros((1, 0)), parts(circuit.circuit).measurement, 10)
    gates = backend.transpiler(bare).circuit.count_ops()["cz"]
    with pytest.raises(CircuitError, match=r"gamma = .* times as many shots; max_overhead=2") as error:
        backend.submit(circuit, inputs, weights)
    assert f"gamma = {0.9 ** (-15 / 8 * gates):.4g} " in str(error.value)
    assert f"gamma**2 = {0.9 ** (-15 / 4 * gates):.4g} " in str(error.value)


def test_channels_without_an_inverse(device: BackendV2, models: Callable) -> None:
    provider = Aer(device=device, noise=model(depolarizing_error(1.0, 2)))
    with pytest.raises(CircuitError, match="no inverse"):
        estimates(PrimitiveBackend(provider, 10, [ProbabilisticErrorCancellation()]), models(0, 3, 1, LABELS))


def test_one_circuit_and_the_shots_that_were_asked_for(noisy: Callable, models: Callable) -> None:
    circuit = models(0, 2, 2, ["ZI", "XX"])
    for shots, samples in ((1000, 30), (7, 30)):
        backend, sent = noisy(None, [ProbabilisticErrorCancellation(samples, noise={"cz": PAULI})], shots=shots)
        estimates(backend, circuit)
        assert sent.shots == 3 * 2 * shots  # samples, bases
        assert sum(bindings for _, bindings, _ in sent.pubs) == 3 * 2 * min(samples, shots)
        assert len(sent.pubs) <= 4
        assert sent.jobs == 1


def test_noise_that_is_given_replaces_that_of_the_device(noisy: Callable, models: Callable) -> None:
    """As Pauli errors, as a model, and as a Noise: equal draws."""
    circuit, found = models(0, 2, 2, ["ZI", "XX"]), []
    uniform = dict.fromkeys(pauli_basis(2).to_labels()[1:], 0.03 / 16)
    for noise in (
        {"cz": uniform},
        model(depolarizing_error(0.03, 2)),
        Noise(depolarizing={"cz": 0.03}, basis_gates=("rz", "sx", "cz")),
    ):
        backend, _ = noisy(None, [ProbabilisticErrorCancellation(20, noise=noise)], shots=100)
        found.append(estimates(backend, circuit)[0])
    np.testing.assert_allclose(found[1:], found[:1] * 2)


def test_without_noise_circuits_stay_as_they_are(device: BackendV2, models: Callable) -> None:
    circuit, provider = models(0, 3, 2, LABELS), Aer(device=device, noise=NoiseModel())
    mitigated, plain = (
        estimates(PrimitiveBackend(provider, 1000, own), circuit) for own in ([ProbabilisticErrorCancellation()], [])
    )
    np.testing.assert_array_equal(mitigated[0], plain[0])


def test_unknown_noise(models: Callable) -> None:
    backend = PrimitiveBackend(StatevectorSampler(), mitigation=[ProbabilisticErrorCancellation()])
    with pytest.raises(CircuitError, match=r"does not say it.*pec_mitigation: true.*or give noise="):
        estimates(backend, models(0, 2, 1, ["ZZ"]))


def test_gates_that_are_not_twirled(models: Callable) -> None:
    from qiskit.providers.fake_provider import GenericBackendV2

    circuit = QuantumCircuit(2)
    circuit.sx(0)
    circuit.iswap(0, 1)
    own = CompiledCircuit(Circuit.of(circuit, observables=["IX"])), torch.zeros(1, 0), torch.zeros(0)
    device = GenericBackendV2(2, basis_gates=["rz", "sx", "x", "iswap"], seed=0)
    provider = Aer(device=device, noise=model(stochastic()))
    with pytest.raises(CircuitError, match="twirls cx, cz, ecr; the circuit has iswap"):
        estimates(PrimitiveBackend(provider, mitigation=[ProbabilisticErrorCancellation()]), own)


def test_devices_without_the_gates_of_dressings(models: Callable) -> None:
    provider = Aer(noise=Noise(depolarizing={2: 0.01}, basis_gates=("rx", "rz", "cx"), qubits=2))
    with pytest.raises(CircuitError, match=r"with rz and sx, which .* lacks"):
        estimates(PrimitiveBackend(provider, mitigation=[ProbabilisticErrorCancellation()]), models(0, 2, 1, ["ZZ"]))


def test_selected_shots_have_no_signs(device: BackendV2, models: Callable) -> None:
    provider = Aer(device=device, noise=model(stochastic()))
    backend = PrimitiveBackend(provider, mitigation=[ProbabilisticErrorCancellation(), FourTwoTwo()])
    with pytest.raises(CircuitError, match="averages with signs"):
        estimates(backend, models(0, 2, 1, ["ZZ"]))


@pytest.mark.parametrize("arguments", [{"samples": 0}, {"max_overhead": 0.5}])
def test_refused(arguments: dict) -> None:
    with pytest.raises(CircuitError, match="both are at least 1"):
        ProbabilisticErrorCancellation(**arguments)


def test_what_is_not_noise_at_all() -> None:
    number: Any = 3
    with pytest.raises(CircuitError, match="a int came as noise"):
        ProbabilisticErrorCancellation(noise=number)
