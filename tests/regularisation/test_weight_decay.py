"""Periodic decay: AdamW's for small angles, nothing at a whole turn, and periods that circuits really have."""

import math

import numpy as np
import pytest
import torch
from lightning import LightningModule
from qiskit.circuit import Parameter, QuantumCircuit
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from qmm.errors import InputError
from qmm.quantum import Circuit, QuantumLayer, expectations
from qmm.regularisation import PeriodicWeightDecay, decay, periods
from qmm.regularisation.weight_decay import pull

TURN = 2 * math.pi


def all_kinds() -> Circuit:
    x = Parameter("x")
    w = [Parameter(f"w{i}") for i in range(11)]
    made = QuantumCircuit(2)
    made.h([0, 1])
    made.rx(x, 0)
    made.ry(w[0], 0)
    made.rzz(w[1], 0, 1)
    made.crx(w[2], 0, 1)
    made.p(w[3], 1)
    made.cp(w[4], 0, 1)
    made.rx(2 * w[5] + 0.3, 0)  # returns twice as often
    made.ry(w[6], 0)
    made.cry(w[6], 1, 0)  # the second returns later
    made.rz(w[7] * x, 1)  # no period
    made.u(w[8], w[9], 0.2, 0)
    made.rx(w[10] / 3 + w[0], 1)
    return Circuit.of(made, [x], w, ["XX", "ZI", "IZ", "YX"])


def test_periods() -> None:
    circuit = all_kinds()
    by_weight = periods(circuit)
    found = [by_weight[w] / TURN for w in circuit.weights]
    assert found == pytest.approx([1, 1, 2, 1, 1, 0.5, 2, math.inf, 1, 1, 3])


def test_values_return_after_a_period_and_not_before() -> None:
    circuit = all_kinds()
    torch.manual_seed(0)
    inputs, weights = torch.rand(4, 1, dtype=torch.float64), torch.rand(11, dtype=torch.float64)
    before = expectations(circuit, inputs, weights)
    for place, period in enumerate(periods(circuit).values()):
        if math.isinf(period):
            continue
        turned = weights.clone()
        turned[place] += period
        torch.testing.assert_close(expectations(circuit, inputs, turned), before, atol=1e-10, rtol=0)
        turned[place] -= period / 2
        assert (expectations(circuit, inputs, turned) - before).abs().max() > 1e-3, circuit.weights[place]


def test_the_pull_is_the_slope_of_its_potential() -> None:
    weights = torch.linspace(-9, 9, 7, dtype=torch.float64, requires_grad=True)
    period = torch.tensor([TURN, 2 * TURN, TURN / 2, TURN, math.inf, 3 * TURN, 0.0], dtype=torch.float64)
    turning = [0, 1, 2, 3, 5]
    scale = period[turning] / TURN
    potential = (scale**2 * (1 - torch.cos(weights[turning] / scale))).sum() + weights[4] ** 2 / 2
    (slope,) = torch.autograd.grad(potential, weights)
    torch.testing.assert_close(pull(weights.detach(), period), slope)


class Small(LightningModule):
    """A circuit layer on two features, its outputs added up; no gradient where `still`."""

    def __init__(self, still: bool = False, decays: float = 0.0):
        super().__init__()
        a, b, c = w = [Parameter(name) for name in "abc"]
        x = Parameter("x")
        made = QuantumCircuit(2)
        made.rx(x, 0)
        made.ry(a, 0)
        made.crx(b, 0, 1)
        made.rx(c, 1)
        self.layer = QuantumLayer(Circuit.of(made, [x], w, ["ZI"]))
        self.linear = nn.Linear(1, 1)
        self.still, self.decays = still, decays

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        values = self.linear(self.layer(batch[0]))
        return (values * (0 if self.still else 1)).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.1, weight_decay=self.decays)


def loader() -> DataLoader:
    return DataLoader(TensorDataset(torch.rand(8, 1)), batch_size=4)


def start(model: Small, values: list[float]) -> None:
    with torch.no_grad():
        model.layer.weights.copy_(torch.tensor(values))


def test_small_angles_decay_as_adamw_has_them(make_trainer) -> None:
    """Within the cube of the angle."""
    torch.manual_seed(0)
    ours, adam = Small(still=True), Small(still=True, decays=0.5)
    for model in (ours, adam):
        start(model, [0.02, -0.03, 0.01])
    make_trainer(PeriodicWeightDecay(0.5), epochs=3).fit(ours, loader())
    make_trainer(epochs=3).fit(adam, loader())
    torch.testing.assert_close(ours.layer.weights, adam.layer.weights, atol=1e-5, rtol=0)
    assert float(ours.layer.weights[0].detach()) == pytest.approx(0.02 * (1 - 0.05) ** 6, abs=1e-5)


def test_angles_near_a_whole_turn_go_there_and_nothing_else_decays(make_trainer) -> None:
    model = Small(still=True)
    linear = model.linear.weight.detach().clone()
    start(model, [TURN + 0.5, TURN + 0.5, -2 * TURN - 0.5])  # the second one, controlled, returns after two turns alone
    callback = PeriodicWeightDecay(5.0)
    make_trainer(callback, epochs=10).fit(model, loader())
    np.testing.assert_allclose(model.layer.weights.detach().numpy(), [TURN, 2 * TURN, -2 * TURN], atol=0.02)
    torch.testing.assert_close(model.linear.weight.detach(), linear, atol=0, rtol=0)
    before = model.layer.weights.detach().clone()
    make_trainer(epochs=1).fit(model, loader())  # the hooks went with the trainer that had the callback
    torch.testing.assert_close(model.layer.weights.detach(), before, atol=0, rtol=0)


def test_each_optimizer_has_its_own_and_ends_when_told() -> None:
    model = Small()
    start(model, [1.0, 1.0, 1.0])
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.SGD(model.linear.parameters(), lr=1.0),
        torch.optim.SGD(model.layer.parameters(), lr=0.5),
    ]
    (handle,) = decay(model, optimizers, rate=0.2)
    for optimizer in optimizers:
        optimizer.step()
    expected = [1 - 0.1 * math.sin(1.0), 1 - 0.1 * 2 * math.sin(0.5), 1 - 0.1 * math.sin(1.0)]
    np.testing.assert_allclose(model.layer.weights.detach().numpy(), expected, rtol=1e-6)
    handle.remove()
    optimizers[1].step()
    np.testing.assert_allclose(model.layer.weights.detach().numpy(), expected, rtol=1e-6)


def test_mistakes_are_named(make_trainer) -> None:
    with pytest.raises(InputError, match="rate=-1"):
        PeriodicWeightDecay(-1)
    model = Small()
    model.layer.requires_grad_(False)
    with pytest.raises(InputError, match="no trained circuit weights"):
        make_trainer(PeriodicWeightDecay(), epochs=1).fit(model, loader())
