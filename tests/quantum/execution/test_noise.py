"""Noise that is written down: its channels in closed form, the device to transpile for, and what is no noise."""

import warnings

import numpy as np
import pytest
from jsonargparse import ArgumentParser
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import Kraus, SuperOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer.noise import NoiseModel

from qmm.quantum import CircuitError
from qmm.quantum.execution.simulators.aer import Aer
from qmm.quantum.execution.simulators.noise import Noise


def channel(noise: Noise, gate: str) -> SuperOp:
    return SuperOp(noise.model()._default_quantum_errors[gate])


def test_depolarizing_damping_and_relaxation_follow_each_other() -> None:
    noise = Noise(
        depolarizing={2: 0.1, "sx": 0.02},
        amplitude_damping={"cx": 0.04},
        phase_damping=0.06,
        t1=50,
        t2=70,
        durations={1: 40, "cx": 300},
    )
    assert set(noise.model()._default_quantum_errors) == {"sx", "x", "cx"}  # rz is done by software

    def single(damping: float, time: float) -> SuperOp:
        """Amplitude damping, phase damping, then T1 and T2 for a time in nanoseconds."""
        decay = Kraus([np.diag([1, np.sqrt(1 - damping)]), [[0, np.sqrt(damping)], [0, 0]]])
        dephase = Kraus([np.diag([1, np.sqrt(0.94)]), np.diag([0, np.sqrt(0.06)])])
        lost, kept = 1 - np.exp(-time / 50_000), np.exp(-time / 70_000)
        relax = np.zeros((4, 4))
        relax[0, 0], relax[0, 3], relax[3, 3], relax[1, 1], relax[2, 2] = 1, lost, 1 - lost, kept, kept
        return SuperOp(decay).compose(SuperOp(dephase)).compose(SuperOp(relax))

    def mixed(p: float, n: int) -> SuperOp:
        state = np.eye(2**n).reshape(-1, order="F")
        return SuperOp((1 - p) * np.eye(4**n) + p / 2**n * np.outer(state, state))

    np.testing.assert_allclose(channel(noise, "sx").data, mixed(0.02, 1).compose(single(0, 40)).data, atol=1e-12)
    np.testing.assert_allclose(channel(noise, "x").data, single(0, 40).data, atol=1e-12)
    both = single(0.04, 300).tensor(single(0.04, 300))
    np.testing.assert_allclose(channel(noise, "cx").data, mixed(0.1, 2).compose(both).data, atol=1e-12)


def test_reading() -> None:
    assert Noise(readout=0.1).model()._default_readout_error.probabilities == pytest.approx(np.array([[0.9, 0.1], [0.1, 0.9]]))
    matrix = [[0.97, 0.03], [0.08, 0.92]]
    assert Noise(readout=matrix).model()._default_readout_error.probabilities == pytest.approx(np.array(matrix))
    assert Noise().model().is_ideal()


def test_waiting_is_noisy_with_t1_and_t2() -> None:
    aer = Aer(noise=Noise(t1=30, t2=20, durations={1: 0}))
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.delay(15_000, 0, "ns")
    circuit.measure(0, 0)
    plan = aer.simulation.plan(circuit)
    assert aer.simulation.probabilities(plan, np.zeros((1, 0)))[0, 1] == pytest.approx(np.exp(-0.5))


@pytest.mark.parametrize(
    ("given", "qubits", "edges"),
    [
        ({}, None, None),
        ({"qubits": 3}, 3, {(i, j) for i in range(3) for j in range(3) if i != j}),
        ({"coupling_map": [[0, 1], [2, 1]]}, 3, {(0, 1), (2, 1)}),
        ({"coupling_map": "line", "qubits": 3}, 3, {(0, 1), (1, 0), (1, 2), (2, 1)}),
        ({"coupling_map": "ring", "qubits": 3}, 3, {(i, j) for i in range(3) for j in range(3) if i != j}),
        ({"coupling_map": "full", "qubits": 3}, 3, {(i, j) for i in range(3) for j in range(3) if i != j}),
    ],
)
@pytest.mark.parametrize("durations", [None, {1: 35, 2: 300, "measure": 1000}])
def test_devices(given: dict, qubits: int | None, edges: set | None, durations: dict | None) -> None:
    device = Noise(basis_gates=["rz", "sx", "cz"], durations=durations, **given).device()
    assert device.num_qubits == qubits
    found = device.target.build_coupling_map("cz")
    assert (None if found is None else set(found.get_edges())) == edges
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.cx(0, 2)
    circuit.ry(ParameterVector("a", 1)[0], 1)
    for level in range(4):
        made = generate_preset_pass_manager(level, backend=device, seed_transpiler=0).run(circuit)
        assert {item.name for item in made.data} <= {"rz", "sx", "cz"}
        pairs = {tuple(made.find_bit(q).index for q in item.qubits) for item in made.data if item.name == "cz"}
        assert edges is None or pairs <= edges
    if durations and qubits is not None:
        assert device.target.durations().get("sx", 0, "s") == pytest.approx(35e-9)
        assert device.target["measure"][(0,)].duration == pytest.approx(1e-6)


def test_a_device_simulates_itself() -> None:
    circuit = QuantumCircuit(1)
    circuit.x(0)
    circuit.measure_all()
    counts = Noise(readout=1.0).device().run(circuit, shots=100).result().get_counts()
    assert counts == {"0": 100}


def test_the_users_noise_on_the_gates_of_another_device() -> None:
    aer = Aer(device="fake_manila", noise=Noise(depolarizing={2: 0.3}))
    assert aer.device is not None
    assert aer.device.name == "fake_manila"
    assert set(aer.noise_model._default_quantum_errors) == {"cx"}


def test_it_is_read_from_yaml() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--aer", type=Aer)
    text = "{class_path: qmm.quantum.execution.Aer, init_args: {noise: {depolarizing: {1: 0.001, cx: 0.01}, readout: 0.02}}}"
    found = parser.instantiate_classes(parser.parse_args([f"--aer={text}"])).aer
    assert found.noise_model == Noise(depolarizing={1: 0.001, "cx": 0.01}, readout=0.02).model()
    matrix = text.replace("readout: 0.02", "readout: [[0.9, 0.1], [0.2, 0.8]], coupling_map: line, qubits: 3")
    found = parser.instantiate_classes(parser.parse_args([f"--aer={matrix}"])).aer
    assert isinstance(found.noise_model, NoiseModel)
    assert found.device.num_qubits == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depolarizing": 1.2}, r"depolarizing of sx is 1.2; a probability is between 0 and 1"),
        ({"amplitude_damping": {"x": -0.1}}, "amplitude_damping of x is -0.1"),
        ({"phase_damping": {2: float("nan")}}, "phase_damping of cx is nan"),
        ({"readout": 2}, "readout is 2"),
        ({"readout": [[0.9, 0.2], [0.1, 0.9]]}, "each row summing to 1"),
        ({"readout": [0.1, 0.2]}, "each row summing to 1"),
        ({"depolarizing": {"cz": 0.1}}, "no gate of this device 'cz'; take rz, sx, x, cx"),
        ({"basis_gates": ["sx", "cxx"]}, "no gate 'cxx'; did you mean"),
        ({"basis_gates": ["rz", "ccx"]}, "'ccx'; the gates of a device are of one or two qubits"),
        ({"durations": {"cx": -1}}, "the duration of cx is -1"),
        ({"t1": 10, "t2": 30, "durations": {1: 1}}, "t2=30 with t1=10; .* t2 <= 20"),
        ({"t1": 0, "durations": {1: 1}}, "t1=0; give microseconds"),
        ({"t1": 10}, "give durations"),
        ({"coupling_map": "lne", "qubits": 3}, "did you mean line"),
        ({"coupling_map": "line"}, "of how many qubits"),
        ({"coupling_map": [[0, 0]]}, "pairs of different qubits"),
        ({"coupling_map": [[0, 5]], "qubits": 3}, r"\[0, 5\]; give pairs of different qubits, 0 to 2"),
        ({"qubits": 0}, "at least one"),
    ],
)
def test_what_is_no_noise(arguments: dict, message: str) -> None:
    with pytest.raises(CircuitError, match=message):
        Noise(**arguments)


def test_equal_noise_is_equal() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Noise(depolarizing={1: 0.1}) == Noise(depolarizing={1: 0.1})
        assert repr(Noise(readout=0.1)) == repr(Noise(readout=0.1)) != repr(Noise(readout=0.2))
