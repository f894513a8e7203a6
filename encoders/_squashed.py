"""What compressors share: the squash into the range, and, of those that are fitted, the fit."""

import math
from abc import abstractmethod
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmm.contracts import Compressor
from qmm.errors import InputError

_FLAT = 1e-10  # of the features' whole variance: what a component has less of, it does not vary


class Squashed(Compressor):
    """The range and the squash, which all share."""

    def __init__(self, features: int, low: float, high: float, gain: float):
        super().__init__()
        if features < 1:
            raise InputError(f"features={features}: a compressor gives at least 1 angle")
        if not (math.isfinite(low) and math.isfinite(high) and low < high and gain > 0):
            raise InputError(f"low={low}, high={high}, gain={gain}: expected low < high, both finite, and a gain above 0")
        self.features, self.low, self.high, self.gain = features, low, high, gain
        self._bounds = within_float32(low, high)

    @abstractmethod
    def scores(self, pooled: Tensor) -> Tensor:
        """(B, D) -> (B, k), standardised"""

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, D) -> (B, k) in [low, high]"""
        share = torch.special.ndtr(self.gain * self.scores(pooled).float())
        return (self.low + (self.high - self.low) * share).clamp(*self._bounds)


def within_float32(low: float, high: float) -> tuple[float, float]:
    """The outermost float32 numbers within [low, high]: float32's pi is larger than pi."""
    lowest, highest = np.float32(low), np.float32(high)
    lowest = np.nextafter(lowest, np.float32(np.inf)) if float(lowest) < low else lowest
    highest = np.nextafter(highest, np.float32(-np.inf)) if float(highest) > high else highest
    return float(lowest), float(highest)


class FittedOnce(Squashed):
    """What is fitted once, on the training split, before it is used."""

    fitted: Tensor

    def __init__(self, features: int, low: float, high: float, gain: float):
        super().__init__(features, low, high, gain)
        self._known_fitted = False

    @property
    def _name(self) -> str:
        return type(self).__name__

    def build(self, in_features: int) -> None:
        self.register_buffer("fitted", torch.tensor(False))

    @property
    def needs_fit(self) -> bool:
        self._known_fitted = self._known_fitted or bool(self.fitted)  # a buffer on a GPU is not asked at every step
        return not self._known_fitted

    def gather(self, pooled: Iterable[Tensor], least: int) -> NDArray[np.float64]:
        """All (b, D) batches as one (N, D). Raises InputError for fewer samples than `least`, and for values not finite."""
        samples = torch.cat([batch.detach().cpu().double() for batch in pooled]).numpy()
        if len(samples) < least:
            raise InputError(
                f"{self._name}: {self.features} components from {len(samples)} samples; more samples, or fewer of them"
            )
        if not np.isfinite(samples).all():
            row = int(np.argmin(np.isfinite(samples).all(1)))
            raise InputError(f"{self._name}: row {row} of the training features is NaN or infinite; leave such samples out")
        return samples

    def require_fit(self) -> None:
        """Raises InputError where it has not been fitted."""
        if self.needs_fit:
            raise InputError(f"{self._name} is used before it was fitted; call fit on the training split's features first")


class Fitted(FittedOnce):
    """Components (k, D) found once on the training split; nothing is trained. Scores are projections on them, brought to mean 0
    and variance 1 there.

    Args:
        features: Number of components, k.
        low: Smallest angle in radians.
        high: Largest angle in radians.
        gain: Factor before the squash; 1 spreads normal features evenly over the range.
        whiten: Whether each component is brought to variance 1. Without, all are divided by the largest standard deviation, so
            that components that vary less make smaller angles' differences.
    """

    mean: Tensor
    components: Tensor
    scale: Tensor

    def __init__(self, features: int, low: float, high: float, gain: float, whiten: bool):
        super().__init__(features, low, high, gain)
        self.whiten = whiten

    def build(self, in_features: int) -> None:
        """Raises InputError when there are more components than input features."""
        if self.features > in_features:
            raise InputError(f"{self._name}: {self.features} components of {in_features} features; ask for no more than these")
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("components", torch.zeros(self.features, in_features))
        self.register_buffer("scale", torch.ones(self.features))
        super().build(in_features)

    @abstractmethod
    def decompose(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, D) -> the components (k, D)"""

    def statistics(
        self, samples: NDArray[np.float64], components: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The mean that scores are counted from, and their deviations (k,)."""
        mean = samples.mean(0)
        return mean, ((samples - mean) @ components.T).std(0, ddof=1)

    def fit(self, pooled: Iterable[Tensor]) -> None:
        """Fit on (b, D) batches of the training split.

        Raises InputError when they hold fewer samples, or vary in fewer components, than are asked for.
        """
        samples = self.gather(pooled, max(2, self.features))
        components = self.decompose(samples)
        mean, deviation = self.statistics(samples, components)
        rank = int((deviation**2 > _FLAT * (components**2).sum(1) * samples.var(0).sum()).sum())
        if rank < self.features:
            raise InputError(
                f"{self._name}: {self.features} components, but the training features vary in {rank} directions only; "
                f"ask for at most {rank}"
            )
        scale = deviation if self.whiten else np.full(self.features, deviation.max())
        for buffer, values in ((self.mean, mean), (self.components, components), (self.scale, scale)):
            buffer.copy_(torch.as_tensor(values))
        self.fitted.fill_(True)

    def scores(self, pooled: Tensor) -> Tensor:
        self.require_fit()
        return self.project(pooled) / self.scale

    def project(self, pooled: Tensor) -> Tensor:
        """(B, D) -> (B, k), of mean 0 over the training split"""
        return (pooled - self.mean) @ self.components.T
