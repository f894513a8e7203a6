"""MultimodalMixed: several answers of one model, trained together."""

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.distributed
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from qmm.contracts import Decoder
from qmm.decoders.mixed import MixedDecoder
from qmm.model import MultimodalModel
from qmm.tasks.evaluation import DecodingTask, Evaluator, evaluator_for, expect
from qmm.types import Batch, rows_of


class PartLoss(Metric):
    """The mean of batches' losses over their samples, and of how many samples that is."""

    full_state_update = False
    total: Tensor
    samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("samples", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, loss: Tensor, samples: Tensor) -> None:
        self.total, self.samples = self.total + loss.detach() * samples, self.samples + samples

    def compute(self) -> tuple[Tensor, Tensor]:
        return self.total / self.samples, self.samples


class PartMetrics(nn.Module):
    """What one part of a mixed task is scored by, its own loss included."""

    def __init__(self, metrics: Any, prefix: str = ""):
        super().__init__()
        self.prefix, self.metrics, self.loss = prefix, metrics.clone(prefix=prefix), PartLoss()

    def clone(self, prefix: str) -> "PartMetrics":
        return PartMetrics(self.metrics, prefix)

    def compute(self) -> dict[str, Tensor]:
        """Nothing where no sample of the split has the part's target; decided alike in every process."""
        loss, samples = self.loss.compute()
        if not samples:
            return {}
        _align(self.metrics)
        return {**self.metrics.compute(), f"{self.prefix}loss": loss}

    def reset(self) -> None:
        self.metrics.reset()
        self.loss.reset()


def _align(metrics: MetricCollection) -> None:
    """Where this process has seen no sample of a part, but another has: lists as empty, of the shapes and types of theirs.

    What torchmetrics would send instead, one empty row of floats, the others take for as many rows as memory holds.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    lists = {
        f"{name}.{state}": rows for name, m in metrics.items() for state, rows in m.metric_state.items() if type(rows) is list
    }
    own = {name: (tuple(rows[0].shape[1:]), rows[0].dtype) for name, rows in lists.items() if rows}
    everywhere: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everywhere, own)
    for kinds in everywhere:
        for name, (shape, dtype) in kinds.items():
            if not lists[name]:
                lists[name].append(torch.zeros((0, *shape), dtype=dtype, device=next(iter(metrics.values())).device))


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

    def begin(self, fitting: bool, processes: int = 1) -> None:
        for part in self.parts.values():
            part.begin(fitting, processes)

    def score(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: part.score(outputs[name]) for name, part in self.parts.items()}

    def update(self, metrics: MixedMetrics, scores: Any, outputs: Any, targets: Mapping[str, Any]) -> None:
        for name, part in self.parts.items():
            where = self.decoder.having(name, targets)
            if where.any():
                own = (rows_of(values, where) for values in (scores[name], outputs[name], dict(targets)))
                part.update(metrics.parts[name].metrics, *own)

    def rates(self) -> dict[str, tuple[list[nn.Parameter], float]]:
        return {f"{name}_{kind}": own for name, part in self.parts.items() for kind, own in part.rates().items()}

    def update_losses(self, metrics: MixedMetrics, losses: Mapping[str, Tensor], targets: Mapping[str, Any]) -> None:
        """`losses` are the decoder's; metrics keep them without their weights, as a task of that part alone would."""
        for name in self.parts:
            own = losses[f"decoder_{name}"] / self.decoder.weights[name]
            metrics.parts[name].loss.update(own, self.decoder.having(name, targets).sum().to(own))


class MultimodalMixed(DecodingTask):
    """Classes, values, sentences of one model that ends in a `MixedDecoder`; each part has the metrics of its own task.

    Their names begin with that of the part: `val/label_accuracy`, `val/sentence_grounding`, `val/label_loss`; `val/loss` is the
    weighted sum that is trained.

    Args:
        model: The model to train.
        balance: Weigh each class in the loss by the inverse of its frequency in the training split.
        language_learning_rate: Peak learning rate of language models' own parameters (default: `learning_rate`).
        validation_sentences: How many sentences are made in a validation during a fit, see `MultimodalCaptioning`.
        samples: Whether the command line shows, after every validation, what is said of a few samples.
        optimisation: Passed on to `MultimodalTask`.
    """

    evaluator: MixedEvaluator

    def __init__(
        self,
        model: MultimodalModel,
        balance: bool = False,
        language_learning_rate: float | None = None,
        validation_sentences: int | None = None,
        samples: bool = True,
        **optimisation: Any,
    ):
        self.balance, self.samples = balance, samples
        self.language_learning_rate, self.validation_sentences = language_learning_rate, validation_sentences
        super().__init__(model, **optimisation)

    def make_evaluator(self, decoder: Decoder) -> MixedEvaluator:
        return MixedEvaluator(
            expect(MixedDecoder, decoder, self),
            balance=self.balance,
            language_learning_rate=self.language_learning_rate,
            validation_sentences=self.validation_sentences,
        )

    def log_losses(self, split: str, losses: dict[str, Tensor], batch: Batch) -> None:
        super().log_losses(split, losses, batch)
        self.evaluator.update_losses(cast(MixedMetrics, self.metrics[f"{split}_"]), losses, batch.targets)
