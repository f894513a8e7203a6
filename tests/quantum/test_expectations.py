"""Outputs and gradients against Qiskit's state vector, over random circuits of the whole gate set."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping

from qmm.quantum import Circuit, ExactBackend, expectations

_UNCHECKED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
_RELAXED = settings(deadline=None, max_examples=30, suppress_health_check=_UNCHECKED)
_ENGINES = pytest.mark.parametrize("backend", [ExactBackend("kernels"), ExactBackend("torch")], ids=["kernels", "torch"])
_NAMES = sorted(get_standard_gate_name_mapping().keys() - {"measure", "reset", "delay", "global_phase"})


@_ENGINES
@_RELAXED
@given(seed=st.integers(0, 10**6), n_qubits=st.integers(1, 8), n_gates=st.integers(0, 20))
def test_random_circuits_agree_with_statevector(seed, n_qubits, n_gates, circuits, reference, backend):
    circuit = circuits(seed, n_qubits, n_gates)
    values = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)).double()  # exact in both precisions
    inputs, weights = values[:2], values[2]
    expected = reference(circuit, inputs, weights)
    torch.testing.assert_close(expectations(circuit, inputs, weights, backend), expected, atol=1e-10, rtol=0)
    single = expectations(circuit, inputs.float(), weights.float(), backend)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, atol=1e-5, rtol=0)


@_ENGINES
@_RELAXED
@given(seed=st.integers(0, 10**6), n_qubits=st.integers(1, 4))
def test_weights_per_sample_agree_with_statevector(seed, n_qubits, circuits, reference, backend):
    circuit = circuits(seed, n_qubits, 8)
    inputs, weights = torch.randn(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        expectations(circuit, inputs, weights, backend), reference(circuit, inputs, weights), atol=1e-10, rtol=0
    )


@_ENGINES
@settings(_RELAXED, max_examples=25)
@given(seed=st.integers(0, 10**6), n_qubits=st.integers(1, 5))
def test_gradients_agree_with_finite_differences_of_statevector(seed, n_qubits, circuits, reference, backend):
    circuit = circuits(seed, n_qubits, 10)
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(2, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    weights = torch.randn(3, dtype=torch.float64, generator=generator, requires_grad=True)
    mixture = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    gradients = torch.autograd.grad((expectations(circuit, inputs, weights, backend) * mixture).sum(), [inputs, weights])

    def central_difference(which: int, place: int, step: float) -> float:
        values = []
        for sign in (1, -1):
            moved = [inputs.detach().clone(), weights.detach().clone()]
            moved[which].view(-1)[place] += sign * step
            values.append((reference(circuit, *moved) * mixture).sum().item())
        return (values[0] - values[1]) / (2 * step)

    for which, gradient in enumerate(gradients):
        for place in range(gradient.numel()):  # Richardson: the error falls with the fourth power of the step
            numeric = (4 * central_difference(which, place, 1e-4) - central_difference(which, place, 2e-4)) / 3
            assert gradient.view(-1)[place].item() == pytest.approx(numeric, abs=1e-6, rel=1e-6)


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("controls", [0, 1])
def test_every_named_gate_alone_with_fixed_and_free_angles(name, controls, reference):
    gate = get_standard_gate_name_mapping()[name].to_mutable()
    parameters = [Parameter(f"a{i}") for i in range(len(gate.params))]
    for params in ([0.4, -1.1, 2.3, 0.7][: len(parameters)], parameters):
        gate.params = list(params)
        full = gate.control(controls, ctrl_state=0) if controls else gate
        n = full.num_qubits
        circuit = QuantumCircuit(n)
        for qubit in range(n):
            circuit.u(0.7 + qubit, 0.2 * qubit, 0.4, qubit)
        circuit.append(full, [*range(1, n), 0])
        for qubit in range(n):
            circuit.ry(0.5 - qubit / 3, qubit)
        checked = Circuit.of(circuit, observables=["Z" * n, "X" * n, *("I" * i + "Y" + "I" * (n - 1 - i) for i in range(n))])
        weights = torch.tensor([0.4, -1.1, 2.3, 0.7][: len(checked.weights)], dtype=torch.float64)
        inputs = torch.zeros(1, 0, dtype=torch.float64)
        expected = reference(checked, inputs, weights)
        torch.testing.assert_close(expectations(checked, inputs, weights), expected, atol=1e-10, rtol=0)


def test_double_backward_and_torch_func(circuits):
    circuit = circuits(5, 3, 8, expressions=False)
    inputs, weights = torch.randn(2, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda w: expectations(circuit, inputs, w), [weights])
    jacobian = torch.func.jacrev(lambda w: expectations(circuit, inputs, w))(weights.detach())
    expected = torch.autograd.functional.jacobian(lambda w: expectations(circuit, inputs, w), weights)
    torch.testing.assert_close(jacobian, expected)
