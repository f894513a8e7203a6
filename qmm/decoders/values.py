"""ValueDecoder: fused features -> a number."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qmm.contracts import Decoder
from qmm.types import Context


class ValuePrediction(NamedTuple):
    value: float


class ValueDecoder(Decoder):
    """A linear read-out, mean squared error in units of the training targets' standard deviation.

    Args:
        target: Name of the target that holds the value.
    """

    location: Tensor
    scale: Tensor

    def __init__(self, target: str = "label"):
        super().__init__()
        self.target = target
        self.register_buffer("location", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def build(self, in_features: int, widths: Mapping[str, int] | None = None) -> None:
        self.linear = nn.Linear(in_features, 1)

    def spawn(self, in_features: int) -> "ValueDecoder":
        other = ValueDecoder(self.target)
        other.build(in_features)
        return other

    def count_parameters(self, in_features: int) -> int:
        return in_features + 1

    def standardise(self, mean: float, std: float) -> None:
        """Learn targets as (value - mean) / std; predictions stay in the targets' own unit."""
        self.location.fill_(mean)
        self.scale.fill_(std or 1.0)

    def forward(self, features: Tensor, context: Context | None = None) -> Tensor:
        """(B, F) -> (B, 1) in the targets' unit"""
        return self.linear(features) * self.scale + self.location

    def loss(self, outputs: Tensor, targets: Mapping[str, Any]) -> Tensor:
        return F.mse_loss(outputs.squeeze(-1) / self.scale, targets[self.target] / self.scale)

    def score(self, outputs: Tensor) -> Tensor:
        """(B, 1) -> (B,)"""
        return outputs.squeeze(-1)

    def predict(self, outputs: Tensor) -> list[ValuePrediction]:
        return [ValuePrediction(value) for value in outputs.squeeze(-1).tolist()]
