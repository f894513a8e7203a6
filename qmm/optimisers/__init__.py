"""Optimisers for circuit weights, as torch optimisers, and several of them in one model."""

from qmm.optimisers.base import CircuitOptimizer, OptimizerPlan, Together, Torch
from qmm.optimisers.counting import CountEvaluations, Tally, tallying
from qmm.optimisers.external import External
from qmm.optimisers.natural_gradient import QuantumNaturalGradient
from qmm.optimisers.probing import current_probes, is_probing
from qmm.optimisers.rotosolve import NFT, Rotosolve
from qmm.optimisers.spsa import QNSPSA, SPSA

__all__ = [
    "NFT",
    "QNSPSA",
    "SPSA",
    "CircuitOptimizer",
    "CountEvaluations",
    "External",
    "OptimizerPlan",
    "QuantumNaturalGradient",
    "Rotosolve",
    "Tally",
    "Together",
    "Torch",
    "current_probes",
    "is_probing",
    "tallying",
]
