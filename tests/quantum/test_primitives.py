"""ExactEstimator and ExactSampler against Qiskit's StatevectorEstimator and StatevectorSampler."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, mutually_broadcastable_shapes
from numpy.random import Generator
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Gate, Parameter, ParameterVector
from qiskit.circuit.library import PauliEvolutionGate, RYGate, UnitaryGate, XGate
from qiskit.primitives import BindingsArray, StatevectorEstimator, StatevectorSampler
from qiskit.quantum_info import SparseObservable, SparsePauliOp

from qmm.quantum import CircuitError, ExactEstimator, ExactSampler
from qmm.quantum import primitives as module
from qmm.quantum.fingerprint import Fingerprint
from qmm.quantum.pubs import Cache

EXAMPLES = settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
SEEDS = st.integers(0, 10**6)
A, B = Parameter("a"), Parameter("b")


def _bindings(rng: Generator, circuit: QuantumCircuit, shape: tuple[int, ...]) -> BindingsArray:
    """Of the shape; parameters in any order, over two arrays."""
    parameters = [circuit.parameters[i] for i in rng.permutation(circuit.num_parameters)]
    parts = [part for part in (parameters[:2], parameters[2:]) if part]
    return BindingsArray({tuple(part): rng.normal(size=(*shape, len(part))) for part in parts}, shape)


def _observables(rng: Generator, n_qubits: int, shape: tuple[int, ...]) -> np.ndarray:
    def one() -> SparsePauliOp:
        labels = ["".join(rng.choice(list("IXYZ"), n_qubits)) for _ in range(3)]
        return SparsePauliOp(labels, rng.normal(size=3))

    distinct = [one() for _ in range(3)]
    array = np.empty(shape, object)
    for index in np.ndindex(shape):
        array[index] = distinct[rng.integers(3)]
    return array


def _two_qubits() -> QuantumCircuit:
    circuit = QuantumCircuit(2, metadata={"name": "mine"})
    circuit.ry(A, 0)
    circuit.cx(0, 1)
    circuit.rx(2 * B, 1)
    return circuit


def _same(got, expected) -> None:
    np.testing.assert_allclose(got.data.evs, expected.data.evs, atol=1e-10)
    assert got.data.evs.shape == got.data.stds.shape == got.data.shape == expected.data.shape
    assert type(got.data.evs) is type(expected.data.evs)
    assert not got.data.stds.any()
    assert got.metadata == expected.metadata


@pytest.mark.filterwarnings("ignore")  # scipy, on the matrix exponential of Qiskit's evolution gate
@EXAMPLES
@given(seed=SEEDS, n_qubits=st.integers(1, 4), shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3))
def test_estimates_broadcast_as_in_qiskit(seed, n_qubits, shapes, circuits):
    rng = np.random.default_rng(seed)
    circuit = circuits(seed, n_qubits, 8).quantum_circuit
    bindings, observables = (
        _bindings(rng, circuit, shapes.input_shapes[0]),
        _observables(rng, n_qubits, shapes.input_shapes[1]),
    )
    pub = (circuit, observables, bindings)
    got, expected = (estimator.run([pub]).result() for estimator in (ExactEstimator(), StatevectorEstimator()))
    _same(got[0], expected[0])
    assert got.metadata == expected.metadata


def test_several_pubs_of_several_circuits():
    rng = np.random.default_rng(0)
    circuit, other, values = _two_qubits(), QuantumCircuit(1), rng.normal(size=(4, 2))
    other.h(0)
    pubs = [
        (circuit, ["ZZ", "XY"], values[:2]),
        (circuit, "ZZ", values[0]),
        (other, ["Z", "X", {"X": 0.5, "Y": 2}]),
        (circuit.copy(), SparsePauliOp(["ZZ", "XI"], [1, -0.5]), values),
        (circuit, "IY", values[1], 0.1),
        (other, "X", BindingsArray({}, (3,))),
    ]
    got = ExactEstimator().run(iter(pubs)).result()
    for one, expected in zip(got, StatevectorEstimator().run(pubs[:4]).result(), strict=False):
        _same(one, expected)
    assert got[4].metadata["target_precision"] == 0.1
    np.testing.assert_allclose(got[4].data.evs, StatevectorEstimator().run([(circuit, "IY", values[1])]).result()[0].data.evs)
    np.testing.assert_allclose(got[5].data.evs, [1, 1, 1])
    assert len(ExactEstimator().run([]).result()) == 0
    assert ExactEstimator().run([(circuit, "ZZ", np.zeros((0, 2)))]).result()[0].data.evs.shape == (0,)


def test_projectors():
    circuit = _two_qubits()
    values = np.random.default_rng(0).normal(size=(5, 2))
    got = ExactEstimator().run([(circuit, SparseObservable("0+"), values)]).result()[0].data.evs
    pauli = SparsePauliOp(["II", "ZI", "IX", "ZX"], [0.25] * 4)
    np.testing.assert_allclose(got, StatevectorEstimator().run([(circuit, pauli, values)]).result()[0].data.evs, atol=1e-12)


@pytest.mark.parametrize(
    ("of_call", "of_pub", "default"), [(0.1, None, 0.0), (None, 0.2, 0.0), (0.3, 0.2, 0), (None, None, 0.4)]
)
def test_noise_of_the_asked_precision_is_that_of_qiskit(of_call, of_pub, default):
    pub = (_two_qubits(), [["ZZ"], ["XY"]], np.ones((3, 2)), of_pub)
    noisy, expected = (
        estimator(default_precision=default, seed=5).run([pub], precision=of_call).result()[0]
        for estimator in (ExactEstimator, StatevectorEstimator)
    )
    _same(noisy, expected)
    exact = ExactEstimator(seed=5).run([pub], precision=of_call).result()[0]
    assert np.abs(exact.data.evs - noisy.data.evs).max() > 0.01
    np.testing.assert_array_equal(exact.data.evs, ExactEstimator().run([pub[:3]]).result()[0].data.evs)


def _bits(result) -> dict[str, tuple[int, list]]:
    return {name: (bits.num_bits, bits.array.tolist()) for name, bits in result.data.items()}


@pytest.mark.filterwarnings("ignore")
@EXAMPLES
@given(seed=SEEDS, n_qubits=st.integers(1, 4), shape=array_shapes(min_dims=0, max_dims=3, max_side=3))
def test_samples_are_those_of_qiskit(seed, n_qubits, shape, circuits):
    rng = np.random.default_rng(seed)
    gates = circuits(seed, n_qubits, 8).quantum_circuit
    sizes = rng.integers(1, 10, size=2)
    circuit = QuantumCircuit(QuantumRegister(n_qubits), ClassicalRegister(sizes[0], "b"), ClassicalRegister(sizes[1], "a"))
    circuit.append(gates.to_instruction(), range(n_qubits))
    for _ in range(rng.integers(1, 2 * n_qubits + 1)):  # some bits are written twice, some never
        circuit.measure(int(rng.integers(n_qubits)), int(rng.integers(circuit.num_clbits)))
    pub = (circuit, _bindings(rng, circuit, shape))
    for seeds in (seed, None):
        samplers = [
            sampler(default_shots=20, seed=np.random.default_rng(seed) if seeds is None else seeds)
            for sampler in (ExactSampler, StatevectorSampler)
        ]
        got, expected = (sampler.run([pub, pub], shots=13).result() for sampler in samplers)
        for one, other in zip(got, expected, strict=True):
            assert _bits(one) == _bits(other)
            assert one.data.shape == other.data.shape
            assert one.metadata == other.metadata


def test_shots_of_pub_call_and_default():
    circuit = _two_qubits()
    circuit.measure_all()
    pubs = [(circuit, [0.1, 0.2]), (circuit, [0.1, 0.2], 7)]
    shots = [result.data.meas.num_shots for result in ExactSampler(default_shots=5).run(pubs).result()]
    assert shots == [5, 7]
    assert ExactSampler().run(pubs, shots=9).result()[0].data.meas.num_shots == 9


def test_samples_follow_the_probabilities():
    circuit = QuantumCircuit(2, 2)
    circuit.ry(2 * np.arcsin(np.sqrt(0.3)), 0)
    circuit.ry(2 * np.arcsin(np.sqrt(0.6)), 1)
    circuit.measure([0, 1], [1, 0])
    counts = ExactSampler(seed=0).run([(circuit,)], shots=100_000).result()[0].data.c.get_counts()
    expected = {"00": 0.28, "10": 0.12, "01": 0.42, "11": 0.18}
    chi_squared = sum((counts[k] - 1e5 * p) ** 2 / (1e5 * p) for k, p in expected.items())
    assert chi_squared < 16.3  # 99.9 % of three degrees of freedom


def test_unseeded_samples_differ_from_call_to_call():
    circuit = QuantumCircuit(1)
    circuit.h(0)
    circuit.measure_all()
    sampler = ExactSampler()
    first, second = (sampler.run([(circuit,)]).result()[0].data.meas.array for _ in range(2))
    assert (first != second).any()


def test_no_bindings():
    circuit = _two_qubits()
    circuit.measure_all()
    pubs = [(circuit, np.zeros((0, 2))), (circuit, np.zeros((2, 0, 2)))]
    for got, expected in zip(ExactSampler().run(pubs).result(), StatevectorSampler().run(pubs).result(), strict=True):
        assert got.data.meas.array.shape == expected.data.meas.array.shape


def test_nothing_measured():
    circuit = QuantumCircuit(1, 2)
    circuit.h(0)
    assert ExactSampler().run([(circuit,)], shots=3).result()[0].data.c.get_counts() == {"00": 3}
    with pytest.warns(UserWarning, match="no classical register"):
        assert not list(ExactSampler().run([(QuantumCircuit(1),)]).result()[0].data)


def test_what_cannot_be_sampled_exactly_is_refused_by_name():
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.cx(0, 1)
    with pytest.raises(CircuitError, match=r"instruction 1 \('measure' on qubits \[0\]\) is followed by others"):
        ExactSampler().run([circuit]).result()
    circuit = QuantumCircuit(2, 2)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.measure(1, 1)
    with pytest.raises(CircuitError, match="'if_else' on qubits"):
        ExactSampler().run([circuit]).result()
    with pytest.raises(CircuitError, match="'measure' on qubits"):
        ExactEstimator().run([(circuit, "ZZ")]).result()


def test_angles_that_are_not_finite_are_named():
    with pytest.raises(CircuitError, match="input 'b' is nan in row 1"):
        ExactEstimator().run([(_two_qubits(), "ZZ", [[0, 1], [0, np.nan]])]).result()


def test_a_circuit_is_compiled_once_until_it_changes(monkeypatch):
    compiled = Mock(wraps=module.CompiledCircuit)
    monkeypatch.setattr(module, "CompiledCircuit", compiled)
    estimator, circuit = ExactEstimator(), _two_qubits()
    value = estimator.run([(circuit, "ZZ", [0.3, 0.4])]).result()[0].data.evs
    estimator.run([(circuit.copy(), "ZZ", np.ones((5, 2))), (circuit, "ZZ", [0, 0])]).result()
    assert compiled.call_count == 1
    circuit.x(0)
    changed = estimator.run([(circuit, "ZZ", [0.3, 0.4])]).result()[0].data.evs
    np.testing.assert_allclose(changed, -value)
    assert compiled.call_count == 2


def test_the_cache_is_bounded_and_forgets_the_oldest():
    cache: Cache[int] = Cache(2)
    make = Mock(side_effect=[10, 20, 30, 21])
    assert [cache.get(key, make) for key in (1, 2, 1, 3, 1, 2)] == [10, 20, 10, 30, 10, 21]


def test_jobs_of_several_threads_share_a_primitive():
    estimator, circuit = ExactEstimator(), _two_qubits()
    values = np.random.default_rng(0).normal(size=(16, 2))
    expected = StatevectorEstimator().run([(circuit, "ZZ", values)]).result()[0].data.evs
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda row: estimator.run([(circuit.copy(), "ZZ", row)]).result()[0].data.evs, values))
    np.testing.assert_allclose(got, expected, atol=1e-10)


# Jobs sent to other processes pickle primitives; what is read here was written in the same line.
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda primitive: pickle.loads(pickle.dumps(primitive))])
def test_copies_and_pickles(duplicate):
    estimator, sampler = ExactEstimator(default_precision=0.1, seed=3), ExactSampler(default_shots=12, seed=3)
    circuit = _two_qubits()
    measured = circuit.measure_all(inplace=False)
    values, bits = estimator.run([(circuit, "ZZ", [0.1, 0.2])]).result(), sampler.run([(measured, [0.1, 0.2])]).result()
    _same(duplicate(estimator).run([(circuit, "ZZ", [0.1, 0.2])]).result()[0], values[0])
    assert _bits(duplicate(sampler).run([(measured, [0.1, 0.2])]).result()[0]) == _bits(bits[0])


class _Named(Gate):
    """Gates of one name that differ in an attribute alone."""

    def __init__(self, angle: float):
        super().__init__("named", 1, [])
        self.angle = angle

    def _define(self) -> None:
        self.definition = QuantumCircuit(1)
        self.definition.rx(self.angle, 0)


def _of(gate, n_qubits: int = 2) -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.append(gate, range(n_qubits))
    return circuit


def _sub(angle: float | Parameter) -> Gate:
    inner = QuantumCircuit(2, name="inner")
    inner.rzz(angle, 0, 1)
    return inner.to_gate()


XX, ZZ = SparsePauliOp("XX"), SparsePauliOp("ZZ")
TWINS = [
    (_of(_sub(0.1)), _of(_sub(0.2))),
    (_of(_sub(A)), _of(_sub(B))),
    (_of(RYGate(A), 1), _of(RYGate(Parameter("a")), 1)),
    (_of(_Named(0.1), 1), _of(_Named(0.2), 1)),
    (_of(UnitaryGate(np.eye(4))), _of(UnitaryGate(np.diag([1, 1, 1, -1])))),
    (_of(PauliEvolutionGate([XX, SparsePauliOp("ZI")])), _of(PauliEvolutionGate(XX + SparsePauliOp("ZI")))),
    (_of(PauliEvolutionGate(XX)), _of(PauliEvolutionGate(ZZ))),
    (_of(XGate().control(1, ctrl_state=0)), _of(XGate().control(1))),
    (_of(XGate().control(1, annotated=True)), _of(XGate().control(1, ctrl_state=0, annotated=True))),
    (QuantumCircuit(1), QuantumCircuit(2)),
    (QuantumCircuit(1, global_phase=A), QuantumCircuit(1, global_phase=B)),
]


@pytest.mark.parametrize("twins", TWINS)
def test_fingerprints_tell_circuits_apart(twins):
    one, other = twins
    assert Fingerprint(one) == Fingerprint(one.copy())
    assert hash(Fingerprint(one)) == hash(Fingerprint(one.copy()))
    assert Fingerprint(one) != Fingerprint(other)


@EXAMPLES
@given(seed=SEEDS)
def test_fingerprints_of_copies_are_equal(seed, circuits):
    circuit = circuits(seed, 4, 30).quantum_circuit
    assert Fingerprint(circuit) == Fingerprint(circuit.copy())
    reordered = circuit.copy_empty_like()
    for item in circuit.data[:-1]:
        reordered.append(item)
    assert Fingerprint(circuit) != Fingerprint(reordered)


def test_a_gate_that_cannot_be_pickled_is_compiled_anew():
    gate = _Named(0.1)
    gate.function = lambda: None
    circuit = _of(gate, 1)
    assert Fingerprint(circuit) != Fingerprint(circuit)
    np.testing.assert_allclose(ExactEstimator().run([(circuit, "IZ")]).result()[0].data.evs, np.cos(0.1))


def test_a_parameter_vector_of_more_than_ten():
    angles = ParameterVector("w", 12)
    circuit = QuantumCircuit(12)
    for i, angle in enumerate(angles):
        circuit.rx(angle, i)
    values = np.arange(12) / 10
    observables = [SparsePauliOp.from_sparse_list([("Z", [i], 1)], 12) for i in range(12)]
    got = ExactEstimator().run([(circuit, observables, values)]).result()[0].data.evs
    np.testing.assert_allclose(got, np.cos(values), atol=1e-12)
