"""Costs on devices against sums by hand over what the device says of itself."""

import math
from collections import defaultdict

import pytest
from qiskit import transpile
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Kraus, average_gate_fidelity
from qiskit_aer.noise import thermal_relaxation_error

from qmm.circuits import HardwareCost, device, devices, hardware_cost, measured, settings, shots
from qmm.errors import InputError
from qmm.fusion import QuantumFusion
from qmm.quantum import Circuit, CircuitError


@pytest.fixture(scope="module")
def circuit() -> Circuit:
    fusion = QuantumFusion(2)
    fusion.build({"vision": 4, "audio": 2})
    return fusion.circuit()


def on_manila(circuit: Circuit, level: int = 2, seed: int = 0) -> QuantumCircuit:
    """The same circuit, transpiled and scheduled here."""
    read_out = measured(circuit.quantum_circuit, settings(circuit)[0].basis)
    return transpile(read_out, device("fake_manila"), optimization_level=level, scheduling_method="alap", seed_transpiler=seed)


def test_counts_errors_and_times_by_hand(circuit: Circuit) -> None:
    cost, physical, target = hardware_cost(circuit, "fake_manila", 0.02), on_manila(circuit), device("fake_manila").target
    counts = defaultdict(int, physical.count_ops())
    assert cost.quantum_instructions == counts["rz"] + counts["sx"] + counts["x"] + counts["cx"]
    assert cost.two_qubit_gates == counts["cx"]
    assert cost.depth == physical.depth(lambda item: item.operation.name != "delay")
    gates, read_out, busy = 1.0, 1.0, [0.0] * 5
    for item in physical.data:
        places = tuple(physical.find_bit(q).index for q in item.qubits)
        if item.operation.name in ("barrier", "delay"):
            continue
        properties = target[item.operation.name][places]
        if item.operation.name == "measure":
            read_out *= 1 - properties.error
        else:
            gates *= 1 - properties.error
        end = max(busy[place] for place in places) + properties.duration
        for place in places:
            busy[place] = end
    assert cost.gate_fidelity == pytest.approx(gates)
    assert cost.readout_fidelity == pytest.approx(read_out)
    assert cost.expected_fidelity == pytest.approx(physical.estimate_fidelity(target))
    assert cost.expected_fidelity_with_decay == pytest.approx(gates * read_out * cost.idle_fidelity)
    assert max(busy) <= cost.shot_duration <= max(busy) * 1.1  # measurements start together, on the device's clock
    assert (cost.settings, cost.shots) == (1, shots(circuit, 0.02))
    assert cost.calculation_time == pytest.approx(2500 * cost.shot_duration)
    assert cost.delayed_time == pytest.approx(2500 * (cost.shot_duration + 250e-6))


def test_idle_decay_is_that_of_thermal_relaxation() -> None:
    """Qubit 0 waits between two CX while qubit 1 is turned; the fidelity is that of Aer's relaxation channel over that time."""
    target, turns = device("fake_manila").target, 8
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    for _ in range(turns):
        circuit.sx(1)
    circuit.cx(0, 1)
    cost = hardware_cost(Circuit.of(circuit, observables=["ZZ"]), "fake_manila", optimization_level=0, initial_layout=[0, 1])
    properties, seconds = target.qubit_properties[0], turns * target["sx"][(1,)].duration
    channel = Kraus(thermal_relaxation_error(properties.t1, properties.t2, seconds))
    assert cost.idle_fidelity == pytest.approx(average_gate_fidelity(channel), abs=1e-9)
    assert cost.idle_fidelity < 1


def test_a_qubit_that_has_met_no_gate_does_not_decay() -> None:
    """Scheduled as late as can be, qubit 0 is turned just before the CX: it waits in |0> alone."""
    circuit = QuantumCircuit(2)
    circuit.sx(0)
    for _ in range(8):
        circuit.sx(1)
    circuit.cx(0, 1)
    cost = hardware_cost(Circuit.of(circuit, observables=["ZZ"]), "fake_manila", optimization_level=0, initial_layout=[0, 1])
    assert cost.idle_fidelity == 1


def test_a_layout_is_kept_and_the_seed_fixes_the_rest(circuit: Circuit) -> None:
    layout = [4, 3, 2]
    first, again = (hardware_cost(circuit, "fake_manila", initial_layout=layout, seed=7) for _ in range(2))
    assert first == again
    assert first.physical_qubits == (4, 3, 2)
    unoptimised = hardware_cost(circuit, "fake_manila", optimization_level=0, initial_layout=layout)
    assert unoptimised.quantum_instructions > first.quantum_instructions


def test_the_setting_that_turns_most_qubits_stands_for_all() -> None:
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("w"), 0)
    circuit.cx(0, 1)
    z, y = (hardware_cost(Circuit.of(circuit, observables=o), "fake_manila") for o in (["ZZ"], ["ZZ", "YY"]))
    assert y.quantum_instructions > z.quantum_instructions
    assert (z.settings, y.settings) == (1, 2)
    assert y.shots == 2 * z.shots


def test_any_backend_with_a_target() -> None:
    backend = GenericBackendV2(3, seed=0)
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    cost = hardware_cost(Circuit.of(circuit, observables=["ZZ"]), backend)
    assert isinstance(cost, HardwareCost)
    assert cost.delayed_time == cost.calculation_time  # it knows of no delay between shots
    assert 0 < cost.expected_fidelity_with_decay <= cost.expected_fidelity < 1
    assert math.isfinite(cost.shot_duration)


def test_names() -> None:
    assert "fake_torino" in devices()
    assert all(name.startswith("fake_") for name in devices())
    with pytest.raises(CircuitError, match=r"'fake_turino'.*fake_torino"):
        device("fake_turino")
    with pytest.raises(CircuitError, match=r"'Torino'.*fake_torino"):
        device("Torino")
    with pytest.raises(CircuitError, match="take one of fake_aachen"):
        device("xxxxxxxx")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimization_level": 4}, "optimization_level=4"),
        ({"initial_layout": [0, 1]}, "3 different numbers from 0 to 4"),
        ({"initial_layout": [0, 1, 1]}, "3 different numbers"),
        ({"initial_layout": [0, 1, 5]}, "3 different numbers"),
        ({"precision": 0}, "positive"),
    ],
)
def test_bad_input(circuit: Circuit, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        hardware_cost(circuit, "fake_manila", **arguments)  # type: ignore[arg-type]


def test_too_many_qubits_and_nothing_to_measure() -> None:
    with pytest.raises(InputError, match="6 qubits on fake_manila, which has 5"):
        hardware_cost(Circuit.of(QuantumCircuit(6), observables=["Z" * 6]), "fake_manila")
    with pytest.raises(InputError, match="nothing is measured"):
        hardware_cost(Circuit.of(QuantumCircuit(2), observables=["II"]), "fake_manila")
