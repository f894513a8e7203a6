"""Compressors: pooled features (B, D) -> a few angles (B, k), in radians, within a stated range.

Each but RangeCompressor projects, brings its outputs to mean 0 and variance 1, and squashes them by the normal distribution
function Phi:

    angle = low + (high - low) * Phi(gain * z)

For normal z and gain 1 angles are uniform over the whole range, so they neither saturate nor collapse: their standard
deviation is 0.29 of the range. A gain below 1 keeps them nearer to the middle.
"""

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from qmm.contracts import Compressor
from qmm.errors import InputError

from ._squashed import Fitted, Squashed, within_float32
from ._statistics import Standardise

_WINDOW = 512
"""Samples that running statistics look back on: enough for a steady variance, few enough to follow a learning encoder."""


class LinearCompressor(Squashed):
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


class MLPCompressor(Squashed):
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


class PCACompressor(Fitted):
    """scikit-learn's principal components of the training split, squashed into [low, high]; nothing in it is trained.

    Args:
        features: Number of components, k.
        low: Smallest angle in radians.
        high: Largest angle in radians.
        gain: Factor before the squash; 1 spreads normal features evenly over the range.
        whiten: Whether each component is brought to variance 1. Without, all are divided by the first one's standard
            deviation, so that later components make smaller angles' differences.
    """

    def __init__(self, features: int, low: float = 0.0, high: float = math.pi, gain: float = 1.0, whiten: bool = True):
        super().__init__(features, low, high, gain, whiten)

    def decompose(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        from sklearn.decomposition import PCA

        return PCA(self.features, svd_solver="full").fit(samples).components_


class SelectingCompressor(Squashed):
    """Some of the features, as they are: each standardised by the training samples seen, squashed into [low, high]; nothing in
    it is trained. Which features say much and repeat little, `qmm select` finds.

    Args:
        indices: Which, counted from 0; their order is that of the angles.
        low: Smallest angle in radians.
        high: Largest angle in radians.
        gain: Factor before the squash; 1 spreads normal features evenly over the range.

    Raises InputError for none, for a negative one and for one named twice; `build`, for one that there is not.
    """

    def __init__(self, indices: list[int], low: float = 0.0, high: float = math.pi, gain: float = 1.0):
        super().__init__(len(indices), low, high, gain)
        wrong = sorted({index for index in indices if index < 0 or indices.count(index) > 1})
        if wrong:
            raise InputError(f"indices {indices}: {wrong} are negative or named twice; name places from 0 on, each once")
        self.indices = list(indices)

    def build(self, in_features: int) -> None:
        beyond = [index for index in self.indices if index >= in_features]
        if beyond:
            raise InputError(
                f"SelectingCompressor: features {beyond} of an encoder that makes {in_features}; name places from 0 to "
                f"{in_features - 1}"
            )
        self.standardise = Standardise(self.features, _WINDOW, batchwise=True)

    def scores(self, pooled: Tensor) -> Tensor:
        return self.standardise(pooled[:, self.indices])


class RangeCompressor(Compressor):
    """Features whose range is known, as they are: [least, most] goes straight to [low, high], what lies outside to its ends.
    Nothing is trained or fitted.

    Args:
        features: How many there are, k.
        least: Smallest value of a feature.
        most: Largest value of a feature.
        low: Smallest angle in radians.
        high: Largest angle in radians.
    """

    def __init__(self, features: int, least: float = -1.0, most: float = 1.0, low: float = 0.0, high: float = math.pi):
        super().__init__()
        if features < 1 or not all(math.isfinite(x) for x in (least, most, low, high)) or least >= most or low >= high:
            raise InputError(
                f"RangeCompressor: features={features}, least={least}, most={most}, low={low}, high={high}; expected at least "
                "1 feature, least < most and low < high, all finite"
            )
        self.features, self.least, self.most, self.low, self.high = features, least, most, low, high
        self._bounds = within_float32(low, high)

    def build(self, in_features: int) -> None:
        """Raises InputError unless there are as many features as angles."""
        if in_features != self.features:
            raise InputError(
                f"RangeCompressor: {self.features} angles of {in_features} features; it keeps each: give equal numbers"
            )

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, k) -> (B, k) in [low, high]"""
        share = (pooled.float() - self.least) / (self.most - self.least)
        return (self.low + (self.high - self.low) * share).clamp(*self._bounds)
