"""Encodings by diagonal gates between layers of Hadamard gates: features as phases, and products of two as phases of pairs."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from qiskit.circuit import Parameter, ParameterExpression, QuantumCircuit
from qiskit.circuit.library import z_feature_map, zz_feature_map
from torch import Tensor

from qmm.circuits.contracts import Encoding, FeatureMap
from qmm.circuits.gates import check_name
from qmm.errors import InputError

Angles = Sequence[float | ParameterExpression]
Pairs = list[tuple[int, int]]
ENTANGLEMENTS = ("linear", "circular", "pairwise", "full")


def coupled_pairs(n_qubits: int, entanglement: str | Sequence[Sequence[int]]) -> Pairs:
    """The pairs that Qiskit's circuit library means by "linear", "circular", "pairwise" or "full"; a list is checked.

    Raises InputError for another name, and for a pair of qubits that are not two of the n.
    """
    if not isinstance(entanglement, str):
        check_pairs("entanglement", entanglement, n_qubits)
        return [(first, second) for first, second in entanglement]
    check_name("entanglement", entanglement, ENTANGLEMENTS)
    if entanglement == "full":
        return [(i, j) for i in range(n_qubits) for j in range(i + 1, n_qubits)]
    line = [(i, i + 1) for i in range(n_qubits - 1)]
    if entanglement == "pairwise":
        return line[::2] + line[1::2]
    return [(n_qubits - 1, 0), *line] if entanglement == "circular" and n_qubits > 2 else line


def check_pairs(what: str, pairs: Sequence[Sequence[int]], n_qubits: int) -> None:
    """Raises InputError that names the first pair that is not two of the qubits, or comes twice."""
    met: set[frozenset[int]] = set()
    for pair in pairs:
        if len(pair) != 2 or len(set(pair)) != 2 or min(pair) < 0 or max(pair) >= n_qubits:
            raise InputError(f"{what} has the pair {list(pair)}; give two different qubits of 0 to {n_qubits - 1}")
        if frozenset(pair) in met:
            raise InputError(f"{what} has the pair {list(pair)} twice; name each pair once")
        met.add(frozenset(pair))


def iqp_encoding(singles: Angles, doubles: Angles, pairs: Pairs, repetitions: int = 1) -> QuantumCircuit:
    """(exp(-i/2 (sum_i a_i Z_i + sum_ij a_ij Z_i Z_j)) H^n)^repetitions, by RZ and RZZ.

    Args:
        singles: a_i, as many as there are qubits.
        doubles: a_ij, as many as `pairs`.
    """
    circuit = QuantumCircuit(len(singles))
    for _ in range(repetitions):
        circuit.h(range(len(singles)))
        for qubit, angle in enumerate(singles):
            circuit.rz(angle, qubit)
        for pair, angle in zip(pairs, doubles, strict=True):
            circuit.rzz(angle, *pair)
    return circuit


def zz_encoding(singles: Angles, doubles: Angles, pairs: Pairs, repetitions: int = 2) -> QuantumCircuit:
    """(exp(-i (sum_i a_i Z_i + sum_ij a_ij Z_i Z_j)) H^n)^repetitions up to a phase: Qiskit's `zz_feature_map` with these
    angles for its functions of the features."""
    named = {(i,): angle for i, angle in enumerate(singles)} | dict(zip(pairs, doubles, strict=True))

    def angle_of(features: Sequence[ParameterExpression]) -> float | ParameterExpression:
        return named[tuple(feature.index for feature in features)]

    if not pairs:
        return z_feature_map(len(singles), repetitions, data_map_func=angle_of)
    places = {1: [(i,) for i in range(len(singles))], 2: pairs}
    return zz_feature_map(len(singles), repetitions, places, data_map_func=angle_of)


class _Diagonal(FeatureMap):
    """A feature a qubit, and an angle for each pair of features; qubits to spare are left alone."""

    def __init__(self, repetitions: int = 2, entanglement: str | list[list[int]] = "full"):
        super().__init__()
        if repetitions < 1:
            raise InputError(f"repetitions={repetitions}; {type(self).__name__} needs at least one")
        if isinstance(entanglement, str):
            check_name("entanglement", entanglement, ENTANGLEMENTS)
        self.repetitions, self.entanglement = repetitions, entanglement

    def least_qubits(self, features: int) -> int:
        return features

    def build(self, features: int, n_qubits: int, uploads: int = 1) -> None:
        super().build(features, n_qubits, uploads)
        self.pairs = coupled_pairs(features, self.entanglement)

    @property
    def n_angles(self) -> int:
        return self.features + len(self.pairs)

    def forward(self, features: Tensor) -> Tensor:
        """(B, k) -> (B, k + pairs): the features, then what their pairs make."""
        first, second = torch.tensor(self.pairs, dtype=torch.long, device=features.device).reshape(-1, 2).unbind(dim=1)
        return torch.cat([features, self.joined(features[:, first], features[:, second])], dim=1)

    @abstractmethod
    def joined(self, first: Tensor, second: Tensor) -> Tensor:
        """(B, pairs) of each feature -> (B, pairs) angles."""

    @abstractmethod
    def encoding(self, singles: Angles, doubles: Angles) -> QuantumCircuit:
        """On as many qubits as there are features."""

    def circuit(self, angles: Sequence[Parameter], upload: int = 0) -> QuantumCircuit:
        circuit = QuantumCircuit(self.n_qubits)
        return circuit.compose(self.encoding(angles[: self.features], angles[self.features :]), range(self.features))

    def _describe(self, step: str, pair: str) -> Encoding:
        times = f", in each of {self.repetitions} repetitions" if self.repetitions > 1 else ""
        spectrum = f"in a feature, the others fixed: sums of 0 or +-{step} and of 0 or +-{pair} for each partner j{times}"
        return self.described("1", spectrum)


class IQPEncoding(_Diagonal):
    """`iqp_encoding` of angles x_i and x_i x_j: amplitudes that are hard to compute classically (arXiv:2011.01938).

    Args:
        repetitions: Of Hadamard gates and phases. After a single one all that is measured in Z at once is flat.
        entanglement: Which features are multiplied: "linear", "circular", "pairwise", "full", or pairs of features.
    """

    reference = "arXiv:2011.01938"

    def joined(self, first: Tensor, second: Tensor) -> Tensor:
        return first * second

    def encoding(self, singles: Angles, doubles: Angles) -> QuantumCircuit:
        return iqp_encoding(singles, doubles, self.pairs, self.repetitions)

    def describe(self) -> Encoding:
        return self._describe("1", "x_j")


class ZZEncoding(_Diagonal):
    """`zz_encoding` of angles x_i and (pi - x_i)(pi - x_j), as Qiskit's `zz_feature_map` has them (arXiv:1804.11326).

    Args:
        repetitions: Of Hadamard gates and phases. After a single one all that is measured in Z at once is flat.
        entanglement: Which features are multiplied: "linear", "circular", "pairwise", "full", or pairs of features.
    """

    reference = "arXiv:1804.11326"

    def joined(self, first: Tensor, second: Tensor) -> Tensor:
        return (torch.pi - first) * (torch.pi - second)

    def encoding(self, singles: Angles, doubles: Angles) -> QuantumCircuit:
        return zz_encoding(singles, doubles, self.pairs, self.repetitions)

    def describe(self) -> Encoding:
        return self._describe("2", "2(pi - x_j)")
