"""Evaluator: what scoring and preparing a decoder of one kind takes, so that single tasks and mixed ones share it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import singledispatch
from typing import Any

from torch import nn

from qmm.contracts import Decoder
from qmm.errors import InputError
from qmm.model import MultimodalModel
from qmm.tasks.base import MultimodalTask
from qmm.types import Batch, ModelOutput


class Evaluator(ABC):
    """Makes a decoder of one kind ready for its data, and scores it."""

    kind: type[Decoder]

    def __init__(self, decoder: Any):
        self.decoder = decoder
        self.fitting, self.processes = False, 1

    @abstractmethod
    def make_metrics(self) -> Any:
        """A MetricCollection, or what behaves like one: `clone(prefix=...)`, `compute`, `reset`."""

    @abstractmethod
    def setup(self, data: Any, stage: str) -> None:
        """Compare decoder and data module (None without one), and before "fit" give the decoder what the data knows."""

    def begin(self, fitting: bool, processes: int = 1) -> None:
        """Before an evaluation's first batch: whether a fit is waiting for it, and how many processes share its samples."""
        self.fitting, self.processes = fitting, processes

    def score(self, outputs: Any) -> Any:
        """What the metrics of an evaluation compare with the targets."""
        return self.decoder.score(outputs)

    def update(self, metrics: Any, scores: Any, outputs: Any, targets: Mapping[str, Any]) -> None:
        """Take a batch into the metrics: B scores, the outputs they were made of, and B targets by name."""
        metrics.update(scores, targets[self.decoder.target])

    def rates(self) -> dict[str, tuple[list[nn.Parameter], float]]:
        """By name, parameters of the decoder that have a peak learning rate of their own."""
        return {}


class DecodingTask(MultimodalTask):
    """A task that trains one decoder on all that a sample has; what it is scored by, its `evaluator` knows."""

    def __init__(self, model: MultimodalModel, **optimisation: Any):
        self.evaluator = self.make_evaluator(model.decoder)
        super().__init__(model, **optimisation)

    @abstractmethod
    def make_evaluator(self, decoder: Decoder) -> Evaluator:
        """Raises InputError for a decoder of another kind than the task's."""

    def make_metrics(self) -> Any:
        return self.evaluator.make_metrics()

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.evaluator.setup(getattr(self.trainer, "datamodule", None), stage)

    def rates(self) -> dict[str, tuple[list[nn.Parameter], float]]:
        return self.evaluator.rates()

    def on_validation_epoch_start(self) -> None:
        self.evaluator.begin(self.trainer.state.fn == "fit", self.trainer.world_size)

    on_test_epoch_start = on_validation_epoch_start

    def scores_of(self, output: ModelOutput, batch: Batch) -> Any:
        return self.evaluator.score(output.prediction)

    def update_metrics(self, metrics: Any, scores: Any, batch: Batch, output: ModelOutput) -> None:
        self.evaluator.update(metrics, scores, output.prediction, batch.targets)


def expect(kind: type[Decoder], decoder: Decoder, task: MultimodalTask) -> Any:
    """The decoder, if it is of that kind; raises InputError otherwise."""
    if not isinstance(decoder, kind):
        raise InputError(f"{type(task).__name__} needs a {kind.__name__}, got {type(decoder).__name__}")
    return decoder


@singledispatch
def evaluator_for(decoder: Decoder, **settings: Any) -> Evaluator:
    """The evaluator of a decoder's kind, for mixed tasks; of the task's settings it takes its own. Another kind joins in by

        @evaluator_for.register
        def _(decoder: MyDecoder, **settings: Any) -> Evaluator:
            return MyEvaluator(decoder)

    Raises InputError for a kind that has none.
    """
    kinds = ", ".join(sorted(kind.__name__ for kind in evaluator_for.registry if kind not in (object, Decoder)))
    raise InputError(f"a mixed task does not know how to score a {type(decoder).__name__}; it knows: {kinds}")
