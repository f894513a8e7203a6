"""Fusion: how modalities meet. The quantum members, and the classical ones they are measured against."""

from .classical import ConcatFusion, match_mlp
from .entanglers import Entangler, Pairs, Ring
from .quantum import QuantumFusion
from .superposition import SuperpositionFusion, superposition_circuit

__all__ = [
    "ConcatFusion",
    "Entangler",
    "Pairs",
    "QuantumFusion",
    "Ring",
    "SuperpositionFusion",
    "match_mlp",
    "superposition_circuit",
]
