"""MultimodalRegression: how much of something."""

from typing import Any

from torchmetrics import MetricCollection

from qmm.decoders import ValueDecoder
from qmm.errors import InputError
from qmm.metrics import regression_metrics
from qmm.model import MultimodalModel
from qmm.tasks.base import MultimodalTask


class MultimodalRegression(MultimodalTask):
    """Mean absolute error, R² and Spearman's rank correlation of a model that ends in a `ValueDecoder`.

    Args:
        model: The model to train.
        optimisation: Passed on to `MultimodalTask`.
    """

    def __init__(self, model: MultimodalModel, **optimisation: Any):
        if not isinstance(model.decoder, ValueDecoder):
            raise InputError(f"MultimodalRegression needs a ValueDecoder, got {type(model.decoder).__name__}")
        super().__init__(model, **optimisation)

    def make_metrics(self) -> MetricCollection:
        return regression_metrics()

    def setup(self, stage: str) -> None:
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and hasattr(data, "target_scale"):
            self.model.decoder.standardise(*data.target_scale)  # type: ignore[union-attr, operator]
