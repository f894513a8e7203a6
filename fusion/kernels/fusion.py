"""KernelFusion: kernel values to trained landmarks, a network of radial basis functions whose distance is quantum."""

import copy
import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from qmm.contracts import Budget, Fusion
from qmm.errors import InputError
from qmm.quantum import Circuit

from ..classical import classical_counterparts
from ..patterns import fuse_by_pattern
from .kernel import FidelityKernel, QuantumKernel


class KernelFusion(Fusion):
    """Features by modality -> k(x, z_j) for L landmarks z_j, all trained: (B, L), values in [0, 1].

    The landmarks are points in the angles' space, with all modalities; they and the kernel's weights learn end to end. With a
    linear decoder on top it is a kernel machine on L points, as after Nystroem, which needs no Gram matrix of all samples.

    A missing modality's register stays |0...0> in x's state alone, as in `QuantumKernel`: a landmark counts by how far it is
    that state there, too. With the projected kernel, x's Bloch vectors there are 0.

    Args:
        landmarks: L, how many.
        kernel: What compares; by default FidelityKernel.
    """

    reference = "arXiv:1804.11326"

    def __init__(self, landmarks: int = 16, kernel: QuantumKernel | None = None):
        super().__init__()
        if landmarks < 1:
            raise InputError(f"landmarks={landmarks}; a kernel fusion needs at least one")
        self.out_features, self.kernel = landmarks, copy.deepcopy(kernel) or FidelityKernel()

    def build(self, widths: Mapping[str, int]) -> None:
        """As `QuantumKernel.build`. Landmarks start uniform in [0, pi], the compressors' range."""
        self.kernel.build(widths)
        self.landmarks = nn.Parameter(math.pi * torch.rand(self.out_features, len(self.kernel.circuit().inputs)))

    def circuits(self, present: Collection[str] | None = None) -> dict[str, Circuit]:
        """What is run for a sample and a landmark, whose angles are the circuit's inputs `vision.x0` and `vision.z0`: with a
        FidelityKernel "overlap", one circuit whose first output is the kernel. With a ProjectedKernel "projection", x's side
        alone, which is measured for each sample once, and for each landmark."""
        return self.kernel.circuits(present)

    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) and (B,) bool by modality -> (B, L). Raises InputError for a row in which nothing is present."""
        everything = self.kernel.layout.modalities
        landmarks = self.kernel.represent(everything, self.landmarks)

        def fuse(modalities: tuple[str, ...], features: list[Tensor]) -> Tensor:
            x = self.kernel.angles(modalities, dict(zip(modalities, features, strict=True)))
            return self.kernel.compare(self.kernel.represent(modalities, x), modalities, landmarks, everything)

        return fuse_by_pattern(everything, angles, present, fuse, self)

    def counterparts(self, budget: Budget) -> dict[str, Fusion]:
        """The classical members of the same capacity."""
        return classical_counterparts(self.kernel.widths, budget)
