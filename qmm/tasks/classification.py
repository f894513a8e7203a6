"""MultimodalClassification: which of the named classes."""

from typing import Any

from torchmetrics import MetricCollection

from qmm.decoders import ClassDecoder
from qmm.errors import InputError
from qmm.metrics import classification_metrics
from qmm.model import MultimodalModel
from qmm.tasks.base import MultimodalTask


class MultimodalClassification(MultimodalTask):
    """Accuracy, macro F1, AUROC and calibration error of a model that ends in a `ClassDecoder`.

    Args:
        model: The model to train.
        balance: Weigh each class in the loss by the inverse of its frequency in the training split.
        optimisation: Passed on to `MultimodalTask`.
    """

    def __init__(self, model: MultimodalModel, balance: bool = False, **optimisation: Any):
        if not isinstance(model.decoder, ClassDecoder):
            raise InputError(f"MultimodalClassification needs a ClassDecoder, got {type(model.decoder).__name__}")
        self.classes, self.balance = model.decoder.classes, balance
        super().__init__(model, **optimisation)

    def make_metrics(self) -> MetricCollection:
        return classification_metrics(len(self.classes))

    def setup(self, stage: str) -> None:
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None)
        if data is not None and getattr(data, "classes", self.classes) != self.classes:
            raise InputError(
                f"the model knows the classes {self.classes}, the data has {data.classes}; "
                "train on this data, or give data with the same classes in the same order"
            )
        if stage == "fit" and self.balance:
            weights = self.trainer.datamodule.class_weights  # type: ignore[attr-defined]
            self.model.decoder.class_weights.copy_(weights)  # type: ignore[operator]
