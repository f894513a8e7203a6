"""Basis encoding: a bit a qubit."""

import math
from collections.abc import Sequence

from qiskit.circuit import Parameter, QuantumCircuit
from torch import Tensor

from qmm.circuits.contracts import Encoding, FeatureMap
from qmm.circuits.feature_maps.angle import rotation_encoding
from qmm.errors import InputError


class BasisEncoding(FeatureMap):
    """Bits b -> the basis state |b>, by RX(pi b_i) on qubit i (up to a phase); a bit a qubit (arXiv:1802.06002).

    RZ turns a basis state by a phase alone, so an ansatz that begins with RZ has idle weights in its first layer behind this
    map; let it begin with RY (`HardwareEfficient(["ry", "rz"])`).

    Args:
        threshold: A feature above it is 1, else 0. The gradient goes straight through that step (arXiv:1308.3432): an angle's
            is the feature's.
        strict: The features are bits already: what is neither 0 nor 1 is refused, and the gradient is pi, that of the angle.
    """

    reference = "arXiv:1802.06002"

    def __init__(self, threshold: float = math.pi / 2, strict: bool = False):
        super().__init__()
        self.threshold, self.strict = threshold, strict

    def least_qubits(self, features: int) -> int:
        return features

    def forward(self, features: Tensor) -> Tensor:
        """(B, k) -> (B, k), 0 or pi. Raises InputError where `strict` and a feature is neither 0 nor 1."""
        if not self.strict:
            bits = (features > self.threshold).to(features.dtype)
            return math.pi * bits + (features - features.detach())
        if wrong := ((features != 0) & (features != 1)).nonzero().tolist():
            row, column = wrong[0]
            raise InputError(
                f"row {row}, feature {column} is {features[row, column].item():g}; strict basis encoding takes 0 and 1: "
                "binarise the features, or use BasisEncoding(threshold=...)"
            )
        return math.pi * features

    def circuit(self, angles: Sequence[Parameter], upload: int = 0) -> QuantumCircuit:
        return rotation_encoding(angles, self.n_qubits, "x")

    def describe(self) -> Encoding:
        return self.described("1 bit", "any function of the bits, since basis states are orthogonal; nothing between 0 and 1")
