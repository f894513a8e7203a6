"""Fusion: how modalities meet. The quantum member, and the classical one it is measured against."""

from .classical import ConcatFusion, match_mlp
from .quantum import QuantumFusion

__all__ = ["ConcatFusion", "QuantumFusion", "match_mlp"]
