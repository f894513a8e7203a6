"""Quantum kernels against Qiskit's states, Qiskit Machine Learning's kernels and Aer; Gram matrices by blocks; scikit-learn."""

import copy
import itertools
import pickle
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from numpy.typing import NDArray
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import StatevectorSampler
from qiskit.quantum_info import DensityMatrix, Statevector, partial_trace
from qiskit_aer import AerSimulator
from qiskit_machine_learning.kernels import FidelityQuantumKernel, FidelityStatevectorKernel
from qiskit_machine_learning.state_fidelities import ComputeUncompute
from sklearn.base import clone
from sklearn.cluster import SpectralClustering
from sklearn.decomposition import KernelPCA
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from torch import Tensor

import qmm.circuits
import qmm.fusion
from qmm.circuits import Ansatz, FeatureMap, SuperpositionEncoding
from qmm.config import to_config
from qmm.contracts import Fusion
from qmm.errors import InputError
from qmm.fusion import (
    Entangler,
    FidelityKernel,
    KernelFusion,
    Pairs,
    ProjectedKernel,
    QuantumFusion,
    QuantumKernel,
    target_alignment,
)
from qmm.fusion.kernels import GramMatrix, Samples, overlap_circuit
from qmm.quantum import expectations

WIDTHS = {"vision": 3, "audio": 1, "text": 2}
SIZES = {"vision": 2, "audio": 1, "text": 1}
PATTERNS = [p for size in range(1, 4) for p in itertools.combinations(WIDTHS, size)]
EXAMPLES = settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
KERNELS: list[Any] = [
    lambda: FidelityKernel(),
    lambda: ProjectedKernel(gamma=0.7),
    lambda: FidelityKernel(layers=1, entangler=Pairs(), feature_maps={"vision": SuperpositionEncoding()}),
    lambda: ProjectedKernel(layers=1, qubits={"audio": 2}, entangler=Pairs()),
    lambda: FidelityKernel(layers=0),
]
EVERY = pytest.mark.parametrize("make", KERNELS, ids=["fidelity", "projected", "mixed", "roomy", "untrained"])


def built(kernel: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    kernel.build(WIDTHS).double()
    torch.nn.init.uniform_(kernel.weights, -3, 3)
    return kernel


def draw(patterns: list[tuple[str, ...]], seed: int = 0) -> NDArray[np.float64]:
    """A row of each pattern, NaN where a modality is missing."""
    rows = np.random.default_rng(seed).uniform(0, 3, (len(patterns), sum(WIDTHS.values())))
    for m, columns in zip(WIDTHS, np.split(np.arange(rows.shape[1]), np.cumsum([*WIDTHS.values()])[:-1]), strict=True):
        absent = [i for i, pattern in enumerate(patterns) if m not in pattern]
        rows[np.array(absent, dtype=int)[:, None], columns] = np.nan
    return rows


def split(row: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    parts = dict(zip(WIDTHS, np.split(row, np.cumsum([*WIDTHS.values()])[:-1]), strict=True))
    return {m: part for m, part in parts.items() if not np.isnan(part).any()}


def by_hand(kernel: QuantumKernel, row: NDArray[np.float64]) -> Statevector:
    """Gate by gate with Qiskit, all registers there: what touches an absent one is left out."""
    full, own = kernel.circuit(), split(row)
    names = {bit: register.name for register in full.quantum_circuit.qregs for bit in register}
    angles = {m: kernel.feature_maps[m](torch.as_tensor(x)[None])[0].tolist() for m, x in own.items()}
    values = {x: angles[x.name.split(".")[0]][int(x.name.split(".x")[1])] for x in full.inputs if x.name.split(".")[0] in own}
    values.update(zip(full.weights, kernel.weights.tolist(), strict=True))
    circuit = QuantumCircuit(full.quantum_circuit.num_qubits)
    for item in full.quantum_circuit.data:
        if all(names[q] in own for q in item.qubits):
            circuit.append(item.operation, [full.quantum_circuit.find_bit(q).index for q in item.qubits])
    return Statevector(circuit.assign_parameters({p: values[p] for p in circuit.parameters}))


def reference(kernel: QuantumKernel, x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    first, second = by_hand(kernel, x), by_hand(kernel, y)
    if isinstance(kernel, FidelityKernel):
        return abs(first.inner(second)) ** 2
    distance, qubits = 0.0, range(kernel.layout.n_qubits)
    for qubit in qubits:
        one, other = (
            partial_trace(DensityMatrix(state), [q for q in qubits if q != qubit]).data
            if kernel.layout.owner(qubit) in split(row)
            else np.eye(2) / 2  # a Bloch vector of 0
            for state, row in ((first, x), (second, y))
        )
        distance += float(np.linalg.norm(one - other)) ** 2
    assert isinstance(kernel, ProjectedKernel)
    return float(np.exp(-kernel.gamma * distance))


@EVERY
def test_every_two_patterns_are_compared_as_qiskit_says(make):
    kernel = built(make())
    x, y = draw(PATTERNS, 1), draw(PATTERNS[::-1], 2)
    expected = [[reference(kernel, a, b) for b in y] for a in x]
    np.testing.assert_allclose(kernel.gram(x, y), expected, atol=1e-10)
    np.testing.assert_allclose(kernel(x, y).detach().numpy(), expected, atol=1e-10)


@EVERY
@EXAMPLES
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_a_gram_matrix_over_mixed_patterns_is_a_kernels(make, data, seed):
    patterns = data.draw(st.lists(st.sampled_from(PATTERNS), min_size=2, max_size=8))
    kernel, x = built(make(), seed), draw(patterns, seed)
    gram = kernel.gram(x)
    assert np.array_equal(gram, gram.T)
    np.testing.assert_allclose(np.diag(gram), 1, atol=1e-12)
    assert np.linalg.eigvalsh(gram).min() > -1e-10
    np.testing.assert_allclose(gram, kernel.gram(x, x), atol=1e-12)
    order = np.random.default_rng(seed).permutation(len(x))
    np.testing.assert_allclose(kernel.gram(x[order]), gram[np.ix_(order, order)], atol=1e-12)


@EVERY
@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_blocks_change_nothing(make, rows, monkeypatch):
    kernel = built(make())
    x, y = draw([*PATTERNS, *PATTERNS[:4]], 1), draw(PATTERNS[2:], 2)
    whole, across = kernel.gram(x), kernel.gram(x, y)
    held: list[int] = []
    represent = kernel.represent

    def counted(modalities: tuple[str, ...], angles: Tensor) -> Tensor:
        held.append(len(angles))
        return represent(modalities, angles)

    monkeypatch.setattr(kernel, "represent", counted)
    limit = 4 * rows * kernel.row_bytes
    np.testing.assert_allclose(kernel.gram(x, block_bytes=limit), whole, atol=1e-12)
    np.testing.assert_allclose(kernel.gram(x, y, block_bytes=limit), across, atol=1e-12)
    assert max(held) <= rows
    assert (sum(held) == 2 * len(x) + len(y)) == (rows == 100)  # each made once where all fit, again for each block else


@EXAMPLES
@given(pair=st.tuples(st.sampled_from(PATTERNS), st.sampled_from(PATTERNS)), seed=st.integers(0, 1000))
def test_compute_uncompute_measures_the_fidelity(pair, seed):
    kernel, x = built(FidelityKernel(layers=1, entangler=Pairs()), seed), draw([*pair], seed)
    circuit = overlap_circuit(kernel.circuit(), kernel.layout, *pair)
    given = np.concatenate([*split(x[0]).values(), *split(x[1]).values()])
    weights = dict(zip(kernel.circuit().weights, kernel.weights.tolist(), strict=True))
    values = {**dict(zip(circuit.inputs, given, strict=True)), **{w: weights[w] for w in circuit.weights}}
    bound = circuit.quantum_circuit.assign_parameters({p: values[p] for p in circuit.quantum_circuit.parameters})
    bound.save_probabilities()
    found = AerSimulator(method="statevector").run(bound).result().data()["probabilities"][0]
    np.testing.assert_allclose(kernel.gram(x[:1], x[1:])[0, 0], found, atol=1e-10)
    ours = expectations(
        circuit, torch.as_tensor(given)[None], torch.tensor([weights[w] for w in circuit.weights], dtype=torch.float64)
    )
    np.testing.assert_allclose(ours[0], [found, 1 - found], atol=1e-10)


def test_qiskit_machine_learning_agrees():
    kernel = built(FidelityKernel(layers=1))
    circuit, x = kernel.circuit(), draw([PATTERNS[-1]] * 4)
    bound = circuit.quantum_circuit.assign_parameters(dict(zip(circuit.weights, kernel.weights.tolist(), strict=True)))
    flat = QuantumCircuit(bound.num_qubits).compose(bound)
    columns = [circuit.inputs.index(p) for p in flat.parameters]  # Qiskit's order is that of the names
    exact = FidelityStatevectorKernel(feature_map=flat).evaluate(x[:, columns])
    np.testing.assert_allclose(kernel.gram(x), exact, atol=1e-8)
    shots = 4000
    sampled = FidelityQuantumKernel(
        feature_map=flat, fidelity=ComputeUncompute(StatevectorSampler(default_shots=shots, seed=1)), enforce_psd=False
    ).evaluate(x[:, columns])
    np.testing.assert_allclose(kernel.gram(x), sampled, atol=5 * 0.5 / np.sqrt(shots))


PARTS = {
    f"{kind}-{part.__name__}": {kind: part}
    for kind, module, base in (
        ("feature_map", qmm.circuits, FeatureMap),
        ("ansatz", qmm.circuits, Ansatz),
        ("entangler", qmm.fusion, Entangler),
    )
    for part in (getattr(module, name) for name in module.__all__)
    if isinstance(part, type) and issubclass(part, base) and not getattr(part, "__abstractmethods__", None)
}


@pytest.mark.parametrize("name", PARTS)
def test_whatever_parts_the_circuit_has(name):
    parts: dict[str, Any] = {kind: part() for kind, part in PARTS[name].items()}
    kernel, x = built(FidelityKernel(layers=1, **parts)), draw([*PATTERNS[3:], PATTERNS[-1]])
    expected = [[reference(kernel, a, b) for b in x[-2:]] for a in x]
    np.testing.assert_allclose(kernel.gram(x, x[-2:]), expected, atol=1e-10)
    assert np.linalg.eigvalsh(kernel.gram(x)).min() > -1e-10


def test_projected_features_of_the_absent_are_exactly_0():
    kernel = built(ProjectedKernel())
    values = kernel.represent(("audio",), torch.rand(3, 1, dtype=torch.float64))
    of_audio = np.repeat([kernel.layout.owner(q) == "audio" for q in range(4)], 3)
    assert not values[:, ~of_audio].any()
    assert values[:, of_audio].all()


def test_without_layers_the_fidelity_is_a_product_over_modalities():
    kernel = built(FidelityKernel(layers=0))
    x = draw([PATTERNS[-1]] * 5)
    parts = []
    start = 0
    for m, k in WIDTHS.items():
        alone = FidelityKernel(layers=0).build({m: k}).double()
        parts.append(alone.gram(x[:, start : start + k]))
        start += k
    assert not len(kernel.weights)
    np.testing.assert_allclose(kernel.gram(x), np.prod(parts, axis=0), atol=1e-12)


@pytest.mark.parametrize("kernel", [FidelityKernel, ProjectedKernel])
def test_the_states_of_a_trained_fusion(kernel):
    torch.manual_seed(0)
    fusion = QuantumFusion(layers=2, reupload=True).double()
    fusion.build(WIDTHS)
    fusion.double()
    of_it = kernel.of(fusion)
    assert of_it.weights is fusion.weights
    x = draw([*PATTERNS, PATTERNS[-1]])
    expected = [[reference(of_it, a, b) for b in x] for a in x]
    np.testing.assert_allclose(of_it.gram(x), expected, atol=1e-10)
    with pytest.raises(TypeError, match="write the fusion down"):
        of_it.config_arguments()


def test_all_ways_to_give_samples_are_one():
    kernel = built(FidelityKernel(layers=1))
    rows = draw(PATTERNS)
    expected = kernel.gram(rows)
    parts = dict(zip(WIDTHS, np.split(rows, np.cumsum([*WIDTHS.values()])[:-1], axis=1), strict=True))
    assert np.array_equal(kernel.gram(parts), expected)
    assert np.array_equal(kernel.gram(torch.as_tensor(rows)), expected)
    assert np.array_equal(kernel.gram(rows.tolist()), expected)
    present = {m: torch.tensor([m in p for p in PATTERNS]) for m in WIDTHS}
    filled = {m: torch.as_tensor(part).nan_to_num(1e6) for m, part in parts.items()}
    assert np.array_equal(kernel.gram(Samples(filled, present)), expected)
    text = draw([("text",)] * 3)
    assert np.array_equal(kernel.gram({"text": text[:, -2:]}), kernel.gram(text))
    assert kernel.gram(rows[:0]).shape == (0, 0)
    assert kernel.gram(rows[:0], rows).shape == (0, len(rows))


def two_kinds(rows: int = 24) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Samples of two kinds that differ in all modalities, some missing."""
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % 2
    x = np.where(labels[:, None], 2.3, 0.8) + 0.15 * rng.normal(size=(rows, 6))
    x[::5, 3] = np.nan
    return x, labels


@pytest.mark.parametrize("make", [FidelityKernel, ProjectedKernel])
def test_scikit_learn_learns_from_them(make):
    torch.manual_seed(0)
    kernel = make(layers=1).build(WIDTHS)
    x, labels = two_kinds()
    train, test = slice(0, 16), slice(16, None)
    machine = SVC(kernel=kernel.gram).fit(x[train], labels[train])
    assert machine.score(x[test], labels[test]) == 1.0
    pipeline = make_pipeline(GramMatrix(kernel), SVC(kernel="precomputed")).fit(x[train], labels[train])
    np.testing.assert_allclose(pipeline.decision_function(x[test]), machine.decision_function(x[test]), atol=1e-5)
    assert cross_val_score(clone(pipeline), x, labels, cv=3).min() > 0.8
    ridge = make_pipeline(GramMatrix(kernel), KernelRidge(alpha=1e-2, kernel="precomputed")).fit(x[train], labels[train])
    train_gram, test_gram = kernel.gram(x[train]), kernel.gram(x[test], x[train])
    closed = test_gram @ np.linalg.solve(train_gram + 1e-2 * np.eye(16), labels[train])
    np.testing.assert_allclose(ridge.predict(x[test]), closed, atol=1e-4)
    components = make_pipeline(GramMatrix(kernel), KernelPCA(1, kernel="precomputed")).fit(x[train]).transform(x[test])
    assert len({*zip(components[:, 0] > 0, labels[test], strict=True)}) == 2  # its sign tells the two kinds apart
    clusters = make_pipeline(GramMatrix(kernel), SpectralClustering(2, affinity="precomputed", random_state=0)).fit_predict(x)
    assert adjusted_rand_score(labels, clusters) == 1.0


def test_alignment_is_its_formula():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(7, 3))
    gram, y = root @ root.T, np.array([1, -1, -1, 1, 1, 1, -1])
    expected = (gram * np.outer(y, y)).sum() / np.linalg.norm(gram) / 7
    assert target_alignment(torch.tensor(gram), torch.tensor(y)).item() == pytest.approx(expected)
    scaled = y / np.where(y > 0, 4, 3)
    expected = scaled @ gram @ scaled / np.linalg.norm(gram) / (scaled @ scaled)
    assert target_alignment(torch.tensor(gram), torch.tensor(y > 0), balanced=True).item() == pytest.approx(expected)
    classes = torch.tensor([0, 1, 2, 0, 2])
    ideal = torch.where(classes[:, None] == classes, 1.0, -0.5)
    assert target_alignment(ideal, classes).item() == pytest.approx(1.0)
    assert target_alignment(-ideal, classes).item() == pytest.approx(-1.0)
    with pytest.raises(InputError, match="two classes at least"):
        target_alignment(ideal, torch.zeros(5))
    with pytest.raises(InputError, match=r"labels \(4,\)"):
        target_alignment(ideal, torch.zeros(4))


@pytest.mark.parametrize("make", [FidelityKernel, ProjectedKernel])
def test_weights_are_trained_by_alignment(make):
    kernel = built(make(layers=2))
    x, labels = draw([*PATTERNS[3:], *PATTERNS[3:]]), torch.tensor([0, 1] * 4)
    optimiser = torch.optim.Adam(kernel.parameters(), lr=0.05)
    before = target_alignment(kernel(x), labels)
    for _ in range(15):
        optimiser.zero_grad()
        (-target_alignment(kernel(x), labels)).backward()
        optimiser.step()
    assert target_alignment(kernel(x), labels) > before + 0.05
    assert torch.autograd.gradcheck(
        lambda w: torch.func.functional_call(kernel, {"weights": w}, (x,)), kernel.weights.detach()[:].requires_grad_()
    )


@pytest.mark.parametrize("make", [FidelityKernel, lambda: ProjectedKernel(gamma=0.5)])
def test_a_kernel_fusion_gives_kernel_values_to_its_landmarks(make):
    torch.manual_seed(0)
    fusion = KernelFusion(landmarks=3, kernel=make())
    fusion.build(WIDTHS)
    fusion.double()
    assert fusion.out_features == 3
    x = draw(PATTERNS)
    angles = {m: torch.as_tensor(x[:, columns]) for m, columns in zip(WIDTHS, ([0, 1, 2], [3], [4, 5]), strict=True)}
    present = {m: torch.tensor([m in p for p in PATTERNS]) for m in WIDTHS}
    expected = fusion.kernel.gram(x, fusion.landmarks.detach().numpy())  # angle encoding: features are the angles
    torch.testing.assert_close(fusion(angles, present).detach(), torch.as_tensor(expected), atol=1e-12, rtol=0)
    for twin in (copy.deepcopy(fusion), pickle.loads(pickle.dumps(fusion))):
        assert torch.equal(twin(angles, present), fusion(angles, present))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch looks at them while it traces
def test_torch_compile_leaves_circuits_alone():
    torch.manual_seed(0)
    fusion = KernelFusion(landmarks=2)
    fusion.build(WIDTHS)
    angles = {m: 3 * torch.rand(3, k) for m, k in WIDTHS.items()}
    present = {m: torch.ones(3, dtype=torch.bool) for m in WIDTHS}
    compiled = torch.compile(fusion, backend="aot_eager")(angles, present)
    torch.testing.assert_close(compiled, fusion(angles, present))
    compiled.sum().backward()
    assert fusion.landmarks.grad is not None


def test_built_anew_it_is_of_the_new_widths():
    kernel = FidelityKernel(layers=1).build({"vision": 2, "audio": 2})
    assert kernel.gram(np.zeros((2, 4))).shape == (2, 2)
    torch.manual_seed(0)
    fresh = FidelityKernel(layers=1).build({"vision": 4, "audio": 2})
    kernel.build({"vision": 4, "audio": 2}).load_state_dict(fresh.state_dict())
    x = np.random.default_rng(0).uniform(0, 3, (3, 6))
    np.testing.assert_array_equal(kernel.gram(x), fresh.gram(x))


def test_yaml_names_its_kernel():
    described = to_config(KernelFusion(5, ProjectedKernel(gamma=0.3, layers=1, entangler=Pairs())))
    parser = ArgumentParser()
    parser.add_subclass_arguments(Fusion, "fusion")
    text = yaml.safe_dump({"fusion": described})
    fusion = parser.instantiate_classes(parser.parse_object(yaml.safe_load(text))).fusion
    assert isinstance(fusion.kernel, ProjectedKernel)
    assert (fusion.out_features, fusion.kernel.gamma, fusion.kernel.layers, type(fusion.kernel.entangler)) == (5, 0.3, 1, Pairs)


def test_its_circuit_measures_what_it_computes():
    torch.manual_seed(0)
    fusion = KernelFusion(landmarks=2)
    fusion.build(WIDTHS)
    fusion.double()
    x = draw([("audio", "vision")])
    (circuit,) = fusion.circuits(("vision", "audio")).values()
    assert [p.name for p in circuit.inputs[:5]] == ["vision.x0", "vision.x1", "vision.x2", "audio.x0", "vision.z0"]
    inputs = torch.cat([torch.as_tensor(x[:, :4]).expand(2, -1), fusion.landmarks.detach()], dim=1)
    found = expectations(circuit, inputs, fusion.kernel.weights.detach())[:, 0]
    present = {m: torch.tensor([m != "text"]) for m in WIDTHS}
    angles = {"vision": torch.as_tensor(x[:, :3]), "audio": torch.as_tensor(x[:, 3:4]), "text": torch.full((1, 2), torch.nan)}
    torch.testing.assert_close(fusion(angles, present)[0].detach(), found, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda k: FidelityKernel(layers=-1), "layers=-1"),
        (lambda k: ProjectedKernel(gamma=0.0), "gamma=0.0"),
        (lambda k: KernelFusion(landmarks=0), "landmarks=0"),
        (lambda k: FidelityKernel(qubits={"sound": 2}).build(WIDTHS), "qubits are given for sound"),
        (lambda k: k.gram(np.zeros((2, 5))), r"shape \(2, 5\); expected \(N, 6\): 3 of vision, 1 of audio, 2 of text"),
        (lambda k: k.gram({"sound": np.zeros((2, 5))}), "features of sound; the kernel was built for vision, audio, text"),
        (lambda k: k.gram({}), "features of no modality"),
        (lambda k: k.gram({"text": np.zeros((2, 3))}), r"'text' have shape \(2, 3\); expected \(N, 2\)"),
        (lambda k: k.gram({"text": np.zeros((2, 2)), "audio": np.zeros((3, 1))}), "as many rows as 'text' has"),
        (lambda k: k.gram([[0, 0, np.nan, 0, 0, 0]]), "row 0 is NaN in some features of 'vision'"),
        (lambda k: k.gram([[0.0] * 6, [np.nan] * 6]), "row 1 has none of vision, audio, text"),
    ],
)
def test_mistakes_are_named(use, message):
    with pytest.raises(InputError, match=message):
        use(built(FidelityKernel(layers=1)))
