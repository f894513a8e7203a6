"""Regularisation of circuits: gates left out, angles that tremble, decay that knows their period."""

from qmm.regularisation.base import CircuitPerturbation
from qmm.regularisation.callback import PerturbCircuits
from qmm.regularisation.gate_dropout import GateDropout
from qmm.regularisation.noise import AngleNoise, PauliNoise
from qmm.regularisation.periods import periods
from qmm.regularisation.weight_decay import PeriodicWeightDecay, decay

__all__ = [
    "AngleNoise",
    "CircuitPerturbation",
    "GateDropout",
    "PauliNoise",
    "PeriodicWeightDecay",
    "PerturbCircuits",
    "decay",
    "periods",
]
