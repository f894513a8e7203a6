"""SPSA, QNSPSA, Rotosolve, NFT and outside optimisers, against their formulas, exhaustive sums, SciPy and Qiskit."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit_machine_learning import optimizers as qiskit_optimizers
from scipy import optimize
from torch import Tensor, nn

from qmm.errors import InputError
from qmm.geometry.fisher import fubini_study
from qmm.optimisers import NFT, QNSPSA, SPSA, External, QuantumNaturalGradient, Rotosolve
from qmm.optimisers.probing import current_probes, is_probing
from qmm.optimisers.tape import Tape
from qmm.quantum import Circuit, QuantumLayer

MakeClosure = Callable[..., Any]


def loss_of(layer: QuantumLayer, inputs: Tensor) -> Callable[[Any], float]:
    """The loss as a function of the weights, for an optimiser of somebody else."""

    @torch.no_grad()
    def loss(weights: Any) -> float:
        before = layer.weights.detach().clone()
        layer.weights.copy_(torch.as_tensor(weights))
        value = float(layer(inputs).mean())
        layer.weights.copy_(before)
        return value

    return loss


class TestSPSA:
    def test_a_step_is_the_formula(self, layer: QuantumLayer, inputs: Tensor, closure_of: MakeClosure) -> None:
        before, loss = layer.weights.detach().clone(), loss_of(layer, inputs)
        optimizer = SPSA(layer.parameters(), lr=0.3, perturbation=0.2, resamplings=2, alpha=0.5, stability=3.0, seed=4)
        signs = optimizer.signs(2)
        assert set(signs.unique().tolist()) == {-1.0, 1.0}
        slopes = [(loss(before + 0.2 * s) - loss(before - 0.2 * s)) / 0.4 * s for s in signs]
        value = optimizer.step(closure_of(optimizer, lambda: layer(inputs).mean()))
        expected = before - 0.3 / 4**0.5 * (slopes[0] + slopes[1]) / 2
        torch.testing.assert_close(layer.weights.detach(), expected, atol=1e-10, rtol=0)
        around = [loss(before + turn * s) for s in signs for turn in (0.2, -0.2)]
        assert value == pytest.approx(np.mean(around), abs=1e-10)
        assert not torch.equal(optimizer.signs(2), signs)  # another step, other directions

    def test_both_values_draw_the_same_random_numbers_and_nobody_pays_for_gradients(self, layer: QuantumLayer) -> None:
        drawn, wanted, probing = [], [], []
        optimizer = SPSA(layer.parameters())

        def closure() -> Tensor:
            drawn.append(float(torch.rand(())))
            wanted.append(layer.weights.requires_grad)
            probing.append(is_probing())
            loss = layer(torch.rand(4, 3, dtype=torch.float64)).mean()
            loss.backward()
            return loss

        optimizer.step(closure)
        optimizer.step(closure)
        assert drawn[0] == drawn[1] != drawn[2] == drawn[3]
        assert wanted == [False] * 4
        assert probing == [True] * 4
        assert layer.weights.requires_grad
        assert layer.weights.grad is None
        assert current_probes() is None

    def test_an_error_leaves_everything_as_it_was(self, layer: QuantumLayer) -> None:
        before, optimizer = layer.weights.detach().clone(), SPSA(layer.parameters())

        def closure() -> Tensor:
            raise RuntimeError("no")

        with pytest.raises(RuntimeError, match="no"):
            optimizer.step(closure)
        assert torch.equal(layer.weights.detach(), before)
        assert layer.weights.requires_grad
        with pytest.raises(InputError, match="the closure returned None"):
            optimizer.step(lambda: None)


class TestQNSPSA:
    def test_its_estimates_have_the_metric_as_their_mean(self, inputs: Tensor) -> None:
        a, b, c, x = (Parameter(name) for name in "abcx")
        circuit = QuantumCircuit(2)
        circuit.ry(x, 0)
        circuit.ry(a, 0)
        circuit.cx(0, 1)
        circuit.rx(b, 1)
        circuit.rzz(c, 0, 1)
        layer = QuantumLayer(Circuit.of(circuit, [x], [a, b, c], ["ZI"]), dtype=torch.complex128)
        tape = Tape([layer.weights])
        with tape.recording():
            layer(inputs[:, :1])
        optimizer = QNSPSA(layer.parameters())
        every = [torch.tensor(signs, dtype=torch.float64) for signs in itertools.product((-1, 1), repeat=3)]
        found = torch.stack([optimizer.sample(tape.felt, h, k, 0.01) for h in every for k in every]).mean(0)
        expected = fubini_study(layer.compiled, inputs[:, :1], layer.weights).mean(0)
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)  # the differences' own error, of the square of 0.01

    def test_it_goes_along_spsa_with_the_metric_that_it_keeps(
        self, layer: QuantumLayer, inputs: Tensor, closure_of: MakeClosure
    ) -> None:
        before, plain = layer.weights.detach().clone(), SPSA(layer.parameters(), lr=0.1, seed=3)
        plain.step(closure_of(plain, lambda: layer(inputs).mean()))
        slope = (before - layer.weights.detach()) / 0.1
        layer.weights.data.copy_(before)
        optimizer = QNSPSA(layer.parameters(), lr=0.1, regularisation=0.05, seed=3)
        loss = optimizer.step(closure_of(optimizer, lambda: layer(inputs).mean()))
        assert loss == pytest.approx(loss_of(layer, inputs)(before), abs=1e-10)
        values, vectors = torch.linalg.eigh(optimizer.own_state["metric"])
        metric = vectors @ (values.abs() + 0.05).diag() @ vectors.T
        expected = before - 0.1 * torch.linalg.solve(metric, slope)
        torch.testing.assert_close(layer.weights.detach(), expected, atol=1e-9, rtol=0)

    def test_weights_made_of_parameters_are_refused(self, layer: QuantumLayer, inputs: Tensor) -> None:
        from qmm.quantum import expectations

        parameter = nn.Parameter(torch.randn(12, dtype=torch.float64))
        with pytest.raises(InputError, match="otherwise than by picking elements"):
            QNSPSA([parameter]).step(lambda: expectations(layer.compiled, inputs, parameter.sin()).mean())


class TestRotosolve:
    def test_each_weight_goes_to_its_minimum(self, layer: QuantumLayer, inputs: Tensor, closure_of: MakeClosure) -> None:
        loss, optimizer = loss_of(layer, inputs), Rotosolve(layer.parameters(), weights=1)
        closure = closure_of(optimizer, lambda: layer(inputs).mean())
        for turn in range(5):
            before = layer.weights.detach().clone()
            optimizer.step(closure)
            after = layer.weights.detach().clone()
            assert torch.equal((before != after).nonzero().flatten(), torch.tensor([turn]))
            angles = np.linspace(-np.pi, np.pi, 400)
            scanned = [loss([*before[:turn], before[turn] + t, *before[turn + 1 :]]) for t in angles]
            assert loss(after) <= min(scanned) + 1e-12
            assert loss(after) == pytest.approx(min(scanned), abs=1e-4)  # the grid's own coarseness

    def test_nft_is_that_of_qiskit(self, layer: QuantumLayer, inputs: Tensor, closure_of: MakeClosure) -> None:
        felt = [i for i in range(12) if i != 11]  # the last RZ is felt by X alone, on another qubit
        start = layer.weights.detach().clone()
        theirs = qiskit_optimizers.NFT(maxiter=len(felt), reset_interval=32)
        reference = theirs.minimize(loss_of(layer, inputs), start.numpy().copy())
        optimizer = NFT(layer.parameters(), weights=len(felt))
        optimizer.step(closure_of(optimizer, lambda: layer(inputs).mean()))
        found = layer.weights.detach().numpy()
        free = np.isclose(found, start.numpy(), atol=1e-12)  # along these the loss is constant, and Qiskit's go anywhere
        np.testing.assert_allclose(np.cos(found - reference.x)[~free], 1, atol=1e-10)
        assert loss_of(layer, inputs)(found) == pytest.approx(reference.fun, abs=1e-10)
        assert not free.all()

    def test_an_angle_of_two_weights_turns_twice_as_fast(self) -> None:
        a, b = Parameter("a"), Parameter("b")
        circuit = QuantumCircuit(1)
        circuit.ry(2 * a + b, 0)
        layer = QuantumLayer(Circuit.of(circuit, [], [a, b], ["Z"]), init=torch.tensor([0.3, 0.2]), dtype=torch.complex128)
        optimizer = Rotosolve(layer.parameters(), weights=1)
        loss = optimizer.step(lambda: layer(torch.zeros(1, 0, dtype=torch.float64)).mean())
        assert loss == pytest.approx(np.cos(0.8), abs=1e-7)
        assert layer.weights[0].item() == pytest.approx((np.pi - 0.2) / 2, abs=1e-7)

    def test_lr_is_a_share_of_the_way(self, layer: QuantumLayer, inputs: Tensor) -> None:
        before, ends = layer.weights.detach().clone(), []
        for rate in (1.0, 0.25):
            layer.weights.data.copy_(before)
            Rotosolve(layer.parameters(), lr=rate, weights=1).step(lambda: layer(inputs).mean())
            ends.append(float(layer.weights.detach()[0] - before[0]))
        assert ends[1] == pytest.approx(ends[0] / 4, abs=1e-12)

    @pytest.mark.parametrize("case", ["shared", "controlled", "made", "squared"])
    def test_what_is_no_sinusoid_is_refused(self, case: str) -> None:
        a = Parameter("a")
        circuit = QuantumCircuit(2)
        circuit.h(0)
        if case == "shared":
            circuit.ry(a, 0)
            circuit.ry(a, 1)
        elif case == "controlled":
            circuit.cry(a, 0, 1)
        else:
            circuit.ry(a * a if case == "squared" else a, 0)
        layer = QuantumLayer(Circuit.of(circuit, [], [a], ["ZZ"]))
        if case == "made":
            from qmm.quantum import expectations

            run = lambda: expectations(layer.compiled, torch.zeros(1, 0), layer.weights.sin()).mean()  # noqa: E731
        else:
            run = lambda: layer(torch.zeros(1, 0)).mean()  # noqa: E731
        named = {"shared": "weight 'a', which turns 2 gates", "controlled": "weight 'a', which turns 2 gates"}
        said = named.get(case, "no linear function" if case == "squared" else "not each an element")
        with pytest.raises(InputError, match=f"Rotosolve cannot treat .*{said}"):
            Rotosolve(layer.parameters()).step(run)


class TestExternal:
    def test_cobyla_is_that_of_scipy(self, layer: QuantumLayer, inputs: Tensor, closure_of: MakeClosure) -> None:
        start, options = layer.weights.detach().clone().numpy(), {"maxiter": 30, "rhobeg": 0.3}
        minimize: Any = optimize.minimize
        reference = minimize(loss_of(layer, inputs), start, method="COBYLA", options=options)
        optimizer = External(layer.parameters(), "COBYLA", options=options, evaluations=100)
        optimizer.step(closure_of(optimizer, lambda: layer(inputs).mean()))
        np.testing.assert_allclose(layer.weights.detach().numpy(), reference.x, atol=1e-12)

    def test_with_gradients_and_a_limit(self, layer: QuantumLayer, inputs: Tensor, closure_of: MakeClosure) -> None:
        calls = []
        optimizer = External(layer.parameters(), "L-BFGS-B", evaluations=9)

        def loss() -> Tensor:
            calls.append(1)
            return layer(inputs).mean()

        first = optimizer.step(closure_of(optimizer, loss))
        assert len(calls) == 9
        assert loss_of(layer, inputs)(layer.weights.detach()) < first

    def test_nft_of_qiskit_is_ours(self, layer: QuantumLayer, inputs: Tensor, closure_of: MakeClosure) -> None:
        before, ends = layer.weights.detach().clone(), []
        for optimizer in (
            External(layer.parameters(), "NFT", "qiskit", {"maxiter": 5}, evaluations=50),
            NFT(layer.parameters(), weights=5),
        ):
            layer.weights.data.copy_(before)
            optimizer.step(closure_of(optimizer, lambda: layer(inputs).mean()))
            ends.append(loss_of(layer, inputs)(layer.weights.detach()))
        assert ends[0] == pytest.approx(ends[1], abs=1e-10)

    def test_unknown_methods_are_named(self, layer: QuantumLayer) -> None:
        with pytest.raises(InputError, match=r"scipy has no method 'COBILA' \(did you mean|scipy has no method 'COBILA'"):
            External(layer.parameters(), "COBILA")
        with pytest.raises(InputError, match="qiskit has no method 'BFGS'"):
            External(layer.parameters(), "BFGS", "qiskit")


EVERY: dict[str, Callable[[Any], Any]] = {
    "natural": lambda p: QuantumNaturalGradient(p, lr=0.1, every=2),
    "spsa": lambda p: SPSA(p, lr=0.3),
    "qnspsa": lambda p: QNSPSA(p, lr=0.1),
    "rotosolve": lambda p: Rotosolve(p, weights=5),
    "nft": lambda p: NFT(p, weights=7, lr=0.5),
    "cobyla": lambda p: External(p, "COBYLA", evaluations=8),
    "qiskit": lambda p: External(p, "SPSA", "qiskit", {"maxiter": 2, "learning_rate": 0.1, "perturbation": 0.1}, evaluations=8),
}


@pytest.mark.parametrize("name", EVERY)
def test_resumed_steps_are_those_of_an_unbroken_run(name: str, inputs: Tensor, closure_of: MakeClosure, tmp_path: Any) -> None:
    from .conftest import rotations

    def run(layer: QuantumLayer, optimizer: Any, steps: int) -> list[float]:
        closure = closure_of(optimizer, lambda: layer(inputs.float()).mean())
        return [optimizer.step(closure) for _ in range(steps)]

    torch.manual_seed(0)
    layer = QuantumLayer(rotations())
    start = layer.weights.detach().clone()
    whole = run(layer, EVERY[name](layer.parameters()), 6)
    end = layer.weights.detach().clone()
    layer.weights.data.copy_(start)
    optimizer = EVERY[name](layer.parameters())
    first = run(layer, optimizer, 3)
    torch.save(optimizer.state_dict(), tmp_path / "state")
    other = QuantumLayer(rotations(), init=layer.weights.detach())
    resumed = EVERY[name](other.parameters())
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert first + run(other, resumed, 3) == whole
    assert torch.equal(other.weights.detach(), end)
    assert whole[-1] < whole[0]


def test_several_processes_are_refused(layer: QuantumLayer, inputs: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(InputError, match="without gradients in 2 processes"):
        SPSA(layer.parameters()).step(lambda: layer(inputs).mean())
