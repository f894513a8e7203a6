"""QuantumFusion: each modality's angles on a qubit register of its own, entangled, read out."""

import copy
import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from qmm.circuits import Ansatz, DenseAngleEncoding, FeatureMap, HardwareEfficient, Readout, ZAndZZAcross, drop_unfelt
from qmm.circuits.gates import check_name
from qmm.contracts import Budget, Fusion, WeightedCircuit
from qmm.errors import InputError
from qmm.quantum import Circuit, CompiledCircuit

from .assembly import build_registers, fusion_circuit, restrict
from .classical import classical_counterparts
from .coupling import Placement, coupling_edges, met, place
from .entanglers import Entangler, Ring
from .patterns import PatternCache, fuse_by_pattern
from .shams import SHAMS, sham_local

_SPREAD = 0.3  # of the first weights, in radians; 0.1 to 0.3 learnt alike on small problems; with CX across, uniform was slower


class _Pattern(NamedTuple):
    """The circuit of one set of present modalities, compiled, and where its weights and values belong."""

    compiled: CompiledCircuit | None
    """None where every observable needs another modality."""
    weights: list[int]
    columns: list[int]


class QuantumFusion(Fusion):
    """Features by modality -> expectation values of a circuit in which each modality has a register of its own.

    A missing modality's register takes no part: what touches it is deleted, and the values that would have needed it are 0.

    Args:
        layers: How many trained layers.
        qubits: Qubits of a modality's register; by default as few as its feature map needs.
        feature_map: How features enter a register; by default DenseAngleEncoding, two angles a qubit.
        feature_maps: By modality, where one enters in another way.
        ansatz: What is trained inside each register, layer by layer; by default HardwareEfficient.
        entangler: How registers meet in each layer; by default Ring, CX from each to the next.
        readout: What is measured; by default ZAndZZAcross, <Z> of every qubit and <ZZ> across.
        reupload: Write the features again before every layer, which lets the outputs follow them at higher frequencies.
        coupling_map: A device's: its edges [[0, 1], [1, 2], ...], or the name of a snapshot of qiskit-ibm-runtime
            ("fake_torino"). Registers are then placed on it, and gates stand between neighbours alone (`qmm.fusion.coupling`).
        sham: "local": gates across registers are replaced by such inside one (`sham_local`); "frozen": nothing in the fusion is
            trained, its parameters stay at their random start. They have the same parameters and shapes, to compare with.
    """

    def __init__(
        self,
        layers: int = 3,
        qubits: dict[str, int] | None = None,
        feature_map: FeatureMap | None = None,
        feature_maps: dict[str, FeatureMap] | None = None,
        ansatz: Ansatz | None = None,
        entangler: Entangler | None = None,
        readout: Readout | None = None,
        reupload: bool = False,
        coupling_map: str | list[list[int]] | None = None,
        sham: str | None = None,
    ):
        super().__init__()
        if layers < 1:
            raise InputError(f"layers={layers}; a quantum fusion needs at least one")
        self.sham = None if sham is None else check_name("sham", sham, SHAMS)
        self._edges = None if coupling_map is None else coupling_edges(coupling_map)
        self.layers, self.qubits, self.reupload = layers, qubits or {}, reupload
        self.ansatz, self.entangler = ansatz or HardwareEfficient(), entangler or Ring()
        self.readout = copy.deepcopy(readout) or ZAndZZAcross()
        self._plans = {"": feature_map or DenseAngleEncoding(), **(feature_maps or {})}  # built for each modality anew

    def build(self, widths: Mapping[str, int]) -> None:
        """Registers in the order of `widths`.

        Raises InputError where a register is too small, or given for no modality, and where the coupling map cannot hold them.
        """
        uploads = self.layers if self.reupload else 1
        self.layout, maps = build_registers(widths, self.qubits, self._plans, uploads)
        self.widths = dict(widths)
        self.feature_maps: Mapping[str, FeatureMap] = nn.ModuleDict(maps)  # type: ignore[assignment]
        parts = self.ansatz, self.entangler, self.readout
        self.placement = self._place()
        written = fusion_circuit(self.layout, self.feature_maps, *parts, self.layers, self.reupload, self.placement)
        self._full = drop_unfelt(written)
        if self.sham == "local":
            self._full = sham_local(self._full, self.layout)
        self.readout.build(len(self._full.observables))
        self.out_features = self.readout.out_features
        self.weights = nn.Parameter(torch.empty(len(self._full.weights)))
        self.reset_parameters()
        if self.sham == "frozen":
            self.requires_grad_(False)
        self._patterns = PatternCache(self._compile)

    def _place(self) -> Placement | None:
        if self._edges is None:
            return None
        return place(self.layout, self._edges, met(self.entangler.circuit(self.layout), self.layout))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """N(0, 0.3), and the first layer's RY turned by a further pi/4.

        Small angles keep what is read out near products of few encoded angles, so that gradients do not vanish with the
        number of qubits (arXiv:1903.05076). Without the turn, an angle written by RZ would hardly be seen by Z at first.
        """
        self.weights.normal_(0.0, _SPREAD)
        turned = {a for item in self._full.quantum_circuit.get_instructions("ry") for a in item.operation.params}
        for index, weight in enumerate(self._full.weights):
            if weight in turned and weight.name.startswith("0."):
                self.weights[index] += math.pi / 4

    def circuit(self, present: Collection[str] | None = None) -> Circuit:
        """The circuit that fuses the modalities in `present` (default: all), with the qubits of these alone.

        Its inputs are what `feature_maps` make of the features, its outputs what `readout` is given.
        """
        return restrict(self._full, self.layout, self.layout.modalities if present is None else present).circuit

    def circuits(self, present: Collection[str] | None = None) -> dict[str, Circuit]:
        return {"fusion": self.circuit(present)}

    def weighted_circuits(self) -> dict[str, WeightedCircuit]:
        pattern = self._patterns[self.layout.modalities]
        return {} if pattern.compiled is None else {"fusion": WeightedCircuit(pattern.compiled, self.weights[pattern.weights])}

    def initial_layout(self, present: Collection[str] | None = None) -> list[int] | None:
        """The physical qubits of those of `circuit(present)`, on which it is transpiled without SWAPs; None without a map."""
        if self.placement is None:
            return None
        modalities = self.layout.modalities if present is None else self.layout.restrict(present).modalities
        return [self.placement.qubits[q] for m in modalities for q in self.layout.qubits(m)]

    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) and (B,) bool by modality -> (B, F)

        Rows are grouped by what is present, one circuit each. Raises InputError for a row in which nothing is.
        """
        return self.readout(fuse_by_pattern(self.layout.modalities, angles, present, self._fuse, self))

    def _fuse(self, modalities: tuple[str, ...], features: list[Tensor]) -> Tensor:
        """(b, k) features of the modalities that all rows have -> (b, observables), 0 where one needs another modality."""
        pattern = self._patterns[modalities]
        if pattern.compiled is None:
            return self.weights[:0].sum().expand(len(features[0]), len(self._full.observables))  # 0, with a gradient of 0
        angles = [self.feature_maps[m](x) for m, x in zip(modalities, features, strict=True)]
        values = self.expectations(pattern.compiled, torch.cat(angles, dim=1), self.weights[pattern.weights])
        if len(pattern.columns) == len(self._full.observables):
            return values
        columns = torch.tensor(pattern.columns, device=values.device)
        return values.new_zeros(len(values), len(self._full.observables)).index_copy(1, columns, values)

    def _compile(self, modalities: tuple[str, ...]) -> _Pattern:
        part = restrict(self._full, self.layout, modalities)
        compiled = CompiledCircuit(part.circuit) if part.observables else None
        return _Pattern(compiled, part.weights, part.observables)

    def counterparts(self, budget: Budget) -> dict[str, Fusion]:
        """The classical members of the same capacity ("concat", "gated", ...), "sham-local" and "sham-frozen"."""
        shams = {f"sham-{kind}": type(self)(**{**self.config_arguments(), "sham": kind}) for kind in SHAMS}
        return {**classical_counterparts(self.widths, budget), **shams}
