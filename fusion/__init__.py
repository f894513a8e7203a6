"""Fusion: how modalities meet. The quantum members, and the classical ones they are measured against."""

from .attention import QuantumSelfAttention, attention_circuit
from .chosen import ByLayer, GivenPairs
from .classical import (
    ConcatFusion,
    CrossModalTransformer,
    GatedFusion,
    LateFusion,
    LowRankFusion,
    MFBFusion,
    MultiplicativeFusion,
    TensorFusion,
    classical_counterparts,
)
from .entanglers import AllToAll, CrossAttention, Entangler, FewMeetings, NoEntangler, Pairs, Ring, SparseGraph, Star
from .kernels import FidelityKernel, KernelFusion, ProjectedKernel, QuantumKernel, target_alignment
from .lcu import LCUFusion, lcu_circuit
from .mixture import MixtureFusion
from .multi_encoder import MultiEncoderFusion, encoder_circuit
from .quantum import QuantumFusion
from .superposition import SuperpositionFusion, superposition_circuit

__all__ = [
    "AllToAll",
    "ByLayer",
    "ConcatFusion",
    "CrossAttention",
    "CrossModalTransformer",
    "Entangler",
    "FewMeetings",
    "FidelityKernel",
    "GatedFusion",
    "GivenPairs",
    "KernelFusion",
    "LCUFusion",
    "LateFusion",
    "LowRankFusion",
    "MFBFusion",
    "MixtureFusion",
    "MultiEncoderFusion",
    "MultiplicativeFusion",
    "NoEntangler",
    "Pairs",
    "ProjectedKernel",
    "QuantumFusion",
    "QuantumKernel",
    "QuantumSelfAttention",
    "Ring",
    "SparseGraph",
    "Star",
    "SuperpositionFusion",
    "TensorFusion",
    "attention_circuit",
    "classical_counterparts",
    "encoder_circuit",
    "lcu_circuit",
    "superposition_circuit",
    "target_alignment",
]
