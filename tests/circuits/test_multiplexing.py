"""Multiplexed rotations, state preparation and phases against their matrices; QFL's S(x) against its defining state."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from qiskit.circuit import Parameter
from qiskit.quantum_info import Operator, Statevector
from scipy.linalg import block_diag, expm

from qmm.circuits import SuperpositionEncoding
from qmm.circuits.multiplexing import diagonal_phases, multiplexed_rotation, phase_turns, real_state, state_turns, turns_of
from qmm.circuits.superposition import superposition_encoding, uniform_superposition
from qmm.errors import InputError

PAULI = {"x": np.array([[0, 1], [1, 0]]), "y": np.array([[0, -1j], [1j, 0]]), "z": np.diag([1, -1])}
ANGLE = st.floats(-6, 6)


def exact(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def powers(element: st.SearchStrategy, least: int = 0, most: int = 3) -> st.SearchStrategy:
    return st.integers(least, most).flatmap(lambda k: st.lists(element, min_size=2**k, max_size=2**k))


@given(st.sampled_from("xyz"), powers(ANGLE))
def test_a_multiplexed_rotation_is_block_diagonal(axis, angles):
    expected = block_diag(*[expm(-0.5j * angle * PAULI[axis]) for angle in angles])
    np.testing.assert_allclose(Operator(multiplexed_rotation(axis, turns_of(exact(angles)).tolist())).data, expected, atol=1e-9)


@pytest.mark.parametrize("axis", list("xyz"))
def test_its_angles_may_be_parameters(axis):
    named, values = [Parameter(f"a{i}") for i in range(4)], [0.3, -1.2, 2.0, 0.7]
    bound = multiplexed_rotation(axis, named).assign_parameters(dict(zip(named, values, strict=True)))
    np.testing.assert_allclose(Operator(bound).data, Operator(multiplexed_rotation(axis, values)).data, atol=1e-12)
    assert set(bound.count_ops()) == {f"r{axis}", "cz" if axis == "x" else "cx"}
    assert bound.count_ops()[f"r{axis}"] == 4


@given(powers(st.sampled_from([0.0, 0.1, 1.0, 2.5]), 1).filter(any))
def test_real_state_has_the_amplitudes_it_was_given(weights):
    probabilities = np.array(weights) / sum(weights)
    state = Statevector(real_state(state_turns(torch.from_numpy(probabilities)).tolist())).data
    np.testing.assert_allclose(state, np.sqrt(probabilities), atol=1e-9)


@given(powers(ANGLE, 1))
def test_phases_up_to_a_global_one(phases):
    matrix = Operator(diagonal_phases(phase_turns(exact(phases)).tolist())).data
    expected = np.exp(1j * np.array(phases))
    np.testing.assert_allclose(matrix * expected[0] / matrix[0, 0], np.diag(expected), atol=1e-9)


@given(st.lists(st.floats(0, np.pi), min_size=1, max_size=7), st.integers(0, 1))
def test_superposition_encoding_is_its_defining_state(features, spare):
    encoding = SuperpositionEncoding()
    n_qubits = encoding.least_qubits(len(features)) + spare
    encoding.build(len(features), n_qubits)
    named = [Parameter(f"x{i}") for i in range(encoding.n_angles)]
    turns = encoding(exact(features)[None])[0].tolist()
    state = Statevector(encoding.circuit(named).assign_parameters(dict(zip(named, turns, strict=True)))).data
    expected = np.zeros(2**n_qubits)
    for index, x in enumerate([0.0, *features]):
        expected[2 * index : 2 * index + 2] = np.cos(x / 2), np.sin(x / 2)
    np.testing.assert_allclose(state, expected / np.sqrt(len(features) + 1), atol=1e-9)


def test_branches_that_are_not_named_take_no_part():
    turns = turns_of(exact([0, 0, 0.4, 0, 0, 1.1, 0, 0])).tolist()
    state = Statevector(superposition_encoding([0, 2, 5], turns)).data
    expected = np.zeros(16)
    expected[[0, 4, 5, 10, 11]] = 1, np.cos(0.2), np.sin(0.2), np.cos(0.55), np.sin(0.55)
    np.testing.assert_allclose(state, expected / np.sqrt(3), atol=1e-9)


def test_turns_are_differentiable_and_nothing_to_share_does_no_harm():
    def shared(free: torch.Tensor) -> torch.Tensor:
        return state_turns(torch.cat([free.softmax(dim=0), free.new_zeros(3)]))

    assert torch.autograd.gradcheck(shared, torch.randn(5, dtype=torch.float64, requires_grad=True))
    assert torch.autograd.gradcheck(phase_turns, torch.randn(8, dtype=torch.float64, requires_grad=True))
    assert torch.autograd.gradcheck(turns_of, torch.randn(2, 4, dtype=torch.float64, requires_grad=True))


def test_the_encoding_says_what_it_takes():
    encoding = SuperpositionEncoding()
    assert [encoding.least_qubits(k) for k in (1, 2, 3, 4, 7, 8)] == [2, 3, 3, 4, 4, 5]
    encoding.build(3, 3)
    said = encoding.describe()
    assert said.features_per_qubit == "3/3"
    assert said.two_qubit_gates == encoding.circuit([Parameter(f"x{i}") for i in range(4)]).num_nonlocal_gates()


def test_what_is_refused():
    with pytest.raises(InputError, match="3 angles"):
        multiplexed_rotation("y", [1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="from 0 to 3"):
        uniform_superposition([0, 4], 2)
    with pytest.raises(InputError, match="8 features for a register of 4 qubits, they take 5"):
        SuperpositionEncoding().build(8, 4)
