"""What gradients of many circuits say: their variance, and how it falls with the number of qubits, with intervals."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ZERO = 1e-26
"""A variance below it is rounding, not gradient: values are exact to some 1e-15, their squares to 1e-30."""
_RESAMPLES = 1000  # of the circuits: the ends of a 95 % interval are the 25th from either side
_LEVEL = 95


class Estimate(NamedTuple):
    """A number with the ends of its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def resampled_variances(gradients: NDArray[np.float64], seed: int, resamples: int = _RESAMPLES) -> NDArray[np.float64]:
    """(C, W) gradients of C circuits -> (1 + resamples,): the variance over circuits, unbiased, averaged over the W weights;
    first as it is, then with circuits drawn again from those that there are, with replacement."""
    count = len(gradients)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    shares = np.concatenate([np.ones((1, count)), draws]) / count
    centred = gradients - gradients.mean(axis=0)  # so that nothing cancels below
    means, squares = shares @ centred, shares @ (centred**2).mean(axis=1)
    return (squares - (means**2).mean(axis=1)) * count / (count - 1)


def estimate(values: NDArray[np.float64]) -> Estimate:
    """Of a number and its resamples, (1 + resamples,)."""
    low, high = np.percentile(values[1:], [(100 - _LEVEL) / 2, (100 + _LEVEL) / 2])
    return Estimate(float(values[0]), float(low), float(high))


def slope(variances: Mapping[int, NDArray[np.float64]]) -> Estimate | None:
    """Of ln variance against qubits, by least squares; `variances`: qubits -> a variance and its resamples.

    The circuits of each number of qubits are resampled by themselves. None with fewer than two numbers of qubits, and where a
    variance is zero.
    """
    if len(variances) < 2 or any(v[0] < ZERO for v in variances.values()):
        return None
    qubits = np.array(list(variances), dtype=float)
    logs = np.log(np.maximum(np.stack(list(variances.values())), ZERO))
    centred = qubits - qubits.mean()
    return estimate(centred @ logs / (centred**2).sum())


def two_design_variance(n_qubits: int) -> float:
    """Of the first gradient of `RandomAxes` for a Pauli string, where what follows the first rotation is a 2-design:
    2**n / (4**n - 1) / 3.

    Over unitaries V the mean of V^+ O V twice is Tr(O**2) / (4**n - 1) (SWAP - 1 / 2**n) for a traceless O; between it stand
    commutators of the state with P/2, of which (1 - <P>**2) / 2 is left, and RY(pi/4) makes <X>**2 = <Z>**2 = 1/2, <Y> = 0.
    """
    return math.ldexp(1.0, n_qubits) / (4.0**n_qubits - 1) / 3
