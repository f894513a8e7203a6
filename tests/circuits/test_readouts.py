"""Read-outs against matrices built by numpy, and with modalities missing."""

import itertools
import math
from functools import reduce

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from qiskit.quantum_info import SparsePauliOp, Statevector
from torch import Tensor

from qmm.circuits import (
    Parity,
    PauliStrings,
    RandomPaulis,
    Readout,
    RegisterProbabilities,
    SingleRegister,
    TrainableObservable,
    ZAndZZAcross,
    ZReadout,
    basis_state_projectors,
    parities,
    pauli_strings,
    random_paulis,
)
from qmm.errors import InputError
from qmm.fusion import QuantumFusion
from qmm.registers import RegisterLayout

LAYOUT = RegisterLayout({"vision": 2, "audio": 1, "text": 2})
ALL = tuple(range(5))
PAULIS = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]),
}
WIDTHS = {"vision": 3, "audio": 2, "text": 4}


def matrix(factors: dict[int, str], n_qubits: int = 5) -> NDArray[np.complex128]:
    """Qubit 0 is the last factor of the Kronecker product."""
    return reduce(np.kron, [PAULIS[factors.get(q, "I")] for q in reversed(range(n_qubits))]).astype(complex)


def same(found: list[SparsePauliOp], expected: list[NDArray[np.complex128]]) -> bool:
    return len(found) == len(expected) and all(np.allclose(o.to_matrix(), e) for o, e in zip(found, expected, strict=True))


def test_z_and_zz() -> None:
    singles = [matrix({q: "Z"}) for q in ALL]
    across = [matrix({a: "Z", b: "Z"}) for a, b in [(0, 2), (1, 2), (0, 3), (0, 4), (1, 3), (1, 4), (2, 3), (2, 4)]]
    assert same(ZReadout().observables(LAYOUT, ALL), singles)
    assert same(ZAndZZAcross().observables(LAYOUT, ALL), singles + across)
    assert same(ZReadout().observables(LAYOUT, (1, 4)), [singles[1], singles[4]])


@pytest.mark.parametrize("axes", ["XYZ", "Z", "XZ"])
@pytest.mark.parametrize("weight", [1, 2, 3])
def test_pauli_strings_are_all_up_to_a_weight(weight: int, axes: str) -> None:
    read = (0, 2, 3)
    found = pauli_strings(LAYOUT, read, weight, axes)
    expected = [
        matrix(dict(zip(qubits, label, strict=True)))
        for size in range(1, weight + 1)
        for qubits in itertools.combinations(read, size)
        for label in itertools.product(axes, repeat=size)
    ]
    assert same(found, expected)
    assert len(found) == sum(math.comb(3, size) * len(axes) ** size for size in range(1, weight + 1))


def test_strings_across_act_on_several_registers() -> None:
    every, across = (pauli_strings(LAYOUT, ALL, 2, across=flag) for flag in (False, True))
    inside = [o for o in every if o not in across]
    assert len(across) == 8 * 9
    for observables, several in ((across, True), (inside, False)):
        for observable in observables:
            touched = np.flatnonzero((observable.paulis.x | observable.paulis.z)[0])
            assert (len({LAYOUT.owner(int(q)) for q in touched}) > 1) == several


def test_one_register() -> None:
    assert same(SingleRegister("text").observables(LAYOUT, ALL), [matrix({3: "Z"}), matrix({4: "Z"})])
    assert same(SingleRegister("text").observables(LAYOUT, (0, 4)), [matrix({4: "Z"})])
    assert same(SingleRegister().observables(LAYOUT, ALL), [matrix({0: "Z"}), matrix({1: "Z"})])
    with pytest.raises(InputError, match=r"'smell'.*vision, audio, text"):
        SingleRegister("smell").observables(LAYOUT, ALL)


def test_parities_of_registers_pairs_and_all() -> None:
    z = {m: LAYOUT.qubits(m) for m in LAYOUT.modalities}
    groups = [z["vision"], z["audio"], z["text"], (0, 1, 2), (0, 1, 3, 4), (2, 3, 4), ALL]
    expected = [matrix(dict.fromkeys(qubits, "Z")) for qubits in groups]
    assert same(Parity().observables(LAYOUT, ALL), expected)
    assert same(Parity(registers=False, pairs=False).observables(LAYOUT, ALL), expected[-1:])
    assert same(parities(LAYOUT, (1, 2), [1])[:2], [matrix({1: "Z"}), matrix({2: "Z"})])
    two, one = RegisterLayout({"a": 1, "b": 1}), RegisterLayout({"a": 2})
    assert [str(o.paulis[0]) for o in Parity().observables(two, (0, 1))] == ["IZ", "ZI", "ZZ"]
    assert [str(o.paulis[0]) for o in Parity().observables(one, (0, 1))] == ["ZZ"]
    with pytest.raises(InputError, match="only register"):
        Parity(registers=False, everything=False).observables(one, (0, 1))
    with pytest.raises(InputError, match="nothing"):
        Parity(registers=False, pairs=False, everything=False)


def test_register_probabilities_are_those_of_the_state() -> None:
    state = Statevector(np.random.default_rng(0).normal(size=(32, 2)) @ [1, 1j])
    state /= np.linalg.norm(state.data)
    found = [state.expectation_value(o).real for o in RegisterProbabilities().observables(LAYOUT, ALL)]
    expected = np.concatenate([state.probabilities(LAYOUT.qubits(m)) for m in LAYOUT.modalities])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_projectors() -> None:
    for s, projector in enumerate(basis_state_projectors((3, 1), 4)):
        diagonal = [float((i >> 3 & 1, i >> 1 & 1) == (s & 1, s >> 1)) for i in range(16)]
        np.testing.assert_allclose(projector.to_matrix(), np.diag(diagonal), atol=1e-12)
    with pytest.raises(InputError, match=r"2\*\*9"):
        basis_state_projectors(range(9), 9)


def test_random_paulis_are_different_local_and_seeded() -> None:
    first, again, other = (random_paulis(ALL, 5, 40, 2, seed) for seed in (3, 3, 4))
    assert first == again != other
    labels = [str(o.paulis[0]) for o in first]
    assert len(set(labels)) == 40
    assert {5 - label.count("I") for label in labels} == {1, 2}
    assert set("".join(labels)) == set("IXYZ")
    assert len(random_paulis((1, 3), 5, 1000, 2)) == 2 * 3 + 9
    assert all(set(np.flatnonzero((o.paulis.x | o.paulis.z)[0])) <= {1, 3} for o in random_paulis((1, 3), 5, 9, 2))


def test_a_trained_observable_is_one_operator() -> None:
    torch.manual_seed(0)
    fusion = QuantumFusion(1, readout=TrainableObservable(3, weight=2)).double()
    fusion.build(WIDTHS)
    fusion.double()
    x = {m: torch.rand(2, k, dtype=torch.float64) for m, k in WIDTHS.items()}
    circuit = fusion.circuit()
    assert fusion.out_features == 3
    assert isinstance(fusion.readout, TrainableObservable)
    coefficients = fusion.readout.coefficients.weight.detach().numpy()
    operators = [sum(a * o.to_matrix() for a, o in zip(row, circuit.observables, strict=True)) for row in coefficients]
    assert all(np.allclose(o, o.conj().T) for o in operators)
    for row, found in enumerate(fusion(x, {m: torch.ones(2, dtype=torch.bool) for m in WIDTHS})):
        angles = torch.cat([x[m][row] for m in WIDTHS]).tolist()
        values = dict(zip((*circuit.inputs, *circuit.weights), [*angles, *fusion.weights.tolist()], strict=True))
        state = Statevector(circuit.quantum_circuit.assign_parameters(values)).data
        np.testing.assert_allclose(found.detach(), [(state.conj() @ o @ state).real for o in operators], atol=1e-9)


def fused(readout: Readout, present: tuple[str, ...]) -> tuple[QuantumFusion, Tensor]:
    torch.manual_seed(0)
    fusion = QuantumFusion(1, readout=readout)
    fusion.build(WIDTHS)
    x = {m: torch.rand(3, k) for m, k in WIDTHS.items()}
    return fusion, fusion(x, {m: torch.full((3,), m in present) for m in WIDTHS})


@pytest.mark.parametrize(
    "readout",
    [
        ZReadout(),
        ZAndZZAcross(),
        PauliStrings(2),
        PauliStrings(2, across=True),
        SingleRegister(),
        Parity(),
        RegisterProbabilities(),
        RandomPaulis(),
    ],
    ids=lambda readout: type(readout).__name__,
)
def test_what_needs_a_missing_modality_is_0_and_nothing_else_is(readout: Readout) -> None:
    for size in (1, 2, 3):
        for present in itertools.combinations(WIDTHS, size):
            fusion, features = fused(readout, present)
            full = fusion.circuit().observables
            assert not isinstance(full, tuple) or len(full) == fusion.out_features
            kept = {q for m in present for q in fusion.layout.qubits(m)}
            for column, observable in enumerate(full):
                assert isinstance(observable, SparsePauliOp)
                touched = set(np.flatnonzero((observable.paulis.x | observable.paulis.z).any(axis=0)).tolist())
                assert bool((features[:, column] != 0).any()) == (touched <= kept), (present, observable)


def test_where_nothing_is_measured_gradients_are_0() -> None:
    fusion, features = fused(SingleRegister("vision"), ("audio", "text"))
    assert not features.any()
    features.sum().backward()
    assert fusion.weights.grad is not None
    assert not fusion.weights.grad.any()
    assert fusion.circuit(("audio", "text")).observables == ()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pauli_strings(LAYOUT, ALL, 0), "at least 1"),
        (lambda: pauli_strings(LAYOUT, ALL, 1, "XW"), "axes='XW'"),
        (lambda: pauli_strings(LAYOUT, ALL, 1, "ZZ"), "each once"),
        (lambda: pauli_strings(LAYOUT, ALL, 1, ""), "axes=''"),
        (lambda: pauli_strings(LAYOUT, ALL, 1, across=True), "weight of 2"),
        (lambda: pauli_strings(RegisterLayout({"a": 20}), range(20), 4), "RandomPaulis"),
        (lambda: random_paulis(ALL, 5, 0, 1), "count=0"),
        (lambda: random_paulis(ALL, 5, 1, 0), "locality=0"),
        (lambda: TrainableObservable(0), "outputs=0"),
    ],
)
def test_bad_input(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]
