"""How registers meet: pairs as drawn, unitaries as defined, every instruction across two registers, the order of modalities."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.quantum_info import Operator

from qmm.circuits.gates import FIXED, TRAINED
from qmm.errors import InputError
from qmm.fusion import (
    AllToAll,
    CrossAttention,
    Entangler,
    FewMeetings,
    NoEntangler,
    Pairs,
    QuantumFusion,
    Ring,
    SparseGraph,
    Star,
)
from qmm.fusion.entanglers import cx_ring, register_ring, register_star, rzz_couplings, side_by_side, sparse_pairs
from qmm.registers import RegisterLayout

GATES = FIXED + TRAINED
GRAPHS = [Ring, Star, AllToAll, Pairs, SparseGraph]
I2 = np.eye(2)
X, Y, Z = np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])


def layout_of(*sizes: int) -> RegisterLayout:
    return RegisterLayout({chr(ord("a") + i): size for i, size in enumerate(sizes)})


def drawn(entangler: Entangler, layout: RegisterLayout) -> list[tuple[int, ...]]:
    circuit = entangler.circuit(layout)
    return [tuple(circuit.find_bit(q).index for q in item.qubits) for item in circuit.data]


@pytest.mark.parametrize(
    ("sizes", "ring", "couplings"),
    [
        ([3], [], []),
        ([1, 1], [(0, 1)], [(0, 1)]),
        ([2, 2], [(1, 2), (3, 0)], [(0, 2), (1, 3)]),
        ([1, 3], [(0, 1), (3, 0)], [(0, 1), (0, 2), (0, 3)]),
        ([2, 1, 2], [(1, 2), (2, 3), (4, 0)], [(0, 2), (1, 2), (0, 3), (1, 4), (2, 3), (2, 4)]),
    ],
)
def test_pairs(sizes, ring, couplings):
    layout = layout_of(*sizes)
    assert list(register_ring(layout)) == ring
    assert list(side_by_side(layout)) == couplings


def test_the_hub_is_the_largest_register_or_the_one_named():
    layout = layout_of(1, 2, 2)
    assert list(register_star(layout)) == [(1, 0), (2, 0), (1, 3), (2, 4)]
    assert list(register_star(layout, "a")) == [(0, 1), (0, 2), (0, 3), (0, 4)]
    assert list(register_star(layout_of(2))) == []
    with pytest.raises(InputError, match=r"no modality to be the hub named 'visio'; did you mean 'vision'"):
        Star("visio").circuit(RegisterLayout({"vision": 1, "audio": 1}))


def test_every_register_queries_every_other():
    assert drawn(CrossAttention(), layout_of(1, 2)) == [(1, 0), (2, 0), (0, 1), (0, 2)]
    names = [p.name for p in CrossAttention("cry").circuit(layout_of(1, 1)).parameters]
    assert sorted(names) == ["a0-b0.cry", "b0-a0.cry"]


@given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.floats(0, 1), st.integers(0, 5))
def test_a_sparse_graph_connects_the_registers_and_has_the_density(sizes, density, seed):
    layout = layout_of(*sizes)
    pairs = sparse_pairs(layout, density, seed)
    everyone = len(list(itertools.combinations(range(layout.n_qubits), 2))) - sum(s * (s - 1) // 2 for s in sizes)
    assert len(pairs) == len(set(pairs)) == max(len(sizes) - 1, round(density * everyone))
    reached, front = {"a"}, ["a"]
    while front:
        here = front.pop()
        for a, b in ((layout.owner(p), layout.owner(q)) for p, q in pairs):
            for other in {a, b} - reached if here in (a, b) else ():
                reached.add(other)
                front.append(other)
    assert reached == set(layout.modalities)
    assert pairs == sparse_pairs(layout, density, seed)


def test_seeds_give_other_graphs():
    assert len({tuple(sparse_pairs(layout_of(2, 2, 2), 0.4, seed)) for seed in range(8)}) > 4


def matrix_of(gate: str, angle: float) -> np.ndarray:
    """On (first, second) as `np.kron(second, first)`, from the defining formula."""
    zero, one = np.diag([1, 0]), np.diag([0, 1])

    def turn(pauli: np.ndarray) -> np.ndarray:
        return np.cos(angle / 2) * np.eye(len(pauli)) - 1j * np.sin(angle / 2) * pauli

    controlled = {
        "cx": X,
        "cy": Y,
        "cz": Z,
        "crx": turn(X),
        "cry": turn(Y),
        "crz": turn(Z),
        "cp": np.diag([1, np.exp(1j * angle)]),
    }
    if gate in controlled:
        return np.kron(I2, zero) + np.kron(controlled[gate], one)
    if gate in ("rxx", "ryy", "rzz", "rzx"):
        second, first = {"x": X, "y": Y, "z": Z}[gate[2]], {"x": X, "y": Y, "z": Z}[gate[1]]
        return turn(np.kron(second, first))
    if gate == "ecr":
        return (np.kron(I2, X) - np.kron(X, Y)) / np.sqrt(2)
    assert gate == "iswap"
    return (np.eye(4) + np.kron(Z, Z)) / 2 + 0.5j * (np.kron(X, X) + np.kron(Y, Y))


def embedded(matrix: np.ndarray, a: int, b: int, n: int) -> np.ndarray:
    """The sum over Paulis of (second, first), each a Kronecker product over all qubits."""
    total = np.zeros((2**n, 2**n), complex)
    for p, q in itertools.product((I2, X, Y, Z), repeat=2):
        weight = np.trace(np.kron(q, p).conj().T @ matrix) / 4
        total += weight * functools.reduce(np.kron, [{a: p, b: q}.get(place, I2) for place in reversed(range(n))])
    return total


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("graph", GRAPHS)
def test_each_equals_the_product_of_its_matrices(graph, gate):
    layout = layout_of(2, 1, 1)
    entangler = graph(gate=gate)
    circuit = entangler.circuit(layout)
    angles = np.random.default_rng(0).uniform(-3, 3, len(circuit.data))
    values, expected = {}, np.eye(2**layout.n_qubits)
    for (a, b), item, angle in zip(drawn(entangler, layout), circuit.data, angles, strict=True):
        if item.operation.params:
            suffix = gate[1:] if gate[0] == "r" else gate
            assert item.operation.params[0].name == f"{layout.label(a)}-{layout.label(b)}.{suffix}"
            values[item.operation.params[0]] = angle
        expected = embedded(matrix_of(gate, angle), a, b, layout.n_qubits) @ expected
    np.testing.assert_allclose(Operator(circuit.assign_parameters(values)).data, expected, atol=1e-12)
    assert bool(values) == (gate in TRAINED)


def test_the_gates_are_qiskits():
    assert {get_standard_gate_name_mapping()[gate].num_qubits for gate in GATES} == {2}
    assert {len(get_standard_gate_name_mapping()[gate].params) for gate in TRAINED} == {1}
    assert {len(get_standard_gate_name_mapping()[gate].params) for gate in FIXED} == {0}


ENTANGLERS = [graph(gate=gate) for graph in GRAPHS for gate in GATES] + [CrossAttention(), CrossAttention("cry"), NoEntangler()]


@settings(deadline=None)
@given(st.sampled_from(ENTANGLERS), st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_every_instruction_touches_two_registers(entangler, sizes):
    layout = layout_of(*sizes)
    circuit = entangler.circuit(layout)
    assert circuit.num_qubits == layout.n_qubits
    for pair in drawn(entangler, layout):
        assert len({layout.owner(q) for q in pair}) == len(pair) == 2
    met = {layout.owner(q) for pair in drawn(entangler, layout) for q in pair}
    assert met == (set() if len(sizes) == 1 or isinstance(entangler, NoEntangler) else set(layout.modalities))


@pytest.mark.parametrize("sizes", [(1,), (2, 1), (1, 3), (2, 3, 1), (1, 1, 1, 1)])
def test_counts(sizes):
    layout, n, m = layout_of(*sizes), sum(sizes), len(sizes)
    larger = [max(a, b) for a, b in itertools.combinations(sizes, 2)]
    cross = (n**2 - sum(s**2 for s in sizes)) // 2
    hub = list(sizes).index(max(sizes))
    expected = {
        Ring(): ("cx", 0 if m == 1 else 1 if sizes == (1, 1) else max(m, 2)),
        Pairs(): ("rzz", sum(larger)),
        AllToAll(): ("rzz", cross),
        Star(): ("rzz", sum(max(sizes[hub], s) for i, s in enumerate(sizes) if i != hub)),
        SparseGraph(0.5): ("rzz", max(m - 1, round(cross / 2))),
        CrossAttention(): ("crx", 2 * sum(larger)),
        NoEntangler(): ("cx", 0),
    }
    for entangler, (gate, number) in expected.items():
        circuit = entangler.circuit(layout)
        assert dict(circuit.count_ops()) == ({gate: number} if number else {})
        assert circuit.num_parameters == (number if gate in TRAINED else 0)
        cost = {"cx": 1, "rzz": 2, "crx": 2}[gate]
        assert circuit.decompose(["rzz", "crx"]).count_ops().get("cx", 0) == cost * number


def test_defaults_stay():
    layout = layout_of(2, 1)
    assert Ring().circuit(layout) == cx_ring(layout)
    assert [p.name for p in Pairs().circuit(layout).parameters] == ["a0-b0.zz", "a1-b0.zz"]
    assert Pairs().circuit(layout).count_ops() == rzz_couplings(layout).count_ops() == {"rzz": 2}


@pytest.mark.parametrize(
    ("entangler", "most", "pairs"),
    [
        (Ring(), 3, [(2, 3), (5, 6), (8, 0)]),
        (Pairs(), 2, [(0, 3), (0, 6)]),  # as few gates as join all registers
        (Pairs(), 3, [(0, 3), (0, 6), (3, 6)]),
        (Pairs(), 4, [(0, 3), (1, 4), (0, 6), (3, 6)]),
        (CrossAttention(), 2, [(3, 0), (6, 0)]),
        (NoEntangler(), 3, []),
    ],
)
def test_few_meetings_join_as_many_registers_as_they_can(entangler, most, pairs):
    layout = layout_of(3, 3, 3)
    few = FewMeetings(entangler, most=most)
    assert drawn(few, layout) == pairs
    assert {p.name for p in few.circuit(layout).parameters} <= {p.name for p in entangler.circuit(layout).parameters}


@settings(deadline=None)
@given(st.sampled_from([graph() for graph in GRAPHS]), st.lists(st.integers(1, 3), min_size=2, max_size=5), st.integers(1, 8))
def test_few_meetings_are_the_entanglers_own_and_a_tree_first(entangler, sizes, most):
    layout = layout_of(*sizes)
    own, few = drawn(entangler, layout), drawn(FewMeetings(entangler, most=most), layout)
    assert few == [pair for pair in own if pair in few]
    assert len(few) == min(most, len(own))
    groups = [{m} for m in layout.modalities]
    for pair in few:
        met = {layout.owner(q) for q in pair}
        groups = [set().union(*[g for g in groups if g & met]), *[g for g in groups if not g & met]]
    assert len(groups) == max(1, len(sizes) - most)


def test_few_meetings_stand_in_the_layers_that_are_named():
    fusion = QuantumFusion(layers=3, entangler=FewMeetings(layers=[1]))
    fusion.build({"a": 4, "b": 4, "c": 4})
    across = [item for item in fusion.circuit().quantum_circuit.data if len({q._register.name for q in item.qubits}) > 1]
    assert [item.operation.name for item in across] == ["cx"] * 3
    assert {p.name[0] for p in fusion.circuit().weights} == {"0", "1", "2"}
    with pytest.raises(InputError, match="meet in layer 3; there are 3, counted from 0"):
        QuantumFusion(layers=3, entangler=FewMeetings(layers=[0, 3])).build({"a": 4, "b": 4})
    with pytest.raises(InputError, match=r"most=0; .* or take NoEntangler"):
        FewMeetings(most=0)
    with pytest.raises(InputError, match=r"layers=\[\]; give at least one"):
        FewMeetings(layers=[])


def same_in_any_order(entangler: Entangler, sizes: dict[str, int]) -> bool:
    """Whether, for every order of the modalities, the unitary is that of the first with its qubits permuted."""
    layout = RegisterLayout(sizes)
    reference = unitary(entangler, layout)
    for order in itertools.permutations(sizes):
        other = RegisterLayout({m: sizes[m] for m in order})
        to = [other.qubits(m)[i] for m in sizes for i in range(sizes[m])]  # qubit of `layout` -> of `other`
        states = np.arange(2**layout.n_qubits)
        image = np.sum([((states >> q) & 1) << to[q] for q in range(layout.n_qubits)], axis=0)
        if not np.allclose(unitary(entangler, other)[np.ix_(image, image)], reference, atol=1e-10):
            return False
    return True


def unitary(entangler: Entangler, layout: RegisterLayout) -> np.ndarray:
    """Every weight by the qubits it joins, whichever is named first where the gate is the same both ways."""
    circuit = entangler.circuit(layout)
    both_ways = isinstance(entangler, Pairs | AllToAll | Ring | SparseGraph)

    def value(name: str) -> float:
        joined = name.split(".")[0].split("-")
        return 0.3 + sum(map(ord, "".join(sorted(joined) if both_ways else joined))) % 17 / 7

    return Operator(circuit.assign_parameters({p: value(p.name) for p in circuit.parameters})).data


STARS = [Star("b", gate) for gate in GATES]


@pytest.mark.parametrize("entangler", ENTANGLERS + STARS)
def test_the_order_of_modalities(entangler):
    """Where a member says that it matters not, it does not for any sizes; where it says that it does, sizes show it."""
    cases = [{"a": 2, "b": 2}, {"a": 1, "b": 2, "c": 1}, {"a": 1, "b": 1, "c": 1, "d": 1}, {"a": 2, "b": 1, "c": 2}]
    if entangler.order_free:
        assert all(same_in_any_order(entangler, sizes) for sizes in cases)
    else:
        assert not all(same_in_any_order(entangler, sizes) for sizes in cases)


def test_what_is_order_free():
    assert {type(e).__name__ for e in ENTANGLERS if e.order_free} == {"AllToAll", "Pairs", "NoEntangler"}
    assert {e.gate for e in ENTANGLERS if isinstance(e, Pairs) and e.order_free} == {"rxx", "ryy", "rzz", "cz", "cp"}
    assert {e.gate for e in STARS if not e.order_free} == {"ecr", "iswap"}


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match=r"no two-qubit gate named 'rzzz'; did you mean 'rzz'"):
        Ring("rzzz")
    with pytest.raises(InputError, match="no controlled rotation named 'cx'; did you mean 'crx'"):
        CrossAttention("cx")
    with pytest.raises(InputError, match=r"density=1\.5"):
        SparseGraph(1.5)
