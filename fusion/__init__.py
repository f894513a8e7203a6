"""Fusion: how modalities meet. The quantum members, and the classical ones they are measured against."""

from .attention import QuantumSelfAttention, attention_circuit
from .classical import ConcatFusion, match_mlp
from .entanglers import AllToAll, CrossAttention, Entangler, NoEntangler, Pairs, Ring, SparseGraph, Star
from .kernels import FidelityKernel, KernelFusion, ProjectedKernel, QuantumKernel, target_alignment
from .lcu import LCUFusion, lcu_circuit
from .mixture import MixtureFusion
from .multi_encoder import MultiEncoderFusion, encoder_circuit
from .quantum import QuantumFusion
from .superposition import SuperpositionFusion, superposition_circuit

__all__ = [
    "AllToAll",
    "ConcatFusion",
    "CrossAttention",
    "Entangler",
    "FidelityKernel",
    "KernelFusion",
    "LCUFusion",
    "MixtureFusion",
    "MultiEncoderFusion",
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
    "attention_circuit",
    "encoder_circuit",
    "lcu_circuit",
    "match_mlp",
    "superposition_circuit",
    "target_alignment",
]
