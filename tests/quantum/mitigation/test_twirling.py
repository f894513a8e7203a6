"""Pauli twirling: the same unitary in the same instruction set; coherent errors become a Pauli channel."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.library import CZGate, RXGate, RZZGate
from qiskit.quantum_info import PTM, Operator, SuperOp
from qiskit_aer.noise import NoiseModel, coherent_unitary_error

from qmm.quantum import Circuit
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.execution import Execution, PrimitiveBackend, Request
from qmm.quantum.mitigation import PauliTwirling
from qmm.quantum.settings import parts


def coherent(angle: float) -> NoiseModel:
    """Each cz turns too far about ZZ."""
    noise = NoiseModel(basis_gates=["rz", "sx", "x", "cz", "delay"])
    noise.add_all_qubit_quantum_error(coherent_unitary_error(RZZGate(2 * angle).to_matrix()), ["cz"])
    return noise


def repeated(n: int) -> CompiledCircuit:
    """On |+0>, n cz (even), which leave it; <XI> = 1 ideally."""
    circuit = QuantumCircuit(2)
    circuit.h(1)
    for _ in range(n):
        circuit.cz(0, 1)
        circuit.barrier()
    return CompiledCircuit(Circuit.of(circuit, observables=["XI"]))


def run(backend: PrimitiveBackend, circuit: CompiledCircuit, samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
    job = backend.submit(circuit, torch.zeros(samples, 0, dtype=torch.float64), torch.zeros(0))
    return job.estimates()


@pytest.mark.parametrize("seed", range(4))
def test_the_unitary_and_the_instruction_set_stay(noisy: Callable, models: Callable, seed: int) -> None:
    circuit, inputs, weights = models(seed, 3, 2, ["IIZ"])
    backend, sent = noisy(None, [PauliTwirling(8)], shots=8, seed=seed)
    plain, original = noisy(None, shots=8, seed=seed)
    for each in (backend, plain):
        each.submit(circuit, inputs, weights).result()
    twirled = [pub.remove_final_measurements(inplace=False) for pub, _, _ in sent.pubs]
    before = original.pubs[0][0].remove_final_measurements(inplace=False)
    values = dict(zip(before.parameters, np.random.default_rng(seed).normal(size=before.num_parameters), strict=True))
    target = backend.provider.device.target
    expected = Operator(before.assign_parameters(values))
    for variant in twirled:
        assert Operator(variant.assign_parameters(values)).equiv(expected)
        assert variant.count_ops()["cz"] == before.count_ops()["cz"]
        assert all(
            target.instruction_supported(i.name, tuple(variant.find_bit(q).index for q in i.qubits)) for i in variant.data
        )
    assert len({str(variant) for variant in twirled}) > 1


def test_the_average_is_the_twirled_channel() -> None:
    """Of all 16 variants of one cz with a coherent error that has no symmetry."""
    error = Operator(RZZGate(0.4)) @ Operator(RXGate(0.3)).expand(Operator(RXGate(-0.2)))
    circuit = QuantumCircuit(2)
    circuit.cz(0, 1)
    found = {}
    measurement = parts(Circuit.of(circuit, observables=["ZZ"])).measurement
    request = Request(circuit, (), np.zeros((1, 0)), measurement, 400)
    bare = Execution(None, lambda: None, np.random.default_rng(1), lambda requests: [], lambda request: request, {})
    for variant in (each.circuit for each in PauliTwirling(400).expand(request, bare).requests):
        noise = SuperOp(np.eye(16))
        for item in variant.data:
            qubits = [variant.find_bit(q).index for q in item.qubits]
            noise = noise.compose(SuperOp(item.operation), qubits)
            if item.name == "cz":
                noise = noise.compose(SuperOp(error), qubits)
        key = tuple((item.name, *[variant.find_bit(q).index for q in item.qubits]) for item in variant.data)
        found[key] = noise.data
    assert len(found) == 16
    average = PTM(SuperOp(Operator(CZGate()).adjoint()).compose(SuperOp(sum(found.values()) / 16)))
    np.testing.assert_allclose(average.data, np.diag(np.diag(PTM(SuperOp(error)).data)), atol=1e-12)


def test_over_rotations_add_up_as_chances(noisy: Callable) -> None:
    """<X> of n gates that each turn too far by 2a: cos(2 n a) as they are, cos(2 a)**n twirled."""
    n, angle, shots = 8, 0.12, 20_000
    plain, _ = run(noisy(coherent(angle), shots=shots)[0], repeated(n))
    values, variances = run(noisy(coherent(angle), [PauliTwirling(200)], shots=shots)[0], repeated(n))
    assert plain.item() == pytest.approx(np.cos(2 * n * angle), abs=5 / np.sqrt(shots))
    assert abs(values.item() - np.cos(2 * angle) ** n) < 5 * np.sqrt(variances.item())
    assert abs(values.item() - 1) + 0.5 < abs(plain.item() - 1)


@pytest.mark.parametrize(("randomizations", "shots"), [(16, 800), (32, 25)])
def test_stated_variances_cover(noisy: Callable, randomizations: int, shots: int) -> None:
    """Over 40 submissions, each with other draws; also where each circuit has a single shot."""
    backend, _ = noisy(coherent(0.3), [PauliTwirling(randomizations)], shots=shots)
    found = [run(backend, repeated(4)) for _ in range(40)]
    z = np.array([(values.item() - np.cos(0.6) ** 4) / np.sqrt(variances.item()) for values, variances in found])
    assert abs(z.mean()) < 5 / np.sqrt(len(z))
    assert 0.3 < np.mean(z**2) < 2


def test_shots_are_split(noisy: Callable) -> None:
    for shots, randomizations in ((100, 16), (5, 16)):
        backend, sent = noisy(None, [PauliTwirling(randomizations)], shots=shots)
        run(backend, repeated(2))
        assert sent.shots == shots
        assert len(sent.pubs) == min(shots, randomizations)
        assert sent.jobs == 1


def test_circuits_without_gates_on_two_qubits_stay(noisy: Callable) -> None:
    circuit = QuantumCircuit(2)
    circuit.ry(0.4, 0)
    backend, sent = noisy(None, [PauliTwirling()], shots=10)
    run(backend, CompiledCircuit(Circuit.of(circuit, observables=["IZ"])))
    assert len(sent.pubs) == 1


def test_gates_that_cannot_be_twirled() -> None:
    from qiskit.primitives import StatevectorSampler

    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.rzz(0.4, 0, 1)
    backend = PrimitiveBackend(StatevectorSampler(), mitigation=[PauliTwirling()])
    with pytest.raises(CircuitError, match="are rzz; twirled are cx, cz, ecr, iswap"):
        run(backend, CompiledCircuit(Circuit.of(circuit, observables=["IX"])))


def test_refused() -> None:
    with pytest.raises(CircuitError, match="randomizations=0"):
        PauliTwirling(0)
