"""MultimodalClassification: which of the named classes."""

from typing import Any

from torchmetrics import MetricCollection

from qmm.contracts import Decoder
from qmm.decoders import ClassDecoder
from qmm.errors import InputError
from qmm.metrics import classification_metrics
from qmm.model import MultimodalModel
from qmm.tasks.evaluation import DecodingTask, Evaluator, evaluator_for, expect


class ClassEvaluator(Evaluator):
    """Accuracy, macro F1, AUROC and calibration error; with `balance`, the decoder takes the data's class weights."""

    kind = ClassDecoder

    def __init__(self, decoder: ClassDecoder, balance: bool = False):
        super().__init__(decoder)
        self.balance = balance

    def make_metrics(self) -> MetricCollection:
        return classification_metrics(len(self.decoder.classes))

    def setup(self, data: Any, stage: str) -> None:
        classes = self.decoder.classes
        if data is not None and getattr(data, "classes", classes) != classes:
            raise InputError(
                f"the model knows the classes {classes}, the data has {data.classes}; "
                "train on this data, or give data with the same classes in the same order"
            )
        if stage == "fit" and self.balance:
            self.decoder.class_weights.copy_(data.class_weights)


@evaluator_for.register
def _(decoder: ClassDecoder, balance: bool = False, **settings: Any) -> ClassEvaluator:
    return ClassEvaluator(decoder, balance)


class MultimodalClassification(DecodingTask):
    """Accuracy, macro F1, AUROC and calibration error of a model that ends in a `ClassDecoder`.

    Args:
        model: The model to train.
        balance: Weigh each class in the loss by the inverse of its frequency in the training split.
        optimisation: Passed on to `MultimodalTask`.
    """

    def __init__(self, model: MultimodalModel, balance: bool = False, **optimisation: Any):
        self.balance = balance
        super().__init__(model, **optimisation)
        self.classes = self.evaluator.decoder.classes

    def make_evaluator(self, decoder: Decoder) -> ClassEvaluator:
        return ClassEvaluator(expect(ClassDecoder, decoder, self), self.balance)
