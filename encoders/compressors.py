"""Compressors: pooled features (B, D) -> a few angles (B, k), in radians, within a stated range.

Each projects, brings its outputs to mean 0 and variance 1, and squashes them by the normal distribution function Phi:

    angle = low + (high - low) * Phi(gain * z)

For normal z and gain 1 angles are uniform over the whole range, so they neither saturate nor collapse: their standard
deviation is 0.29 of the range. A gain below 1 keeps them nearer to the middle.
"""

import math
from abc import abstractmethod
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from qmm.contracts import Compressor
from qmm.errors import InputError

from ._statistics import Standardise

_WINDOW = 512
"""Samples that running statistics look back on: enough for a steady variance, few enough to follow a learning encoder."""


class _Squashed(Compressor):
    """The range and the squash, which all share."""

    def __init__(self, features: int, low: float, high: float, gain: float):
        super().__init__()
        if features < 1:
            raise InputError(f"features={features}: a compressor gives at least 1 angle")
        if not (math.isfinite(low) and math.isfinite(high) and low < high and gain > 0):
            raise InputError(f"low={low}, high={high}, gain={gain}: expected low < high, both finite, and a gain above 0")
        self.features, self.low, self.high, self.gain = features, low, high, gain
        self._bounds = _within_float32(low, high)

    @abstractmethod
    def scores(self, pooled: Tensor) -> Tensor:
        """(B, D) -> (B, k), standardised"""

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, D) -> (B, k) in [low, high]"""
        share = torch.special.ndtr(self.gain * self.scores(pooled).float())
        return (self.low + (self.high - self.low) * share).clamp(*self._bounds)


def _within_float32(low: float, high: float) -> tuple[float, float]:
    """The outermost float32 numbers within [low, high]: float32's pi is larger than pi."""
    lowest, highest = np.float32(low), np.float32(high)
    lowest = np.nextafter(lowest, np.float32(np.inf)) if float(lowest) < low else lowest
    highest = np.nextafter(highest, np.float32(-np.inf)) if float(highest) > high else highest
    return float(lowest), float(highest)


class LinearCompressor(_Squashed):
    """One linear layer, standardised, squashed into [low, high].

    Args:
        features: Number of angles, k.
        low: Smallest angle in radians.
        high: Largest angle in radians.
        gain: Factor before the squash; 1 spreads normal features evenly over the range.
    """

    def __init__(self, features: int, low: float = 0.0, high: float = math.pi, gain: float = 1.0):
        super().__init__(features, low, high, gain)

    def build(self, in_features: int) -> None:
        self.linear = nn.Linear(in_features, self.features, bias=False)  # a bias would be standardised away
        self.standardise = Standardise(self.features, _WINDOW, batchwise=True)

    def scores(self, pooled: Tensor) -> Tensor:
        return self.standardise(self.linear(pooled))


class MLPCompressor(_Squashed):
    """A small MLP (linear layers, GELU and dropout between them), standardised, squashed into [low, high].

    Args:
        features: Number of angles, k.
        hidden: Widths of the layers before the last (default: one of 64).
        dropout: After each hidden layer.
        low: Smallest angle in radians.
        high: Largest angle in radians.
        gain: Factor before the squash; 1 spreads normal features evenly over the range.
    """

    def __init__(
        self,
        features: int,
        hidden: list[int] | None = None,
        dropout: float = 0.0,
        low: float = 0.0,
        high: float = math.pi,
        gain: float = 1.0,
    ):
        super().__init__(features, low, high, gain)
        self.hidden, self.dropout = [64] if hidden is None else hidden, dropout

    def build(self, in_features: int) -> None:
        widths = [in_features, *self.hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.GELU(), nn.Dropout(self.dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], self.features, bias=False))
        self.standardise = Standardise(self.features, _WINDOW, batchwise=True)

    def scores(self, pooled: Tensor) -> Tensor:
        return self.standardise(self.layers(pooled))


class PCACompressor(_Squashed):
    """scikit-learn's principal components of the training split, squashed into [low, high]; nothing in it is trained.

    Args:
        features: Number of components, k.
        low: Smallest angle in radians.
        high: Largest angle in radians.
        gain: Factor before the squash; 1 spreads normal features evenly over the range.
        whiten: Whether each component is brought to variance 1. Without, all are divided by the first one's standard
            deviation, so that later components make smaller angles' differences.
    """

    mean: Tensor
    components: Tensor
    scale: Tensor
    fitted: Tensor

    def __init__(self, features: int, low: float = 0.0, high: float = math.pi, gain: float = 1.0, whiten: bool = True):
        super().__init__(features, low, high, gain)
        self.whiten = whiten
        self._known_fitted = False

    def build(self, in_features: int) -> None:
        """Raises InputError when there are more components than input features."""
        if self.features > in_features:
            raise InputError(f"PCACompressor: {self.features} components of {in_features} features; ask for no more than these")
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("components", torch.zeros(self.features, in_features))
        self.register_buffer("scale", torch.ones(self.features))
        self.register_buffer("fitted", torch.tensor(False))

    @property
    def needs_fit(self) -> bool:
        self._known_fitted = self._known_fitted or bool(self.fitted)  # a buffer on a GPU is not asked at every step
        return not self._known_fitted

    def fit(self, pooled: Iterable[Tensor]) -> None:
        """Fit on (b, D) batches of the training split.

        Raises InputError when they hold fewer samples, or fewer independent directions, than there are components.
        """
        from sklearn.decomposition import PCA

        samples = torch.cat([batch.detach().cpu().double() for batch in pooled]).numpy()
        if len(samples) < self.features:
            raise InputError(
                f"PCACompressor: {self.features} components from {len(samples)} samples; more samples, or fewer of them"
            )
        pca = PCA(self.features, svd_solver="full").fit(samples)
        rank = int((pca.explained_variance_ > 1e-10 * samples.var(0).sum()).sum())
        if rank < self.features:
            raise InputError(
                f"PCACompressor: {self.features} components, but the training features vary in {rank} directions only; "
                f"ask for at most {rank}"
            )
        deviation = np.sqrt(pca.explained_variance_)
        scale = deviation if self.whiten else np.full(self.features, deviation[0])
        for buffer, values in ((self.mean, pca.mean_), (self.components, pca.components_), (self.scale, scale)):
            buffer.copy_(torch.from_numpy(values))
        self.fitted.fill_(True)

    def scores(self, pooled: Tensor) -> Tensor:
        if self.needs_fit:
            raise InputError("PCACompressor is used before it was fitted; call fit on the training split's features first")
        return (pooled - self.mean) @ self.components.T / self.scale
