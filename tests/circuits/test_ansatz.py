"""Ansätze against products of matrices written out by hand, counts against Qiskit's, and no weight that Z does not feel."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import Operator, SparsePauliOp, random_statevector

from qmm.circuits import MERA, QCNN, Brickwork, EfficientSU2, HardwareEfficient, MatrixProductState, TreeTensorNetwork
from qmm.circuits.ansatz.layers import PATTERNS
from qmm.circuits.contracts import Ansatz
from qmm.circuits.gates import FIXED, TRAINED, without_unfelt
from qmm.errors import InputError

PAULIS = {"x": np.array([[0, 1], [1, 0]]), "y": np.array([[0, -1j], [1j, 0]]), "z": np.diag([1, -1])}
MEMBERS = [HardwareEfficient, Brickwork, EfficientSU2, TreeTensorNetwork, MatrixProductState, MERA, QCNN]
BLOCKS = [HardwareEfficient, Brickwork, TreeTensorNetwork, MatrixProductState, MERA, QCNN]


def on(n: int, **matrices) -> np.ndarray:
    """Kronecker product, qubit 0 rightmost; `on(3, q1=m)` is I m I."""
    return functools.reduce(np.kron, [matrices.get(f"q{q}", np.eye(2)) for q in reversed(range(n))])


def turn(axis: str, angle: float) -> np.ndarray:
    return np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * PAULIS[axis]


def controlled(n: int, control: int, target: int, matrix: np.ndarray) -> np.ndarray:
    zero, one = np.diag([1, 0]), np.diag([0, 1])
    return on(n, **{f"q{control}": zero}) + on(n, **{f"q{control}": one, f"q{target}": matrix})


def product(n: int, steps: list, weights: dict[str, float]) -> np.ndarray:
    """Steps (gate, qubits, weight's name), first to last."""
    result = np.eye(2**n, dtype=complex)
    for gate, qubits, *name in steps:
        if gate == "cx":
            matrix = controlled(n, qubits[0], qubits[1], PAULIS["x"])
        elif gate == "crx":
            matrix = controlled(n, qubits[0], qubits[1], turn("x", weights[name[0]]))
        elif gate == "rzz":
            zz = np.diag(on(n, **{f"q{q}": PAULIS["z"] for q in qubits}))
            matrix = np.diag(np.exp(-0.5j * weights[name[0]] * zz))
        else:
            matrix = on(n, **{f"q{qubits[0]}": turn(gate[1], weights[name[0]])})
        result = matrix @ result
    return result


def turned(qubits, prefix="", names=None) -> list:
    return [(g, [q], f"{prefix}{g}{names[q] if names else q}") for q in qubits for g in ("rz", "ry")]


def brick(a, b, prefix, names=None) -> list:
    return [*turned([a, b], prefix, names), ("cx", [a, b])]


def pool(a, b, level) -> list:
    return [("rx", [b], f"{level}.pool0"), ("crx", [a, b], f"{level}.pool1")]


def shared(a, b, level) -> list:
    return brick(a, b, f"{level}.conv.", {a: 0, b: 1})


RING = [("cx", [0, 1]), ("cx", [1, 2]), ("cx", [2, 0])]
DEFINED = [
    (HardwareEfficient(), 3, [*turned(range(3)), *RING]),
    (HardwareEfficient(["ry"], "crx", "linear"), 3, [
        *[("ry", [q], f"ry{q}") for q in range(3)], ("crx", [0, 1], "crx0-1"), ("crx", [1, 2], "crx1-2"),
    ]),
    (HardwareEfficient(gate="rzz", entanglement="full"), 3, [
        *[("rzz", [a, b], f"rzz{a}-{b}") for a, b in ((0, 1), (0, 2), (1, 2))], *turned(range(3)),
    ]),
    (Brickwork(), 4, [*brick(0, 1, "0."), *brick(2, 3, "0."), *brick(1, 2, "1.")]),
    (Brickwork(), 3, [*brick(0, 1, "0."), *brick(1, 2, "1.")]),
    (EfficientSU2(), 3, [
        *[(g, [q], f"{g}{q}.0") for g in ("ry", "rz") for q in range(3)],
        ("cx", [1, 2]), ("cx", [0, 1]),
        *[("ry", [q], f"ry{q}.1") for q in range(3)],
    ]),
    (TreeTensorNetwork(), 4, [*brick(0, 1, "0."), *brick(2, 3, "0."), *brick(1, 3, "1.")]),
    (TreeTensorNetwork(), 5, [*brick(0, 1, "0."), *brick(2, 3, "0."), *brick(1, 3, "1."), *brick(3, 4, "2.")]),
    (MatrixProductState(), 4, [*brick(0, 1, "0."), *brick(1, 2, "1."), *brick(2, 3, "2.")]),
    (MERA(), 4, [*brick(1, 2, "0.u."), *brick(0, 1, "0."), *brick(2, 3, "0."), *brick(1, 3, "1.")]),
    (MERA(), 3, [*brick(1, 2, "0.u."), *brick(0, 1, "0."), *brick(1, 2, "1.")]),
    (QCNN(), 4, [
        *shared(0, 1, 0), *shared(2, 3, 0), *shared(1, 2, 0), *pool(0, 1, 0), *pool(2, 3, 0), *shared(1, 3, 1), *pool(1, 3, 1),
    ]),
    (QCNN(levels=1), 3, [*shared(0, 1, 0), *shared(1, 2, 0), *pool(0, 1, 0)]),
]  # fmt: skip


@pytest.mark.parametrize(("ansatz", "n", "steps"), DEFINED)
def test_each_equals_the_product_of_its_matrices(ansatz, n, steps):
    circuit = ansatz.circuit(n)
    values = np.random.default_rng(0).uniform(-3, 3, circuit.num_parameters)
    weights = {p.name: v for p, v in zip(circuit.parameters, values, strict=True)}
    assert set(weights) == {name for *_, name in steps if isinstance(name, str)}
    ours = Operator(circuit.assign_parameters(weights)).data
    np.testing.assert_allclose(ours, product(n, steps, weights), atol=1e-12)


@pytest.mark.parametrize("n", range(1, 9))
def test_counts(n):
    """By formula, as Qiskit counts them once everything is decomposed to rotations and CX."""
    levels = int(np.ceil(np.log2(n)))
    ring = 0 if n == 1 else 1 if n == 2 else n
    disentanglers = sum((m - 1) // 2 for m in _sizes(n))
    bonds = sum(m - 1 for m in _sizes(n))
    expected = {  # CX gates, weights
        HardwareEfficient: (ring, 2 * n),
        Brickwork: (n - 1, 4 * (n - 1) or 2),
        EfficientSU2: (n - 1, 3 * n),
        TreeTensorNetwork: (n - 1, 4 * (n - 1) or 2),
        MatrixProductState: (n - 1, 4 * (n - 1) or 2),
        MERA: (n - 1 + disentanglers, 4 * (n - 1 + disentanglers) or 2),
        QCNN: (bonds + 2 * (n - 1), 6 * levels or 2),  # a controlled rotation takes two CX
    }
    for member, (gates, weights) in expected.items():
        circuit = member().circuit(n)
        assert circuit.decompose(["crx"]).count_ops().get("cx", 0) == gates, member
        assert circuit.num_parameters == weights, member
    assert Brickwork().circuit(n).depth() == (2 if n == 1 else 3 if n == 2 else 6)
    assert TreeTensorNetwork().circuit(n).depth() == (3 * levels or 2)
    assert MatrixProductState().circuit(n).depth() == (3 * (n - 1) or 2)


def _sizes(n: int) -> list[int]:
    """How many qubits each level begins with."""
    return [] if n == 1 else [n, *_sizes((n + 1) // 2)]


def test_what_is_read():
    for member in MEMBERS:
        ansatz = member()
        whole = member in (HardwareEfficient, Brickwork, EfficientSU2)
        assert [ansatz.read(n) for n in (1, 3)] == ([(0,), (0, 1, 2)] if whole else [(0,), (2,)])
    assert [QCNN(levels=1).read(n) for n in (1, 2, 4, 5, 7)] == [(0,), (1,), (1, 3), (1, 3, 4), (1, 3, 5, 6)]
    assert QCNN(levels=2).read(8) == (3, 7)


def felt(ansatz: Ansatz, n: int) -> None:
    """Each weight's gradient, by central differences, of some Z of the qubits read, from random states."""
    circuit = ansatz.circuit(n)
    assert circuit.num_qubits == n
    generator = np.random.default_rng(1)
    state = random_statevector(2**n, seed=2)
    values = generator.uniform(0.4, 2.7, circuit.num_parameters)
    zs = [SparsePauliOp.from_sparse_list([("Z", [q], 1.0)], n) for q in ansatz.read(n)]

    def read(angles: np.ndarray) -> np.ndarray:
        after = state.evolve(circuit.assign_parameters(angles))
        return np.array([after.expectation_value(z).real for z in zs])

    for place, name in enumerate(p.name for p in circuit.parameters):
        step = 0.5 * np.eye(len(values))[place]
        assert np.abs(read(values + step) - read(values - step)).max() > 1e-6, name


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_no_weight_is_idle(member, n):
    felt(member(), n)


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(BLOCKS),
    st.sampled_from(FIXED + TRAINED),
    st.lists(st.sampled_from(["rx", "ry", "rz"]), min_size=1, max_size=3).filter(lambda names: {"rx", "ry"} & set(names)),
    st.integers(1, 4),
)
def test_no_weight_is_idle_with_any_gate_and_rotations(member, gate, rotations, n):
    felt(member(rotations, gate), n)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns(pattern):
    felt(HardwareEfficient(gate="rxx", entanglement=pattern), 4)
    if pattern != "ring":
        felt(EfficientSU2(entanglement=pattern), 4)


def test_what_z_does_not_feel_is_left_out_and_nothing_else_changes():
    circuit = QuantumCircuit(3)
    names = iter(f"w{i}" for i in itertools.count())
    for drawn in ("ry 0", "rz 0", "crx 0 1", "ry 1", "rzz 1 2", "rx 2", "rz 1", "ry 2"):
        gate, *qubits = drawn.split()
        getattr(circuit, gate)(Parameter(next(names)), *map(int, qubits))
    circuit.cx(0, 1)
    circuit.rzz(Parameter("w8"), 0, 1)
    found = without_unfelt(circuit, [1])
    assert [(i.operation.name, i.operation.params[0].name if i.operation.params else "") for i in found.data] == [
        ("ry", "w0"), ("crx", "w2"), ("ry", "w3"), ("cx", ""),
    ]  # fmt: skip
    values = {p: 0.3 + i for i, p in enumerate(circuit.parameters)}
    z = SparsePauliOp("IZI")
    state = random_statevector(8, seed=0)
    whole = state.evolve(circuit.assign_parameters(values)).expectation_value(z)
    short = state.evolve(found.assign_parameters({p: values[p] for p in found.parameters})).expectation_value(z)
    assert abs(whole - short) < 1e-12


def test_bad_names_are_refused_with_the_near_ones():
    with pytest.raises(InputError, match=r"no two-qubit gate named 'crxx'; did you mean .*'crx'"):
        HardwareEfficient(gate="crxx")
    with pytest.raises(InputError, match=r"no rotation named 'u3'; There are rx, ry, rz"):
        Brickwork(["u3"])
    with pytest.raises(InputError, match=r"no entanglement named 'liner'; did you mean 'linear'"):
        HardwareEfficient(entanglement="liner")
    with pytest.raises(InputError, match="RZ alone changes nothing"):
        QCNN(["rz"])
    with pytest.raises(InputError, match="levels=0"):
        QCNN(levels=0)
