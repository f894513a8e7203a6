"""Circuits that are run in several variants drawn at random: their shots, their flips, and what they give together."""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.requests import Estimates


def positive(name: str, value: int) -> int:
    """The value. Raises CircuitError where it is not a whole number above zero."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CircuitError(f"{name}={value!r}; a whole number above zero is needed")
    return value


def split(shots: int, variants: int) -> list[int]:
    """Shots of each variant: as equal as can be, at least 1, all together `shots`. Fewer variants where shots are fewer."""
    variants = min(variants, shots)
    return [shots // variants + (i < shots % variants) for i in range(variants)]


def averaged(estimates: Sequence[Estimates], shots: Sequence[int]) -> Estimates:
    """The mean over different circuits drawn at random, each with its shots.

    The variance is what the variants' own add up to, or what their differences say, whichever is more: drawing adds to the
    first, and single shots tell nothing of themselves.
    """
    weights = np.asarray(shots) / np.sum(shots)
    values, variances = _stacked(estimates)
    mean = np.tensordot(weights, values, 1)
    within = np.tensordot(weights**2, variances, 1)
    if len(shots) == 1:
        return Estimates(mean, within)
    between = np.tensordot(weights**2, (values - mean) ** 2, 1) * len(shots) / (len(shots) - 1)
    return Estimates(mean, np.maximum(within, between))


def pooled(estimates: Sequence[Estimates], shots: Sequence[int]) -> Estimates:
    """The mean over shots of what is but for read-out errors one circuit: as from all of its shots at once."""
    counts = np.asarray(shots, float)
    total = counts.sum()
    values, variances = _stacked(estimates)
    mean = np.tensordot(counts / total, values, 1)
    squares = np.tensordot(counts * (counts - 1), variances, 1) + np.tensordot(counts, (values - mean) ** 2, 1)
    return Estimates(mean, squares / (total * max(1, total - 1)))


def balanced_flips(rng: Generator, n_bits: int, patterns: int) -> NDArray[np.bool_]:
    """(patterns, n_bits): which bits each pattern flips, each alone uniform.

    Patterns are a random shift of a linear code. Every bit is flipped in half of them; with at most patterns / 2 bits, two bits
    agree in half of them and three have an odd number of flips in half, so that errors of up to three bits that depend on the
    bits' values average out exactly; others do on average over draws. `patterns` is a power of two.
    """
    n_rows = patterns.bit_length() - 1
    rows = np.arange(patterns)
    half = 1 << max(0, n_rows - 1)
    columns = np.concatenate([half + rng.permutation(half) for _ in range(-(-n_bits // half))])[:n_bits]
    parities = np.bitwise_count(rows[:, None] & columns) & 1 if n_rows else np.zeros((1, n_bits), np.uint8)
    return parities.astype(bool) ^ rng.integers(2, size=n_bits).astype(bool)


def power_of_two(name: str, value: int) -> int:
    """The value. Raises CircuitError where it is no power of two."""
    if positive(name, value).bit_count() != 1:
        raise CircuitError(f"{name}={value}; flips are balanced over 1, 2, 4, 8, 16, ... patterns: take one of these numbers")
    return value


def _stacked(estimates: Sequence[Estimates]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.stack([e.values for e in estimates]), np.stack([e.variances for e in estimates])
