"""Initialisers that draw each weight from a distribution that circuit or data decide on."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from qmm.circuits.gates import check_name
from qmm.errors import InputError
from qmm.initialisers.base import Initialiser
from qmm.initialisers.structure import locality, trained_depth, trained_layers
from qmm.quantum import Circuit

_INSIDE = 1e-8  # what the lowest and the highest value keep from 0 and 1, where the beta density has its ends


class SmallAngle(Initialiser):
    """Normal around 0, with a variance that falls with depth and with the qubits that an observable acts on.

    gamma**2 = 1 / (4 S (L + 2)), with which the gradient's norm falls as a polynomial of the depth at worst, for an S-local
    observable and L + 2 layers of rotations, the last two behind the last entangling gates. Here S is the most qubits that a
    term of an observable acts on, and L + 2 the most trained gates that stand one behind another, each use of a weight that
    gates share counted, so that no other reading of "layer" gives larger angles.

    Args:
        scale: Multiplies the standard deviation.
        spread: The standard deviation itself, in radians, whatever the circuit; by default it is computed.
    """

    reference = "arXiv:2203.09376"

    def __init__(self, scale: float = 1.0, spread: float | None = None):
        if scale <= 0 or (spread is not None and spread <= 0):
            raise InputError(f"scale={scale}, spread={spread}; both are more than 0")
        self.scale, self.spread = scale, spread

    def deviation(self, circuit: Circuit) -> float:
        """The standard deviation of the circuit's weights, in radians."""
        if self.spread is not None:
            return self.scale * self.spread
        return self.scale / math.sqrt(4 * locality(circuit) * max(1, trained_depth(circuit)))

    def draw(self, circuit: Circuit, generator: torch.Generator, count: int = 1) -> Tensor:
        size = (count, len(circuit.weights))
        return self.deviation(circuit) * torch.randn(size, generator=generator, dtype=torch.float64)


class Beta(Initialiser):
    """BEINIT: beta distributed between 0 and `high`, its two parameters estimated from the data.

    As its authors' code does it: the data are scaled to [0, 1], alpha and beta are those of the largest likelihood (or, where
    that is not found, those with the data's mean and variance), angles are radians in [0, 1]. The noise that they add to the
    weights in every training step is no part of an initialiser.

    Args:
        alpha, beta: Both 1: uniform; both larger: around the middle.
        high: The largest angle, in radians.
        fit: Estimate alpha and beta from the inputs of the circuit on training data. Without data it is an error.
    """

    reference = "arXiv:2204.13751"

    def __init__(self, alpha: float = 2.0, beta: float = 2.0, high: float = 1.0, fit: bool = False):
        if alpha <= 0 or beta <= 0:
            raise InputError(f"alpha={alpha}, beta={beta}; both are more than 0")
        self.alpha, self.beta, self.high, self.fit = alpha, beta, high, fit

    def see(self, circuit: Circuit, inputs: Tensor) -> "Beta":
        """Raises InputError for inputs that are all the same."""
        if not self.fit:
            return self
        values = inputs.detach().double().cpu().numpy().ravel()
        if values.size == 0 or np.ptp(values) == 0:
            raise InputError("Beta(fit=True): the circuit's inputs are all the same, or there are none; give alpha and beta")
        scaled = np.clip((values - values.min()) / np.ptp(values), _INSIDE, 1 - _INSIDE)
        try:
            alpha, beta, _, _ = stats.beta.fit(scaled, floc=0, fscale=1)
        except stats.FitError:  # few or clustered values: the likelihood's equations found no end
            alpha, beta = _by_moments(scaled)
        return Beta(float(alpha), float(beta), self.high)

    def draw(self, circuit: Circuit, generator: torch.Generator, count: int = 1) -> Tensor:
        """Raises InputError where alpha and beta are yet to be estimated."""
        if self.fit:
            raise InputError("Beta(fit=True) has seen no data; start a training with it (qmm.training.Initialisation)")
        uniform = torch.rand((count, len(circuit.weights)), generator=generator, dtype=torch.float64)
        return self.high * torch.from_numpy(stats.beta.ppf(uniform.numpy(), self.alpha, self.beta))


def _by_moments(values: NDArray[np.float64]) -> tuple[float, float]:
    """alpha and beta with the mean and the variance of values in [0, 1], not all the same."""
    mean = values.mean()
    total = mean * (1 - mean) / values.var() - 1  # at least 0, since the variance is at most mean (1 - mean)
    return max(mean * total, _INSIDE), max((1 - mean) * total, _INSIDE)


class OrthogonalLike(Initialiser):
    """Weights as entries of an orthogonal matrix, a trained layer a row.

    A circuit's layers are no square matrix: the matrix has as many columns as the widest layer has weights, and of its rows
    shorter layers take the first entries, hence "like". Rows, or where layers are more than columns the columns, are
    orthonormal times `gain`, so that angles are about gain / sqrt(the longer side).

    Args:
        gain: Multiplies the matrix.
    """

    reference = "arXiv:2311.13218"

    def __init__(self, gain: float = 1.0):
        if gain <= 0:
            raise InputError(f"gain={gain}; it is more than 0")
        self.gain = gain

    def draw(self, circuit: Circuit, generator: torch.Generator, count: int = 1) -> Tensor:
        layers = trained_layers(circuit)
        weights = torch.zeros(count, len(circuit.weights), dtype=torch.float64)
        matrix = torch.empty(len(layers), max(map(len, layers), default=0), dtype=torch.float64)
        for row in weights:
            torch.nn.init.orthogonal_(matrix, self.gain, generator=generator)
            for layer, entries in zip(layers, matrix, strict=True):
                row[layer] = entries[: len(layer)]
        return weights


class Xavier(Initialiser):
    """Xavier's variance, 2 / (fan in + fan out), with the circuit's qubits for both fans: 1/n.

    Args:
        distribution: "normal" or "uniform".
        gain: Multiplies the standard deviation; sqrt(2) gives He's.
    """

    reference = "arXiv:2311.13218"

    def __init__(self, distribution: str = "normal", gain: float = 1.0):
        self.distribution = check_name("distribution", distribution, ("normal", "uniform"))
        self.gain = gain

    def draw(self, circuit: Circuit, generator: torch.Generator, count: int = 1) -> Tensor:
        size = (count, len(circuit.weights))
        deviation = self.gain / math.sqrt(circuit.quantum_circuit.num_qubits)
        if self.distribution == "normal":
            return deviation * torch.randn(size, generator=generator, dtype=torch.float64)
        return math.sqrt(3) * deviation * (2 * torch.rand(size, generator=generator, dtype=torch.float64) - 1)
