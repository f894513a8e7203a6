"""Several optimisers in one model: under Lightning, with schedules, clipping and checkpoints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from qmm import Branch, MultimodalModel, load
from qmm.circuit_weights import circuit_parameters
from qmm.data import VectorsDataModule
from qmm.decoders import ClassDecoder
from qmm.encoders import LinearCompressor, VectorEncoder
from qmm.errors import InputError
from qmm.fusion import ConcatFusion, QuantumFusion
from qmm.optimisers import (
    NFT,
    QNSPSA,
    SPSA,
    CountEvaluations,
    OptimizerPlan,
    QuantumNaturalGradient,
    Rotosolve,
    Together,
    Torch,
    tallying,
)
from qmm.quantum import ExactBackend, QuantumLayer
from qmm.quantum.gradients import ParameterShift
from qmm.tasks import MultimodalClassification

from .conftest import rotations

MakeTrainer = Callable[..., Trainer]
CLASSES = ["low", "high"]


@pytest.fixture
def data(tmp_path: Path) -> VectorsDataModule:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(96, 4)), rng.normal(size=(96, 3))
    split = np.array(["train"] * 64 + ["val"] * 32)
    np.savez(tmp_path / "v.npz", audio=x, text=y, label=(x[:, 0] + y[:, 0] > 0).astype(int), split=split)
    return VectorsDataModule(str(tmp_path / "v.npz"), {"audio": "audio", "text": "text"}, classes=CLASSES, batch_size=16)


def task(circuit_optimizer: OptimizerPlan | None, fusion: Any = None, **settings: Any) -> MultimodalClassification:
    torch.manual_seed(0)
    branches = {m: Branch(VectorEncoder(d), LinearCompressor(2)) for m, d in (("audio", 4), ("text", 3))}
    model = MultimodalModel(fusion or QuantumFusion(1), ClassDecoder(CLASSES), **branches)
    return MultimodalClassification(model, learning_rate=0.05, circuit_optimizer=circuit_optimizer, **settings)


def test_groups_find_themselves_and_follow_the_schedule(data: VectorsDataModule, make_trainer: MakeTrainer) -> None:
    ours = task(QuantumNaturalGradient(lr=0.3), weight_decay=0.1)
    make_trainer(epochs=2, gradient_clip_val=0.5).fit(ours, datamodule=data)
    optimizer: Any = ours.optimizers()
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert [id(p) for p in groups["circuits"]["params"]] == [id(p) for p in circuit_parameters(ours).values()]
    everything = [id(p) for group in groups.values() for p in group["params"]]
    assert sorted(everything) == sorted(id(p) for p in ours.parameters() if p.requires_grad)
    rates = [groups[name]["lr"] / groups[name]["initial_lr"] for name in groups]
    assert groups["circuits"]["initial_lr"] == 0.3
    assert max(rates) == pytest.approx(min(rates))
    assert rates[0] < 0.5
    natural: Any = optimizer.optimizer.parts[1]
    assert natural.param_groups[0] is groups["circuits"]
    assert natural.steps == 8


PLANS: dict[str, Callable[[], OptimizerPlan]] = {
    "adam": lambda: Torch("Adam", 0.1),
    "natural": lambda: QuantumNaturalGradient(lr=0.1, kind="block", every=2),
    "spsa": lambda: SPSA(lr=0.2, alpha=0.0),
    "qnspsa": lambda: QNSPSA(lr=0.05, rows=8),
    "rotosolve": lambda: Rotosolve(lr=0.5, weights=2),
    "nft": lambda: NFT(lr=0.5, weights=3),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_training_that_is_continued_is_that_of_an_unbroken_one(
    name: str, data: VectorsDataModule, make_trainer: MakeTrainer, stop_after: Any, tmp_path: Path
) -> None:
    whole, first, second = (task(PLANS[name](), mixup=0.5) for _ in range(3))
    from qmm.training import RepeatableSteps

    count, resumed = CountEvaluations(), CountEvaluations()
    run = make_trainer(RepeatableSteps(), count, epochs=2)
    run.fit(whole, datamodule=data)
    broken = make_trainer(RepeatableSteps(), CountEvaluations(), stop_after(1), epochs=2)
    broken.fit(first, datamodule=data)
    broken.save_checkpoint(tmp_path / "half.ckpt")
    make_trainer(RepeatableSteps(), resumed, epochs=2).fit(
        second, datamodule=data, ckpt_path=str(tmp_path / "half.ckpt"), weights_only=True
    )
    for (key, ours), theirs in zip(whole.state_dict().items(), second.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=0, rtol=0, msg=key)
    assert count.state_dict() == resumed.state_dict()
    assert run.callback_metrics["quantum/steps"] == 8
    assert run.callback_metrics["quantum/evaluations"] == count.tally.total > 0
    described: Any = load(tmp_path / "half.ckpt")
    assert type(described.circuit_optimizer) is type(PLANS[name]())
    assert described.circuit_optimizer.lr == PLANS[name]().lr  # type: ignore[attr-defined]


def test_encoders_run_once_in_a_step_and_what_is_logged_is_the_steps_own(
    data: VectorsDataModule, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, runs, logged = task(SPSA(lr=0.0)), list[bool](), list[str]()
    encode = type(ours.model.branches["audio"].encoder).forward

    def counted(self: Any, *given: Any) -> Any:
        runs.append(torch.is_grad_enabled())
        return encode(self, *given)

    monkeypatch.setattr(type(ours.model.branches["audio"].encoder), "forward", counted)
    monkeypatch.setattr(MultimodalClassification, "log", lambda self, name, *given, **more: logged.append(name))
    before = {name: p.clone() for name, p in ours.named_parameters()}
    with tallying() as tally:
        make_trainer(max_steps=1, limit_train_batches=1, limit_val_batches=0).fit(ours, datamodule=data)
    assert runs == [True, True]  # both modalities, once
    assert logged.count("train/loss") == 1
    moved = {name for name, p in ours.named_parameters() if not torch.equal(p, before[name])}
    assert any("encoder" in name or "compressor" in name for name in moved)  # AdamW's part got its gradients
    assert "model.fusion.weights" not in moved
    assert tally.values == 3 * 16
    assert tally.gradients > 0  # of the inputs, which encoders need, and of no weight


def test_a_model_without_circuits_is_refused(data: VectorsDataModule, make_trainer: MakeTrainer) -> None:
    with pytest.raises(InputError, match="SPSA was given no circuit weights"):
        make_trainer().fit(task(SPSA(), ConcatFusion(4, 4)), datamodule=data)


class Own(LightningModule):
    """Somebody else's module, with its own optimisers."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.layer, self.after = nn.Linear(5, 3), QuantumLayer(rotations(layers=1)), nn.Linear(2, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return nn.functional.mse_loss(self.after(self.layer(self.before(x))), y)

    def configure_optimizers(self) -> Any:
        circuits = circuit_parameters(self)
        rest = [p for name, p in self.named_parameters() if name not in circuits]
        return Together([torch.optim.Adam(rest, lr=0.02), QNSPSA(circuits.values(), lr=0.02)])


def test_in_a_module_of_ones_own(make_trainer: MakeTrainer) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 5, generator=generator)
    y = x[:, :1].sin()
    torch.manual_seed(0)
    own = Own()
    start = {name: p.clone() for name, p in own.named_parameters()}

    def loss() -> float:
        with torch.no_grad():
            return float(own.training_step((x, y), 0))

    before = loss()
    make_trainer(epochs=10, gradient_clip_val=1.0).fit(own, DataLoader(TensorDataset(x, y), 16))
    assert loss() < 0.7 * before
    assert all(not torch.equal(p, start[name]) for name, p in own.named_parameters())


class Counting(ExactBackend):
    """Counts the rows that a machine would run."""

    rows = 0

    def submit(self, circuit: Any, inputs: Tensor, weights: Tensor) -> Any:
        self.rows += len(inputs)
        return super().submit(circuit, inputs, weights)


@pytest.mark.parametrize("of_inputs", [True, False])
def test_evaluations_are_those_of_parameter_shifts(layer: QuantumLayer, inputs: Tensor, of_inputs: bool) -> None:
    layer.backend = Counting()
    layer.gradient = ParameterShift()
    with tallying() as tally:
        layer(inputs.requires_grad_(of_inputs)).sum().backward()
    assert tally.total == layer.backend.rows
    with tallying() as tally, torch.no_grad():
        layer(inputs)
    assert tally.total == len(inputs)
