"""Settings hold every term and can be measured at once; the shots give the standard error that was asked for."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.typing import NDArray
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import Pauli, SparsePauliOp, Statevector
from qiskit_aer import AerSimulator

from qmm.circuits import (
    PauliStrings,
    RandomPaulis,
    Readout,
    RegisterProbabilities,
    ZAndZZAcross,
    measured,
    settings,
    shots,
    shots_per_setting,
)
from qmm.errors import InputError
from qmm.fusion import QuantumFusion
from qmm.quantum import Circuit, ExactSampler, Probabilities

READOUTS: list[Readout] = [ZAndZZAcross(), PauliStrings(2), RandomPaulis(20, 3), RegisterProbabilities()]
labels = st.text("IXYZ", min_size=3, max_size=3)
operators = st.lists(
    st.dictionaries(labels, st.floats(-2, 2).filter(lambda c: abs(c) > 0.1), min_size=1, max_size=6), min_size=1, max_size=4
)


def fusion_circuit(readout: Readout) -> tuple[Circuit, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    fusion = QuantumFusion(2, readout=readout)
    fusion.build({"vision": 4, "audio": 2})
    circuit = fusion.circuit()
    return circuit, 3 * torch.rand(1, len(circuit.inputs)), fusion.weights.detach()


def bound(circuit: Circuit, inputs: torch.Tensor, weights: torch.Tensor) -> QuantumCircuit:
    values = dict(zip((*circuit.inputs, *circuit.weights), [*inputs[0].tolist(), *weights.tolist()], strict=True))
    return circuit.quantum_circuit.assign_parameters({p: values[p] for p in circuit.quantum_circuit.parameters})


def of_basis(circuit: QuantumCircuit, observables: list[SparsePauliOp]) -> Circuit:
    return Circuit.of(circuit, [], [], observables)


def commute_on_each_qubit(first: Pauli, second: Pauli) -> bool:
    return all(a == b or "I" in (a, b) for a, b in zip(str(first), str(second), strict=True))


@examples(max_examples=50, deadline=None)
@given(operators)
def test_groups_commute_on_each_qubit_and_hold_every_term_once(terms: list[dict[str, float]]) -> None:
    circuit = of_basis(QuantumCircuit(3), [SparsePauliOp.from_list(list(t.items())) for t in terms])
    groups = settings(circuit)
    for group in groups:
        assert all(commute_on_each_qubit(a, b) for a, b in itertools.combinations(group.terms, 2))
        for axis, *axes in zip(str(group.basis), *(str(term) for term in group.terms), strict=True):
            assert {axis} == ({a for a in axes if a != "I"} or {"I"})
    found = [label for group in groups for label in group.terms.to_labels()]
    assert sorted(found) == sorted({label for t in terms for label in t} - {"III"})


def test_known_numbers_of_settings() -> None:
    assert [len(settings(fusion_circuit(readout)[0])) for readout in (ZAndZZAcross(), RegisterProbabilities())] == [1, 1]
    assert len(settings(fusion_circuit(PauliStrings(1))[0])) == 3
    probabilities = Circuit.of(QuantumCircuit(3), [], [], Probabilities((2, 0)))
    assert [str(setting.basis) for setting in settings(probabilities)] == ["ZIZ"]
    assert settings(of_basis(QuantumCircuit(2), [SparsePauliOp("II")])) == []
    assert shots(of_basis(QuantumCircuit(2), [SparsePauliOp("II")]), 0.1) == 0


@pytest.mark.parametrize("basis", ["XYZ", "IZX", "YIY"])
def test_measured_bits_are_those_of_the_basis(basis: str) -> None:
    circuit = QuantumCircuit(3)
    for qubit in range(3):
        circuit.ry(0.5 + qubit, qubit)
        circuit.rz(0.9 * qubit - 0.4, qubit)
    circuit.cx(0, 2)
    read_out = measured(circuit, Pauli(basis))
    final = Statevector(read_out.remove_final_measurements(inplace=False))
    qubits = [q for q in range(3) if basis[::-1][q] != "I"]
    assert [read_out.find_bit(i.qubits[0]).index for i in read_out.get_instructions("measure")] == qubits
    for size in range(1, len(qubits) + 1):
        for chosen in itertools.combinations(qubits, size):
            string = "".join(basis[::-1][q] if q in chosen else "I" for q in range(3))[::-1]
            z = "".join("Z" if q in chosen else "I" for q in range(3))[::-1]
            assert final.expectation_value(Pauli(z)) == pytest.approx(Statevector(circuit).expectation_value(Pauli(string)))


def estimates(circuit: Circuit, state: QuantumCircuit, per_setting: list[int], repeats: int) -> NDArray[np.float64]:
    """(repeats, n_outputs) from so many shots in each setting, put together here from the bits."""
    found = np.zeros((repeats, circuit.n_outputs))
    home = {t: g for g, setting in enumerate(settings(circuit)) for t in setting.terms.to_labels()}
    sampler, bits = ExactSampler(seed=np.random.default_rng(0)), []
    for setting, number in zip(settings(circuit), per_setting, strict=True):
        read_out = measured(state, setting.basis)
        drawn = sampler.run([read_out], shots=number * repeats).result()[0].data.measured.to_bool_array(order="little")
        place = {q: i for i, q in enumerate(np.flatnonzero(setting.basis.x | setting.basis.z).tolist())}
        bits.append((drawn.reshape(repeats, number, -1), place))
    for output, observable in enumerate(circuit.observables):
        assert isinstance(observable, SparsePauliOp)
        for label, coefficient in observable.to_list():
            if set(label) == {"I"}:
                found[:, output] += coefficient.real
                continue
            drawn, place = bits[home[label]]
            columns = [place[q] for q, axis in enumerate(reversed(label)) if axis != "I"]
            found[:, output] += coefficient.real * (1 - 2.0 * (drawn[:, :, columns].sum(axis=2) % 2)).mean(axis=1)
    return found


@pytest.mark.parametrize("readout", READOUTS, ids=lambda readout: type(readout).__name__)
def test_sampled_estimates_have_the_stated_error(readout: Readout) -> None:
    """Of the outputs' standard deviations over 400 repeats none is above the precision, up to chance (3.5 sigma of an
    estimated deviation), and with the state's own variance the most demanding output meets it."""
    circuit, inputs, weights = fusion_circuit(readout)
    state, precision, repeats = bound(circuit, inputs, weights), 0.1, 400
    exact = np.array([Statevector(state).expectation_value(o).real for o in circuit.observables])
    chance = 3.5 / math.sqrt(2 * repeats)
    worst, actual = shots_per_setting(circuit, precision), shots_per_setting(circuit, precision, inputs, weights)
    assert all(a <= w for a, w in zip(actual, worst, strict=True))
    for per_setting in (worst, actual):
        found = estimates(circuit, state, per_setting, repeats)
        errors = np.sqrt(((found - exact) ** 2).mean(axis=0))
        assert errors.max() < precision * (1 + chance)
        assert (np.abs(found.mean(axis=0) - exact) < 5 * precision / math.sqrt(repeats)).all()
    if len(actual) == 1:
        assert errors.max() > precision * (1 - chance)


def test_aer_agrees_on_the_error() -> None:
    circuit, inputs, weights = fusion_circuit(ZAndZZAcross())
    (number,) = shots_per_setting(circuit, 0.05, inputs, weights)
    (setting,) = settings(circuit)
    read_out = measured(bound(circuit, inputs, weights), setting.basis)
    counts = AerSimulator(method="statevector", seed_simulator=5).run([read_out] * 100, shots=number).result().get_counts()
    values = [
        [
            sum(
                n * (-1) ** sum(b == "1" and p == "Z" for b, p in zip(key, str(o.paulis[0]), strict=True))
                for key, n in c.items()
            )
            / number
            for o in circuit.observables
        ]
        for c in counts
    ]
    assert 0.05 * 0.75 < np.std(values, axis=0).max() < 0.05 * 1.25


def test_worst_cases_by_formula() -> None:
    one = of_basis(QuantumCircuit(2), [SparsePauliOp("ZI"), SparsePauliOp("IZ", 0.5)])
    assert shots_per_setting(one, 0.1) == [100]
    projector = of_basis(QuantumCircuit(2), [SparsePauliOp.from_list([("II", 0.5), ("IZ", 0.5)])])
    assert shots(projector, 0.1) == 25  # a coin's variance is at most 1/4
    split = of_basis(QuantumCircuit(1), [SparsePauliOp.from_list([("Z", 3.0), ("X", 1.0)])])
    assert sorted(shots_per_setting(split, 1.0)) == [4, 12]  # 9/12 + 1/4 = 1
    assert shots(Circuit.of(QuantumCircuit(2), [], [], Probabilities((0, 1))), 0.01) == 2500


@examples(max_examples=30, deadline=None)
@given(operators)
def test_no_state_needs_more_than_the_worst_case(terms: list[dict[str, float]]) -> None:
    circuit = QuantumCircuit(3)
    weights = [Parameter(f"w{i}") for i in range(6)]
    for qubit in range(3):
        circuit.ry(weights[qubit], qubit)
        circuit.rz(weights[3 + qubit], qubit)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    read = Circuit.of(circuit, [], weights, [SparsePauliOp.from_list(list(t.items())) for t in terms])
    angles = torch.linspace(0.2, 4.0, 6)
    found = zip(shots_per_setting(read, 0.1, torch.zeros(1, 0), angles), shots_per_setting(read, 0.1), strict=True)
    assert all(own <= worst for own, worst in found)


def test_wide_parts_are_bounded_by_their_coefficients() -> None:
    terms = [("Z" * 11, 0.5), ("I" * 10 + "Z", 0.25)]
    assert shots(of_basis(QuantumCircuit(11), [SparsePauliOp.from_list(terms)]), 0.1) == math.ceil(0.75**2 / 0.01)


def test_the_greatest_variance_of_the_samples_counts() -> None:
    circuit, x = QuantumCircuit(1), Parameter("x")
    circuit.ry(x, 0)
    read = Circuit.of(circuit, [x], [], ["Z"])
    no_weights = torch.zeros(0)
    assert shots(read, 0.1, torch.tensor([[0.0], [math.pi / 6]], dtype=torch.float64), no_weights) == 25  # sin(pi/6)**2 = 1/4
    assert shots(read, 0.1, torch.tensor([[0.0]]), no_weights) == 1
    likely = Circuit.of(circuit, [x], [], Probabilities((0,)))
    assert shots(likely, 0.1, torch.tensor([[math.pi / 2]], dtype=torch.float64), no_weights) == 25


@pytest.mark.parametrize("precision", [0, -0.1, math.nan])
def test_bad_precision(precision: float) -> None:
    with pytest.raises(InputError, match="positive"):
        shots(of_basis(QuantumCircuit(1), [SparsePauliOp("Z")]), precision)


def test_half_a_state_is_refused() -> None:
    with pytest.raises(InputError, match="both"):
        shots(of_basis(QuantumCircuit(1), [SparsePauliOp("Z")]), 0.1, inputs=torch.zeros(1, 0))
