"""Quantum kernels: how alike two samples are, told by the states of a fusion circuit that stand for them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qmm.circuits import Ansatz, DenseAngleEncoding, FeatureMap, HardwareEfficient
from qmm.config import Configurable
from qmm.contracts import RunsCircuits, WeightedCircuit
from qmm.errors import InputError
from qmm.quantum import Circuit, CompiledCircuit, ExactBackend, states
from qmm.quantum.pubs import Cache

from ..assembly import build_registers, restrict
from ..entanglers import Entangler, Ring
from ..patterns import PatternCache
from ..quantum import QuantumFusion
from .circuits import kernel_circuit, one_qubit_paulis, overlap_circuit
from .gram import Side, gram_matrix, gram_matrix_together
from .samples import Block, Rows, Samples, as_samples, blocks

_SPREAD = 0.3  # of the first weights, in radians, as in QuantumFusion
_SHARE = 0.25  # of the free memory, for the states of a Gram matrix
_PAIRS = 2**18  # overlaps that are asked for at once
_CHUNK_BYTES = 2**20  # of states that are made together: they stay in a processor's cache


class _Pattern(NamedTuple):
    compiled: CompiledCircuit
    weights: list[int]
    columns: list[int]
    """Of its observables, among those of all registers."""


class QuantumKernel(Configurable, RunsCircuits, ABC):
    """k(x, y) of two samples, from the state |phi(x)> that `kernel_circuit` prepares: feature maps, entangler and ansatz as in
    QuantumFusion, features written before, between and after the layers. Positive semi-definite, k(x, x) = 1.

    A missing modality: its register stays |0...0>, and all that touches it is deleted. So all patterns' states live in one
    space, and a Gram matrix over mixed patterns stays positive semi-definite.

    `kernel(x, y)` is differentiable in features and weights; `gram(x, y)` computes without gradients, block by block, and is
    what scikit-learn takes: `SVC(kernel=kernel.gram)`. Precision is that of the weights: `.double()` for complex128.

    Args:
        layers: How many trained layers; with 0, features are encoded and registers do not meet.
        qubits: Qubits of a modality's register; by default as few as its feature map needs.
        feature_map: How features enter a register; by default DenseAngleEncoding.
        feature_maps: By modality, where one enters in another way.
        ansatz: What is trained inside each register; by default HardwareEfficient.
        entangler: How registers meet in each layer; by default Ring.
    """

    reference = ""

    def __init__(
        self,
        layers: int = 2,
        qubits: dict[str, int] | None = None,
        feature_map: FeatureMap | None = None,
        feature_maps: dict[str, FeatureMap] | None = None,
        ansatz: Ansatz | None = None,
        entangler: Entangler | None = None,
    ):
        super().__init__()
        if layers < 0:
            raise InputError(f"layers={layers}; a quantum kernel has 0 or more")
        self.layers, self.qubits = layers, qubits or {}
        self.ansatz, self.entangler = ansatz or HardwareEfficient(), entangler or Ring()
        self._plans = {"": feature_map or DenseAngleEncoding(), **(feature_maps or {})}
        self._borrowed = False

    def build(self, widths: Mapping[str, int]) -> Self:
        """Registers in the order of `widths`; returns itself. Raises InputError where a register is too small, or unknown."""
        self.layout, maps = build_registers(widths, self.qubits, self._plans, self.layers + 1)
        self.widths = dict(widths)
        self.feature_maps: Mapping[str, FeatureMap] = nn.ModuleDict(maps)  # type: ignore[assignment]
        self._full = kernel_circuit(self.layout, self.feature_maps, self.ansatz, self.entangler, self.layers)
        self._forget()
        self.weights = nn.Parameter(_SPREAD * torch.randn(len(self._full.weights)))
        return self

    @classmethod
    def of(cls, fusion: QuantumFusion, **options: Any) -> Self:
        """The kernel of a built QuantumFusion's own states, with its weights and feature maps, shared, not copied.

        `options`: Others than those of the circuit (`gamma`). Behind the last upload a QuantumFusion's layers are the same for
        all samples of the same modalities, so a FidelityKernel does not feel them.
        """
        kernel = cls(**options)
        kernel.layout, kernel.widths, kernel.feature_maps = fusion.layout, fusion.widths, fusion.feature_maps
        kernel._full = fusion.circuit()._replace(observables=tuple(one_qubit_paulis(fusion.layout.n_qubits)))
        kernel.weights, kernel._borrowed = fusion.weights, True
        kernel._forget()
        return kernel

    def _forget(self) -> None:
        """What was compiled."""
        self._patterns = PatternCache(self._compile)

    def config_arguments(self) -> dict[str, Any]:
        if self._borrowed:
            raise TypeError(f"a {type(self).__name__} of a QuantumFusion is that fusion's; write the fusion down instead")
        return super().config_arguments()

    def circuit(self, present: Collection[str] | None = None) -> Circuit:
        """The circuit that prepares |phi(x)> of the modalities in `present` (default: all), with the qubits of these alone."""
        return restrict(self._full, self.layout, self.layout.modalities if present is None else present).circuit

    def weighted_circuits(self) -> dict[str, WeightedCircuit]:
        """The circuit that prepares |phi(x)>."""
        pattern = self._patterns[self.layout.modalities]
        return {"state": WeightedCircuit(pattern.compiled, self.weights[pattern.weights])}

    @abstractmethod
    def circuits(self, present: Collection[str] | None = None, others: Collection[str] | None = None) -> dict[str, Circuit]:
        """What hardware runs to measure it, for x with the modalities in `present` and y with `others` (default: all)."""

    @abstractmethod
    def represent(self, modalities: tuple[str, ...], angles: Tensor) -> Tensor:
        """(b, p) angles of these modalities, side by side -> what samples are compared by, (b, d)."""

    @abstractmethod
    def compare(self, x: Tensor, modalities: tuple[str, ...], y: Tensor, others: tuple[str, ...]) -> Tensor:
        """(b, d) and (b', d') -> k, (b, b')"""

    @property
    @abstractmethod
    def row_bytes(self) -> int:
        """What `represent` holds of a sample, at most."""

    def angles(self, modalities: tuple[str, ...], features: Mapping[str, Tensor]) -> Tensor:
        """(b, k) features -> (b, p) angles of these modalities, side by side."""
        return torch.cat([self.feature_maps[m](features[m]) for m in modalities], dim=1)

    def forward(self, x: Rows, y: Rows = None) -> Tensor:
        """k of every row of x with every row of y, by default of x, (N, M); differentiable, so that all is held."""
        return self._gram(x, y, math.inf)

    @torch.no_grad()
    def gram(self, x: Rows, y: Rows = None, block_bytes: int | None = None) -> NDArray[np.floating[Any]]:
        """The same without gradients, as numpy's array, with a progress bar where it takes long.

        `block_bytes`: For the states in memory; by default a quarter of what is free. Where all fit, each is computed once;
        else two blocks at a time, computed again for every block that they meet.
        """
        return self._gram(x, y, self._free_bytes() if block_bytes is None else block_bytes).cpu().numpy()

    def _gram(self, x: Rows, y: Rows, limit: float) -> Tensor:
        given = [as_samples(rows, self.widths, self.weights) for rows in ((x,) if y is None else (x, y))]
        all_rows = sum(len(samples) for samples in given)
        if not self._is_exact:
            whole = [Side(blocks(s, self.layout.modalities, max(1, len(s))), self._representer(s)) for s in given]
            return gram_matrix_together(self._compare_blocks, self.together, *whole)
        held = 2 * all_rows * self.row_bytes <= limit  # the other half is for what is just being made
        size = max(1, all_rows if held else int(limit // (4 * self.row_bytes)))
        sides = [Side(blocks(samples, self.layout.modalities, size), self._representer(samples)) for samples in given]
        return gram_matrix(self._compare_blocks, *(side.held() if held else side for side in sides))

    @property
    def _is_exact(self) -> bool:
        return isinstance(self.backend, ExactBackend | None)

    def _representer(self, samples: Samples) -> Callable[[Block], Tensor]:
        def represent(block: Block) -> Tensor:
            rows = {m: samples.features[m][block.rows] for m in block.modalities}
            return self.represent(block.modalities, self.angles(block.modalities, rows))

        return represent

    def _compare_blocks(self, x: Tensor, first: Block, y: Tensor, second: Block) -> Tensor:
        return self.compare(x, first.modalities, y, second.modalities)

    def _free_bytes(self) -> float:
        device = self.weights.device
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
        return _SHARE * free

    def _compile(self, modalities: tuple[str, ...]) -> _Pattern:
        part = restrict(self._full, self.layout, modalities)
        return _Pattern(CompiledCircuit(part.circuit), part.weights, part.observables)


class FidelityKernel(QuantumKernel):
    """k(x, y) = |<phi(x)|phi(y)>|**2 (arXiv:1803.07128, arXiv:1804.11326).

    Exactly, it comes from state vectors. Another backend runs a compute-uncompute circuit for each pair of samples; k(x, x) is
    1, and is not measured.
    """

    reference = "arXiv:1804.11326"

    def circuits(self, present: Collection[str] | None = None, others: Collection[str] | None = None) -> dict[str, Circuit]:
        """ "overlap": `overlap_circuit`."""
        return {"overlap": overlap_circuit(self._full, self.layout, present, others)}

    @property
    def row_bytes(self) -> int:
        return self.weights.dtype.to_complex().itemsize * 2**self.layout.n_qubits

    def represent(self, modalities: tuple[str, ...], angles: Tensor) -> Tensor:
        """The states of the registers that are there, (b, 2**n); the angles themselves where another backend measures pairs."""
        if not self._is_exact:
            return angles
        pattern = self._patterns[modalities]
        weights = self.weights[pattern.weights]
        if torch.is_grad_enabled() or angles.device.type != "cpu":
            return states(pattern.compiled, angles, weights)
        return torch.cat(
            [states(pattern.compiled, part, weights) for part in angles.split(max(1, _CHUNK_BYTES // self.row_bytes))]
        )

    def compare(self, x: Tensor, modalities: tuple[str, ...], y: Tensor, others: tuple[str, ...]) -> Tensor:
        """Registers that one side lacks are |0...0> there, so the other side's amplitudes of |0...0> on them count alone."""
        if not self._is_exact:
            return self._measure(x, modalities, y, others)
        shared = [m for m in modalities if m in others]
        if len(shared) < len(modalities):
            x = x.index_select(1, self._indices(modalities, shared).to(x.device))
        if len(shared) < len(others):
            y = y.index_select(1, self._indices(others, shared).to(y.device))
        return torch.view_as_real(x.conj() @ y.mT).square().sum(-1)

    def _measure(self, x: Tensor, modalities: tuple[str, ...], y: Tensor, others: tuple[str, ...]) -> Tensor:
        """(b, p) and (b', p') angles -> k, (b, b'), from overlaps; each pair of a matrix that is symmetric once."""
        symmetric = x is y
        rows, columns = torch.arange(len(x)), torch.arange(len(y))
        first, second = torch.triu_indices(len(x), len(x), 1) if symmetric else torch.cartesian_prod(rows, columns).T
        overlap = self._overlaps.get((modalities, others), lambda: self._compile_overlap(modalities, others))
        pairs = torch.cat([x[first], y[second]], dim=1)
        weights = self.weights[overlap.weights]
        measured = torch.cat([self.expectations(overlap.compiled, part, weights)[:, 0] for part in pairs.split(_PAIRS)])
        values = measured.new_ones(len(x), len(y)) if symmetric else measured.new_zeros(len(x), len(y))
        values = values.index_put((first, second), measured)
        return values.index_put((second, first), measured) if symmetric else values

    def _forget(self) -> None:
        super()._forget()
        self._overlaps: Cache[_Pattern] = Cache()

    def _compile_overlap(self, modalities: tuple[str, ...], others: tuple[str, ...]) -> _Pattern:
        circuit = overlap_circuit(self._full, self.layout, modalities, others)
        return _Pattern(CompiledCircuit(circuit), [self._full.weights.index(weight) for weight in circuit.weights], [])

    def _indices(self, modalities: tuple[str, ...], shared: Collection[str]) -> Tensor:
        """The basis states of these modalities' registers that are 0 on all but the `shared` ones, in the order of these."""
        layout, indices = self.layout.restrict(modalities), torch.zeros(1, dtype=torch.int64)
        for qubit in [q for m in shared for q in layout.qubits(m)]:
            indices = torch.cat([indices, indices + 2**qubit])
        return indices


class ProjectedKernel(QuantumKernel):
    """k(x, y) = exp(-gamma sum_q ||rho_q(x) - rho_q(y)||_F**2) over the states rho_q of single qubits (arXiv:2011.01938).

    With <X>, <Y>, <Z> of a qubit as its Bloch vector r_q, ||rho_q - rho'_q||_F**2 = |r_q - r'_q|**2 / 2. Three settings measure
    it, a sample at a time. r_q of a missing modality's qubits is exactly 0.

    Args:
        gamma: How fast it falls off.
    """

    reference = "arXiv:2011.01938"

    def __init__(
        self,
        gamma: float = 1.0,
        layers: int = 2,
        qubits: dict[str, int] | None = None,
        feature_map: FeatureMap | None = None,
        feature_maps: dict[str, FeatureMap] | None = None,
        ansatz: Ansatz | None = None,
        entangler: Entangler | None = None,
    ):
        super().__init__(layers, qubits, feature_map, feature_maps, ansatz, entangler)
        if not (math.isfinite(gamma) and gamma > 0):
            raise InputError(f"gamma={gamma}; expected a number above 0")
        self.gamma = gamma

    def circuits(self, present: Collection[str] | None = None, others: Collection[str] | None = None) -> dict[str, Circuit]:
        """ "projection": |phi(x)>, read out in X, Y and Z of each qubit; y's is measured by itself."""
        return {"projection": self.circuit(present)}

    @property
    def row_bytes(self) -> int:
        return self.weights.dtype.itemsize * len(self._full.observables)

    def represent(self, modalities: tuple[str, ...], angles: Tensor) -> Tensor:
        """<X>, <Y>, <Z> of each qubit, (b, 3 n), 0 for the qubits of other modalities."""
        pattern = self._patterns[modalities]
        values = self.expectations(pattern.compiled, angles, self.weights[pattern.weights])
        columns = torch.tensor(pattern.columns, device=values.device)
        return values.new_zeros(len(values), len(self._full.observables)).index_copy(1, columns, values)

    def compare(self, x: Tensor, modalities: tuple[str, ...], y: Tensor, others: tuple[str, ...]) -> Tensor:
        squares = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()
        return (-self.gamma / 2 * squares).exp()
