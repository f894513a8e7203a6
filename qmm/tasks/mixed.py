"""MultimodalMixed: several answers of one model, trained together."""

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn
from torchmetrics import MeanMetric

from qmm.contracts import Decoder
from qmm.decoders.mixed import MixedDecoder
from qmm.model import MultimodalModel
from qmm.tasks.evaluation import DecodingTask, Evaluator, evaluator_for, expect
from qmm.types import Batch, rows_of


class PartMetrics(nn.Module):
    """What one part of a mixed task is scored by, its own loss included."""

    def __init__(self, metrics: Any, prefix: str = ""):
        super().__init__()
        self.prefix = prefix
        self.metrics = metrics.clone(prefix=prefix)
        self.share = MeanMetric(nan_strategy="disable")  # of the samples that have the part's target; tells whether any has
        self.loss = MeanMetric(nan_strategy="disable")

    def clone(self, prefix: str) -> "PartMetrics":
        return PartMetrics(self.metrics, prefix)

    def compute(self) -> dict[str, Tensor]:
        """Nothing where no sample of the split has the part's target; decided alike in every process."""
        if self.share.update_count == 0 or self.share.compute() == 0:
            return {}
        return {**self.metrics.compute(), f"{self.prefix}loss": self.loss.compute()}

    def reset(self) -> None:
        for metric in (self.metrics, self.share, self.loss):
            metric.reset()


class MixedMetrics(nn.Module):
    """By part, its metrics; together they behave like one MetricCollection."""

    def __init__(self, parts: Mapping[str, PartMetrics]):
        super().__init__()
        self.parts: Mapping[str, PartMetrics] = nn.ModuleDict(parts)  # type: ignore[assignment]

    def clone(self, prefix: str) -> "MixedMetrics":
        return MixedMetrics({name: part.clone(f"{prefix}{name}_") for name, part in self.parts.items()})

    def compute(self) -> dict[str, Tensor]:
        return {name: value for part in self.parts.values() for name, value in part.compute().items()}

    def reset(self) -> None:
        for part in self.parts.values():
            part.reset()


class MixedEvaluator(Evaluator):
    """Every part by its own kind's evaluator, on the samples that have its target."""

    kind = MixedDecoder

    def __init__(self, decoder: MixedDecoder, **settings: Any):
        super().__init__(decoder)
        self.parts = {name: evaluator_for(part, **settings) for name, part in decoder.parts.items()}

    def make_metrics(self) -> MixedMetrics:
        return MixedMetrics({name: PartMetrics(part.make_metrics()) for name, part in self.parts.items()})

    def setup(self, data: Any, stage: str) -> None:
        for part in self.parts.values():
            part.setup(data, stage)

    def update(self, metrics: MixedMetrics, scores: Any, outputs: Any, targets: Mapping[str, Any]) -> None:
        for name, part in self.parts.items():
            where, own = self.decoder.having(name, targets), metrics.parts[name]
            own.share.update(where.float())
            if where.any():
                part.update(own.metrics, *(rows_of(v, where) for v in (scores[name], outputs[name], dict(targets))))

    def update_losses(self, metrics: MixedMetrics, losses: Mapping[str, Tensor], targets: Mapping[str, Any]) -> None:
        """`losses` are the decoder's; metrics keep them without their weights, as a task of that part alone would."""
        for name in self.parts:
            own = losses[f"decoder_{name}"] / self.decoder.weights[name]
            metrics.parts[name].loss.update(own, weight=self.decoder.having(name, targets).sum())


class MultimodalMixed(DecodingTask):
    """Classes, values, sentences of one model that ends in a `MixedDecoder`; each part has the metrics of its own task.

    Their names begin with that of the part: `val/label_accuracy`, `val/sentence_grounding`, `val/label_loss`; `val/loss` is the
    weighted sum that is trained.

    Args:
        model: The model to train.
        balance: Weigh each class in the loss by the inverse of its frequency in the training split.
        optimisation: Passed on to `MultimodalTask`.
    """

    evaluator: MixedEvaluator

    def __init__(self, model: MultimodalModel, balance: bool = False, **optimisation: Any):
        self.balance = balance
        super().__init__(model, **optimisation)

    def make_evaluator(self, decoder: Decoder) -> MixedEvaluator:
        return MixedEvaluator(expect(MixedDecoder, decoder, self), balance=self.balance)

    def log_losses(self, split: str, losses: dict[str, Tensor], batch: Batch) -> None:
        super().log_losses(split, losses, batch)
        self.evaluator.update_losses(cast(MixedMetrics, self.metrics[f"{split}_"]), losses, batch.targets)
