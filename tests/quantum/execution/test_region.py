"""Regions of devices: the noise of these qubits, no more and no less than that of the whole device."""

import copy
from collections.abc import Sequence

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Measure, ParameterVector
from qiskit.circuit.library import SXGate
from qiskit.primitives import BackendSamplerV2
from qiskit.providers import BackendV2
from qiskit.quantum_info import Operator
from qiskit.transpiler import Target, generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

from qmm.quantum import CircuitError
from qmm.quantum.execution.devices import device
from qmm.quantum.execution.simulators.region import Region, Regions, narrowed, native, noise_on, target_on, touched
from qmm.quantum.execution.simulators.simulation import Simulation
from qmm.quantum.execution.simulators.simulator import RegionSimulator

MANILA, GUADALUPE = "fake_manila", "fake_guadalupe"


@pytest.fixture(scope="module")
def models() -> dict[str, NoiseModel]:
    """Of the whole devices."""
    return {name: NoiseModel.from_backend(device(name)) for name in (MANILA, GUADALUPE)}


def physical(backend: BackendV2, layout: Sequence[int], measured: Sequence[int], delay: bool = False) -> QuantumCircuit:
    """Angles, entanglers in both directions, on the device's qubits `layout`; measures some of these, the last one first."""
    n = len(layout)
    angles = ParameterVector("x", 2 * n)
    logical = QuantumCircuit(n)
    for i in range(n):
        logical.ry(angles[i], i)
    for i in range(n - 1):
        logical.cx(i, i + 1)
    for i in range(n):
        logical.rx(angles[n + i], i)
    for i in range(n - 1):
        logical.cx(i + 1, i)
    made = generate_preset_pass_manager(1, backend=backend, initial_layout=list(layout), seed_transpiler=0).run(logical)
    for i, qubit in enumerate(layout if delay else ()):
        made.delay(8000 * (i + 1), qubit, "dt" if i % 2 else "ns")
        made.sx(qubit)
    made.barrier()
    read = ClassicalRegister(len(measured), "read")
    made.add_register(read)
    for bit, qubit in zip(read, reversed(measured), strict=True):
        made.measure(qubit, bit)
    return made


def whole(circuit: QuantumCircuit, model: NoiseModel, values: np.ndarray) -> np.ndarray:
    """Of what is read, by qiskit-aer with the noise model of the whole device; read-out errors by a Kronecker product."""
    body = circuit.remove_final_measurements(inplace=False)
    qubits = [circuit.find_bit(item.qubits[0]).index for item in circuit.data if item.name == "measure"]
    body.save_probabilities(qubits)
    simulator = AerSimulator(noise_model=model, method="density_matrix", zero_threshold=0.0)
    bound = body.assign_parameters(values)
    found = simulator.run(bound, shots=1).result().data()["probabilities"]
    reading = np.ones((1, 1))
    for qubit in qubits:
        own = model._local_readout_errors[(qubit,)].probabilities
        reading = np.kron(np.asarray(own).T, reading)
    return reading @ found


@pytest.mark.parametrize("delay", [False, True], ids=["", "delays"])
@pytest.mark.parametrize(
    ("name", "layout"),
    [(MANILA, [0, 1, 2]), (MANILA, [3, 2]), (MANILA, [4, 3, 2, 1]), (GUADALUPE, [12, 13, 14]), (GUADALUPE, [7, 4, 1])],
)
def test_a_region_has_the_noise_of_its_qubits(models, name: str, layout: list[int], delay: bool) -> None:
    backend = device(name)
    circuit = physical(backend, layout, layout[1:], delay)
    values = np.random.default_rng(len(layout)).uniform(-3, 3, (2, circuit.num_parameters))
    expected = np.stack([whole(circuit, models[name], row) for row in values])
    for given in (None, models[name]):  # from the device's properties, or cut out of the noise model of the whole device
        for method in ("automatic", "density_matrix"):  # our channels, qiskit-aer's
            simulation = Simulation(Regions(backend, given, method=method, zero_threshold=0.0), method)
            plan = simulation.plan(circuit)
            assert plan.measured is not None
            assert (plan.program is not None) == (method == "automatic")
            assert set(plan.region) == set(layout)
            found = simulation.probabilities(plan, values)
            places = [plan.measured.bits[bit] for bit in range(circuit.num_clbits)]
            assert places == list(range(len(places)))
            np.testing.assert_allclose(found, expected, atol=1e-9)


def test_noise_matters_and_differs_from_region_to_region(models) -> None:
    """Else the test above would hold for any noise."""
    backend = device(MANILA)
    values = np.full((1, 6), 0.7)
    found = []
    for layout in ([0, 1, 2], [2, 3, 4]):
        simulation = Simulation(Regions(backend))
        found.append(simulation.probabilities(simulation.plan(physical(backend, layout, layout)), values))
    ideal = Simulation(Regions(None))
    found.append(ideal.probabilities(ideal.plan(physical(backend, [0, 1, 2], [0, 1, 2])), values))
    assert min(np.abs(found[i] - found[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 5e-3


def test_what_a_measurement_can_feel() -> None:
    circuit = QuantumCircuit(8, 2)
    circuit.h(range(8))
    circuit.cz(1, 2)
    circuit.cz(2, 5)
    circuit.cz(6, 7)
    circuit.delay(100, 3)
    circuit.barrier()
    assert touched(circuit) == tuple(range(8))
    circuit.measure(5, 0)
    assert touched(circuit) == (1, 2, 5)
    circuit.measure(0, 1)
    assert touched(circuit) == (0, 1, 2, 5)
    assert touched(circuit, [7]) == (0, 1, 2, 5, 6, 7)
    assert touched(QuantumCircuit(3)) == (0,)
    delays = QuantumCircuit(3)
    delays.delay(10, [0, 1, 2])
    delays.x(1)
    assert touched(delays) == (1,)


def test_narrowed_circuits_do_the_same() -> None:
    angles = ParameterVector("a", 3)
    circuit = QuantumCircuit(QuantumRegister(5, "device"), ClassicalRegister(2, "kept"), global_phase=angles[2])
    circuit.rx(angles[0], 4)
    circuit.cx(4, 1)
    circuit.ry(angles[1], 2)
    circuit.barrier()
    circuit.measure(1, 0)
    small = narrowed(circuit, (1, 4))
    assert (small.num_qubits, [r.name for r in small.cregs], small.num_parameters) == (2, ["kept"], 2)
    assert [item.name for item in small.data] == ["rx", "cx", "barrier", "measure"]
    expected = QuantumCircuit(2, global_phase=0.3)
    expected.rx(0.5, 1)
    expected.cx(1, 0)
    bound = small.remove_final_measurements(inplace=False).assign_parameters({angles[0]: 0.5, angles[2]: 0.3})
    assert Operator(bound) == Operator(expected)
    assert circuit.num_parameters == 3  # which stays as it was


def test_targets_keep_errors_durations_and_directions() -> None:
    target = device("fake_torino").target
    small = target_on(target, (4, 5, 15))
    assert small.num_qubits == 3
    assert small.dt == target.dt
    edges = {edge: p for edge, p in target["cz"].items() if set(edge) <= {4, 5, 15}}
    place = {4: 0, 5: 1, 15: 2}
    assert edges
    assert dict(small["cz"]) == {tuple(place[q] for q in edge): p for edge, p in edges.items()}
    assert small["measure"][(2,)].error == target["measure"][(15,)].error
    assert small.qubit_properties[1].t1 == target.qubit_properties[5].t1
    assert set(small.operation_names) == set(target.operation_names)


def test_noise_models_with_errors_of_every_kind() -> None:
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.1, 1), ["sx"])
    model.add_quantum_error(depolarizing_error(0.2, 2), ["cx"], [3, 1])
    model.add_quantum_error(depolarizing_error(0.3, 2), ["cx"], [1, 2])
    model.add_all_qubit_readout_error([[0.9, 0.1], [0.2, 0.8]])
    model.add_readout_error([[0.7, 0.3], [0.4, 0.6]], [3])
    small = noise_on(model, (1, 3))
    assert small._local_quantum_errors["cx"].keys() == {(1, 0)}
    assert small._local_quantum_errors["cx"][(1, 0)] == depolarizing_error(0.2, 2)
    assert small._default_quantum_errors["sx"] == depolarizing_error(0.1, 1)
    assert small._local_readout_errors == {(1,): ReadoutError([[0.7, 0.3], [0.4, 0.6]])}
    assert small._default_readout_error == ReadoutError([[0.9, 0.1], [0.2, 0.8]])


def test_gates_of_one_qubit_in_the_gates_of_a_device() -> None:
    target = device(MANILA).target
    circuit = QuantumCircuit(5, 1)
    circuit.sx(2)
    assert native(circuit, target) is circuit
    circuit.sdg(2)
    circuit.h(2)
    own = native(circuit, target)
    assert {item.name for item in own.data} <= set(target.operation_names)
    assert Operator(own).equiv(Operator(circuit))


def test_a_qubit_that_the_device_does_not_measure() -> None:
    target = Target(num_qubits=2)
    target.add_instruction(SXGate(), dict.fromkeys([(0,), (1,)]))
    target.add_instruction(Measure(), {(0,): None})
    circuit = QuantumCircuit(2, 1)
    circuit.measure(0, 0)
    assert native(circuit, target) is circuit
    circuit.measure(1, 0)
    with pytest.raises(CircuitError, match=r"does not measure qubits \[1\]; choose others"):
        native(circuit, target)


class TestRegionSimulator:
    """The same as an AerSimulator of the whole device, to whoever runs circuits on it."""

    def test_regions_of_several_circuits_in_their_order(self) -> None:
        backend = device(GUADALUPE)
        simulator = RegionSimulator.of(backend)
        assert simulator.target is backend.target
        first, second = QuantumCircuit(16, 1), QuantumCircuit(16, 3)
        angle = ParameterVector("a", 1)[0]
        first.x(9)
        first.measure(9, 0)
        second.rx(angle, 2)
        second.measure(2, 2)
        job = simulator.run(
            [second, first, second],
            parameter_binds=[{angle: [0.0, np.pi]}, {}, {angle: [np.pi]}],
            shots=500,
            memory=True,
            seed_simulator=3,
        )
        assert job.done()
        counts = [job.result().get_counts(i) for i in range(4)]
        assert [max(found, key=found.__getitem__) for found in counts] == ["000", "100", "1", "100"]
        assert [sum(found.values()) for found in counts] == [500] * 4
        assert len(job.result().get_memory(1)) == 500

    def test_shot_by_shot_where_a_measurement_is_not_the_last(self) -> None:
        circuit = QuantumCircuit(16, 2)
        circuit.x(3)
        circuit.measure(3, 0)
        circuit.x(3)
        circuit.measure(3, 1)
        counts = RegionSimulator.of(device(GUADALUPE)).run(circuit, shots=400, seed_simulator=1).result().get_counts()
        assert counts["01"] > 350

    def test_qiskits_sampler_runs_on_it(self) -> None:
        backend = device(MANILA)
        circuit = physical(backend, [1, 2], [1, 2])
        values = np.array([[0.4, 0.9, -0.3, 1.2], [2.0, 0.0, 0.5, -1.0]])
        simulator = copy.deepcopy(RegionSimulator.of(backend))
        bits = BackendSamplerV2(backend=simulator).run([(circuit, values)], shots=4000).result()[0].data.read
        simulation = Simulation(Regions(backend))
        expected = simulation.probabilities(simulation.plan(circuit), values)
        for row in range(2):
            found = np.bincount([int(word, 2) for word in bits[row].get_bitstrings()], minlength=4) / 4000
            np.testing.assert_allclose(found, expected[row], atol=5 * 0.5 / 4000**0.5)


def test_a_region_is_a_device() -> None:
    region = Region(device(MANILA), (2, 1))
    assert region.num_qubits == 2
    assert region.coupling_map.graph.has_edge(0, 1)
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.measure_all()
    counts = region.run(circuit, shots=300, seed_simulator=1).result().get_counts()
    assert max(counts, key=counts.__getitem__) == "01"
