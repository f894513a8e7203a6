"""Shots where the variance is: how they are shared out, and that the gradient varies less for it."""

import numpy as np
import pytest
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit

from qmm.quantum import Circuit, CircuitError, CompiledCircuit, expectations
from qmm.quantum.execution import PrimitiveBackend
from qmm.quantum.execution.ideal import Ideal
from qmm.quantum.gradients import Allotment, FiniteDifference, ParameterShift


def test_points_get_shots_by_their_spread() -> None:
    spread = np.array([0.0, 0.01, 1.0, 1.1, 4.0, 0.2, 0.0, 2.0])
    groups = Allotment(classes=4).groups(spread, 100)
    shots = np.zeros(len(spread), int)
    for places, number in groups:
        assert (shots[places] == 0).all()  # each point is in one group
        shots[places] = number
    assert len(groups) <= 4
    assert 0.95 * 800 <= shots.sum() <= 800
    assert (np.diff(shots[np.argsort(spread)]) >= 0).all()
    assert shots.min() >= 10  # a tenth of the shots is shared alike
    np.testing.assert_allclose(shots[4] / shots[2], 4, rtol=0.5)


@pytest.mark.parametrize("spread", [np.zeros(5), np.full(5, 0.3)])
def test_points_that_are_alike_get_the_same(spread) -> None:
    ((places, shots),) = Allotment().groups(spread, 70)
    assert (places.tolist(), shots) == ([0, 1, 2, 3, 4], 70)


def test_pilots_take_their_share() -> None:
    assert Allotment(0.2).split(1000) == (200, 800)
    assert Allotment(0.2).split(3) == (2, 1)
    with pytest.raises(CircuitError, match=r"2 shots.*at least 3"):
        Allotment(0.2).split(2)


@pytest.fixture
def circuit() -> CompiledCircuit:
    x, w, qc = ParameterVector("x", 2), ParameterVector("w", 2), QuantumCircuit(2)
    for q in range(2):
        qc.ry(x[q], q)
    qc.cx(0, 1)
    qc.rx(w[0], 0)
    qc.ry(0.05 * w[1], 1)
    return CompiledCircuit(Circuit.of(qc, x, w, ["ZZ"]))


@pytest.mark.parametrize("rule", [ParameterShift, lambda **a: FiniteDifference(0.5, "forward", **a)], ids=["shift", "forward"])
def test_gradients_vary_less_for_the_same_shots(rule, circuit, sent) -> None:
    """Of upstream gradients of very different size, where theory says by how much: (mean spread)**2 / mean spread**2."""
    repeated, shots = 100, 200
    upstream = torch.tensor([2.0, 0.3, 0.3, 0.1], dtype=torch.float64).repeat(repeated)[:, None]
    inputs = torch.tensor([0.4, 1.3], dtype=torch.float64).expand(len(upstream), -1)
    weights = torch.tensor([0.7, -0.6], dtype=torch.float64).expand(len(upstream), -1)
    found, used, told = [], [], []
    for allotment in (None, Allotment(0.25)):
        backend, gradient = PrimitiveBackend(Ideal(), shots=shots, seed=3), rule(allotment=allotment)
        at = inputs.clone().requires_grad_(), weights.clone().requires_grad_()
        values = expectations(circuit, *at, backend, gradient)
        seen = sent(backend)
        found.append(torch.cat(torch.autograd.grad(values, at, upstream), dim=1).reshape(repeated, 4, 4))
        used.append(sum(len(e.inputs) * (e.shots or shots) for evaluations in seen for e in evaluations))
        told.append(gradient.input_variance + gradient.weight_variance)
    alike, allotted = (f.var(dim=0).sum().item() for f in found)
    assert 0.95 * used[0] <= used[1] <= used[0]
    assert allotted < 0.75 * alike
    assert told[1] / told[0] == pytest.approx(allotted / alike, rel=0.3)
    error = (found[0].var(dim=0) + found[1].var(dim=0)).div(repeated).sqrt()
    assert torch.all((found[0].mean(0) - found[1].mean(0)).abs() <= 5 * error)


def test_where_nothing_differs_an_allotment_costs_little() -> None:
    x, qc = ParameterVector("x", 2), QuantumCircuit(2)
    for q in range(2):
        qc.ry(x[q], q)
    circuit = CompiledCircuit(Circuit.of(qc, x, (), ["XX"]))
    inputs = torch.full((400, 2), 0.3, dtype=torch.float64)
    varied = [
        ParameterShift(allotment=allotment)
        .jacobian(PrimitiveBackend(Ideal(), shots=100), circuit, inputs, torch.empty(0))
        .inputs.double()
        .var(dim=0)
        .sum()
        .item()
        for allotment in (None, Allotment())
    ]
    assert varied[1] < 1.3 * varied[0]
