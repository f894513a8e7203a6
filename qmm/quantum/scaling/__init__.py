"""Circuits larger than a device or a state vector: cut, propagated back, or simulated as matrix product states."""

from qmm.quantum.scaling.cutting import CutBackend, CutJob, CutShift
from qmm.quantum.scaling.places import Cut, cut_wire
from qmm.quantum.scaling.plans import CutPlan, FragmentPlan, suggest_cuts

__all__ = ["Cut", "CutBackend", "CutJob", "CutPlan", "CutShift", "FragmentPlan", "cut_wire", "suggest_cuts"]
