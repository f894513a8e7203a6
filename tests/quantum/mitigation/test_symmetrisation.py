"""Symmetrisation: what is wrong with one qubit of a device is shared by the circuit's qubits."""

from collections.abc import Callable
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import StatevectorSampler
from qiskit.providers import BackendV2
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.transpiler import CouplingMap
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

from qmm.quantum import Circuit, CompiledCircuit, expectations
from qmm.quantum.errors import CircuitError
from qmm.quantum.execution import PrimitiveBackend, Request
from qmm.quantum.execution.simulators.aer import Aer
from qmm.quantum.execution.simulators.noise import Noise
from qmm.quantum.mitigation import Symmetrisation, Trex
from qmm.quantum.settings import parts

ANGLES = np.array([0.3, 0.5, 0.7, 0.9])
GATES = ("rz", "sx", "x", "cz")
NOTHING = torch.zeros(1, 0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)


def turned() -> CompiledCircuit:
    """Four qubits by themselves: <Z> of each is the cosine of its angle."""
    circuit = QuantumCircuit(4)
    for qubit, angle in enumerate(ANGLES.tolist()):
        circuit.ry(angle, qubit)
    return CompiledCircuit(Circuit.of(circuit, observables=["IIIZ", "IIZI", "IZII", "ZIII"]))


def full(n: int) -> BackendV2:
    """Any gate between any two of n qubits."""
    return GenericBackendV2(n, basis_gates=list(GATES if n > 1 else GATES[:-1]), seed=3)


def bad_qubit(noise: NoiseModel, qubit: int = 2, p: float = 0.3) -> NoiseModel:
    """Its sx, of which each turn takes two, and its read-out; all others are perfect."""
    noise.add_quantum_error(depolarizing_error(p / 2, 1), ["sx"], [qubit])
    noise.add_readout_error(ReadoutError([[0.9, 0.1], [0.2, 0.8]]), [qubit])
    return noise


def request(compiled: CompiledCircuit, shots: int = 1000) -> Request:
    circuit = compiled.circuit
    parameters = (*circuit.inputs, *circuit.weights)
    return Request(circuit.quantum_circuit, parameters, np.zeros((2, len(parameters))), parts(circuit).measurement, shots)


def layouts(device: BackendV2, compiled: CompiledCircuit, mappings: int = 4) -> list[tuple[int, ...]]:
    backend = PrimitiveBackend(Aer(device=device), mitigation=[Symmetrisation(mappings)])
    return [r.initial_layout for r in backend.expand(request(compiled)).requests]  # type: ignore[misc]


@pytest.mark.parametrize("device", [full(4), Noise(qubits=4, basis_gates=GATES).device()], ids=["coupled", "free"])
def test_one_bad_qubit_is_shared(device: BackendV2) -> None:
    """Four mappings of four qubits: each of the circuit's stands on the bad one once, and has a quarter of its error."""
    circuit, shots = turned(), 40_000
    p, kept, offset = 0.3, 0.7, 0.1  # <Z> becomes kept <Z> + offset on read-out
    ideal = np.cos(ANGLES)
    on_bad = kept * (1 - p / 2) ** 2 * ideal + offset
    provider = Aer(device=device, noise=bad_qubit(NoiseModel()))
    plain = PrimitiveBackend(provider, shots).submit(circuit, *NOTHING).estimates()
    found = PrimitiveBackend(provider, shots, [Symmetrisation(4)]).submit(circuit, *NOTHING).estimates()
    expected = (3 * ideal + on_bad) / 4
    assert np.all(np.abs(found.values[0] - expected) < 5 * np.sqrt(found.variances[0]))
    off = np.abs(plain.values[0] - ideal)
    assert np.sum(off > 0.1) == 1  # one mapping: all of it on one qubit
    assert off.max() > 2.5 * np.abs(found.values[0] - ideal).max()


def test_the_average_against_each_mapping(device: BackendV2, models: Callable) -> None:
    """Entangled, on a line: the error of the average is the average of the errors."""
    circuit, inputs, weights = models(1, 3, 2, ["IIZ", "ZZI", "XIY"])
    noise = NoiseModel()
    for i in range(4):
        for edge in ([i, i + 1], [i + 1, i]):
            noise.add_quantum_error(depolarizing_error(0.02 + 0.05 * i, 2), ["cz"], edge)
    provider, shots = Aer(device=device, noise=noise), 40_000
    backend = PrimitiveBackend(provider, shots, [Symmetrisation(3)])
    average = backend.submit(circuit, inputs, weights).estimates()
    bindings = torch.cat([inputs, weights.expand(len(inputs), -1)], 1).numpy()
    whole = request(circuit, shots)._replace(bindings=bindings)
    plain = PrimitiveBackend(provider, shots)
    each = []
    for layout in [r.initial_layout for r in backend.expand(whole).requests]:
        (found,) = plain.dispatcher.submit(plain.expand(whole._replace(initial_layout=layout)).requests).result()
        each.append(found)
    mean = np.mean([e.values for e in each], axis=0)
    variance = np.sum([e.variances for e in each], axis=0) / 9
    assert np.all(np.abs(average.values - mean) < 5 * np.sqrt(average.variances + variance))
    exact = expectations(circuit.circuit, inputs, weights).numpy()
    errors = [np.abs(e.values - exact).mean() for e in each]
    assert np.abs(mean - exact).mean() < max(errors)
    assert max(errors) > 1.3 * min(errors)  # it does matter where the circuit stands


@pytest.mark.parametrize("n_qubits", [5, 7])
def test_layouts_follow_the_couplings(n_qubits: int, models: Callable) -> None:
    """A chain of three on a line takes no swap wherever it stands."""
    line = GenericBackendV2(n_qubits, basis_gates=list(GATES), coupling_map=CouplingMap.from_line(n_qubits), seed=2)
    circuit = models(0, 3, 2, ["ZZZ"])[0]
    found = layouts(line, circuit, 4)
    assert len(set(found)) == len(found) == 4
    assert all(abs(a - b) == 1 and abs(b - c) == 1 and a != c for a, b, c in found)
    backend = PrimitiveBackend(Aer(device=line), mitigation=[Symmetrisation(4)])
    gates = {r.circuit.count_ops()["cz"] for r in backend.expand(request(circuit)).requests}
    assert len(gates) == 1


def test_every_qubit_moves_where_there_is_room(models: Callable) -> None:
    for device, circuit in ((full(4), turned()), (full(6), models(0, 3, 1, ["ZZZ"])[0])):
        found = np.array(layouts(device, circuit, 4))
        assert all(len(set(column)) == 4 for column in found.T.tolist())


def test_without_couplings_circuits_are_written_on_other_qubits(models: Callable) -> None:
    """All-to-all devices: more qubits than the circuit has, observables and all."""
    circuit, inputs, weights = models(4, 3, 2, ["IIZ", "XYI", ["YIX", "ZZI"]])
    device = Noise(qubits=6, basis_gates=GATES).device()
    backend = PrimitiveBackend(Aer(device=device), 20_000, [Symmetrisation(4)])
    found = backend.submit(circuit, inputs, weights).estimates()
    z = (found.values - expectations(circuit.circuit, inputs, weights).numpy()) / np.sqrt(found.variances)
    assert np.abs(z).max() < 4.5
    touched = {
        tuple(sorted({r.circuit.find_bit(q).index for item in r.circuit.data for q in item.qubits}))
        for r in backend.expand(request(circuit)).requests
    }
    assert len(touched) > 1


def test_bad_places_are_left_out(models: Callable) -> None:
    """The couplings of two of twelve qubits are hopeless; there are enough others."""
    device = GenericBackendV2(12, basis_gates=list(GATES), coupling_map=CouplingMap.from_line(12), seed=2)
    for edge, properties in device.target["cz"].items():
        if {4, 5} & set(edge):
            properties.error = 0.4
    found = layouts(device, models(0, 3, 1, ["ZZZ"])[0], 4)
    assert len(found) == 4
    assert not any({4, 5} & set(layout) for layout in found)


def test_shots_are_split(device: BackendV2, noisy: Callable, models: Callable) -> None:
    circuit, inputs, weights = models(0, 3, 1, ["ZZZ", "XXX"])
    for shots, each in ((1000, [334, 333, 333]), (2, [1, 1])):
        backend, sent = noisy(None, [Symmetrisation(3)], shots=shots)
        backend.submit(circuit, inputs, weights).result()
        assert sorted({own for _, _, own in sent.pubs}, reverse=True) == sorted(set(each), reverse=True)
        assert sent.shots == 3 * 2 * shots  # samples, bases
        assert sent.jobs == 1


def test_unbiased_without_noise(noisy: Callable, models: Callable) -> None:
    circuit, inputs, weights = models(4, 4, 2, ["IIIZ", "XYII", "ZIZY", ["YIIX", "IZZI"]])
    found = noisy(None, [Symmetrisation(4)], shots=10_000)[0].submit(circuit, inputs, weights).estimates()
    z = (found.values - expectations(circuit.circuit, inputs, weights).numpy()) / np.sqrt(found.variances)
    assert np.abs(z).max() < 4.5
    assert 0.3 < np.mean(z**2) < 2.2


def test_with_trex(models: Callable) -> None:
    """Errors of gates are shared, those of read-out are taken away."""
    circuit, shots = turned(), 20_000
    noise = bad_qubit(NoiseModel())
    for qubit in (0, 1, 3):
        noise.add_readout_error(ReadoutError([[0.97, 0.03], [0.06, 0.94]]), [qubit])
    provider = Aer(device=full(4), noise=noise)
    found = PrimitiveBackend(provider, shots, [Trex(), Symmetrisation(4)]).submit(circuit, *NOTHING).estimates()
    plain = PrimitiveBackend(provider, shots).submit(circuit, *NOTHING).estimates()
    ideal = np.cos(ANGLES)
    assert np.all(np.abs(found.values[0] - ideal * (3 + 0.85**2) / 4) < 5 * np.sqrt(found.variances[0]))
    assert np.abs(plain.values[0] - ideal).max() > 2 * np.abs(found.values[0] - ideal).max()


def test_circuits_are_placed_once(device: BackendV2, models: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    from qmm.quantum.mitigation import symmetrisation as module

    counting = Mock(wraps=module._placements)
    monkeypatch.setattr(module, "_placements", counting)
    backend = PrimitiveBackend(Aer(device=device), 10, [Symmetrisation(2)])
    first, second = models(0, 2, 1, ["ZZ"])[0], models(0, 3, 1, ["ZZZ"])[0]
    for circuit in (first, first, second):
        backend.expand(request(circuit))
    assert counting.call_count == 2


def test_refused(device: BackendV2, models: Callable) -> None:
    with pytest.raises(CircuitError, match="from two mappings on"):
        Symmetrisation(1)
    circuit = models(0, 3, 1, ["ZZZ"])[0]
    with pytest.raises(CircuitError, match="imitates none"):
        PrimitiveBackend(StatevectorSampler(), mitigation=[Symmetrisation()]).expand(request(circuit))
    with pytest.raises(CircuitError, match="imitates none"):
        PrimitiveBackend(Aer(noise=Noise()), mitigation=[Symmetrisation()]).expand(request(circuit))
    backend = PrimitiveBackend(Aer(device=device), mitigation=[Symmetrisation()])
    with pytest.raises(CircuitError, match=r"on qubits \[0, 1, 2\], and Symmetrisation moves it"):
        backend.expand(request(circuit)._replace(initial_layout=(0, 1, 2)))
    single = QuantumCircuit(1)
    single.sx(0)
    backend = PrimitiveBackend(Aer(device=full(1)), mitigation=[Symmetrisation()])
    with pytest.raises(CircuitError, match="in one way only"):
        backend.expand(request(CompiledCircuit(Circuit.of(single, observables=["Z"]))))
