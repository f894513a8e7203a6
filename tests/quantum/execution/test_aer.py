"""Aer's sampler and estimator against exact values, by every method, and what they refuse."""

import copy
import pickle
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2, BitArray
from qiskit.quantum_info import DensityMatrix, Pauli, SparsePauliOp, Statevector
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error
from qiskit_aer.primitives import SamplerV2

from qmm.quantum import Circuit, CircuitError, CompiledCircuit, ExactBackend
from qmm.quantum.execution import PrimitiveBackend, transpiling
from qmm.quantum.execution.devices import device
from qmm.quantum.execution.simulators.aer import METHODS, Aer
from qmm.quantum.execution.simulators.noise import Noise
from qmm.quantum.execution.simulators.simulated import SimulatedEstimator, SimulatedSampler
from qmm.quantum.execution.simulators.simulation import final_measurements

READOUT = [[0.97, 0.03], [0.08, 0.92]]
NOISE = Noise(depolarizing={1: 0.01, 2: 0.05}, readout=READOUT)
ANGLES = ParameterVector("a", 3)


def circuit(n: int = 3) -> QuantumCircuit:
    """In the gates of `NOISE`'s device."""
    made = QuantumCircuit(n)
    for i in range(n):
        made.sx(i)
        made.rz(ANGLES[i % 3] + 0.2 * i, i)
        made.sx(i)
    for i in range(n - 1):
        made.cx(i, i + 1)
    made.rz(ANGLES[0] * ANGLES[1], 0)
    made.sx(0)
    return made


def read(made: QuantumCircuit, qubits: Sequence[int]) -> QuantumCircuit:
    measured = made.copy()
    bits = ClassicalRegister(len(qubits), "bits")
    measured.add_register(bits)
    measured.measure(list(qubits), bits)
    return measured


def sampler(aer: Aer, seed: int) -> BaseSamplerV2:
    made = aer.sampler(seed)
    assert made is not None
    return made


def estimator(aer: Aer) -> BaseEstimatorV2:
    made = aer.estimator(5)
    assert made is not None
    return made


def probabilities(made: QuantumCircuit, values: np.ndarray, noise: Noise | None) -> np.ndarray:
    """Of all qubits, by qiskit-aer's density matrix; then read."""
    body = made.assign_parameters(values)
    body.save_density_matrix()
    model = None if noise is None else noise.model()
    run = AerSimulator(method="density_matrix", noise_model=model).run(body, shots=1)
    found = DensityMatrix(run.result().data()["density_matrix"]).probabilities()
    for place in range(made.num_qubits if noise is not None else 0):
        found = np.einsum("asb,st->atb", found.reshape(-1, 2, 2**place), READOUT).ravel()
    return found


def frequencies(bits: BitArray) -> np.ndarray:
    """(..., 2**bits)"""
    words = np.zeros((*bits.shape, bits.num_shots), np.int64)
    for byte in range(bits.array.shape[-1]):
        words = words << 8 | bits.array[..., byte]
    found = [np.bincount(row, minlength=2**bits.num_bits) for row in words.reshape(-1, bits.num_shots)]
    return np.array(found).reshape(*bits.shape, -1) / bits.num_shots


@pytest.mark.parametrize("noise", [None, NOISE], ids=["ideal", "noise"])
@pytest.mark.parametrize("method", [m for m in METHODS if m != "stabilizer"])
def test_shots_have_the_right_probabilities(method: str, noise: Noise | None) -> None:
    values = np.random.default_rng(0).uniform(-3, 3, (3, 3))
    made, shots = sampler(Aer(method, noise=noise), 7), 4000
    measured = read(circuit(), [0, 1, 2])
    found = frequencies(made.run([(measured, values)], shots=shots).result()[0].data.bits)
    expected = np.stack([probabilities(circuit(), row, noise) for row in values])
    assert (np.abs(found - expected) <= 5 * np.sqrt(expected * (1 - expected) / shots) + 1e-9).all()


@pytest.mark.parametrize("method", ["automatic", "statevector", "density_matrix", "matrix_product_state"])
def test_parameters_of_every_gate_are_bound_right(method: str) -> None:
    """All bindings go to qiskit-aer at once, which it gets wrong for some gates: those are not among the transpiler's."""
    gates = get_standard_gate_name_mapping()
    aer = Aer(method)
    for name in transpiling._ANY_GATE:
        gate = gates[name].base_class(*ANGLES[: len(gates[name].params)])
        made = QuantumCircuit(2)
        made.h(0)
        made.ry(0.4, 1)
        made.append(gate, [1, 0][: gate.num_qubits])
        made.ry(0.7, 0)
        made.rx(ANGLES[0], 1)
        values = np.random.default_rng(1).uniform(-3, 3, (2, made.num_parameters))
        exact = np.stack([Statevector(made.assign_parameters(row)).probabilities() for row in values])
        plan = aer.simulation.plan(read(made, [0, 1]))
        if plan.measured is not None:
            np.testing.assert_allclose(aer.simulation.probabilities(plan, values), exact, atol=1e-9, err_msg=name)
        else:
            bits = sampler(aer, 3).run([(read(made, [0, 1]), values)], shots=4000).result()[0].data.bits
            np.testing.assert_allclose(frequencies(bits), exact, atol=5 * 0.5 / 4000**0.5, err_msg=name)


class TestForm:
    """As qiskit-aer's own sampler gives it."""

    @staticmethod
    def compare(measured: QuantumCircuit, values: np.ndarray | None, noise: Noise | None = NOISE) -> None:
        pub = (measured,) if values is None else (measured, values)
        own = sampler(Aer(noise=noise), 1).run([pub], shots=50).result()[0]
        theirs = SamplerV2(seed=1).run([pub], shots=50).result()[0]
        assert list(own.data) == list(theirs.data)
        assert own.data.shape == theirs.data.shape
        assert own.metadata["circuit_metadata"] == theirs.metadata["circuit_metadata"]
        for name in own.data:
            one, other = own.data[name], theirs.data[name]
            assert (one.shape, one.num_shots, one.num_bits) == (other.shape, other.num_shots, other.num_bits)
            assert (one.array.shape, one.array.dtype) == (other.array.shape, other.array.dtype)

    @pytest.mark.parametrize("shape", [(), (4,), (2, 3), (1, 2, 1)])
    def test_shapes(self, shape: tuple[int, ...]) -> None:
        self.compare(read(circuit(), [2, 0]), np.zeros((*shape, 3)))

    def test_several_registers_and_bits_that_nothing_measures(self) -> None:
        made = QuantumCircuit(QuantumRegister(3), ClassicalRegister(2, "one"), ClassicalRegister(11, "two"), metadata={"a": 1})
        made.x([0, 2])
        made.measure([0, 1, 2], [12, 0, 3])
        self.compare(made, None)
        data = sampler(Aer(), 0).run([made], shots=5).result()[0].data
        assert set(data.one.get_bitstrings()) == {"00"}
        assert set(data.two.get_bitstrings()) == {"10000000010"}

    def test_parameters_on_qubits_that_nothing_measures(self) -> None:
        made = QuantumCircuit(3, 1)
        made.x(0)
        made.ry(ANGLES[0], 2)
        made.measure(0, 0)
        self.compare(made, np.zeros((2, 3, 1)))
        made.x(0)
        made.measure(0, 0)  # shot by shot
        self.compare(made, np.zeros((2, 3, 1)))

    def test_measurements_along_the_way(self) -> None:
        made = circuit(2)
        made.add_register(ClassicalRegister(2, "bits"))
        made.measure(0, 0)
        made.cx(0, 1)
        made.rz(ANGLES[2], 0)
        made.measure(0, 1)
        assert Aer(noise=NOISE).simulation.plan(made).measured is None
        self.compare(made, np.zeros((2, made.num_parameters)))

    def test_no_register_is_warned_of(self) -> None:
        with pytest.warns(UserWarning, match="add measurements"):
            assert not list(sampler(Aer(), 0).run([QuantumCircuit(1)], shots=1).result()[0].data)


def test_which_measurements_are_final() -> None:
    made = QuantumCircuit(2, 3)
    made.measure(0, 1)
    made.delay(10, 0)
    made.x(1)
    made.barrier()
    made.measure(1, 0)
    found = final_measurements(made)
    assert found is not None
    assert ([item.name for item in found.circuit.data], found.qubits, found.bits) == (["x"], (0, 1), {1: 0, 0: 1})
    for spoil in ("x", "measure", "reset"):
        other = made.copy()
        other.measure(0, 2) if spoil == "measure" else getattr(other, spoil)(0)
        assert final_measurements(other) is None


def test_random_numbers_follow_from_the_seed_and_are_independent() -> None:
    measured = read(circuit(), [0, 1, 2])
    values = np.tile([0.3, 1.0, -0.5], (300, 1))
    aer = Aer(noise=NOISE)
    runs = [sampler(aer, seed).run([(measured, values)] * 2, shots=64).result() for seed in (1, 1, 2)]
    bits = [[run[i].data.bits.array for i in range(2)] for run in runs]
    np.testing.assert_array_equal(bits[0][0], bits[1][0])
    assert not np.array_equal(bits[0][0], bits[0][1])
    assert not np.array_equal(bits[0][0], bits[2][0])
    ones = (bits[0][0][..., 0] & 1).astype(float)  # (rows, shots): all drawn from one distribution
    p = ones.mean()
    assert ones.mean(axis=1).var() == pytest.approx(p * (1 - p) / 64, rel=0.5)  # 300 rows: a standard error of 8 %
    assert ones.mean(axis=0).var() == pytest.approx(p * (1 - p) / 300, rel=0.9)  # shots come in no order


@pytest.mark.parametrize("method", ["automatic", "density_matrix"])
def test_expectation_values_with_normal_noise(method: str) -> None:
    made = QuantumCircuit(16)
    made.compose(circuit(), [5, 3, 4], inplace=True)
    observables = [SparsePauliOp.from_sparse_list([("ZX", [5, 4], 0.5), ("Y", [3], 2.0), ("", [], 0.25)], 16), "I" * 15 + "Z"]
    values = np.random.default_rng(3).uniform(-3, 3, (4, 1, 3))
    made_estimator = estimator(Aer(method, noise=NOISE, primitive="estimator"))
    result = made_estimator.run([(made, observables, values)], precision=0.0).result()[0]
    expected = np.empty((4, 2))
    for i, row in enumerate(values[:, 0]):
        body = circuit().assign_parameters(row)
        body.save_density_matrix()
        run = AerSimulator(method="density_matrix", noise_model=NOISE.model()).run(body, shots=1)
        state = DensityMatrix(run.result().data()["density_matrix"])
        xz, y = (state.expectation_value(Pauli(label)).real for label in ("XIZ", "IYI"))
        expected[i] = 0.5 * xz + 2 * y + 0.25, 1
    np.testing.assert_allclose(result.data.evs, expected, atol=1e-8)
    many = made_estimator.run([(made, observables, np.tile(values[0], (400, 1, 1)))], precision=0.05).result()[0].data
    assert many.evs.std(axis=0) == pytest.approx([0.05, 0.05], rel=0.2)
    assert (many.stds == 0.05).all()
    assert np.abs(many.evs.mean(axis=0) - expected[0]).max() < 5 * 0.05 / 20


class TestBackend:
    def test_a_device_end_to_end(self) -> None:
        """Read-out in X, Y and Z on a fake device: as its noise model says, measured with the device's own gates."""
        made = QuantumCircuit(2)
        inputs, weights = ParameterVector("x", 1), ParameterVector("w", 1)
        made.ry(inputs[0], 0)
        made.cx(0, 1)
        made.rx(weights[0], 1)
        compiled = CompiledCircuit(Circuit.of(made, list(inputs), list(weights), ["XX", "YY", "ZZ"]))
        backend = PrimitiveBackend(Aer(device="fake_manila"), shots=20_000)
        angles = torch.tensor([[0.4], [2.0]], dtype=torch.float64), torch.tensor([0.7], dtype=torch.float64)
        found = backend.submit(compiled, *angles).result()
        exact = ExactBackend().submit(compiled, *angles).result()
        assert 0.02 < (found - exact).abs().max() < 0.3  # noisy, but the same circuit
        for method, shots in (("density_matrix", 20_000), ("statevector", 1000)):
            other = PrimitiveBackend(Aer(method, device="fake_manila"), shots=shots).submit(compiled, *angles).result()
            torch.testing.assert_close(other, found, atol=5 * (1 / shots + 1 / 20_000) ** 0.5, rtol=0)

    def test_the_estimator_end_to_end(self) -> None:
        made = QuantumCircuit(2)
        inputs = ParameterVector("x", 2)
        made.ry(inputs[0], 0)
        made.rxx(inputs[1], 0, 1)
        compiled = CompiledCircuit(Circuit.of(made, list(inputs), [], ["XX", "ZI"]))
        angles = torch.rand(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), torch.empty(0).double()
        job = PrimitiveBackend(Aer(primitive="estimator"), shots=10_000).submit(compiled, *angles)
        exact = ExactBackend().submit(compiled, *angles).result()
        torch.testing.assert_close(job.result(), exact, atol=5e-2, rtol=0)
        torch.testing.assert_close(job.variances(), torch.full((3, 2), 1e-4, dtype=torch.float64))

    def test_simulators_are_made_once(self) -> None:
        aer = Aer(device="fake_manila")
        samplers = [aer.sampler(seed) for seed in range(2)]
        assert all(isinstance(sampler, SimulatedSampler) for sampler in samplers)
        assert samplers[0]._simulation is samplers[1]._simulation  # type: ignore[union-attr]
        assert aer.estimator(0) is None
        assert isinstance(Aer(primitive="estimator").estimator(0), SimulatedEstimator)

    @pytest.mark.parametrize("clone", [copy.deepcopy, lambda aer: pickle.loads(pickle.dumps(aer))], ids=["deepcopy", "pickle"])
    def test_copies_simulate_the_same(self, clone) -> None:
        aer = Aer(noise=NOISE)
        pub = read(circuit(), [1]), np.ones((2, 3))
        first = sampler(aer, 3).run([pub], shots=20).result()[0].data.bits
        assert sampler(clone(aer), 3).run([pub], shots=20).result()[0].data.bits == first
        assert clone(aer).name == aer.name

    def test_names_tell_apart_what_gives_other_results(self) -> None:
        model = NoiseModel()
        model.add_all_qubit_quantum_error(depolarizing_error(0.1, 1), "sx")
        made = [
            Aer(),
            Aer("statevector"),
            Aer(device="fake_manila"),
            Aer(noise=NOISE),
            Aer(noise=Noise(readout=0.1)),
            Aer(noise=model),
            Aer("matrix_product_state", max_bond_dimension=4),
            Aer("matrix_product_state", truncation_threshold=1e-3),
            Aer(primitive="estimator"),
        ]
        assert len({aer.name for aer in made}) == len(made)
        assert Aer(threads=1).name == Aer(threads=2).name

    def test_a_noise_model_of_the_users_own(self) -> None:
        """And a device with its noise."""
        assert Aer(device="fake_manila").noise_model == NoiseModel.from_backend(device("fake_manila"))
        assert Aer(noise=NOISE).noise_model == NOISE.model()
        assert Aer().noise_model is None
        model = NoiseModel(["sx", "rz", "cx"])
        model.add_all_qubit_readout_error([[0.5, 0.5], [0.5, 0.5]])
        aer = Aer(device=device("fake_manila"), noise=model)
        assert aer.noise_model is model
        measured = QuantumCircuit(5, 1)
        measured.measure(4, 0)
        assert aer.simulation.probabilities(aer.simulation.plan(measured), np.zeros((1, 0))) == pytest.approx(0.5)


class TestStabilizer:
    def test_clifford_circuits_of_many_qubits(self) -> None:
        made = QuantumCircuit(60)
        angle = ANGLES[0]
        made.h(0)
        for i in range(59):
            made.cx(i, i + 1)
        made.rz(angle, 3)
        bits = sampler(Aer("stabilizer"), 1).run([(read(made, range(60)), [[np.pi]])], shots=40).result()[0].data.bits
        words = set(bits[0].get_bitstrings())
        assert words == {"0" * 60, "1" * 60}

    def test_what_is_no_clifford_circuit_is_refused_before_it_runs(self) -> None:
        stabilizer = sampler(Aer("stabilizer"), 1)
        made = QuantumCircuit(1, 1)
        made.rz(ANGLES[0], 0)
        made.measure(0, 0)
        with pytest.raises(CircuitError, match="no multiple of pi/2"):
            stabilizer.run([(made, [[0.3]])])
        made.t(0)
        with pytest.raises(CircuitError, match=r"instruction 2 \('t'\) is no Clifford gate.*matrix_product_state"):
            stabilizer.run([(made, [[0.0]])])
        with pytest.raises(CircuitError, match="no Clifford gate"):
            estimator(Aer("stabilizer", primitive="estimator")).run([(circuit(1), "Z", [[0.1, 0.2]])])

    def test_circuits_are_transpiled_for_it(self) -> None:
        made = QuantumCircuit(2)
        made.ry(np.pi / 2, 0)
        made.rzz(np.pi / 2, 0, 1)
        made.rx(np.pi / 2, 0)
        compiled = CompiledCircuit(Circuit.of(made, [], [], ["XI", "ZI", "YZ"]))
        none = torch.zeros(1, 0, dtype=torch.float64), torch.empty(0, dtype=torch.float64)
        found = PrimitiveBackend(Aer("stabilizer"), shots=100).submit(compiled, *none).result()
        exact = ExactBackend().submit(compiled, *none).result()
        torch.testing.assert_close(found, exact, atol=0.5, rtol=0)
        assert (exact.abs() > 0.9).any()


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"method": "densty_matrix"}, "there is no method 'densty_matrix'; did you mean density_matrix"),
            ({"primitive": "sample"}, "did you mean sampler"),
            ({"device": "fake_torinno"}, "did you mean fake_torino"),
            ({"device": 3}, "a int came as device"),
            ({"noise": {"depolarizing": 0.1}}, "a dict came as noise"),
            ({"options": {"precison": "single"}}, "no option of AerSimulator 'precison'; did you mean precision"),
            ({"method": "density_matrix", "options": {"basis_gates": ["nothing"]}}, "refuses|no option"),
        ],
    )
    def test_arguments(self, arguments: dict, message: str) -> None:
        with pytest.raises(CircuitError, match=message):
            Aer(**arguments)

    def test_a_gpu_that_there_is_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(AerSimulator, "available_devices", lambda self: ["CPU"])
        with pytest.raises(CircuitError, match="no GPU here; leave gpu out, or install qiskit-aer-gpu"):
            Aer(gpu=True)
        monkeypatch.setattr(AerSimulator, "available_devices", lambda self: ["CPU", "GPU"])
        assert Aer(gpu=True)._options["device"] == "GPU"

    def test_a_missing_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from qmm.quantum.execution import devices

        devices._snapshots.cache_clear()
        monkeypatch.setitem(__import__("sys").modules, "qiskit_ibm_runtime", None)
        monkeypatch.setitem(__import__("sys").modules, "qiskit_ibm_runtime.fake_provider", None)
        with pytest.raises(CircuitError, match=r'pip install "qmm\[ibm\]"'):
            Aer(device="fake_torino")

    def test_a_device_that_is_too_small(self) -> None:
        made = QuantumCircuit(6)
        made.rx(ANGLES[0], 0)
        for i in range(5):
            made.cx(i, i + 1)
        compiled = CompiledCircuit(Circuit.of(made, [], [ANGLES[0]], ["Z" * 6]))
        none = torch.zeros(1, 0, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
        with pytest.raises(CircuitError, match=r"the circuit has 6 qubits, fake_manila has 5; .*cut the circuit"):
            PrimitiveBackend(Aer(device="fake_manila")).submit(compiled, *none).result()

    def test_what_qiskit_aer_cannot_run_is_said_in_its_words(self) -> None:
        made = read(circuit(30), [29])
        job = sampler(Aer("density_matrix", noise=NOISE, options={"max_memory_mb": 16}), 0).run([(made, np.zeros(3))], shots=10)
        with pytest.raises(CircuitError, match=r"qiskit-aer cannot run the circuit: .*memory"):
            job.result()
