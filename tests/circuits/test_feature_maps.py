"""Feature maps against matrices built from their formulas, their gradients, counts, spectra, and what they refuse."""

import math
from functools import reduce
from itertools import combinations
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import UnitaryGate, zz_feature_map
from qiskit.quantum_info import Operator, Statevector, random_unitary
from scipy.linalg import expm

from qmm.circuits import (
    AmplitudeEncoding,
    AngleEncoding,
    ApproximateAmplitudeEncoding,
    BasisEncoding,
    DataReuploading,
    DenseAngleEncoding,
    FeatureMap,
    FourierEncoding,
    HamiltonianEvolution,
    IQPEncoding,
    SuperpositionEncoding,
    ZZEncoding,
    count,
    coupled_pairs,
    coupling_graph,
    euler_encoding,
    rotation_encoding,
)
from qmm.errors import InputError
from qmm.quantum import Circuit, expectations

PAULI: dict[str, Any] = {"x": np.array([[0, 1], [1, 0]]), "y": np.array([[0, -1j], [1j, 0]]), "z": np.diag([1.0, -1.0])}
HADAMARD: Any = np.array([[1, 1], [1, -1]]) / math.sqrt(2)
FEATURE = st.floats(-3, 3)
Map = TypeVar("Map", bound=FeatureMap)
MAPS = {
    "angle-x": AngleEncoding("x"),
    "angle-y": AngleEncoding(),
    "angle-z": AngleEncoding("z"),
    "dense": DenseAngleEncoding(),
    "amplitude": AmplitudeEncoding(),
    "amplitude-norm": AmplitudeEncoding("angle"),
    "approximate": ApproximateAmplitudeEncoding(2),
    "iqp": IQPEncoding(),
    "zz": ZZEncoding(1, "linear"),
    "hamiltonian": HamiltonianEvolution(),
    "heisenberg": HamiltonianEvolution(interaction="heisenberg", order=1),
    "reuploading": DataReuploading(),
    "fourier": FourierEncoding(),
    "superposition": SuperpositionEncoding(),
}


def exact(values) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)


def built(feature_map: Map, features: int, spare: int = 0, uploads: int = 1) -> Map:
    feature_map.build(features, feature_map.least_qubits(features) + spare, uploads)
    return feature_map.double()


def bound(feature_map: FeatureMap, features, upload: int = 0) -> QuantumCircuit:
    """The circuit of an upload with the angles of one row of features."""
    named = [Parameter(f"x{i}") for i in range(feature_map.n_angles)]
    angles = feature_map(exact(features)[None])[0].tolist()
    circuit = feature_map.circuit(named, upload)
    return circuit.assign_parameters({n: a for n, a in zip(named, angles, strict=True) if n in circuit.parameters})


def state(feature_map: FeatureMap, features) -> np.ndarray:
    return Statevector(bound(feature_map, features)).data


def on(n_qubits: int, **paulis: str) -> Any:
    """A Pauli string as a matrix: on(3, q0="x", q2="z")."""
    return reduce(np.kron, [PAULI[paulis[f"q{q}"]] if f"q{q}" in paulis else np.eye(2) for q in reversed(range(n_qubits))])


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    """Up to a phase."""
    assert abs(abs(np.vdot(found, expected)) - 1) < 1e-9


def zz(values: list[float], pairs: dict[tuple[int, int], float], n: int) -> np.ndarray:
    """sum_i values_i Z_i + sum_ij pairs_ij Z_i Z_j"""
    singles = sum((v * on(n, **{f"q{i}": "z"}) for i, v in enumerate(values)), np.zeros((2**n, 2**n)))
    return sum((v * on(n, **{f"q{i}": "z", f"q{j}": "z"}) for (i, j), v in pairs.items()), singles)


def measured(feature_map: FeatureMap, n_observables: int = 4) -> Any:
    """features -> expectation values in a fixed random basis, differentiable."""
    named = [Parameter(f"x{i}") for i in range(feature_map.n_angles)]
    circuit = feature_map.circuit(named)
    circuit.append(UnitaryGate(random_unitary(2**circuit.num_qubits, seed=3)), range(circuit.num_qubits))
    n = circuit.num_qubits
    labels = ["".join("Z" if (m >> q) & 1 else "I" for q in reversed(range(n))) for m in range(1, 2**n)]
    read = Circuit.of(circuit, named, (), labels[:n_observables])
    return lambda features: expectations(read, feature_map(features), features.new_zeros(0))


# States and operators


@given(st.sampled_from("xyz"), st.lists(FEATURE, min_size=1, max_size=4), st.integers(0, 1))
def test_angle_encoding_is_a_product_of_rotations(axis, features, spare):
    one = [expm(-0.5j * x * PAULI[axis]) @ (HADAMARD if axis == "z" else np.eye(2)) for x in features]
    expected = reduce(np.kron, [np.eye(2)] * spare + one[::-1])
    np.testing.assert_allclose(Operator(rotation_encoding(features, len(features) + spare, axis)).data, expected, atol=1e-12)
    assert_same(state(built(AngleEncoding(axis), len(features), spare), features), expected[:, 0])


@given(st.lists(FEATURE, min_size=1, max_size=6))
def test_three_angles_make_any_rotation_of_a_qubit(angles):
    given_or_none = angles + [0.0] * (6 - len(angles))
    one = [reduce(np.matmul, [expm(-0.5j * given_or_none[q + 2 * i] * PAULI["yzy"[i]]) for i in (2, 1, 0)]) for q in (0, 1)]
    np.testing.assert_allclose(Operator(euler_encoding(angles, 2)).data, np.kron(one[1], one[0]), atol=1e-12)


@given(st.lists(st.floats(-1, 4), min_size=1, max_size=5), st.integers(0, 1))
def test_basis_encoding_is_the_basis_state_of_the_bits(features, spare):
    place = sum((x > math.pi / 2) << i for i, x in enumerate(features))
    assert_same(state(built(BasisEncoding(), len(features), spare), features), np.eye(2 ** (len(features) + spare))[place])
    bits = [float(x > 1) for x in features]
    place = sum(int(b) << i for i, b in enumerate(bits))
    assert_same(state(built(BasisEncoding(strict=True), len(features)), bits), np.eye(2 ** len(features))[place])


def test_the_gradient_of_bits():
    features = exact([[0.1, 3.0, 1.0]]).requires_grad_()
    angles = built(BasisEncoding(), 3)(features)
    assert angles.tolist() == [[0.0, math.pi, 0.0]]
    assert torch.autograd.grad(angles.sum(), features)[0].tolist() == [[1.0, 1.0, 1.0]]
    bits = exact([[0.0, 1.0]]).requires_grad_()
    assert torch.autograd.grad(built(BasisEncoding(strict=True), 2)(bits).sum(), bits)[0].tolist() == [[math.pi, math.pi]]


@given(
    st.lists(FEATURE, min_size=1, max_size=4), st.sampled_from(["linear", "circular", "pairwise", "full"]), st.integers(1, 2)
)
@settings(max_examples=30)
def test_diagonal_encodings(features, entanglement, repetitions):
    k = len(features)
    pairs = coupled_pairs(k, entanglement)
    for kind, weight, joined in (
        (IQPEncoding, 0.5, lambda a, b: a * b),
        (ZZEncoding, 1.0, lambda a, b: (math.pi - a) * (math.pi - b)),
    ):
        angles = {pair: joined(features[pair[0]], features[pair[1]]) for pair in pairs}
        step = expm(-1j * weight * zz(features, angles, k)) @ reduce(np.kron, [HADAMARD for _ in range(k)])
        expected = np.linalg.matrix_power(step, repetitions)[:, 0]
        feature_map = built(kind(repetitions, entanglement), k, spare=1)
        assert_same(state(feature_map, features), np.kron([1, 0], expected))
    if k > 1:
        theirs = zz_feature_map(k, repetitions, entanglement).assign_parameters(features)
        ours = state(built(ZZEncoding(repetitions, entanglement), k), features)
        assert_same(ours, Statevector(theirs).data)


def test_pairs():
    assert coupled_pairs(4, "full") == list(combinations(range(4), 2))
    assert coupled_pairs(4, "circular") == [(3, 0), (0, 1), (1, 2), (2, 3)]
    assert coupled_pairs(2, "circular") == [(0, 1)]
    assert coupled_pairs(5, "pairwise") == [(0, 1), (2, 3), (1, 2), (3, 4)]
    assert coupled_pairs(3, [[0, 2]]) == [(0, 2)]
    features = [0.3, 1.2, 2.0]
    feature_map = built(IQPEncoding(1, [[0, 2]]), 3)
    step = expm(-0.5j * zz(features, {(0, 2): 0.6}, 3)) @ reduce(np.kron, [HADAMARD] * 3)
    assert_same(state(feature_map, features), step[:, 0])


def hamiltonian(fields, edges: dict[tuple[int, int], float], axes: str) -> tuple[Any, list[Any]]:
    n = len(fields)
    field = sum(x * on(n, **{f"q{i}": "x"}) for i, x in enumerate(fields)) / 2
    return field, [sum(c * on(n, **{f"q{i}": a, f"q{j}": a}) for (i, j), c in edges.items()) / 2 for a in axes]


@pytest.mark.parametrize(("interaction", "axes"), [("zz", "z"), ("heisenberg", "xyz")])
@pytest.mark.parametrize(("order", "steps"), [(1, 1), (1, 3), (2, 1), (2, 2), (4, 1)])
def test_hamiltonian_evolution_is_its_product_formula(order, steps, interaction, axes):
    features, edges, time = [0.7, -1.1, 2.0], {(0, 1): 0.8, (2, 0): -0.5}, 1.3
    field, coupled = hamiltonian(features, edges, axes)
    parts = [field, *coupled]

    def formula(order: int, t: float) -> np.ndarray:
        """Later factors stand to the left."""
        if order == 1:
            return reduce(lambda u, h: expm(-1j * t * h) @ u, parts, np.eye(8))
        if order == 2:
            halves = [expm(-0.5j * t * h) for h in parts]
            return reduce(np.matmul, [*halves, *reversed(halves)])
        p = 1 / (4 - 4 ** (1 / (order - 1)))
        outer, inner = formula(order - 2, p * t), formula(order - 2, (1 - 4 * p) * t)
        return outer @ outer @ inner @ outer @ outer

    expected = np.linalg.matrix_power(formula(order, time / steps), steps)
    graph: dict[str, Any] = {"edges": list(edges), "couplings": list(edges.values())}
    feature_map = built(HamiltonianEvolution(**graph, interaction=interaction, time=time, steps=steps, order=order), 3)
    np.testing.assert_allclose(Operator(bound(feature_map, features)).data, expected, atol=1e-9)


@pytest.mark.parametrize(("order", "rate"), [(1, 2.0), (2, 4.0), (4, 16.0)])
def test_the_product_formula_nears_the_evolution_at_the_rate_of_its_order(order, rate):
    features = [0.7, -1.1, 2.0]
    field, coupled = hamiltonian(features, {(0, 1): 1.0, (1, 2): 1.0}, "z")
    evolved = expm(-1j * (field + coupled[0]))
    errors = [
        np.linalg.norm(Operator(bound(built(HamiltonianEvolution(steps=s, order=order), 3), features)).data - evolved)
        for s in (4, 8)
    ]
    assert errors[0] / errors[1] == pytest.approx(rate, rel=0.1)


def test_a_coupling_graph_follows_the_correlations_and_connects():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 400, 1))
    rows = np.concatenate([first, second, -first, second, np.ones_like(first)], axis=1)
    rows[:, :4] += 0.1 * generator.normal(size=(400, 4))
    graph = coupling_graph(rows)
    strong = {edge: c for edge, c in zip(graph.edges, graph.couplings, strict=True) if abs(c) > 0.5}
    correlation = np.corrcoef(rows[:, :4].T)
    assert strong == {(0, 2): pytest.approx(correlation[0, 2]), (1, 3): pytest.approx(correlation[1, 3])}
    assert len(graph.edges) == 4  # two more than the tree of five features needs to be one
    feature_map = built(HamiltonianEvolution.of_data(torch.from_numpy(rows)), 5)
    assert feature_map.describe().two_qubit_gates == 2 * len(graph.edges)
    whole = coupling_graph(rows, threshold=0.0)
    assert whole.edges == list(combinations(range(5), 2))


def test_re_uploading_scales_each_upload_by_weights_of_its_own():
    feature_map = built(DataReuploading(), 3, spare=1, uploads=2)
    row = exact([[0.4, 1.3, 2.2]])
    assert feature_map(row).tolist() == [[0.4, 1.3, 2.2] * 2]
    torch.nn.init.normal_(feature_map.scale)
    torch.nn.init.normal_(feature_map.shift)
    angles = (row * feature_map.scale + feature_map.shift).detach()
    for upload in (0, 1):
        expected = Operator(euler_encoding(angles[upload].tolist(), 2)).data
        np.testing.assert_allclose(Operator(bound(feature_map, row[0], upload)).data, expected, atol=1e-12)
    assert torch.autograd.gradcheck(lambda *_: feature_map(row), (feature_map.scale, feature_map.shift))


@pytest.mark.parametrize(
    ("over", "frequencies"),
    [("both", [[1, 2], [4, 8]]), ("qubits", [[1, 2], [1, 2]]), ("uploads", [[1, 1], [2, 2]])],
)
def test_fourier_encoding_turns_each_copy_at_its_frequency(over, frequencies):
    feature_map = built(FourierEncoding(base=2.0, over=over), 2, spare=1, uploads=2)
    features = [0.7, -1.9]
    for upload in (0, 1):
        turned = [expm(-0.5j * f * x * PAULI["y"]) for x in features for f in frequencies[upload]]
        expected = reduce(np.kron, [np.eye(2), *reversed(turned)])
        np.testing.assert_allclose(Operator(bound(feature_map, features, upload)).data, expected, atol=1e-12)


# Gradients


@pytest.mark.parametrize("name", MAPS)
def test_gradients_through_forward_and_circuit(name):
    feature_map = built(MAPS[name], 3)
    rows = exact(np.random.default_rng(1).uniform(0.2, 2.8, (2, 3))).requires_grad_()
    assert torch.autograd.gradcheck(measured(feature_map), (rows,))
    if not isinstance(feature_map, ApproximateAmplitudeEncoding):
        assert torch.autograd.gradgradcheck(feature_map, (rows,))


# What they say of themselves


@pytest.mark.parametrize("features", [1, 3, 5])
@pytest.mark.parametrize("name", [*MAPS, "basis"])
def test_depth_and_gates_are_counted_on_the_built_circuit(name, features):
    feature_map = built(MAPS.get(name, BasisEncoding()), features)
    named = [Parameter(f"x{i}") for i in range(feature_map.n_angles)]
    circuit = feature_map.circuit(named)
    counts = count(Circuit.of(circuit, named, observables=["Z" * circuit.num_qubits]))
    said = feature_map.describe()
    assert (said.depth, said.two_qubit_gates) == (counts.depth, counts.two_qubit_gates)
    assert said.features_per_qubit
    assert said.spectrum
    assert type(feature_map).reference.startswith("arXiv:")


def test_two_qubit_gates_by_formula():
    for n in (2, 3, 4):
        features = 2**n
        assert built(AmplitudeEncoding(), features).describe().two_qubit_gates == 2**n - 2
        for layers in (1, 3):
            assert built(ApproximateAmplitudeEncoding(layers), features).describe().two_qubit_gates == layers * (2 * n - 3)
        assert built(IQPEncoding(3), n).describe().two_qubit_gates == 3 * n * (n - 1) // 2
        assert built(ZZEncoding(3, "linear"), n).describe().two_qubit_gates == 3 * 2 * (n - 1)
        assert built(HamiltonianEvolution(steps=3), n).describe().two_qubit_gates == 3 * (n - 1)


# What they refuse


def test_bad_features_are_named():
    rows = torch.ones(3, 2)
    rows[1, 0] = 0.25
    with pytest.raises(InputError, match=r"row 1, feature 0 is 0.25; strict basis encoding takes 0 and 1"):
        built(BasisEncoding(strict=True), 2)(rows)
    rows[2] = 0.0
    for feature_map in (AmplitudeEncoding(), AmplitudeEncoding("angle"), ApproximateAmplitudeEncoding()):
        with pytest.raises(InputError, match="row 2 of the features is all zeros"):
            built(feature_map, 2)(rows)
    with pytest.raises(InputError, match="row 2 of the features is all zeros"):
        built(ApproximateAmplitudeEncoding(), 2).fidelity(rows)


@pytest.mark.parametrize(
    ("make", "features", "qubits", "least"),
    [
        (AngleEncoding, 5, 4, 5),
        (DenseAngleEncoding, 5, 2, 3),
        (BasisEncoding, 3, 2, 3),
        (AmplitudeEncoding, 9, 3, 4),
        (ApproximateAmplitudeEncoding, 5, 2, 3),
        (IQPEncoding, 3, 2, 3),
        (HamiltonianEvolution, 3, 2, 3),
        (DataReuploading, 7, 2, 3),
        (FourierEncoding, 2, 3, 4),
    ],
)
def test_too_many_features_are_refused(make, features, qubits, least):
    with pytest.raises(InputError, match=f"{features} features for a register of {qubits} qubits, they take {least}"):
        make().build(features, qubits)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AngleEncoding("w"), "no axis named 'w'"),
        (lambda: AmplitudeEncoding("angel"), "did you mean 'angle'"),
        (lambda: ApproximateAmplitudeEncoding(0), "layers=0"),
        (lambda: IQPEncoding(0), "repetitions=0"),
        (lambda: ZZEncoding(entanglement="ful"), "did you mean 'full'"),
        (lambda: built(ZZEncoding(entanglement=[[0, 3]]), 3), r"the pair \[0, 3\]; give two different qubits of 0 to 2"),
        (lambda: built(IQPEncoding(entanglement=[[0, 1], [1, 0]]), 3), r"the pair \[1, 0\] twice"),
        (lambda: HamiltonianEvolution(interaction="xyz"), "no interaction named 'xyz'"),
        (lambda: HamiltonianEvolution(order=3), "order=3"),
        (lambda: HamiltonianEvolution(edges=[(0, 1)], couplings=[1.0, 2.0]), "2 couplings for 1 edges"),
        (lambda: built(HamiltonianEvolution([(0, 1), (2, 3)]), 4), r"does not connect the 4 qubits: .* \[0, 1\]; \[2, 3\]"),
        (lambda: built(HamiltonianEvolution([(1, 1)]), 2), r"the pair \[1, 1\]"),
        (lambda: FourierEncoding(base=0.0), "base=0.0"),
        (lambda: FourierEncoding(over="qubit"), "did you mean 'qubits'"),
        (lambda: coupling_graph([[1.0, 2.0]]), "at least 2 rows"),
        (lambda: euler_encoding([0.1] * 4, 1), "4 angles for 1 qubits"),
        (lambda: rotation_encoding([0.1] * 2, 1), "2 angles for 1 qubits"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
