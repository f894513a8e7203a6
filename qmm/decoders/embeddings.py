"""EmbeddingDecoder: fused features -> a point of the one space in which all modalities, and all sets of them, are compared."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qmm.contracts import Decoder
from qmm.errors import InputError
from qmm.types import Context

_LARGEST_SCALE = 100.0  # of similarities, as in CLIP: beyond it training becomes unstable


class EmbeddingPrediction(NamedTuple):
    embedding: list[float]
    """Of length 1."""


class View(NamedTuple):
    """What some of the modalities alone, one or several, make of a batch."""

    embeddings: Tensor
    """(B, E), of length 1; 0 in rows that have none of these modalities."""
    present: Tensor
    """(B,) bool: rows that have one of them at least."""
    keys: Tensor
    """(B,) int64: samples with the same key, in the same view, are the same thing."""


class Views(NamedTuple):
    """Views of the same samples, and which are to find each other."""

    sides: Mapping[str, View]
    """By name, such as "vision+audio"."""
    pairs: tuple[tuple[str, str], ...]


class EmbeddingDecoder(Decoder):
    """A linear read-out, scaled to length 1; contrastive loss with a trained temperature (arXiv:2103.00020).

    Args:
        dim: E, the width of the joint space.
        temperature: What similarities are divided by at first; it is trained, and stays at 0.01 or more.
        target: Name of the target that says what is alike where there is one view alone (a branch's auxiliary read-out).
    """

    def __init__(self, dim: int = 32, temperature: float = 0.07, target: str = "label"):
        super().__init__()
        if not (dim >= 2 and temperature >= 1 / _LARGEST_SCALE):
            raise InputError(
                f"an EmbeddingDecoder of dim={dim}, temperature={temperature}: expected a dim of at least 2 and a temperature "
                f"of at least {1 / _LARGEST_SCALE}"
            )
        self.dim, self.temperature, self.target = dim, temperature, target
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def build(self, in_features: int, widths: Mapping[str, int] | None = None) -> None:
        self.linear = nn.Linear(in_features, self.dim)

    def spawn(self, in_features: int) -> "EmbeddingDecoder":
        other = EmbeddingDecoder(self.dim, self.temperature, self.target)
        other.build(in_features)
        return other

    def count_parameters(self, in_features: int) -> int:
        return (in_features + 1) * self.dim

    def readers(self) -> Any:
        """Not the temperature."""
        return self.linear.parameters()

    def forward(self, features: Tensor, context: Context | None = None) -> Tensor:
        """(B, F) -> (B, E) of length 1"""
        return F.normalize(self.linear(features), dim=-1)

    def loss(self, outputs: Views | Tensor, targets: Mapping[str, Any]) -> Tensor:
        """Of views: the mean over pairs of `contrast`. Of one view (B, E): samples of a class find each other
        (arXiv:2004.11362, eq. 2); a class index below 0 is none."""
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(_LARGEST_SCALE))
        if isinstance(outputs, Views):
            found = [self._contrast(outputs.sides[a], outputs.sides[b]) for a, b in outputs.pairs]
            losses = [loss for loss in found if loss is not None]
            return torch.stack(losses).mean() if losses else self._nothing(*(v.embeddings for v in outputs.sides.values()))
        labels = targets[self.target]
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        same = (labels.unsqueeze(1) == labels) & (labels >= 0) & ~own
        anchors = same.any(1)
        if not anchors.any():
            return self._nothing(outputs)
        similarities = (self.log_scale.exp() * outputs @ outputs.T).masked_fill(own, -torch.inf)
        return contrast(similarities[anchors], same[anchors])

    def _contrast(self, a: View, b: View) -> Tensor | None:
        both = a.present & b.present
        if not both.any():
            return None
        similarities = self.log_scale.exp() * a.embeddings[both] @ b.embeddings[both].T
        same = torch.zeros_like(similarities, dtype=torch.bool)
        for keys in (a.keys[both], b.keys[both]):
            same |= keys.unsqueeze(1) == keys
        return (contrast(similarities, same) + contrast(similarities.T, same)) / 2

    def _nothing(self, *embeddings: Tensor) -> Tensor:
        """0 with a gradient of 0, where no sample of a batch has anything to be compared with."""
        return torch.stack([0 * part.sum() for part in (*embeddings, self.log_scale)]).sum()

    def score(self, outputs: Views | Tensor) -> Views | Tensor:
        """As they are: what is nearest to what is seen only when all samples are there."""
        if isinstance(outputs, Tensor):
            return outputs.detach()
        return outputs._replace(sides={name: View(*(part.detach() for part in v)) for name, v in outputs.sides.items()})

    def predict(self, outputs: Tensor) -> list[EmbeddingPrediction]:
        return [EmbeddingPrediction(row) for row in outputs.float().tolist()]


def contrast(similarities: Tensor, same: Tensor) -> Tensor:
    """(Q, N) similarities / temperature and (Q, N) bool, a True in each row -> scalar: how improbable the same thing is.

    Of several same ones the mean of log probabilities (arXiv:2004.11362); with one each it is cross-entropy.
    """
    surprise = -similarities.log_softmax(-1).masked_fill(~same, 0)
    return (surprise.sum(-1) / same.sum(-1)).mean()
