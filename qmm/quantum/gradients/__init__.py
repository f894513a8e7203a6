"""Gradients of what is estimated: from shifted circuits, finite differences, random directions, or one more qubit."""

from qmm.quantum.gradients.estimated import EstimatedGradient
from qmm.quantum.gradients.parameter_shift import ParameterShift

__all__ = ["EstimatedGradient", "ParameterShift"]
