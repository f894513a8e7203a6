"""Trainings start as they are told to: any LightningModule, resumed, with shared and frozen weights; layers join in turn."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule
from lightning.pytorch.callbacks import LambdaCallback
from qiskit.circuit import Parameter, QuantumCircuit
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from qmm.encoders import QuantumAutoencoder
from qmm.errors import InputError
from qmm.initialisers import AdaInit, Beta, ModelLandscape, SmallAngle, Uniform, WarmStart
from qmm.initialisers.warm_start import unexplained
from qmm.quantum import Adjoint, Circuit, QuantumLayer
from qmm.training import Initialisation, LayerwiseGrowth


def layered(n_layers: int = 3) -> Circuit:
    x, weights = Parameter("x"), [Parameter(f"{layer}.{name}") for layer in range(n_layers) for name in ("ry0", "ry1")]
    circuit = QuantumCircuit(2)
    circuit.ry(x, 0)
    circuit.rx(x, 1)
    for first, second in zip(weights[::2], weights[1::2], strict=True):
        circuit.cx(0, 1)
        circuit.ry(first, 0)
        circuit.ry(second, 1)
    return Circuit.of(circuit, [x], weights, ["IZ", "ZI"])


class Waves(LightningModule):
    """Someone's own module: a layer of theirs, a circuit, dropout; learns cos 2x."""

    def __init__(self, layers: int = 3, optimiser: Any = torch.optim.Adam):
        super().__init__()
        torch.manual_seed(1)
        self.scale, self.layer = nn.Linear(1, 1), QuantumLayer(layered(layers))
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 1))
        self.optimiser = optimiser
        self.seen: list[Tensor] = []
        self.losses: list[float] = []

    def training_step(self, batch: Any) -> Tensor:
        (x, y), dropout = batch, self.head[0].training
        loss = nn.functional.mse_loss(self.head(self.layer(self.scale(x))), y)
        self.log("loss", loss)
        if dropout:
            self.seen.append(x)
            self.losses.append(float(loss.detach()))
        return loss

    def test_step(self, batch: Any) -> None:
        x, y = batch
        self.log("test/loss", nn.functional.mse_loss(self.head(self.layer(self.scale(x))), y))

    def configure_optimizers(self) -> Any:
        return self.optimiser(self.parameters(), lr=0.05)


def loader(batch_size: int = 12, shuffle: bool = True) -> DataLoader[Any]:
    x = torch.linspace(-math.pi, math.pi, 48)[:, None]
    return DataLoader(TensorDataset(x, (2 * x).cos()), batch_size, shuffle)


def fit(make_trainer: Any, *callbacks: Any, module: Waves | None = None, batch_size: int = 12, **options: Any) -> Waves:
    module = module or Waves()
    torch.manual_seed(7)
    make_trainer(*callbacks, **options).fit(module, loader(batch_size))
    return module


def test_any_module_starts_with_what_is_drawn(make_trainer, capsys) -> None:
    callback = Initialisation(SmallAngle(), seed=3)
    module = fit(make_trainer, callback, module=Waves(optimiser=_still))
    expected = SmallAngle().draw(layered(), torch.Generator().manual_seed(3))[0]
    torch.testing.assert_close(module.layer.weights.detach().double(), expected, atol=1e-6, rtol=0)
    assert callback.start is not None
    assert callback.start.circuits == ["layer"]
    assert (callback.start.initialiser, callback.start.weights) == ("SmallAngle", 6)
    assert callback.start.spread == pytest.approx(float(expected.std(correction=0)), abs=1e-6)
    assert "SmallAngle started 6 weights of layer" in capsys.readouterr().out
    other = fit(make_trainer, Initialisation(SmallAngle(), seed=4), module=Waves(optimiser=_still))
    assert not torch.allclose(other.layer.weights, module.layer.weights)


def _still(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.0)


def test_the_training_sees_the_same_batches_and_dropout_as_without(make_trainer) -> None:
    """With the model's own weights, all losses are those of a training without the callback."""
    plain, started = fit(make_trainer, epochs=2), fit(make_trainer, Initialisation(), epochs=2)
    assert started.losses == plain.losses
    assert all(torch.equal(a, b) for a, b in zip(plain.seen, started.seen, strict=True))


def test_the_gradient_variance_is_that_of_the_loss(make_trainer) -> None:
    """Of one batch, that of all samples: by central differences, without dropout."""
    callback, module = Initialisation(), Waves(optimiser=_still)
    fit(make_trainer, callback, module=module, batch_size=48)
    ((x, y),) = loader(48)
    module.double().eval()
    slopes = []
    for place in range(6):
        values = []
        for step in (1e-4, -2e-4):
            with torch.no_grad():
                module.layer.weights[place] += step
                values.append(float(nn.functional.mse_loss(module.head(module.layer(module.scale(x.double()))), y.double())))
        with torch.no_grad():
            module.layer.weights[place] += 1e-4
        slopes.append((values[0] - values[1]) / 2e-4)
    assert callback.start is not None
    assert callback.start.variance == pytest.approx(torch.tensor(slopes).var().item(), rel=1e-3)


def test_a_continued_training_keeps_its_weights(make_trainer, tmp_path: Path) -> None:
    module = fit(make_trainer, Initialisation(Uniform(), seed=0))
    trainer = make_trainer(callback := Initialisation(Uniform(), seed=0), epochs=1)
    trainer.fit(module, loader())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    saved = module.layer.weights.detach().clone()
    again, began = Waves(), []
    continued = Initialisation(Uniform(), seed=5)
    look = LambdaCallback(on_train_start=lambda trainer, module: began.append(module.layer.weights.detach().clone()))
    make_trainer(continued, look, epochs=2).fit(again, loader(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert torch.equal(began[0], saved)
    assert not torch.equal(began[0], Waves().layer.weights)
    assert continued.start == callback.start  # what the run was started with, for its report


def test_what_the_run_was_started_with_stands_among_the_metrics(make_trainer) -> None:
    callback, module = Initialisation(Beta(fit=True)), Waves()
    trainer = make_trainer(callback)
    trainer.fit(module, loader())
    (metrics,) = trainer.test(module, loader(shuffle=False), verbose=False)
    assert callback.start is not None
    assert metrics["test/start_gradient_variance"] == pytest.approx(callback.start.variance)


def test_without_batches_no_gradient_is_computed(make_trainer) -> None:
    calls: list[int] = []
    module = Waves(optimiser=_still)
    module.layer.gradient = _Counting(calls)
    callback = Initialisation(Uniform(), batches=0)
    fit(make_trainer, callback, module=module)
    assert callback.start is not None
    assert (callback.start.variance, len(calls)) == (None, 4)  # the training's own steps
    with pytest.raises(InputError, match="looks at one batch at least"):
        Initialisation(AdaInit(), batches=0)


class _Counting(Adjoint):
    def __init__(self, calls: list[int]):
        self.calls = calls

    def values(self, backend: Any, circuit: Any, inputs: Tensor, weights: Tensor) -> Tensor:
        self.calls.append(len(inputs))
        return super().values(backend, circuit, inputs, weights)


def test_ada_init_raises_the_variance_of_real_batches(make_trainer) -> None:
    variances: dict[str, float] = {}
    for name, initialiser in {"drawn": SmallAngle(), "searched": AdaInit(initialiser=SmallAngle(), rounds=8)}.items():
        callback = Initialisation(initialiser, seed=0, batches=2)
        fit(make_trainer, callback, module=Waves(optimiser=_still))
        assert callback.start is not None
        variances[name] = callback.start.figures()["gradient_variance"]
    assert variances["searched"] > 2 * variances["drawn"]


def test_a_warm_start_learns_from_a_classical_counterpart(make_trainer) -> None:
    module = Waves(optimiser=_still)
    start = WarmStart(steps=60, distilling=120, hidden=16, batches=4)
    callback = Initialisation(start, seed=0)
    before = float(torch.stack([_loss(module, batch) for batch in loader()]).mean())
    fit(make_trainer, callback, module=module)
    after = float(torch.stack([_loss(module, batch) for batch in loader()]).mean())
    assert callback.start is not None
    assert "counterparts trained for 60 steps" in callback.start.told
    assert after < before
    kept = Waves(optimiser=_still)
    fit(make_trainer, Initialisation(WarmStart(steps=20, distilling=20, keep=False, batches=2)), module=kept)
    assert torch.equal(kept.scale.weight, Waves().scale.weight)
    assert not torch.equal(kept.layer.weights, Waves().layer.weights)
    with pytest.raises(InputError, match="needs a model and its data"):
        start.draw(layered(), torch.Generator())


def _loss(module: Waves, batch: Any) -> Tensor:
    x, y = batch
    module.head.eval()
    with torch.no_grad():
        return nn.functional.mse_loss(module.head(module.layer(module.scale(x))), y)


def test_unexplained_is_what_a_regression_leaves() -> None:
    """Against numpy's least squares with an intercept."""
    generator = torch.Generator().manual_seed(0)
    found, noise = (torch.randn(200, n, generator=generator, dtype=torch.float64) for n in (3, 2))
    wanted = found @ torch.randn(3, 2, generator=generator, dtype=torch.float64) + 0.5 * noise + 4
    design = torch.cat([found, torch.ones(200, 1, dtype=torch.float64)], dim=1)
    left = wanted - design @ torch.linalg.lstsq(design, wanted).solution
    expected = left.square().sum() / (wanted - wanted.mean(0)).square().sum()
    assert float(unexplained(found, wanted)) == pytest.approx(float(expected), rel=1e-4)


class Shared(nn.Module):
    """Two layers with one and the same weights, and one that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (QuantumLayer(layered(n)) for n in (3, 3, 2))
        self.second.weights = self.first.weights
        self.third.requires_grad_(False)


def test_shared_weights_are_one_and_frozen_ones_stay() -> None:
    module = Shared()
    inputs = torch.zeros(2, 1)
    landscape = ModelLandscape(module, [inputs], lambda x: module.first(x).sum() + 2 * module.second(x).sum())
    assert landscape.size == 6
    assert list(landscape.circuits) == ["first", "second"]
    assert landscape.left == ["third"]
    landscape.set(torch.arange(6.0))
    assert module.second.weights.tolist() == list(range(6))
    slopes = landscape.gradients(torch.ones(1, 6, dtype=torch.float64))
    with torch.no_grad():
        module.first.weights.fill_(1.0)
    expected = torch.autograd.grad(3 * module.first(inputs).sum(), module.first.weights)[0]
    torch.testing.assert_close(slopes[0, 0], expected.double(), atol=1e-5, rtol=0)


def test_what_a_compressor_fits_to_data_stays_as_fitted() -> None:
    compressor = QuantumAutoencoder(2, steps=2, finetune=True)
    compressor.build(4)
    compressor.fit([torch.rand(20, 4, generator=torch.Generator().manual_seed(0))])
    layer = QuantumLayer(layered())
    landscape = ModelLandscape(nn.ModuleDict({"compressor": compressor, "layer": layer}), [], lambda _: torch.zeros(()))
    assert list(landscape.circuits) == ["layer"]
    assert [name.split(".")[0] for name in landscape.left] == ["compressor"]
    assert landscape.size == len(layer.weights)


def test_a_module_without_circuits_is_refused(make_trainer) -> None:
    for callback in (Initialisation(SmallAngle()), LayerwiseGrowth()):
        module = Waves()
        module.layer.requires_grad_(False)
        with pytest.raises(InputError, match="no circuit weights"):
            fit(make_trainer, callback, module=module)


class Weights:
    """The circuit's weights at the end of every epoch."""

    def __init__(self) -> None:
        self.found: list[Tensor] = []

    def callback(self) -> Any:
        return LambdaCallback(
            on_train_epoch_end=lambda trainer, module: self.found.append(module.layer.weights.detach().clone())
        )


@pytest.mark.parametrize("optimiser", [torch.optim.Adam, torch.optim.AdamW, _still])
def test_layers_join_one_after_the_other(make_trainer, optimiser) -> None:
    weights = Weights()
    growth = LayerwiseGrowth(epochs=2, first=1)
    fit(make_trainer, growth, weights.callback(), module=Waves(optimiser=optimiser), epochs=7, gradient_clip_val=0.1)
    assert growth.layers == 3
    for epoch, found in enumerate(weights.found):
        joined = 2 * min(3, 1 + epoch // 2)
        assert (found[joined:] == 0).all()
        if optimiser is not _still:
            assert (found[:joined] != 0).all()


def test_a_window_lets_older_layers_rest_until_all_have_joined(make_trainer) -> None:
    weights = Weights()
    fit(make_trainer, LayerwiseGrowth(epochs=1, window=1), weights.callback(), module=Waves(), epochs=5)
    changed = [(after != before).tolist() for before, after in zip(weights.found, weights.found[1:], strict=False)]
    assert changed == [
        [False] * 2 + [True] * 2 + [False] * 2,
        [False] * 4 + [True] * 2,
        [True] * 6,
        [True] * 6,
    ]


def test_growth_goes_on_where_a_training_was_ended(make_trainer, tmp_path: Path) -> None:
    whole = fit(make_trainer, LayerwiseGrowth(epochs=1), epochs=4)
    module = Waves()
    torch.manual_seed(7)
    trainer = make_trainer(LayerwiseGrowth(epochs=1), epochs=2)
    trainer.fit(module, loader())
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    again = Waves()
    make_trainer(LayerwiseGrowth(epochs=1), epochs=4).fit(again, loader(), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert whole.layer.weights.shape == again.layer.weights.shape
    assert (again.layer.weights[4:] != 0).all()  # the third layer joined in the third epoch, after the resumption
    assert (module.layer.weights[4:] == 0).all()


def test_too_few_layers_are_refused(make_trainer) -> None:
    with pytest.raises(InputError, match="have 1 layers, and 1 begin"):
        fit(make_trainer, LayerwiseGrowth(), module=Waves(layers=1))
    with pytest.raises(InputError, match="each is at least 1"):
        LayerwiseGrowth(epochs=0)


def test_on_the_command_line(qmm, tiny, repository: Path, tmp_path: Path) -> None:
    overlays = [repository / "configs" / "initialisers" / name for name in ("beta.yaml", "layerwise.yaml")]
    flags = [flag for overlay in overlays for flag in ("--config", overlay)]
    done = qmm("fit", *tiny, *flags, "--runs", tmp_path, "--pictures", "false", "--name", "started")
    assert "Beta started" in done.stdout  # callbacks of one overlay stand beside those of another
    assert "circuit_weights_trained" in (tmp_path / "started" / "csv" / "version_0" / "metrics.csv").read_text()
    metrics = json.loads((tmp_path / "started" / "test" / "metrics.json").read_text())["metrics"]
    assert metrics["start_gradient_variance"] > 0
