"""Under shots: no bias, and variances that are those of repeated estimates. Equal samples of a batch are the repetitions."""

from itertools import product

import pytest
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from torch import Tensor

from qmm.quantum import Circuit, CompiledCircuit, ExactBackend, Probabilities, QuantumLayer, expectations
from qmm.quantum.execution import PrimitiveBackend, Provider
from qmm.quantum.execution.ideal import Ideal
from qmm.quantum.execution.simulators.aer import Aer
from qmm.quantum.gradients import (
    SPSA,
    Allotment,
    EstimatedGradient,
    FiniteDifference,
    Jacobian,
    LinearCombination,
    ParameterShift,
)

REPEATED = 200
X, W = torch.tensor([[0.4, 1.3]], dtype=torch.float64), torch.tensor([0.7, -0.6, 1.9], dtype=torch.float64)
RULES = {
    "shift": ParameterShift(),
    "combination": LinearCombination(),
    "central": FiniteDifference(0.5),
    "forward": FiniteDifference(0.5, "forward"),
    "spsa": SPSA(4, step=0.4),
    "allotted": ParameterShift(allotment=Allotment(0.3)),
    "allotted spsa": SPSA(4, step=0.4, allotment=Allotment(0.3)),
}


def circuit(observables) -> CompiledCircuit:
    x, w, qc = ParameterVector("x", 2), ParameterVector("w", 3), QuantumCircuit(2)
    qc.ry(x[0], 0)
    qc.rx(x[1] * w[0], 1)
    qc.rzz(w[1], 0, 1)
    qc.cry(w[0] + x[0], 0, 1)
    qc.rx(w[2], 0)
    return CompiledCircuit(Circuit.of(qc, x, w, observables))


STRINGS = circuit(["IZ", "XX", SparsePauliOp(["ZZ", "ZI", "XI", "II"], [0.6, 0.3, -0.2, 1.0])])


def expected(rule: EstimatedGradient, of: CompiledCircuit) -> Tensor:
    """(n_outputs, parameters): the mean over shots, and over directions."""
    if not isinstance(rule, SPSA):
        exact = FiniteDifference(rule.step, rule.kind) if isinstance(rule, FiniteDifference) else ParameterShift()
        found = exact.jacobian(ExactBackend(), of, X, W)
        return torch.cat([found.inputs, found.weights], dim=-1)[0]
    at, mean = torch.cat([X[0], W]), torch.zeros(of.circuit.n_outputs, 5, dtype=torch.float64)
    for signs in product([-1.0, 1.0], repeat=5):
        step = torch.tensor(signs, dtype=torch.float64)
        plus, minus = (expectations(of, p[None, :2], p[2:])[0] for p in (at + rule.step * step, at - rule.step * step))
        mean += (plus - minus)[:, None] * step / (2 * rule.step) / 2**5
    return mean


def check(found: Jacobian, mean: Tensor) -> None:
    """The mean of all rows within 5 standard errors, and the variances within 25 %, some 5 standard errors as well."""
    rows = torch.cat([found.inputs, found.weights], dim=-1)
    variances = torch.cat([found.input_variances, found.weight_variances], dim=-1).mean(0)
    own = rows.var(dim=0)
    assert ((rows.mean(0) - mean).abs() <= 5 * (own / len(rows)).sqrt() + 1e-12).all()
    assert own.sum() > 0
    assert 0.75 < (variances.sum() / own.sum()).item() < 1.25
    assert torch.all((variances / own)[own > 0.01 * own.max()] < 1.8)  # one by one: 0.1 is a standard error
    assert torch.all((variances / own)[own > 0.01 * own.max()] > 0.5)


SAMPLER, ESTIMATOR = Aer(threads=1), Aer(primitive="estimator", threads=1)
CASES = [
    *((Ideal(), name) for name in RULES),
    *((SAMPLER, name) for name in ("shift", "combination", "allotted")),
    *((ESTIMATOR, name) for name in ("shift", "central", "spsa")),
]


@pytest.mark.parametrize(("provider", "name"), CASES, ids=lambda case: case if isinstance(case, str) else case.name)
def test_without_bias_and_with_their_variance(provider: Provider, name: str) -> None:
    rule, backend = RULES[name], PrimitiveBackend(provider, shots=60, seed=1)
    check(rule.jacobian(backend, STRINGS, X.expand(REPEATED, -1), W), expected(rule, STRINGS))


@pytest.mark.parametrize("name", ["shift", "combination", "central"])
def test_probabilities(name: str) -> None:
    of, rule, backend = circuit(Probabilities((1, 0), (0, 1, 1, 2))), RULES[name], PrimitiveBackend(Ideal(), shots=60)
    check(rule.jacobian(backend, of, X.expand(REPEATED, -1), W), expected(rule, of))


@pytest.mark.parametrize("name", ["shift", "forward", "spsa"])
def test_a_backward_pass_tells_its_variance(name: str) -> None:
    """Of one output, whose samples' upstream gradients differ."""
    of, rule, backend = circuit(["XX"]), RULES[name], PrimitiveBackend(Ideal(), shots=60, seed=2)
    upstream = torch.arange(3, dtype=torch.float64).repeat(REPEATED)[:, None]
    weights = W.expand(3 * REPEATED, -1).clone().requires_grad_()
    inputs = X.expand(3 * REPEATED, -1).clone().requires_grad_()
    expectations(of, inputs, weights, backend, rule).backward(upstream)
    for t, mean in ((inputs, rule.input_variance), (weights, rule.weight_variance)):
        assert t.grad is not None
        assert mean == pytest.approx(t.grad.reshape(REPEATED, 3, -1).var(dim=0).mean().item(), rel=0.3)


def test_the_variance_of_weights_that_samples_share_is_that_of_their_sum() -> None:
    of, rule, backend = circuit(["XX"]), ParameterShift(), PrimitiveBackend(Ideal(), shots=100)
    found = rule.jacobian(backend, of, X.expand(4, -1), W)
    weights = W.clone().requires_grad_()
    expectations(of, X.expand(4, -1), weights, backend, rule).sum().backward()
    assert rule.input_variance is None
    assert rule.weight_variance == pytest.approx(found.weight_variances.sum(0).mean().item(), rel=0.5)


def test_one_repetition_knows_no_variance() -> None:
    rule = SPSA(1)
    found = rule.jacobian(PrimitiveBackend(Ideal(), shots=100), STRINGS, X, W)
    assert found.weights.isfinite().all()
    assert found.weight_variances.isnan().all()


def test_more_repetitions_come_closer() -> None:
    errors = []
    for repetitions in (1, 16):
        rule = SPSA(repetitions, step=0.05)
        found = rule.jacobian(ExactBackend(), STRINGS, X.expand(REPEATED, -1), W)
        errors.append((found.weights - expected(ParameterShift(), STRINGS)[:, 2:]).square().mean().item())
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.3)


@pytest.mark.parametrize(
    "rule", [ParameterShift(shots=30, ahead=True), SPSA(2), FiniteDifference(0.4, shots=50)], ids=lambda r: type(r).__name__
)
def test_layers_learn_under_shots(rule: EstimatedGradient) -> None:
    torch.manual_seed(0)
    layer = QuantumLayer(STRINGS.circuit, PrimitiveBackend(Ideal(), shots=100), rule)
    optimizer, losses = torch.optim.Adam(layer.parameters(), lr=0.2), []
    for _ in range(25):
        optimizer.zero_grad()
        loss = (layer(X.float()) - torch.tensor([0.9, 0.2, 0.8])).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
