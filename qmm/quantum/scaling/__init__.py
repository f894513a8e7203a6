"""Circuits larger than a device or a state vector: cut, propagated back, or simulated as matrix product states."""

from qmm.quantum.scaling.backpropagation import Backpropagated, OperatorBackpropagation, backpropagate
from qmm.quantum.scaling.cutting import CutBackend, CutJob, CutShift
from qmm.quantum.scaling.matrix_product import MPSReport, mps_report
from qmm.quantum.scaling.places import Cut, cut_wire
from qmm.quantum.scaling.plans import CutPlan, FragmentPlan, suggest_cuts

__all__ = [
    "Backpropagated",
    "Cut",
    "CutBackend",
    "CutJob",
    "CutPlan",
    "CutShift",
    "FragmentPlan",
    "MPSReport",
    "OperatorBackpropagation",
    "backpropagate",
    "cut_wire",
    "mps_report",
    "suggest_cuts",
]
