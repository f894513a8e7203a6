"""MultimodalTask: one training step, one evaluation step and the optimiser, for every task."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MetricCollection

import qmm
from qmm.circuit_weights import circuit_parameters
from qmm.config import Configurable, to_config
from qmm.errors import InputError
from qmm.model import MultimodalModel
from qmm.optimisers import OptimizerPlan, Together, is_probing
from qmm.optimisers.probing import encoding_once
from qmm.tasks.mixup import mixup
from qmm.training.checkpoints import check_shapes
from qmm.types import Batch, ModelOutput, rows_of


class MultimodalTask(Configurable, LightningModule, ABC):
    """Base of the tasks. AdamW with linear warm-up and cosine decay; weights of the fusion are angles and never decay.

    Args:
        model: The model to train.
        learning_rate: Peak learning rate of encoders and compressors.
        fusion_learning_rate: That of fusion and decoder; default: the same.
        weight_decay: On matrices outside fusion and decoder.
        warmup: Share of all training steps that the learning rate rises from 0.
        final_learning_rate: What the cosine decays to, as a share of the peak.
        mixup: Probability that the samples of a training batch are blended pairwise, inputs and losses.
        circuit_optimizer: What trains the weights of circuits, wherever in the model they stand, instead of AdamW
            (`qmm.optimisers`), at its own learning rate, on the same schedule.
    """

    def __init__(
        self,
        model: MultimodalModel,
        learning_rate: float = 1e-3,
        fusion_learning_rate: float | None = None,
        weight_decay: float = 0.01,
        warmup: float = 0.05,
        final_learning_rate: float = 0.0,
        mixup: float = 0.0,
        circuit_optimizer: OptimizerPlan | None = None,
    ):
        super().__init__()
        self.model, self.circuit_optimizer = model, circuit_optimizer
        self.learning_rate, self.fusion_learning_rate = learning_rate, fusion_learning_rate
        self.weight_decay, self.warmup, self.final_learning_rate = weight_decay, warmup, final_learning_rate
        self.mixup = mixup
        metrics = self.make_metrics()
        self.metrics = nn.ModuleDict({f"{split}_": metrics.clone(prefix=f"{split}/") for split in ("val", "test")})

    @abstractmethod
    def make_metrics(self) -> MetricCollection:
        """What `validate` and `test` report."""

    def setup(self, stage: str) -> None:
        """Give the data module what belongs to the encoders: its workers do the pre-processing."""
        data: Any = getattr(self.trainer, "datamodule", None)
        self._describe()  # what cannot be described is better known now than when the first checkpoint is written
        if hasattr(data, "connect"):
            data.connect({modality: branch.encoder.preprocess for modality, branch in self.model.branches.items()})

    def on_fit_start(self) -> None:
        """Fit the compressors that are fitted, once, on the training split without augmentation.

        Two passes: in the first the running statistics that encoders keep settle, in the second features are collected.
        """
        branches = {m: b for m, b in self.model.branches.items() if b.compressor.needs_fit}
        if not branches:
            return
        data: Any = getattr(self.trainer, "datamodule", None)
        if not hasattr(data, "plain_train_dataloader"):
            names = ", ".join(type(b.compressor).__name__ for b in branches.values())
            raise InputError(
                f"{names} must be fitted on the training split: train with a data module of qmm.data, or fit it before"
            )
        loader = data.plain_train_dataloader()
        pooled: dict[str, list[Tensor]] = {}
        for settling in (True, False):
            pooled = {modality: [] for modality in branches}
            for branch in branches.values():
                branch.train(settling)
            with torch.no_grad():
                for batch in loader:
                    batch = self.transfer_batch_to_device(batch, self.device, 0)
                    for modality, present in batch.presence(branches).items():
                        features = branches[modality].encode(batch.inputs.get(modality), present)
                        if features is not None:
                            pooled[modality].append(features.pooled)
        for modality, branch in branches.items():
            branch.compressor.fit(pooled[modality])
            branch.train()

    def forward(self, batch: Batch) -> ModelOutput:
        return self.model(batch)

    def fuse(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(b, k) angles and (b,) bool by modality -> what it makes of them by circuits, (b, ...)."""
        fused: Tensor = self.model.fusion(angles, present)
        return fused

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        with encoding_once(self.model):
            output, losses = self._train_on(batch)
        loss = torch.stack(list(losses.values())).sum()
        if is_probing():
            return loss
        size = len(batch.ids)
        by_epoch: Any = {"on_step": False, "on_epoch": True, "sync_dist": True}
        self.log("train/loss", loss, **by_epoch, batch_size=size, prog_bar=True)
        for name, value in losses.items():
            self.log(f"train/loss_{name}", value, **by_epoch, batch_size=size)
        for modality, present in batch.presence(output.angles).items():
            rows = output.angles[modality].detach()[present]
            if len(rows) > 1:  # a collapsed or saturated compressor shows here
                self.log(f"angles/{modality}_std", rows.std(0).mean(), **by_epoch, batch_size=len(rows))
        return loss

    def _train_on(self, batch: Batch) -> tuple[ModelOutput, dict[str, Tensor]]:
        """What comes out, and the losses by name, blended where the samples are."""
        if torch.rand(()) < self.mixup:
            order, share = torch.randperm(len(batch.ids), device=self.device), float(torch.rand(()))
            output = self(mixup(self.model, batch, order, share))
            other = batch._replace(targets={name: rows_of(target, order) for name, target in batch.targets.items()})
            losses, others = self.model.losses(output, batch), self.model.losses(output, other)
            losses = {name: share * loss + (1 - share) * others[name] for name, loss in losses.items()}
        else:
            output = self(batch)
            losses = self.model.losses(output, batch)
        return output, losses

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return self._evaluate(batch, "test")

    def on_validation_epoch_end(self) -> None:
        self._conclude("val")

    def on_test_epoch_end(self) -> None:
        self._conclude("test")

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Any]:
        return self.model.decoder.predict(self(batch).prediction)

    def _evaluate(self, batch: Batch, split: str) -> dict[str, Any]:
        output = self(batch)
        losses = self.model.decoder.losses(output.prediction, batch.targets)
        self.log_losses(split, losses, batch)
        scores = self.scores_of(output, batch)
        self.update_metrics(self.metrics[f"{split}_"], scores, batch, output)  # type: ignore[arg-type]
        return {"loss": torch.stack(list(losses.values())).sum(), "scores": scores}

    def log_losses(self, split: str, losses: dict[str, Tensor], batch: Batch) -> None:
        """Log what the decoder's losses, weighted as they are trained, are on a batch of an evaluation."""
        total = torch.stack(list(losses.values())).sum()
        self.log(f"{split}/loss", total, batch_size=len(batch.ids), sync_dist=True)

    def scores_of(self, output: ModelOutput, batch: Batch) -> Any:
        """What the metrics of an evaluation compare with the targets."""
        return self.model.decoder.score(output.prediction)

    def update_metrics(self, metrics: MetricCollection, scores: Any, batch: Batch, output: ModelOutput) -> None:
        """Take a batch into the metrics."""
        metrics.update(scores, batch.targets[self.model.decoder.target])

    def _conclude(self, split: str) -> None:
        metrics: Any = self.metrics[f"{split}_"]
        for place, (name, value) in enumerate(metrics.compute().items()):
            self.log(name, value, prog_bar=place == 0)
        with torch.inference_mode(False):  # else a fit after `validate` could not add to them
            metrics.reset()

    def rates(self) -> dict[str, tuple[list[nn.Parameter], float]]:
        """By name, parameters of encoders or decoder that have a peak learning rate of their own."""
        return {}

    def configure_optimizers(self) -> Any:
        circuits = {} if self.circuit_optimizer is None else circuit_parameters(self)
        apart = {id(p) for p in circuits.values()}
        fusion = [p for p in (*self.model.fusion.parameters(), *self.model.decoder.readers()) if p.requires_grad]
        rates = self.rates()
        inside = {id(p) for p in (*fusion, *(p for own, _ in rates.values() for p in own))}
        others = [p for p in self.parameters() if p.requires_grad and id(p) not in inside]
        groups = [
            *self._decaying("", others, self.learning_rate),
            *(group for name, (own, rate) in rates.items() for group in self._decaying(f"{name}_", own, rate)),
            {"name": "fusion", "params": fusion, "weight_decay": 0.0, "lr": self.fusion_learning_rate or self.learning_rate},
        ]
        for group in groups:
            group["params"] = [p for p in group["params"] if id(p) not in apart]
        optimizer: Optimizer = AdamW([g for g in groups if g["params"]], lr=self.learning_rate)
        if self.circuit_optimizer is not None:
            own = self.circuit_optimizer.bind([{"name": "circuits", "params": list(circuits.values())}])
            optimizer = Together([optimizer, own])
        return [optimizer], [{"scheduler": self._schedule(optimizer), "interval": "step"}]

    def _decaying(self, name: str, parameters: list[nn.Parameter], rate: float) -> list[dict[str, Any]]:
        """Matrices decay, vectors do not."""
        return [
            {
                "name": f"{name}matrices",
                "params": [p for p in parameters if p.ndim > 1],
                "weight_decay": self.weight_decay,
                "lr": rate,
            },
            {"name": f"{name}vectors", "params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0, "lr": rate},
        ]

    def _schedule(self, optimizer: Optimizer) -> LambdaLR:
        total = max(1, int(self.trainer.estimated_stepping_batches))
        rise = self.warmup * total

        def factor(step: int) -> float:
            if step < rise:
                return (step + 1) / (rise + 1)
            cosine = (1 + math.cos(math.pi * (step - rise) / max(1.0, total - rise))) / 2
            return self.final_learning_rate + (1 - self.final_learning_rate) * cosine

        return LambdaLR(optimizer, factor)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_shapes(self.state_dict(), checkpoint["state_dict"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The configuration as plain data, so that `qmm.load` can build the task again, also one composed in Python."""
        checkpoint["qmm"] = self._describe()

    def _describe(self) -> dict[str, Any]:
        data = getattr(self._trainer, "datamodule", None) if self._trainer is not None else None
        described = to_config(data) if isinstance(data, Configurable) else None
        return {"version": qmm.__version__, "task": to_config(self), "data": described}
