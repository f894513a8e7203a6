"""Ideal: shots without noise, drawn from the probabilities that the exact engine computes."""

import numpy as np
from qiskit.primitives import BaseSamplerV2
from qiskit.providers import BackendV2

from qmm.quantum.execution.providers import Provider
from qmm.quantum.primitives import ExactSampler


class Ideal(Provider):
    """A device without noise that has any gate between any qubits: what is left is shot noise alone.

    A batch is simulated at once, so that shots cost hardly more than exact values.
    """

    def __init__(self) -> None:
        self._sampler = ExactSampler()

    @property
    def name(self) -> str:
        return "ideal device"

    @property
    def device(self) -> BackendV2 | None:
        return None

    def sampler(self, seed: int) -> BaseSamplerV2 | None:
        return self._sampler.reseeded(np.random.default_rng(seed))
