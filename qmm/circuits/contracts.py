"""What a fusion circuit is put together from inside registers: feature map, ansatz, read-out. Each is small, named in YAML by
its `class_path`, and builds its circuit by a pure function."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from torch import Tensor, nn

from qmm.config import Configurable
from qmm.errors import InputError
from qmm.registers import RegisterLayout


class Encoding(NamedTuple):
    """What a built feature map does, for tables and the gallery."""

    features_per_qubit: str
    """How many features a qubit holds, as a number or a formula of n qubits."""
    depth: int
    """Of the circuit of one upload, as written."""
    two_qubit_gates: int
    spectrum: str
    """What it does to the functions that the model can represent: the frequencies or polynomials of the features that one
    upload makes available (arXiv:2008.08605)."""


class FeatureMap(Configurable, nn.Module, ABC):
    """(B, k) features of one modality -> (B, p) angles, and the circuit that writes these into a register.

    The classical half is differentiable and may be trained; the circuit's parameters are the p angles, nothing else. The
    features are a compressor's outputs, in [low, high]; a map that needs another domain says so, and refuses others.
    """

    reference: str = ""
    """Where it comes from: arXiv number or DOI."""

    @abstractmethod
    def least_qubits(self, features: int) -> int:
        """The smallest register that holds so many features."""

    def build(self, features: int, n_qubits: int, uploads: int = 1) -> None:
        """Make what is trained, for a register of `n_qubits` into which the features are written `uploads` times.

        Raises InputError where the register is too small.
        """
        least = self.least_qubits(features)
        if least > n_qubits:
            raise InputError(
                f"{type(self).__name__}: {features} features for a register of {n_qubits} qubits, they take {least}; "
                f"give it {least} qubits, or let the compressor make fewer features"
            )
        self.features, self.n_qubits, self.uploads = features, n_qubits, uploads

    @property
    def n_angles(self) -> int:
        """p, for all uploads together."""
        return self.features

    def forward(self, features: Tensor) -> Tensor:
        """(B, k) -> (B, p) radians; the identity where features are the angles. Raises InputError outside its domain."""
        return features

    @abstractmethod
    def circuit(self, angles: Sequence[Parameter], upload: int = 0) -> QuantumCircuit:
        """(p,) angles -> the circuit of one upload, on `n_qubits` qubits. It takes from `angles` what is its own."""

    @abstractmethod
    def describe(self) -> Encoding:
        """What the built map costs and does."""

    def described(self, features_per_qubit: str, spectrum: str) -> Encoding:
        """An Encoding with Qiskit's own counts of one upload's circuit."""
        circuit = self.circuit([Parameter(f"x{i}") for i in range(self.n_angles)])
        return Encoding(features_per_qubit, circuit.depth(), circuit.num_nonlocal_gates(), spectrum)


class Ansatz(Configurable, ABC):
    """What is trained inside a register: the circuit of one layer. Works for a register of any size, one qubit included."""

    reference: str = ""

    @abstractmethod
    def circuit(self, n_qubits: int) -> QuantumCircuit:
        """One layer; its parameters have different names, unique within the layer, and each of them matters to Z read-outs."""

    def read(self, n_qubits: int) -> tuple[int, ...]:
        """The qubits that carry the result; pooling and trees leave only some. Read-outs look at no others."""
        return tuple(range(n_qubits))


class Readout(Configurable, nn.Module, ABC):
    """Which observables are measured, and what is made of their values."""

    reference: str = ""
    out_features: int

    @abstractmethod
    def observables(self, layout: RegisterLayout, read: Sequence[int]) -> list[SparsePauliOp]:
        """As wide as the layout, acting on no qubit but those in `read`. One that acts on several registers is 0 where one
        of these is missing."""

    def build(self, n_observables: int) -> None:
        """Make what is trained, once it is known how many observables there are."""
        self.out_features = n_observables

    def forward(self, values: Tensor) -> Tensor:
        """(B, n_observables) -> (B, F); 0 where a value is 0 because its modality is missing. By default, as they are."""
        return values
