"""Gradients of what is estimated: from shifted circuits, finite differences, random directions, or one more qubit."""

from qmm.quantum.gradients.allotment import Allotment
from qmm.quantum.gradients.differences import SPSA, FiniteDifference
from qmm.quantum.gradients.estimated import EstimatedGradient, Jacobian
from qmm.quantum.gradients.linear_combination import LinearCombination
from qmm.quantum.gradients.parameter_shift import ParameterShift

__all__ = [
    "SPSA",
    "Allotment",
    "EstimatedGradient",
    "FiniteDifference",
    "Jacobian",
    "LinearCombination",
    "ParameterShift",
]
