"""Dynamical decoupling: the same unitary in the same time; detunings that last are refocused, noise without memory is not."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BaseSamplerV2, StatevectorSampler
from qiskit.providers import BackendV2, QubitProperties
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Operator
from qiskit.transpiler import InstructionProperties, PassManager
from qiskit.transpiler.passes import ALAPScheduleAnalysis, PadDelay
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error
from qiskit_aer.primitives import SamplerV2

from qmm.quantum import Circuit
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.execution import Execution, Expansion, Given, Mitigation, PrimitiveBackend, Request
from qmm.quantum.execution.simulators.aer import Aer
from qmm.quantum.mitigation import DynamicalDecoupling, ZeroNoiseExtrapolation
from qmm.quantum.mitigation.decoupling import _without_idle
from qmm.quantum.settings import parts

SEQUENCES: dict[Any, int] = {"XX": 2, "XpXm": 2, "XY4": 4, "XY8": 8}  # pulses


class Waiting(Mitigation):
    """Writes the waits down, and leaves them."""

    stage = DynamicalDecoupling.stage

    def expand(self, request: Request, execution: Execution) -> Expansion:
        assert execution.device is not None
        target = execution.device.target
        passes = PassManager([ALAPScheduleAnalysis(target=target), PadDelay(target=target)])
        return Expansion([request._replace(circuit=_without_idle(passes.run(request.circuit)))], lambda found: found[0])


class Detuned(BaseSamplerV2):
    """Each qubit turns about Z, and a little about X, while it waits: by angles in proportion to the time, always the same."""

    def __init__(self, about_z: float, about_x: float = 0.0, sampler: BaseSamplerV2 | None = None):
        self.about_z, self.about_x, self.sampler = about_z, about_x, sampler or StatevectorSampler(seed=3)

    def run(self, pubs: Iterable[Any], *, shots: int | None = None) -> Any:
        return self.sampler.run([(self._detuned(circuit), *rest) for circuit, *rest in pubs], shots=shots)

    def _detuned(self, circuit: QuantumCircuit) -> QuantumCircuit:
        found = circuit.copy_empty_like()
        for item in circuit.data:
            if item.name == "delay":
                for _ in range(10):  # both at once, nearly
                    found.rz(self.about_z * item.operation.duration / 10, item.qubits[0])
                    found.rx(self.about_x * item.operation.duration / 10, item.qubits[0])
            else:
                found.append(item)
        return found


@pytest.fixture(scope="module")
def clocked() -> BackendV2:
    """Four qubits in a line, whose cz takes long beside their other gates."""
    device = GenericBackendV2(4, basis_gates=["rz", "sx", "x", "cz"], coupling_map=[[0, 1], [1, 2], [2, 3]], seed=1)
    for name, steps in (("cz", 3000), ("sx", 20), ("x", 20)):
        for qubits in device.target[name]:
            device.target.update_instruction_properties(
                name, qubits, InstructionProperties(duration=steps * device.target.dt, error=1e-4)
            )
    device.target.qubit_properties = [QubitProperties(t1=1e-5, t2=1e-5)] * 4
    return device


def chain() -> CompiledCircuit:
    """|+> on qubit 0, which waits while the others meet; ends where it began."""
    circuit = QuantumCircuit(4)
    circuit.h(range(4))
    circuit.cz(0, 1)
    for angle in (0.3, 0.5):
        circuit.cz(2, 3)
        circuit.ry(angle, 3)
        circuit.cz(1, 2)
        circuit.ry(angle, 1)
    circuit.cz(0, 1)
    return CompiledCircuit(Circuit.of(circuit, observables=["XIII", "IIIX", "IZXI", "IIZX"]))


def error(backend: PrimitiveBackend, reference: Callable) -> float:
    circuit = chain()
    nothing = torch.zeros(1, 0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    found = backend.submit(circuit, *nothing).result()
    return (found - reference(circuit.circuit, *nothing)).abs().mean().item()


def expanded(device: BackendV2, mitigation: Mitigation, compiled: CompiledCircuit) -> QuantumCircuit:
    """The circuit as it is sent."""
    circuit = compiled.circuit
    bindings = np.zeros((1, len(circuit.inputs) + len(circuit.weights)))
    request = Request(circuit.quantum_circuit, (*circuit.inputs, *circuit.weights), bindings, parts(circuit).measurement, 10)
    (found,) = PrimitiveBackend(Given(Detuned(0), device), mitigation=[mitigation]).expand(request).requests
    return found.circuit


def busy(circuit: QuantumCircuit, device: BackendV2) -> list[int]:
    """How long each qubit waits or works, in steps of the device."""
    times = [0] * circuit.num_qubits
    for item in circuit.data:
        places = [circuit.find_bit(qubit).index for qubit in item.qubits]
        own = device.target.durations().get(item.operation, places) if item.name != "delay" else item.operation.duration
        for place in places:
            times[place] += own
    return times


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_unitary_time_and_instruction_set_stay(models: Callable, clocked: BackendV2, sequence: Any) -> None:
    for seed in range(3):
        circuit, *_ = models(seed, 4, 3, ["IIIZ"])
        found = expanded(clocked, DynamicalDecoupling(sequence), circuit)
        waits = expanded(clocked, Waiting(), circuit)
        angles = np.random.default_rng(seed).normal(size=found.num_parameters)
        assert Operator(found.assign_parameters(angles)).equiv(Operator(waits.assign_parameters(angles)))
        assert busy(found, clocked) == busy(waits, clocked)
        pulses = found.count_ops()["x"] - waits.count_ops().get("x", 0)
        assert pulses > 0
        assert pulses % SEQUENCES[sequence] == 0
        for item in found.data:
            assert clocked.target.instruction_supported(item.name, tuple(found.find_bit(q).index for q in item.qubits))


def test_waits_alone_can_be_written_down(models: Callable, clocked: BackendV2) -> None:
    circuit, *_ = models(0, 4, 3, ["IIIZ"])
    assert expanded(clocked, DynamicalDecoupling("none"), circuit) == expanded(clocked, Waiting(), circuit)


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_detunings_are_refocused(reference: Callable, clocked: BackendV2, sequence: Any) -> None:
    """Without errors of pulses, angles between them cancel: what is left is chance, 0.005 for each of 40,000 shots."""
    sampler = Given(Detuned(2e-4), clocked)
    waiting, decoupled = (
        error(PrimitiveBackend(sampler, 40_000, [m]), reference) for m in (Waiting(), DynamicalDecoupling(sequence))
    )
    assert waiting > 0.15
    assert decoupled < 0.03


def test_noise_along_the_pulses_needs_two_axes(reference: Callable, clocked: BackendV2) -> None:
    sampler = Given(Detuned(1e-4, 2e-4), clocked)
    found = [error(PrimitiveBackend(sampler, 40_000, [DynamicalDecoupling(s)]), reference) for s in ("XX", "XY4")]
    assert found[1] + 0.05 < found[0]


def test_together_with_extrapolation(reference: Callable, clocked: BackendV2) -> None:
    """Detunings are refocused in each fold, and what gates do is extrapolated: each alone leaves the other's error."""
    noise = NoiseModel(basis_gates=["rz", "sx", "x", "cz", "delay"])
    noise.add_all_qubit_quantum_error(depolarizing_error(0.05, 2), ["cz"])
    simulator = AerSimulator(noise_model=noise, method="density_matrix", max_parallel_threads=1)
    provider = Given(Detuned(1e-4, sampler=SamplerV2.from_backend(simulator, seed=0)), clocked)
    zne = ZeroNoiseExtrapolation(extrapolation="exponential")
    tried: list[list[Mitigation]] = [[Waiting()], [DynamicalDecoupling()], [Waiting(), zne], [DynamicalDecoupling(), zne]]
    none, decoupled, extrapolated, both = (error(PrimitiveBackend(provider, 40_000, m), reference) for m in tried)
    assert both < 0.3 * none
    assert both < 0.5 * min(decoupled, extrapolated)


def test_noise_without_memory_is_not(reference: Callable, clocked: BackendV2) -> None:
    """Relaxation is felt in each wait, with pulses in it or none."""
    backends = [
        PrimitiveBackend(Aer(device=clocked, threads=1), 40_000, [m] if m else [])
        for m in (None, Waiting(), DynamicalDecoupling())
    ]
    unwritten, waiting, decoupled = (error(backend, reference) for backend in backends)
    assert waiting > unwritten + 0.01
    assert decoupled > waiting - 0.01


def test_a_large_device_gets_no_delays_on_idle_qubits() -> None:
    line = [[i, i + 1] for i in range(29)]
    device = GenericBackendV2(30, basis_gates=["rz", "sx", "x", "cz"], coupling_map=line, seed=0)
    found = expanded(device, DynamicalDecoupling(), chain())
    assert len({qubit for item in found.data for qubit in item.qubits}) == 4


def test_shots_and_jobs(noisy: Callable, models: Callable) -> None:
    circuit, inputs, weights = models(0, 3, 1, ["IIZ", "XXX"])
    backend, sent = noisy(None, [DynamicalDecoupling()], shots=70)
    backend.submit(circuit, inputs, weights).result()
    assert sent.shots == 70 * len(inputs) * 2
    assert sent.jobs == 1


def test_devices_without_durations() -> None:
    nothing = torch.zeros(1, 0), torch.zeros(0)
    with pytest.raises(CircuitError, match="needs the durations of gates, and this simulator has none"):
        PrimitiveBackend(StatevectorSampler(), mitigation=[DynamicalDecoupling()]).submit(chain(), *nothing)
    device = GenericBackendV2(4, basis_gates=["u", "cz"], coupling_map=[[0, 1], [1, 2], [2, 3]])
    with pytest.raises(CircuitError, match="XY4 needs the gate rz, and the device has cz, delay"):
        PrimitiveBackend(Given(Detuned(0), device), mitigation=[DynamicalDecoupling("XY4")]).submit(chain(), *nothing)
    timeless = GenericBackendV2(4, basis_gates=["rz", "sx", "x", "cz"], coupling_map=[[0, 1], [1, 2], [2, 3]])
    for qubits in timeless.target["cz"]:
        timeless.target.update_instruction_properties("cz", qubits, None)
    with pytest.raises(CircuitError, match="cannot be scheduled for dynamical decoupling"):
        PrimitiveBackend(Given(Detuned(0), timeless), mitigation=[DynamicalDecoupling()]).submit(chain(), *nothing)


def test_refused() -> None:
    with pytest.raises(CircuitError, match="no sequence 'YY'; take one of none, XX, XpXm, XY4, XY8"):
        DynamicalDecoupling("YY")  # type: ignore[arg-type]
