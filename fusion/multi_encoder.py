"""MultiEncoderFusion: parallel encoder circuits for each modality, and a main circuit over what they read out (IonQ)."""

import copy
import math
from collections.abc import Collection, Mapping
from functools import partial
from itertools import accumulate

import torch
from qiskit.circuit import Parameter, QuantumCircuit, QuantumRegister
from torch import Tensor, nn

from qmm.circuits import Ansatz, DenseAngleEncoding, FeatureMap, LongRange, z_of_each
from qmm.circuits.gates import check_name
from qmm.contracts import Budget, Fusion, WeightedCircuit
from qmm.errors import InputError
from qmm.quantum import Circuit, CompiledCircuit

from .assembly import by_first_use
from .classical import classical_counterparts
from .quantum import QuantumFusion
from .shams import SHAMS

_SPREAD = 0.3  # of the first weights, in radians, as in QuantumFusion


def encoder_circuit(modality: str, feature_map: FeatureMap, ansatz: Ansatz) -> Circuit:
    """The built feature map, then the ansatz, then <Z> of each qubit that the ansatz leaves to be read.

    Inputs are named `vision.x0`, weights by the ansatz.
    """
    circuit = QuantumCircuit(QuantumRegister(feature_map.n_qubits, modality))
    inputs = [Parameter(f"{modality}.x{i}") for i in range(feature_map.n_angles)]
    circuit.compose(feature_map.circuit(inputs), inplace=True)
    trained = ansatz.circuit(feature_map.n_qubits)
    circuit.compose(trained, inplace=True)
    read = ansatz.read(feature_map.n_qubits)
    return Circuit.of(circuit, inputs, by_first_use(trained), z_of_each(feature_map.n_qubits, read))


class MultiEncoderFusion(Fusion):
    """Two stages, after arXiv:2504.08732: E encoder circuits for each modality, whose expectation values z in [-1, 1] become
    angles (1 + z) pi/2 of a main circuit, in which each modality has a register of its own.

    The paper has one input, a sentence, on one register; its encoders load amplitudes (`feature_map: AmplitudeEncoding`) and
    its main circuit reads one qubit. All E encoders of a modality see the same features and differ in their weights.

    A missing modality's encoders do not run, and its register takes no part in the main circuit, as in QuantumFusion.

    Args:
        encoders: E.
        qubits: Qubits of a modality's encoders; by default as few as its feature map needs.
        feature_map: How features enter an encoder; by default DenseAngleEncoding.
        feature_maps: By modality, where one enters in another way.
        ansatz: What is trained in an encoder; by default LongRange, CX and RY at distances 1 and 2.
        main: The second stage; by default QuantumFusion with 2 layers of LongRange, re-uploading.
        sham: "local": in the main circuit, gates across registers are replaced by such inside one; "frozen": nothing in either
            stage is trained, as in QuantumFusion.
    """

    reference = "arXiv:2504.08732"

    def __init__(
        self,
        encoders: int = 2,
        qubits: dict[str, int] | None = None,
        feature_map: FeatureMap | None = None,
        feature_maps: dict[str, FeatureMap] | None = None,
        ansatz: Ansatz | None = None,
        main: QuantumFusion | None = None,
        sham: str | None = None,
    ):
        super().__init__()
        if encoders < 1:
            raise InputError(f"encoders={encoders}; a modality needs at least one")
        self.encoders, self.qubits, self.ansatz = encoders, qubits or {}, ansatz or LongRange()
        self._plans = {"": feature_map or DenseAngleEncoding(), **(feature_maps or {})}  # built for each modality anew
        self.main = copy.deepcopy(main) or QuantumFusion(layers=2, ansatz=LongRange(), reupload=True)
        self.sham = None if sham is None else check_name("sham", sham, SHAMS)
        if self.sham is not None:
            self.main = QuantumFusion(**{**self.main.config_arguments(), "sham": self.sham})

    def build(self, widths: Mapping[str, int]) -> None:
        """Raises InputError where a register is too small, or given for no modality."""
        unknown = sorted((set(self.qubits) | set(self._plans)) - set(widths) - {""})
        if unknown:
            raise InputError(f"qubits or feature maps for {', '.join(unknown)}; the model's modalities are {', '.join(widths)}")
        self.widths = dict(widths)
        maps = nn.ModuleDict({m: copy.deepcopy(self._plans.get(m, self._plans[""])) for m in widths})
        self.feature_maps: Mapping[str, FeatureMap] = maps  # type: ignore[assignment]
        for m, k in widths.items():
            feature_map = self.feature_maps[m]
            try:
                feature_map.build(k, self.qubits.get(m, feature_map.least_qubits(k)))
            except InputError as error:
                raise InputError(f"{m!r}: {error}") from error
        self._compiled = {m: CompiledCircuit(encoder_circuit(m, self.feature_maps[m], self.ansatz)) for m in widths}
        counts = [len(c.circuit.weights) for c in self._compiled.values()]
        self._own = {m: slice(end - n, end) for m, n, end in zip(widths, counts, accumulate(counts), strict=True)}
        self.weights = nn.Parameter(torch.empty(self.encoders, sum(counts)))  # one for all: a batch may lack a modality
        self.main.build({m: self.encoders * c.circuit.n_outputs for m, c in self._compiled.items()})
        self.out_features = self.main.out_features
        self.reset_parameters()
        self.weights.requires_grad_(self.sham != "frozen")

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The encoders' N(0, 0.3), so that they differ; the main circuit's as QuantumFusion has them."""
        self.weights.normal_(0.0, _SPREAD)
        self.main.reset_parameters()

    def circuits(self, present: Collection[str] | None = None) -> dict[str, Circuit]:
        """`vision.0`, `vision.1`, ...: the encoders of the modalities in `present` (default: all); `main` and its own names."""
        names = [m for m in self.widths if present is None or m in present]
        encoders = {f"{m}.{e}": self._compiled[m].circuit for m in names for e in range(self.encoders)}
        return encoders | {f"main.{name}": circuit for name, circuit in self.main.circuits(present).items()}

    def weighted_circuits(self) -> dict[str, WeightedCircuit]:
        return {
            f"{m}.{e}": WeightedCircuit(compiled, self.weights[e, self._own[m]])
            for m, compiled in self._compiled.items()
            for e in range(self.encoders)
        }

    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) and (B,) bool by modality -> (B, F). Raises InputError for a row in which nothing is present."""
        encoded = self.together([partial(self._encode, m, angles[m], present[m]) for m in self.widths])
        return self.main(dict(zip(self.widths, encoded, strict=True)), present)

    def _encode(self, modality: str, features: Tensor, present: Tensor) -> Tensor:
        """(B, k) -> (B, E n) angles in [0, pi]; 0 in rows that lack the modality."""
        rows = present.nonzero().squeeze(1)
        shown = self.feature_maps[modality](features[rows])
        own, compiled = self.weights[:, self._own[modality]], self._compiled[modality]
        values = self.together([partial(self.expectations, compiled, shown, weights) for weights in own])
        encoded = (1 + torch.cat(values, dim=1)) * (math.pi / 2)
        return encoded.new_zeros(len(features), encoded.shape[1]).index_copy(0, rows, encoded)

    def counterparts(self, budget: Budget) -> dict[str, Fusion]:
        """The classical members of the same capacity, "sham-frozen", and "sham-local" where there are registers to part."""
        kinds = SHAMS if len(self.widths) > 1 else ("frozen",)
        shams = {f"sham-{kind}": type(self)(**{**self.config_arguments(), "sham": kind}) for kind in kinds}
        return {**classical_counterparts(self.widths, budget), **shams}
