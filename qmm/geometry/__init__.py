"""The geometry of circuits' states: how far a step of the weights moves them."""

from qmm.geometry.fisher import fubini_study, tangents, weight_blocks

__all__ = ["fubini_study", "tangents", "weight_blocks"]
