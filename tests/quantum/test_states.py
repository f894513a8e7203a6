"""States against Qiskit's own, their gradients against those of expectation values, what is refused."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qiskit.circuit import ParameterVector, QuantumCircuit
from torch import Tensor

from qmm.quantum import Circuit, CircuitError, CompiledCircuit, Probabilities, expectations, states

EXAMPLES = settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


def draw(seed: int, rows: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 3, dtype=torch.float64, generator=generator), torch.randn(
        3, dtype=torch.float64, generator=generator
    )


def aligned(state: Tensor, reference: Tensor) -> Tensor:
    """The state, its global phase made that of the reference."""
    overlap = (state.conj() * reference).sum()
    return state * overlap / overlap.abs()


@EXAMPLES
@given(seed=st.integers(0, 10**6), n_qubits=st.integers(1, 6), read=st.sampled_from(["paulis", "z", "probabilities"]))
def test_states_are_qiskits(seed, n_qubits, read, circuits, statevector):
    circuit = circuits(seed, n_qubits, 15)
    if read == "z":  # the end of the circuit could be left to such a read-out
        circuit = Circuit.of(circuit.quantum_circuit, circuit.inputs, circuit.weights, ["Z" * n_qubits])
    if read == "probabilities":
        circuit = Circuit.of(circuit.quantum_circuit, circuit.inputs, circuit.weights, Probabilities(tuple(range(n_qubits))))
    inputs, weights = draw(seed)
    found = states(circuit, inputs, weights)
    assert found.dtype == torch.complex128
    assert found.shape == (3, 2**n_qubits)
    for row, x in zip(found, inputs.tolist(), strict=True):
        expected = torch.as_tensor(statevector(circuit, x, weights.tolist()).data)
        torch.testing.assert_close(aligned(row, expected), expected, atol=1e-10, rtol=0)
    own = weights + inputs.flip(0)
    for row, x, w in zip(states(circuit, inputs, own), inputs.tolist(), own.tolist(), strict=True):
        expected = torch.as_tensor(statevector(circuit, x, w).data)
        torch.testing.assert_close(aligned(row, expected), expected, atol=1e-10, rtol=0)


@EXAMPLES
@given(seed=st.integers(0, 10**6), n_qubits=st.integers(1, 5))
def test_gradients_are_those_of_expectation_values(seed, n_qubits, circuits):
    circuit = CompiledCircuit(circuits(seed, n_qubits, 12))
    operators = torch.stack([torch.as_tensor(o.to_matrix()) for o in circuit.circuit.observables])
    inputs, weights = (t.requires_grad_() for t in draw(seed))
    state = states(circuit, inputs, weights)
    values = torch.einsum("bi,oij,bj->bo", state.conj(), operators, state).real
    expected = expectations(circuit, inputs, weights)
    torch.testing.assert_close(values, expected, atol=1e-10, rtol=0)
    mixture = torch.randn(values.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = torch.autograd.grad((values * mixture).sum(), [inputs, weights])
    wanted = torch.autograd.grad((expected * mixture).sum(), [inputs, weights])
    torch.testing.assert_close(found, wanted, atol=1e-8, rtol=1e-8)


def test_a_cnot_at_the_end_is_not_left_to_the_read_out():
    angles = ParameterVector("x", 1)
    bell = QuantumCircuit(2)
    bell.ry(angles[0], 0)
    bell.cx(0, 1)
    circuit = Circuit.of(bell, angles, observables=["ZZ"])
    found = states(circuit, torch.tensor([[torch.pi / 2]]), torch.zeros(0))
    assert found.dtype == torch.complex64
    torch.testing.assert_close(found.abs(), torch.tensor([[0.5, 0.0, 0.0, 0.5]]).sqrt())


def test_without_inputs_every_row_is_the_same_and_no_rows_are_none():
    circuit = Circuit.of(QuantumCircuit(2), observables=["ZZ"])
    zero = torch.tensor([1, 0, 0, 0], dtype=torch.complex64)
    assert torch.equal(states(circuit, torch.zeros(3, 0), torch.zeros(0)), zero.expand(3, 4))
    assert states(circuit, torch.zeros(0, 0), torch.zeros(0)).shape == (0, 4)


def test_mistakes_are_named(circuits):
    circuit = circuits(1, 3, 5)
    inputs, weights = draw(0)
    with pytest.raises(CircuitError, match=r"inputs have shape \(3, 2\)"):
        states(circuit, inputs[:, :2], weights)
    with pytest.raises(CircuitError, match=r"weights have shape \(2,\)"):
        states(circuit, inputs, weights[:2])
    with pytest.raises(CircuitError, match=r"input 'x\[1\]' is nan in row 2"):
        states(circuit, inputs.index_put((torch.tensor(2), torch.tensor(1)), torch.tensor(torch.nan).double()), weights)
    with pytest.raises(CircuitError, match="GiB are free"):
        states(circuit, inputs[:1].expand(2**40, 3), weights)
