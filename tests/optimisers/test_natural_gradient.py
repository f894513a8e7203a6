"""The natural gradient against derivatives of states by torch.func, closed forms, and its own solvers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from torch import Tensor, nn

from qmm.errors import InputError
from qmm.fusion import QuantumFusion
from qmm.geometry.fisher import Kind, fubini_study
from qmm.optimisers import QuantumNaturalGradient
from qmm.optimisers.metric import pulled_back
from qmm.optimisers.natural_gradient import Solver
from qmm.optimisers.tape import Tape
from qmm.quantum import Circuit, QuantumLayer, expectations, states

MakeClosure = Callable[..., Any]


def flat_metric(state: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """(P, P): the mean over the batch, from the Jacobian of the states (B, 2**n), without anything of ours but these."""
    made, real = state(at), torch.func.jacrev(lambda p: torch.view_as_real(state(p)))(at)
    slopes = torch.complex(real[:, :, 0], real[:, :, 1])
    along = torch.einsum("bs,bsp->bp", made.conj(), slopes)
    each = torch.einsum("bsp,bsq->bpq", slopes.conj(), slopes) - along.conj()[:, :, None] * along[:, None]
    return each.real.mean(0)


@pytest.mark.parametrize("make", ["picked", "doubled", "softmax", "per sample"])
def test_the_metric_is_that_of_the_parameters(layer: QuantumLayer, inputs: Tensor, make: str) -> None:
    start = torch.randn(13, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    factors = torch.linspace(0.5, 1.5, len(inputs), dtype=torch.float64)[:, None]
    weights_of: dict[str, Callable[[Tensor], Tensor]] = {
        "picked": lambda p: p[[*range(12, 0, -1)]],
        "doubled": lambda p: 2 * p[:12],
        "softmax": lambda p: 3 * p.softmax(0)[:12] + p[12],
        "per sample": lambda p: factors * p[:12],
    }
    parameter = nn.Parameter(start.clone())
    tape = Tape([parameter])
    with tape.recording():
        expectations(layer.compiled, inputs, weights_of[make](parameter))
    found = pulled_back(tape.felt, 13).matrix
    expected = flat_metric(lambda p: states(layer.compiled, inputs, weights_of[make](p)), start)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-8)
    assert (tape.felt[0].picks is not None) == (make == "picked")


def test_a_step_in_closed_form(closure_of: MakeClosure) -> None:
    """RY(a), RZ(b) on one qubit: g is diag(1, sin(a)^2) / 4; the loss <X> = sin(a) cos(b)."""
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(1)
    circuit.ry(a, 0)
    circuit.rz(b, 0)
    one = QuantumLayer(Circuit.of(circuit, [], [a, b], ["X"]), init=torch.tensor([0.7, 0.4]), dtype=torch.complex128)
    optimizer = QuantumNaturalGradient(one.parameters(), lr=0.1, regularisation=0.02)
    loss = optimizer.step(closure_of(optimizer, lambda: one(torch.zeros(5, 0, dtype=torch.float64)).mean()))
    at = torch.tensor([0.7, 0.4], dtype=torch.float32).double()
    assert loss == pytest.approx(float(at[0].sin() * at[1].cos()), abs=1e-12)
    slope = torch.stack([at[0].cos() * at[1].cos(), -at[0].sin() * at[1].sin()])
    metric = torch.stack([torch.tensor(0.25), at[0].sin() ** 2 / 4])
    torch.testing.assert_close(one.weights.detach(), at - 0.1 * slope / (metric + 0.02), atol=1e-9, rtol=0)


@pytest.mark.parametrize("kind", ["full", "block", "diagonal"])
def test_each_kind_is_what_it_says(layer: QuantumLayer, inputs: Tensor, kind: Any, closure_of: MakeClosure) -> None:
    before = layer.weights.detach().clone()
    metric = fubini_study(layer.compiled, inputs, before, kind).mean(0)
    optimizer = QuantumNaturalGradient(layer.parameters(), lr=0.1, kind=kind, regularisation=0.05)
    optimizer.step(closure_of(optimizer, lambda: layer(inputs).mean()))
    dense = metric.diag() if kind == "diagonal" else metric
    assert layer.weights.grad is not None
    expected = before - 0.1 * torch.linalg.solve(dense + 0.05 * torch.eye(12, dtype=torch.float64), layer.weights.grad)
    torch.testing.assert_close(layer.weights.detach(), expected, atol=1e-10, rtol=0)


def test_conjugate_gradient_goes_where_cholesky_goes(layer: QuantumLayer, inputs: Tensor, closure_of: MakeClosure) -> None:
    ends, before = [], layer.weights.detach().clone()
    solvers: tuple[Solver, ...] = ("cholesky", "cg")
    for solver in solvers:
        layer.weights.data.copy_(before)
        optimizer = QuantumNaturalGradient(layer.parameters(), lr=0.1, solver=solver, tolerance=1e-10)
        optimizer.step(closure_of(optimizer, lambda: layer(inputs).mean()))
        ends.append(layer.weights.detach().clone())
    torch.testing.assert_close(ends[1], ends[0], atol=1e-8, rtol=0)
    assert not torch.equal(ends[0], before)


def test_rows_and_modalities_that_are_missing() -> None:
    """Samples with both modalities, and with one: the mean over the rows that feel a parameter is over all of them."""
    torch.manual_seed(0)
    fusion = QuantumFusion(2).double()
    fusion.build({"a": 2, "b": 2})
    fusion.double()
    angles = {m: torch.rand(6, 2, dtype=torch.float64) for m in "ab"}
    present = {"a": torch.ones(6, dtype=torch.bool), "b": torch.tensor([1, 1, 0, 1, 0, 0], dtype=torch.bool)}
    tape = Tape([fusion.weights])
    with tape.recording():
        fusion(angles, present)
    assert sorted(len(felt.inputs) for felt in tape.felt) == [3, 3]
    found = pulled_back(tape.felt, fusion.weights.numel()).matrix
    expected, counts = torch.zeros_like(found), torch.zeros(len(found), dtype=torch.float64)
    for felt in tape.felt:
        assert felt.picks is not None
        own = fubini_study(felt.circuit, felt.inputs, felt.weights).sum(0)
        for i, p in enumerate(felt.picks.tolist()):
            counts[p] += len(felt.inputs)
            for j, q in enumerate(felt.picks.tolist()):
                expected[p, q] += own[i, j]
    torch.testing.assert_close(found, expected / (counts[:, None] * counts).sqrt(), atol=1e-12, rtol=0)
    assert float(torch.linalg.eigvalsh(found).min()) > -1e-12
    fewer = pulled_back(tape.felt, fusion.weights.numel(), rows=2).matrix
    assert not torch.allclose(fewer, found)


def test_a_metric_is_kept_for_some_steps(layer: QuantumLayer, inputs: Tensor, closure_of: MakeClosure) -> None:
    optimizer = QuantumNaturalGradient(layer.parameters(), lr=0.1, every=2)
    closure = closure_of(optimizer, lambda: layer(inputs).mean())
    seen = []
    for _ in range(4):
        optimizer.step(closure)
        seen.append(optimizer.own_state["metric"].clone())
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3])
    assert not torch.equal(seen[1], seen[2])


def test_a_circuit_is_looked_at_once(layer: QuantumLayer, inputs: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    look = Tape._look

    def counted(self: Tape, *given: Any) -> None:
        looks.append(1)
        look(self, *given)

    monkeypatch.setattr(Tape, "_look", counted)
    tape = Tape([layer.weights])
    for _ in range(3):
        with tape.recording():
            layer(inputs)
            layer(inputs[:2])
        assert [len(felt.inputs) for felt in tape.felt] == [8, 2]
    assert len(looks) == 2


def test_what_cannot_be_done_is_said(layer: QuantumLayer, inputs: Tensor, closure_of: MakeClosure) -> None:
    with pytest.raises(InputError, match="was given no circuit weights"):
        QuantumNaturalGradient([])
    with pytest.raises(InputError, match="was given no circuit weights"):
        QuantumNaturalGradient([{"params": []}])
    with pytest.raises(InputError, match=r"step\(\) without a closure"):
        QuantumNaturalGradient(layer.parameters()).step()
    with pytest.raises(InputError, match="kind='whole'"):
        QuantumNaturalGradient(layer.parameters(), kind="whole")  # type: ignore[arg-type]
    kinds: tuple[Kind, ...] = ("full", "diagonal")
    for kind in kinds:  # the first RZ behind RY(0) changes nothing but a phase
        layer.weights.data.zero_()
        optimizer = QuantumNaturalGradient(layer.parameters(), kind=kind, regularisation=0)
        with pytest.raises(InputError, match="the metric is singular"):
            optimizer.step(closure_of(optimizer, lambda: layer(torch.zeros_like(inputs)).mean()))
    linear = nn.Linear(2, 1).double()
    optimizer = QuantumNaturalGradient([layer.weights, linear.weight])
    with pytest.raises(InputError, match=r"parameter 1, of shape \(1, 2\), has a gradient, but is no weight of a circuit"):
        optimizer.step(closure_of(optimizer, lambda: linear(layer(inputs)).mean()))
    with pytest.raises(InputError, match="solver='cg' with kind='block'"):
        QuantumNaturalGradient(layer.parameters(), solver="cg", kind="block")


def test_max_step_shortens(layer: QuantumLayer, inputs: Tensor, closure_of: MakeClosure) -> None:
    before = layer.weights.detach().clone()
    optimizer = QuantumNaturalGradient(layer.parameters(), lr=100.0, max_step=0.25)
    optimizer.step(closure_of(optimizer, lambda: layer(inputs).mean()))
    assert float((layer.weights.detach() - before).norm()) == pytest.approx(0.25)
