"""Kernel PCA as a compressor: with the fidelity kernel of a feature map, and with the Gaussian one to compare it with."""

import copy
import math
from abc import abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import Parameter, QuantumCircuit
from torch import Tensor

from qmm.circuits import DenseAngleEncoding, FeatureMap
from qmm.contracts import RunsCircuits
from qmm.errors import InputError
from qmm.quantum import Circuit, CompiledCircuit, ExactBackend, Probabilities, states

from ._simulating import simulated, state_circuit
from ._squashed import FittedOnce
from .compressors import PCACompressor

_FLAT = 1e-5  # of the kernel's whole variance: single precision says little below it
_PAIRS = 2**16  # circuits that are asked for at once
_CHUNK = 1024  # samples that are compared at once while it is fitted


class KernelPCA(FittedOnce):
    """scikit-learn's KernelPCA of a kernel between the sample and a bounded number of landmarks, drawn from the training split,
    so that an angle costs as many kernel values as there are landmarks, whatever the number of training samples. With at
    least as many landmarks as samples, it is kernel PCA of all of them.

    The kernel compares principal components, squashed into [0, pi * bandwidth]. Scores are brought to mean 0 and variance 1
    over the whole training split. Nothing is trained afterwards; gradients reach the features.

    Args:
        features: Number of components, k.
        landmarks: At most so many.
        inputs: Principal components that the kernel compares, at most.
        bandwidth: How far apart samples are for it: kernels of many features are next to 0 everywhere but on the diagonal,
            unless it is small (arXiv:2111.05451).
        seed: Of the landmarks.
        low: Smallest angle in radians.
        high: Largest angle in radians.
        gain: Factor before the squash; 1 spreads normal features evenly over the range.
        whiten: Whether each component is brought to variance 1. Without, all are divided by the largest standard deviation.
    """

    landmarks: Tensor
    column_means: Tensor
    projection: Tensor
    found: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        features: int,
        landmarks: int,
        inputs: int,
        bandwidth: float,
        seed: int,
        low: float,
        high: float,
        gain: float,
        whiten: bool,
    ):
        super().__init__(features, low, high, gain)
        if landmarks <= features or inputs < 1:
            raise InputError(
                f"{self._name}: landmarks={landmarks}, inputs={inputs}; expected more landmarks than the {features} features, "
                "and at least 1 input"
            )
        if not (math.isfinite(bandwidth) and bandwidth > 0):
            raise InputError(f"{self._name}: bandwidth={bandwidth}; expected a number above 0")
        self.n_landmarks, self.inputs, self.bandwidth, self.seed, self.whiten = landmarks, inputs, bandwidth, seed, whiten

    def build(self, in_features: int) -> None:
        super().build(in_features)
        self.front = PCACompressor(min(self.inputs, in_features), high=math.pi * self.bandwidth)
        self.front.build(in_features)
        self.register_buffer("landmarks", torch.zeros(self.n_landmarks, self.front.features))
        self.register_buffer("column_means", torch.zeros(self.n_landmarks))
        self.register_buffer("projection", torch.zeros(self.n_landmarks, self.features))
        self.register_buffer("found", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(self.features))
        self.register_buffer("scale", torch.ones(self.features))

    @abstractmethod
    def kernel(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, m) and (L, m) -> (B, L), differentiable in x."""

    def fit(self, pooled: Iterable[Tensor]) -> None:
        """Fit on (b, D) batches of the training split. Raises InputError for too few samples, and where the kernel varies in
        fewer directions than are asked for."""
        from sklearn.decomposition import KernelPCA as Reference

        samples = torch.from_numpy(self.gather(pooled, max(2, self.features + 1)))
        self.front.fit([samples])
        with self._fitting(), torch.no_grad():
            rows = self.front(samples.to(self.mean))
            chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed))[: self.n_landmarks]
            taken = rows[chosen.sort().values.to(rows.device)]
            gram = self.kernel(taken, taken).double().cpu().numpy()
            gram = (gram + gram.T) / 2
            model = Reference(self.features, kernel="precomputed", eigen_solver="dense").fit(gram)
            self._check(model.eigenvalues_, gram)
            self._keep(taken, gram, model.eigenvectors_ / np.sqrt(model.eigenvalues_))
            scores = torch.cat([self._project(part) for part in rows.split(_CHUNK)])
        deviation = scores.std(0)
        self.mean.copy_(scores.mean(0))
        self.scale.copy_(deviation if self.whiten else deviation.max().expand_as(deviation))
        self.fitted.fill_(True)

    def _check(self, eigenvalues: NDArray[np.float64], gram: NDArray[np.float64]) -> None:
        whole = np.trace(gram) - gram.mean() * len(gram)
        rank = int((eigenvalues > _FLAT * max(whole, _FLAT * len(gram))).sum())
        if rank < self.features:
            raise InputError(
                f"{self._name}: {self.features} components, but the kernel of the training features varies in {rank} only; "
                "ask for fewer, or for a larger bandwidth"
            )

    def _keep(self, taken: Tensor, gram: NDArray[np.float64], projection: NDArray[np.float64]) -> None:
        """Landmarks that there are not stay 0, and count for nothing. Centring is linear, and so part of the projection."""
        found = len(taken)
        self.found.fill_(found)
        self.landmarks[:found] = taken
        self.column_means[:found] = torch.from_numpy(gram.mean(0)).to(self.column_means)
        self.projection[:found] = torch.from_numpy(projection - projection.mean(0)).to(self.projection)

    def _project(self, rows: Tensor) -> Tensor:
        found = int(self.found)
        values = self.kernel(rows, self.landmarks[:found])
        return (values - self.column_means[:found]) @ self.projection[:found]

    def scores(self, pooled: Tensor) -> Tensor:
        self.require_fit()
        rows = self.front(pooled.to(self.mean.dtype)).to(self.mean.dtype)
        return (self._project(rows) - self.mean) / self.scale

    def train(self, mode: bool = True) -> Self:
        return super().train(False)  # nothing in it is

    def _fitting(self) -> AbstractContextManager[None]:
        return nullcontext()


class RBFKernelPCA(KernelPCA):
    """Kernel PCA with exp(-|x - y|**2 / m) of m principal components: the control for what a quantum kernel is worth.

    Args:
        features: Number of components, k.
        landmarks: At most so many.
        inputs: Principal components that the kernel compares, at most.
        bandwidth: The components are squashed into [0, pi * bandwidth].
        seed: Of the landmarks.
        low: Smallest angle in radians.
        high: Largest angle in radians.
        gain: Factor before the squash; 1 spreads normal features evenly over the range.
        whiten: Whether each component is brought to variance 1. Without, all are divided by the largest standard deviation.
    """

    def __init__(
        self,
        features: int,
        landmarks: int = 128,
        inputs: int = 6,
        bandwidth: float = 0.5,
        seed: int = 0,
        low: float = 0.0,
        high: float = math.pi,
        gain: float = 1.0,
        whiten: bool = True,
    ):
        super().__init__(features, landmarks, inputs, bandwidth, seed, low, high, gain, whiten)

    def kernel(self, x: Tensor, y: Tensor) -> Tensor:
        return (-torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square() / x.shape[1]).exp()


class QuantumKernelPCA(KernelPCA, RunsCircuits):
    """Kernel PCA with k(x, y) = |<phi(x)|phi(y)>|**2 (arXiv:1804.11326) of a feature map's states.

    Exactly, it comes from state vectors. Another backend runs a compute-uncompute circuit for each sample and landmark; `fit`
    simulates exactly even then, unless `fit_exactly` is False.

    Args:
        features: Number of components, k.
        landmarks: At most so many.
        inputs: Principal components that enter the feature map, at most.
        feature_map: By default DenseAngleEncoding, whose kernel is a product over qubits: it served best on a held-out part of
            the training splits of mosi-features and of digits; with ZZEncoding hardly anything came back.
        bandwidth: The components are squashed into [0, pi * bandwidth].
        fit_exactly: Whether `fit` simulates the circuits.
        seed: Of the landmarks.
        low: Smallest angle in radians.
        high: Largest angle in radians.
        gain: Factor before the squash; 1 spreads normal features evenly over the range.
        whiten: Whether each component is brought to variance 1. Without, all are divided by the largest standard deviation.
    """

    reference = "arXiv:1804.11326"

    def __init__(
        self,
        features: int,
        landmarks: int = 128,
        inputs: int = 6,
        feature_map: FeatureMap | None = None,
        bandwidth: float = 0.5,
        fit_exactly: bool = True,
        seed: int = 0,
        low: float = 0.0,
        high: float = math.pi,
        gain: float = 1.0,
        whiten: bool = True,
    ):
        super().__init__(features, landmarks, inputs, bandwidth, seed, low, high, gain, whiten)
        self.feature_map, self.fit_exactly = copy.deepcopy(feature_map) or DenseAngleEncoding(), fit_exactly

    def build(self, in_features: int) -> None:
        super().build(in_features)
        width = self.front.features
        self.n_qubits = self.feature_map.least_qubits(width)
        self.feature_map.build(width, self.n_qubits)
        self.feature_map.requires_grad_(False)  # the components would no longer be those of its kernel
        self._circuits = state_circuit(self.feature_map), overlap_circuit(self.feature_map)
        self._state, self._overlap = (CompiledCircuit(circuit) for circuit in self._circuits)

    def circuits(self) -> dict[str, Circuit]:
        """ "state": what stands for a sample; "overlap": what another backend runs, its first output the kernel."""
        return dict(zip(("state", "overlap"), self._circuits, strict=True))

    def kernel(self, x: Tensor, y: Tensor) -> Tensor:
        x, y = self.feature_map(x), self.feature_map(y)
        none = x.new_zeros(0)
        if isinstance(self.backend, ExactBackend | None):
            overlaps = states(self._state, x, none) @ states(self._state, y, none).mH
            return torch.view_as_real(overlaps).square().sum(-1)
        pairs = torch.cat([x.repeat_interleave(len(y), 0), y.repeat(len(x), 1)], dim=1)
        values = [self.expectations(self._overlap, part, none)[:, 0] for part in pairs.split(_PAIRS)]
        return torch.cat([*values, none]).view(len(x), len(y))

    def _fitting(self) -> AbstractContextManager[None]:
        return simulated(self, self.fit_exactly)


def overlap_circuit(feature_map: FeatureMap) -> Circuit:
    """Compute x, then uncompute z: output 0 is how likely all qubits are 0, |<phi(z)|phi(x)>|**2; output 1 is the rest."""
    n_qubits = feature_map.n_qubits
    x, z = ([Parameter(f"{letter}{i}") for i in range(feature_map.n_angles)] for letter in "xz")
    circuit = QuantumCircuit(n_qubits)
    circuit.compose(feature_map.circuit(x), inplace=True)
    circuit.compose(feature_map.circuit(z).inverse(), inplace=True)
    return Circuit.of(circuit, [*x, *z], (), Probabilities(tuple(range(n_qubits)), (0,) + (1,) * (2**n_qubits - 1)))
