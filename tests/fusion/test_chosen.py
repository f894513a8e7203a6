"""Entanglers that say what was chosen: pairs by name, and another entangler in each layer."""

import itertools

import numpy as np
import pytest
from qiskit.quantum_info import Operator

from qmm.config import to_config
from qmm.discrete import Exhaustive, register_coupling
from qmm.errors import InputError
from qmm.fusion import ByLayer, CrossAttention, FewMeetings, GivenPairs, NoEntangler, Pairs, QuantumFusion, Ring, Star
from qmm.registers import RegisterLayout

LAYOUT = RegisterLayout({"vision": 2, "audio": 1, "text": 2})


def drawn(entangler, layout=LAYOUT):
    circuit = entangler.circuit(layout)
    return [tuple(circuit.find_bit(q).index for q in item.qubits) for item in circuit.data]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (["vision0-audio0"], [(0, 2)]),
        (["text1-vision0", "audio0-text0"], [(4, 0), (2, 3)]),
        (["vision-text"], [(0, 3), (1, 4)]),
        (["audio-vision"], [(2, 0), (2, 1)]),
        (["vision1-text"], [(1, 3), (1, 4)]),
        ([], []),
    ],
)
def test_pairs_are_those_named(pairs, expected):
    assert drawn(GivenPairs(pairs)) == expected


def test_weights_are_named_as_everywhere():
    names = {p.name for p in GivenPairs(["vision0-audio0", "text1-vision1"]).circuit(LAYOUT).parameters}
    assert names == {"vision0-audio0.zz", "text1-vision1.zz"}
    assert GivenPairs().circuit(LAYOUT).count_ops() == Pairs().circuit(LAYOUT).count_ops()
    assert drawn(GivenPairs(["vision0-audio0"], "cx")) == [(0, 2)]


def test_names_may_hold_hyphens():
    layout = RegisterLayout({"left-eye": 1, "left": 1, "eye-left": 1})
    assert drawn(GivenPairs(["left-eye-left"]), layout) == [(1, 2)]  # "left" with "eye-left", the first cut that fits
    assert drawn(GivenPairs(["left-eye0-left0"]), layout) == [(0, 1)]


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("vision0", "joined by a hyphen"),
        ("visio-audio", "did you mean 'vision"),
        ("vision2-audio0", "no qubit or register in the pair 'vision2-audio0' named 'vision2'"),
        ("vision0-vision1", "lies in one register, vision"),
        ("vision-vision", "lies in one register, vision"),
        ("audio0-vision0", "meet already"),
    ],
)
def test_pairs_that_cannot_be_are_named(pair, message):
    with pytest.raises(InputError, match=message):
        GivenPairs(["vision0-audio0", pair]).circuit(LAYOUT)


@pytest.mark.parametrize("gate", ["cx", "rzz", "crx", "iswap"])
def test_the_order_of_modalities_matters_not(gate):
    sizes = {"a": 1, "b": 2, "c": 1}
    entangler = GivenPairs(["a0-b1", "c-a", "b0-c0"], gate)
    assert entangler.order_free

    def unitary(layout):
        circuit = entangler.circuit(layout)
        return Operator(circuit.assign_parameters({p: 0.1 + sum(map(ord, p.name)) % 7 / 3 for p in circuit.parameters})).data

    layout = RegisterLayout(sizes)
    for order in itertools.permutations(sizes):
        other = RegisterLayout({m: sizes[m] for m in order})
        to = [other.qubits(m)[i] for m in sizes for i in range(sizes[m])]
        image = np.sum([((np.arange(16) >> q) & 1) << to[q] for q in range(4)], axis=0)
        np.testing.assert_allclose(unitary(other)[np.ix_(image, image)], unitary(layout), atol=1e-10)
    assert GivenPairs(gate="rzz").order_free
    assert not GivenPairs(gate="cx").order_free


def test_what_a_quadratic_problem_chose_can_be_configured():
    labels = [LAYOUT.label(q) for q in range(LAYOUT.n_qubits)]
    benefit = np.zeros((5, 5))
    for a, b, worth in [(0, 2, 3.0), (1, 4, 2.0), (2, 3, 1.0), (0, 1, 9.0)]:  # the last lies in one register
        benefit[a, b] = benefit[b, a] = worth
    owners = [LAYOUT.owner(q) for q in range(5)]
    choice = Exhaustive().solve(register_coupling(benefit, price=0.5, most_gates=2, registers=owners, names=labels)).choice
    assert choice.names == ("vision0-audio0", "vision1-text1")
    assert tuple(drawn(GivenPairs(list(choice.names)))) == choice.chosen


def test_each_layer_has_its_entangler():
    fusion = QuantumFusion(layers=3, entangler=ByLayer([Ring(), GivenPairs(["a1-b0"]), NoEntangler()]))
    fusion.build({"a": 4, "b": 4})
    across = [
        (item.operation.name, tuple(fusion.circuit().quantum_circuit.find_bit(q).index for q in item.qubits))
        for item in fusion.circuit().quantum_circuit.data
        if len({q._register.name for q in item.qubits}) > 1
    ]
    assert across == [("cx", (1, 2)), ("cx", (3, 0)), ("rzz", (1, 2))]
    assert "1.a1-b0.zz" in {w.name for w in fusion.circuit().weights}


def test_layers_begin_again_and_are_told_their_place():
    mixed = ByLayer([Ring(), Pairs()])
    assert mixed.in_layer(LAYOUT, 2, 5) == Ring().circuit(LAYOUT)
    assert mixed.in_layer(LAYOUT, 3, 5).count_ops() == Pairs().circuit(LAYOUT).count_ops()
    few = ByLayer([Ring(), FewMeetings(Ring(), layers=[1])])
    assert few.in_layer(LAYOUT, 1, 2).count_ops() == {"cx": 3}
    assert not few.in_layer(LAYOUT, 3, 4).count_ops()


def test_all_that_meet_anywhere_are_in_the_whole():
    whole = ByLayer([Pairs(), CrossAttention(), Pairs()]).circuit(LAYOUT)
    assert whole.num_parameters == len(whole.data) == 6 + 2 * 6 + 6
    assert ByLayer([Pairs(), Star("audio")]).order_free
    assert not ByLayer([Pairs(), Ring()]).order_free
    with pytest.raises(InputError, match="give at least one"):
        ByLayer([])


def test_the_description_is_plain_data():
    described = to_config(ByLayer([Ring(), GivenPairs(["vision-audio"])]))
    assert described["init_args"]["entanglers"][1] == {
        "class_path": "qmm.fusion.chosen.GivenPairs",
        "init_args": {"pairs": ["vision-audio"]},
    }
