"""Encodings made to be written again and again: with trained scales, or at frequencies that grow."""

import math
from collections.abc import Sequence

import torch
from qiskit.circuit import Parameter, ParameterExpression, QuantumCircuit
from torch import Tensor, nn

from qmm.circuits.contracts import Encoding, FeatureMap
from qmm.circuits.feature_maps.spectrum import say_frequencies
from qmm.circuits.gates import check_name
from qmm.errors import InputError

OVER = ("qubits", "uploads", "both")


def euler_encoding(angles: Sequence[float | ParameterExpression], n_qubits: int) -> QuantumCircuit:
    """RY with the first n angles, one a qubit, RZ with the next n, RY with the rest: any rotation of each qubit.

    Raises InputError for more than 3n angles.
    """
    if len(angles) > 3 * n_qubits:
        raise InputError(f"{len(angles)} angles for {n_qubits} qubits; a register holds three a qubit, {3 * n_qubits} here")
    circuit = QuantumCircuit(n_qubits)
    for place, angle in enumerate(angles):
        rotate = circuit.rz if place // n_qubits == 1 else circuit.ry
        rotate(angle, place % n_qubits)
    return circuit


class DataReuploading(FeatureMap):
    """`euler_encoding` of w x + b, w and b trained, of their own for each upload and feature (arXiv:1907.02085).

    Up to three features a qubit. As it is meant, the fusion is told to `reupload`. A new map starts with w = 1, b = 0.
    """

    reference = "arXiv:1907.02085"

    def least_qubits(self, features: int) -> int:
        return math.ceil(features / 3)

    def build(self, features: int, n_qubits: int, uploads: int = 1) -> None:
        super().build(features, n_qubits, uploads)
        self.scale = nn.Parameter(torch.ones(uploads, features))
        self.shift = nn.Parameter(torch.zeros(uploads, features))

    @property
    def n_angles(self) -> int:
        return self.uploads * self.features

    def forward(self, features: Tensor) -> Tensor:
        """(B, k) -> (B, uploads k)"""
        return (features.unsqueeze(1) * self.scale + self.shift).flatten(1)

    def circuit(self, angles: Sequence[Parameter], upload: int = 0) -> QuantumCircuit:
        return euler_encoding(angles[upload * self.features : (upload + 1) * self.features], self.n_qubits)

    def describe(self) -> Encoding:
        return self.described("3", f"{say_frequencies(self)} as it is now: the scale |w| of each is trained")


def fourier_frequencies(base: float, copies: int, upload: int = 0, over: str = "both") -> list[float]:
    """Of the copies of a feature in an upload: base**0, base**1 ... from qubit to qubit, from upload to upload, or on through
    both (arXiv:2206.12105). With base 3 these make all whole frequencies up to (3**m - 1)/2, m copies and uploads together.

    Raises InputError for another `over`.
    """
    check_name("choice of what frequencies grow over", over, OVER)
    first = {"qubits": 0, "uploads": upload, "both": upload * copies}[over]
    return [base ** (first + (0 if over == "uploads" else copy)) for copy in range(copies)]


class FourierEncoding(FeatureMap):
    """Each feature on several qubits, RY(frequency x) on each, at the `fourier_frequencies` (arXiv:2206.12105).

    Args:
        base: Of the frequencies, base**i. 3 makes the most of them; 1 repeats the feature as it is.
        copies: Qubits a feature, at least; a larger register has more.
        over: "qubits", "uploads" or "both": where the exponent grows.
    """

    reference = "arXiv:2206.12105"

    def __init__(self, base: float = 3.0, copies: int = 2, over: str = "both"):
        super().__init__()
        if base <= 0 or copies < 1:
            raise InputError(f"base={base}, copies={copies}; expected a base above 0 and at least one copy")
        self.base, self.copies, self.over = base, copies, check_name("choice of what frequencies grow over", over, OVER)

    def least_qubits(self, features: int) -> int:
        return features * self.copies

    def circuit(self, angles: Sequence[Parameter], upload: int = 0) -> QuantumCircuit:
        copies = self.n_qubits // self.features
        circuit = QuantumCircuit(self.n_qubits)
        for feature, angle in enumerate(angles):
            for copy, frequency in enumerate(fourier_frequencies(self.base, copies, upload, self.over)):
                circuit.ry(frequency * angle, feature * copies + copy)
        return circuit

    def describe(self) -> Encoding:
        return self.described(f"1/{self.n_qubits // self.features}", say_frequencies(self))
