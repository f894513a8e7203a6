"""ClassDecoder: fused features -> one of the named classes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qmm.contracts import Decoder
from qmm.errors import InputError
from qmm.types import Context


class ClassPrediction(NamedTuple):
    label: str
    probabilities: dict[str, float]
    """By class name, in the order of the classes; they sum to 1."""


class ClassDecoder(Decoder):
    """A linear read-out, cross-entropy.

    Args:
        classes: Class names, at least two; the command line takes them from the data. Without them the decoder cannot be built
            before `name_classes` gave it some.
        label_smoothing: Share of probability spread evenly over the classes in the loss, in [0, 1).
        target: Name of the target that holds the class index.
        scale: What features are multiplied by first; expectation values are small, and logits should not stay so.
    """

    class_weights: Tensor

    def __init__(
        self, classes: list[str] | None = None, label_smoothing: float = 0.0, target: str = "label", scale: float = 1.0
    ):
        super().__init__()
        self.classes: list[str] = []
        self.label_smoothing, self.target, self.scale = label_smoothing, target, scale
        if classes is not None:
            self.name_classes(classes)

    def name_classes(self, classes: list[str]) -> None:
        """Before `build`: what there is to choose from. Raises InputError for fewer than two, or one twice."""
        self.classes = _checked(classes)
        self.register_buffer("class_weights", torch.ones(len(self.classes)))

    def build(self, in_features: int, widths: Mapping[str, int] | None = None) -> None:
        self.linear = nn.Linear(in_features, self._count())

    def spawn(self, in_features: int) -> "ClassDecoder":
        other = ClassDecoder(self.classes or None, self.label_smoothing, self.target)
        other.build(in_features)
        return other

    def count_parameters(self, in_features: int) -> int:
        return (in_features + 1) * self._count()

    def _count(self) -> int:
        return len(_checked(self.classes or None))

    def forward(self, features: Tensor, context: Context | None = None) -> Tensor:
        """(B, F) -> logits (B, C)"""
        return self.linear(self.scale * features)

    def loss(self, outputs: Tensor, targets: Mapping[str, Any]) -> Tensor:
        return F.cross_entropy(outputs, targets[self.target], self.class_weights, label_smoothing=self.label_smoothing)

    def score(self, outputs: Tensor) -> Tensor:
        """Logits (B, C) -> probabilities (B, C)"""
        return outputs.softmax(-1)

    def predict(self, outputs: Tensor) -> list[ClassPrediction]:
        rows = outputs.softmax(-1).tolist()
        return [ClassPrediction(self.classes[row.index(max(row))], dict(zip(self.classes, row, strict=True))) for row in rows]


def _checked(classes: list[str] | None) -> list[str]:
    if classes is None or len(classes) < 2 or len(set(classes)) < len(classes):
        raise InputError(f"a ClassDecoder needs at least two different class names as `classes`, got {classes}")
    return list(classes)
