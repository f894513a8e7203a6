"""Quantum kernels of several modalities: fidelity and projected, their Gram matrices, and a fusion that trains through them."""

from typing import Any

from .alignment import target_alignment
from .circuits import kernel_circuit, one_qubit_paulis, overlap_circuit
from .fusion import KernelFusion
from .kernel import FidelityKernel, ProjectedKernel, QuantumKernel
from .samples import Samples

__all__ = [
    "FidelityKernel",
    "GramMatrix",
    "KernelFusion",
    "ProjectedKernel",
    "QuantumKernel",
    "Samples",
    "kernel_circuit",
    "one_qubit_paulis",
    "overlap_circuit",
    "target_alignment",
]


def __getattr__(name: str) -> Any:
    if name == "GramMatrix":  # scikit-learn loads when it is asked for
        from .learning import GramMatrix

        return GramMatrix
    raise AttributeError(f"module 'qmm.fusion.kernels' has no attribute {name!r}")
