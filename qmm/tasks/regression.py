"""MultimodalRegression: how much of something."""

from typing import Any

from torchmetrics import MetricCollection

from qmm.contracts import Decoder
from qmm.decoders import ValueDecoder
from qmm.metrics import regression_metrics
from qmm.model import MultimodalModel
from qmm.tasks.evaluation import DecodingTask, Evaluator, evaluator_for, expect


class ValueEvaluator(Evaluator):
    """Mean absolute error, R² and Spearman's rank correlation; the decoder learns in units of the training split's spread."""

    kind = ValueDecoder

    def make_metrics(self) -> MetricCollection:
        return regression_metrics()

    def setup(self, data: Any, stage: str) -> None:
        if stage == "fit" and hasattr(data, "target_scale"):
            self.decoder.standardise(*data.target_scale)


@evaluator_for.register
def _(decoder: ValueDecoder, **settings: Any) -> ValueEvaluator:
    return ValueEvaluator(decoder)


class MultimodalRegression(DecodingTask):
    """Mean absolute error, R² and Spearman's rank correlation of a model that ends in a `ValueDecoder`.

    Args:
        model: The model to train.
        optimisation: Passed on to `MultimodalTask`.
    """

    def __init__(self, model: MultimodalModel, **optimisation: Any):
        super().__init__(model, **optimisation)

    def make_evaluator(self, decoder: Decoder) -> ValueEvaluator:
        return ValueEvaluator(expect(ValueDecoder, decoder, self))
