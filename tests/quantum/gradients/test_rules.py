"""The rules against the adjoint on the exact backend: shared parameters, formulas, inputs, weights, read-outs."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit

from qmm.quantum import Circuit, CircuitError, CompiledCircuit, ExactBackend, Probabilities, QuantumLayer
from qmm.quantum.gradients import EstimatedGradient, FiniteDifference, LinearCombination, ParameterShift

EXACT = [ParameterShift(), LinearCombination(), ParameterShift(ahead=True)]
RULES = pytest.mark.parametrize("rule", EXACT, ids=["shift", "combination", "ahead"])
SMALL = [FiniteDifference(1e-3), FiniteDifference(1e-6, "forward")]
EXAMPLES = settings(
    deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@RULES
@EXAMPLES
@given(seed=st.integers(0, 10**6), n_qubits=st.integers(1, 4), per_sample=st.booleans())
def test_random_circuits_of_shared_parameters_and_formulas(rule, seed, n_qubits, per_sample, circuits, gradients, draw) -> None:
    circuit, inputs = CompiledCircuit(circuits(seed, n_qubits, 12)), draw(3, 3)
    weights = draw(3, 3) if per_sample else draw(3)
    expected = gradients(circuit, inputs, weights)
    try:
        found = gradients(circuit, inputs, weights, rule)
    except CircuitError as error:
        if "do not commute" not in str(error):
            raise
        reject()  # such time evolutions have no shift rule
    for got, want in zip(found, expected, strict=True):
        torch.testing.assert_close(got, want, atol=1e-9 * max(1.0, want.abs().max().item()), rtol=0)


@pytest.mark.parametrize("rule", [*EXACT, FiniteDifference(1e-3)], ids=["shift", "combination", "ahead", "difference"])
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("read", [Probabilities((2, 0)), Probabilities((0, 1, 2), (0, 1, 1, 0, 3, 1, 1, 0), 6)])
def test_probabilities(read: Probabilities, per_sample: bool, rule: EstimatedGradient, circuits, gradients, draw) -> None:
    drawn = circuits(5, 3, 20)
    circuit = Circuit.of(drawn.quantum_circuit, drawn.inputs, drawn.weights, read)
    inputs, weights = draw(4, 3), draw(4, 3) if per_sample else draw(3)
    mixture = draw(4, circuit.n_outputs)
    expected = gradients(circuit, inputs, weights, mixture=mixture)
    found = gradients(circuit, inputs, weights, rule, mixture=mixture)
    tolerance = 1e-9 if rule in EXACT else 1e-4
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("rule", [*EXACT, FiniteDifference(1e-3)], ids=["shift", "combination", "ahead", "difference"])
def test_jacobian(rule: EstimatedGradient, circuits, gradients, draw) -> None:
    """Row by row what the adjoint gives, also for weights that all samples share; nothing varies without shots."""
    circuit, inputs, weights = CompiledCircuit(circuits(5, 3, 20)), draw(4, 3), draw(3)
    found = rule.jacobian(ExactBackend(), circuit, inputs, weights)
    for output in range(3):
        mixture = torch.eye(3, dtype=torch.float64)[output].expand(4, 3)
        x, w = gradients(circuit, inputs, weights.expand(4, 3), mixture=mixture)
        torch.testing.assert_close(found.inputs[:, output], x, atol=1e-4, rtol=0)
        torch.testing.assert_close(found.weights[:, output], w, atol=1e-4, rtol=0)
    assert found.input_variances.shape == found.inputs.shape
    assert not found.input_variances.any()
    assert not found.weight_variances.any()


def test_closed_formula(gradients) -> None:
    """d/dw and d/dx of cos(2 w sin(x))."""
    x, w, circuit = Parameter("x"), Parameter("w"), QuantumCircuit(1)
    circuit.ry(w * x.sin(), 0)
    circuit.h(0)
    circuit.h(0)
    circuit.ry(x.sin() * w, 0)
    inputs, weights = torch.tensor([[0.3], [1.1]], dtype=torch.float64), torch.tensor([0.8], dtype=torch.float64)
    angle = 2 * weights * inputs.sin()
    for rule in EXACT:
        of_inputs, of_weights = gradients(
            Circuit.of(circuit, [x], [w], ["Z"]), inputs, weights, rule, mixture=torch.ones(2, 1, dtype=torch.float64)
        )
        torch.testing.assert_close(of_inputs, -angle.sin() * 2 * weights * inputs.cos())
        torch.testing.assert_close(of_weights, (-angle.sin() * 2 * inputs.sin()).sum(0))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@RULES
def test_layers_have_the_gradients_of_exact_layers(rule: EstimatedGradient, dtype: torch.dtype, circuits) -> None:
    torch.manual_seed(0)
    exact = QuantumLayer(circuits(11, 3, 15, expressions=False), dtype=dtype)
    shifted = QuantumLayer(exact.circuit, gradient=rule, init=exact.weights.detach(), dtype=dtype)
    inputs, found = torch.randn(5, 3), []
    for layer in (exact, shifted):
        own = inputs.clone().requires_grad_()
        layer(own).square().sum().backward()
        assert own.grad is not None
        assert layer.weights.grad is not None
        found.append((own.grad, layer.weights.grad))
    torch.testing.assert_close(found[1], found[0], atol=1e-4 if dtype == torch.complex64 else 1e-6, rtol=0)


def test_values_are_those_of_the_backend_and_stay_so_without_gradients(circuits, draw) -> None:
    circuit, inputs, weights = CompiledCircuit(circuits(5, 3, 20)), draw(4, 3), draw(3)
    expected = ExactBackend().submit(circuit, inputs, weights).result()
    for rule in (*EXACT, *SMALL):
        for at in (inputs, inputs.clone().requires_grad_()):
            torch.testing.assert_close(rule.values(ExactBackend(), circuit, at, weights).detach(), expected)


@pytest.mark.parametrize("rule", [*EXACT, FiniteDifference(1e-3)], ids=["shift", "combination", "ahead", "difference"])
def test_no_samples(rule: EstimatedGradient, circuits, gradients) -> None:
    of_inputs, of_weights = gradients(circuits(5, 2, 10), torch.zeros(0, 3), torch.ones(3), rule)
    assert of_inputs.shape == (0, 3)
    assert of_weights.tolist() == [0, 0, 0]


@pytest.mark.parametrize("rule", [*EXACT, FiniteDifference(1e-3)], ids=["shift", "combination", "ahead", "difference"])
def test_circuits_that_feel_nothing(rule: EstimatedGradient, gradients) -> None:
    x, w, circuit = Parameter("x"), Parameter("w"), QuantumCircuit(2)
    circuit.rz(x, 0)
    circuit.ry(w, 1)
    of_inputs, of_weights = gradients(Circuit.of(circuit, [x], [w], ["IZ"]), torch.ones(2, 1), torch.ones(1), rule)
    assert of_inputs.tolist() == [[0], [0]]
    assert of_weights.tolist() == [0]
    of_inputs, of_weights = gradients(Circuit.of(QuantumCircuit(1), [], [], ["Z"]), torch.ones(2, 0), torch.ones(0), rule)
    assert (of_inputs.shape, of_weights.shape) == ((2, 0), (0,))


def test_retained_graphs_are_differentiated_again(circuits, draw) -> None:
    circuit, inputs, weights = CompiledCircuit(circuits(5, 3, 20)), draw(4, 3).requires_grad_(), draw(3)
    for rule in EXACT:
        values = rule.values(ExactBackend(), circuit, inputs, weights).sum()
        first, second = (torch.autograd.grad(values, inputs, retain_graph=True)[0] for _ in range(2))
        torch.testing.assert_close(first, second)


def test_a_linear_combination_counts_its_outputs_right_without_strings() -> None:
    """An output that is only an identity, and one that no outcome reaches, do not change."""
    w, circuit = ParameterVector("w", 2), QuantumCircuit(2)
    circuit.ry(w[0], 0)
    circuit.ry(w[1], 1)
    for read in (["II", "ZI", "ZZ"], Probabilities((0, 1), (0, 0, 2, 3), 5)):
        own = Circuit.of(circuit, [], w, read)
        found = LinearCombination().jacobian(ExactBackend(), own, torch.zeros(1, 0), torch.tensor([0.3, 0.8]).double())
        expected = ParameterShift().jacobian(ExactBackend(), own, torch.zeros(1, 0), torch.tensor([0.3, 0.8]).double())
        np.testing.assert_allclose(found.weights, expected.weights, atol=1e-12)
