"""Coupling maps: registers lie on lines of neighbours, no SWAP is left to the transpiler, the missing stay exact, errors name
what does not connect."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import transpile
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import Operator
from qiskit.transpiler import CouplingMap

from qmm.circuits import MERA, QCNN, Brickwork, EfficientSU2, HardwareEfficient, TreeTensorNetwork, device, qcnn
from qmm.config import to_config
from qmm.errors import InputError
from qmm.fusion import AllToAll, CrossAttention, NoEntangler, Pairs, QuantumFusion, Ring, SparseGraph, Star
from qmm.fusion.coupling import Placement, across, coupling_edges, inside, met, place
from qmm.loading import build
from qmm.quantum import CircuitError
from qmm.registers import RegisterLayout

WIDTHS = {"vision": 4, "audio": 6, "text": 4}
LINE = [[q, q + 1] for q in range(8)]
GRID = [[q, q + 1] for q in range(9) if q % 3 < 2] + [[q, q + 3] for q in range(6)]
ENTANGLERS = [Ring(), Star(), AllToAll(), Pairs(), SparseGraph(), CrossAttention(), NoEntangler()]
ANSAETZE = [HardwareEfficient(), HardwareEfficient(entanglement="full"), Brickwork(), EfficientSU2(), QCNN(), MERA()]


def made(coupling_map, widths=None, **arguments) -> QuantumFusion:
    torch.manual_seed(0)
    fusion = QuantumFusion(2, coupling_map=coupling_map, **arguments)
    fusion.build(WIDTHS if widths is None else widths)
    return fusion


def every(entanglers, ansaetze):
    return [pytest.param(e, a, id=f"{type(e).__name__}-{type(a).__name__}") for e, a in itertools.product(entanglers, ansaetze)]


@pytest.mark.parametrize(("entangler", "ansatz"), every(ENTANGLERS, ANSAETZE[:1]) + every(ENTANGLERS[:1], ANSAETZE[1:]))
@pytest.mark.parametrize("coupling_map", ["fake_torino", LINE, GRID], ids=["torino", "line", "grid"])
def test_transpiled_to_the_device_it_needs_no_swap(coupling_map, entangler, ansatz):
    fusion = made(coupling_map, entangler=entangler, ansatz=ansatz)
    edges = CouplingMap(coupling_edges(coupling_map))
    for present in (None, ("vision", "text")):
        circuit, physical = fusion.circuit(present).quantum_circuit, fusion.initial_layout(present)
        assert physical is not None
        assert len(physical) == len(set(physical)) == circuit.num_qubits
        on_device = transpile(
            circuit, coupling_map=edges, initial_layout=physical, optimization_level=0, basis_gates=["cx", "u", "swap"]
        )
        two = circuit.decompose(["crx", "rzz"]).count_ops()
        found = on_device.count_ops()
        assert found.get("swap", 0) == two.get("swap", 0)
        assert found.get("cx", 0) == two.get("cx", 0)
        for item in on_device.data:
            pair = [on_device.find_bit(q).index for q in item.qubits]
            assert len(pair) < 2 or edges.distance(*pair) == 1 or edges.distance(*reversed(pair)) == 1


def test_on_the_snapshot_itself_without_routing():
    fusion = made("fake_torino", entangler=Star("audio", "crx"))
    whole = fusion.circuit().quantum_circuit
    backend = device("fake_torino")
    on_device = transpile(
        whole, backend, initial_layout=fusion.initial_layout(), optimization_level=0, routing_method="none"
    )  # raises where a gate is off the map
    assert on_device.count_ops()["cz"] == whole.count_ops()["cx"] + 2 * whole.count_ops()["crx"]


@pytest.mark.parametrize("entangler", ENTANGLERS, ids=lambda e: type(e).__name__)
def test_gates_across_keep_their_registers_and_none_stands_twice(entangler):
    layout = RegisterLayout({"a": 3, "b": 1, "c": 2})
    drawn = entangler.circuit(layout)
    for edges in (LINE, GRID):
        placement = place(layout, coupling_edges(edges), met(drawn, layout))
        fitted = across(drawn, layout, placement)
        allowed = {p.name: owners for p, owners in _weights(drawn, layout)}
        seen = []
        for item in fitted.data:
            pair = [fitted.find_bit(q).index for q in item.qubits]
            assert frozenset(pair) in placement.linked
            seen.append((item.operation.name, *(sorted(pair) if item.operation.name == "rzz" else pair)))
        assert len(seen) == len(set(seen))
        for weight, owners in _weights(fitted, layout):
            assert owners == allowed[weight.name]
        joined = met(fitted, layout)
        assert joined <= met(drawn, layout)
        if met(drawn, layout):  # all three are still connected
            assert len(joined) >= 2


def _weights(circuit: QuantumCircuit, layout: RegisterLayout):
    for item in circuit.data:
        for weight in item.operation.params:
            yield weight, [layout.owner(circuit.find_bit(q).index) for q in item.qubits]


def test_where_the_map_has_all_edges_nothing_changes():
    everyone = [list(pair) for pair in itertools.combinations(range(7), 2)]
    for entangler, ansatz in itertools.product(ENTANGLERS, ANSAETZE):
        free, bound = (made(edges, entangler=entangler, ansatz=ansatz).circuit() for edges in (None, everyone))
        assert [_drawn(i, free) for i in free.quantum_circuit.data] == [_drawn(i, bound) for i in bound.quantum_circuit.data]


def _drawn(item, circuit):
    places = [circuit.quantum_circuit.find_bit(q).index for q in item.qubits]
    return item.operation.name, places, [str(p) for p in item.operation.params]


def line_of(n: int) -> Placement:
    return Placement(tuple(range(n)), frozenset(frozenset((q, q + 1)) for q in range(n - 1)))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_a_routed_register_computes_the_same(n):
    for circuit in (qcnn(n), TreeTensorNetwork().circuit(n), MERA().circuit(n)):
        routed = inside(circuit, range(n), line_of(n), whole=True)
        values = dict(zip(circuit.parameters, np.linspace(-2, 2, circuit.num_parameters), strict=True))
        expected = Operator(circuit.assign_parameters(values))
        assert Operator(routed.assign_parameters(values)) == expected
        for item in routed.data:
            places = [routed.find_bit(q).index for q in item.qubits]
            assert len(places) == 1 or abs(places[0] - places[1]) == 1


def test_gates_of_three_qubits_are_taken_apart():
    circuit = QuantumCircuit(3)
    circuit.ry(Parameter("x"), 0)
    circuit.ccx(0, 2, 1)
    routed = inside(circuit, range(3), line_of(3), whole=True)
    assert max(len(item.qubits) for item in routed.data) == 2
    assert Operator(routed.assign_parameters([0.7])).equiv(Operator(circuit.assign_parameters([0.7])))


def test_the_ring_inside_is_left_open_and_what_would_fall_apart_is_routed():
    opened = inside(HardwareEfficient().circuit(4), range(4), line_of(4), whole=False)
    assert opened.count_ops() == {"rz": 4, "ry": 4, "cx": 3}
    ends = QuantumCircuit(3)
    ends.cx(0, 2)
    ends.cx(0, 1)
    assert inside(ends, range(3), line_of(3), whole=False).count_ops() == {"swap": 2, "cx": 2}
    ends.cx(1, 2)
    assert inside(ends, range(3), line_of(3), whole=False).count_ops() == {"cx": 2}


@settings(deadline=None, max_examples=12)
@given(
    st.sampled_from(ENTANGLERS),
    st.sampled_from(ANSAETZE),
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.sampled_from([None, "local"]),
)
def test_what_is_missing_has_no_influence(entangler, ansatz, widths, sham):
    sizes = {"abc"[i]: k for i, k in enumerate(widths)}
    fusion = made(GRID, sizes, entangler=entangler, ansatz=ansatz, sham=sham)
    x = {m: torch.linspace(0.2, 2.8, 2 * k).reshape(2, k) for m, k in sizes.items()}
    for present in itertools.chain.from_iterable(itertools.combinations(sizes, n) for n in range(1, len(sizes) + 1)):
        flags = {m: torch.full((2,), m in present) for m in sizes}
        other = {m: a if m in present else torch.full_like(a, torch.nan) for m, a in x.items()}
        assert torch.equal(fusion(other, flags), fusion(x, flags))
        part, physical = fusion.circuit(present).quantum_circuit, fusion.initial_layout(present)
        assert physical is not None
        for item in part.data:
            pair = [physical[part.find_bit(q).index] for q in item.qubits]
            assert len(pair) < 2 or sorted(pair) in GRID


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(0, 100))
def test_registers_lie_on_lines_of_any_map(sizes, seed):
    """Maps: a random tree of twelve qubits, of which some cannot hold the registers; then the error says so."""
    generator = np.random.default_rng(seed)
    edges = [(int(generator.integers(max(0, q - 2), q)), q) for q in range(1, 12)]
    layout = RegisterLayout({"abc"[i]: n for i, n in enumerate(sizes)})
    wanted = met(Ring().circuit(layout), layout)
    try:
        placement = place(layout, edges, wanted)
    except InputError as error:
        assert "falls apart" in str(error) or "cannot meet" in str(error)  # noqa: PT017
        return
    both = {frozenset(edge) for edge in edges}
    for modality in layout.modalities:
        line = [placement.qubits[q] for q in layout.qubits(modality)]
        assert all(frozenset(pair) in both for pair in itertools.pairwise(line))
    for a, b in itertools.combinations(range(layout.n_qubits), 2):
        assert (frozenset((a, b)) in placement.linked) == (frozenset((placement.qubits[a], placement.qubits[b])) in both)


@pytest.mark.parametrize(
    ("size", "edges", "pairs"),
    [(1, [[0, 1], [1, 2], [2, 0]], 3), (3, GRID, 3), (2, GRID, 3), (2, LINE, 2), (3, "fake_torino", 2), (4, "fake_torino", 3)],
)
def test_as_many_registers_meet_as_the_map_allows(size, edges, pairs):
    """Three lines of two or three make a triangle on the grid; on heavy hexagons only round one, of twelve qubits."""
    layout = RegisterLayout({"a": size, "b": size, "c": size})
    drawn = AllToAll().circuit(layout)
    placement = place(layout, coupling_edges(edges), met(drawn, layout))
    assert len(met(across(drawn, layout, placement), layout)) == pairs


def test_a_configuration_names_it():
    for coupling_map in ("fake_torino", GRID):
        fusion = made(coupling_map)
        again = build(to_config(fusion))
        again.build(WIDTHS)
        assert again.initial_layout() == fusion.initial_layout()
    assert made(None).initial_layout() is None


def test_maps_that_cannot_hold_the_registers_are_refused():
    with pytest.raises(InputError, match=r"has 5 connected qubits, the registers take 7 \(vision 2, audio 3, text 2\)"):
        made(LINE[:4])
    star = [[0, q] for q in range(1, 9)]
    with pytest.raises(InputError, match="register 'a' falls apart: the coupling map has no line of 4 connected qubits"):
        made(star, {"a": 8, "b": 1})
    pieces = [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(
        InputError, match="registers cannot meet: beside a the coupling map has no line of 2 free qubits for 'b'"
    ):
        made(pieces, {"a": 4, "b": 4})
    assert made(pieces, {"a": 4, "b": 4}, entangler=NoEntangler()).initial_layout() == [0, 1, 2, 3]
    with pytest.raises(InputError, match="register 'b' falls apart: beside the others"):
        made(star, {"a": 4, "b": 4}, entangler=NoEntangler())
    with pytest.raises(CircuitError, match=r"no device 'fake_torin'; did you mean fake_torino"):
        QuantumFusion(coupling_map="fake_torin")
    with pytest.raises(InputError, match=r"edge \[1, 1\] of the coupling map"):
        QuantumFusion(coupling_map=[[0, 1], [1, 1]])
