"""QuantumFusion: each modality's angles on a qubit register of its own, entangled, read out."""

import math
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from qmm.contracts import Budget, Fusion
from qmm.errors import InputError
from qmm.quantum import Circuit, CompiledCircuit, expectations
from qmm.registers import RegisterLayout

from .assembly import ENTANGLERS, fusion_circuit, restrict
from .classical import concat_counterparts

_SPREAD = 0.3  # of the first weights, in radians; 0.1 to 0.3 learnt alike on small problems; with CX across, uniform was slower
_KEPT_PATTERNS = 128  # compiled circuits kept, one for each set of present modalities: all of them up to seven modalities


class _Pattern(NamedTuple):
    """The circuit of one set of present modalities, compiled, and where its weights and values belong."""

    compiled: CompiledCircuit
    weights: list[int]
    columns: list[int]


class QuantumFusion(Fusion):
    """Angles by modality -> <Z> of every qubit and <ZZ> of every two qubits of different registers, in [-1, 1].

    A missing modality's register takes no part: what touches it is deleted, and the values that would have needed it are 0.

    Args:
        layers: How many trained layers.
        qubits: Qubits of a modality's register, which holds two angles a qubit; by default just enough of them.
        reupload: Write the angles again before every layer, which lets the outputs follow them at higher frequencies.
        entangler: How registers meet after each layer: "cx" (a ring of CX) or "rzz" (trained couplings, qubit by qubit).
    """

    def __init__(self, layers: int = 3, qubits: dict[str, int] | None = None, reupload: bool = False, entangler: str = "cx"):
        super().__init__()
        if layers < 1:
            raise InputError(f"layers={layers}; a quantum fusion needs at least one")
        if entangler not in ENTANGLERS:
            raise InputError(f"entangler={entangler!r}; choose one of {', '.join(ENTANGLERS)}")
        self.layers, self.qubits, self.reupload, self.entangler = layers, qubits, reupload, entangler
        self._patterns: OrderedDict[tuple[str, ...], _Pattern] = OrderedDict()

    def build(self, widths: Mapping[str, int]) -> None:
        """Registers in the order of `widths`. Raises InputError where a register is too small, or given for no modality."""
        unknown = sorted(set(self.qubits or {}) - set(widths))
        if unknown:
            raise InputError(f"qubits are given for {', '.join(unknown)}, the model's modalities are {', '.join(widths)}")
        sizes = {m: (self.qubits or {}).get(m, math.ceil(k / 2)) for m, k in widths.items()}
        for modality, size in sizes.items():
            if widths[modality] > 2 * size:
                raise InputError(
                    f"{widths[modality]} features of {modality!r} for a register of {size} qubits, which holds {2 * size}; "
                    f"give it {math.ceil(widths[modality] / 2)} qubits, or let the compressor make fewer features"
                )
        self.layout, self.widths = RegisterLayout(sizes), dict(widths)
        self._full = fusion_circuit(self.layout, self.widths, self.layers, self.reupload, self.entangler)
        self.out_features = len(self._full.observables)
        self.weights = nn.Parameter(torch.empty(len(self._full.weights)))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """N(0, 0.3), and the first layer's RY turned by a further pi/4.

        Small angles keep what is read out near products of few encoded angles, so that gradients do not vanish with the
        number of qubits (arXiv:1903.05076). Without the turn, an angle written by RZ would hardly be seen by Z at first.
        """
        self.weights.normal_(0.0, _SPREAD)
        first = 0  # weights come layer by layer, a modality's RY before its RZ
        for size in self.layout.sizes.values():
            self.weights[first : first + size] += math.pi / 4
            first += 2 * size

    def circuit(self, present: Collection[str] | None = None) -> Circuit:
        """The circuit that fuses the modalities in `present` (default: all), with the qubits of these alone."""
        return restrict(self._full, self.layout, self.layout.modalities if present is None else present).circuit

    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) radians and (B,) bool by modality -> (B, n_qubits + pairs across registers)

        Rows are grouped by what is present, one circuit each. Raises InputError for a row in which nothing is.
        """
        modalities = self.layout.modalities
        flags = torch.stack([present[m] for m in modalities], dim=1)
        if flags.all():
            return self._fuse(modalities, [angles[m] for m in modalities])
        empty = flags.logical_not().all(dim=1).nonzero()
        if len(empty):
            raise InputError(f"row {int(empty[0])} of the batch has none of {', '.join(modalities)}; leave such samples out")
        patterns, group = flags.unique(dim=0, return_inverse=True)
        rows = [(group == i).nonzero().squeeze(1) for i in range(len(patterns))]
        parts = []
        for pattern, where in zip(patterns.tolist(), rows, strict=True):
            names = tuple(m for m, here in zip(modalities, pattern, strict=True) if here)
            parts.append(self._fuse(names, [angles[m][where] for m in names]))
        return torch.cat(parts)[torch.cat(rows).argsort()]

    def _fuse(self, modalities: tuple[str, ...], angles: list[Tensor]) -> Tensor:
        """(b, k) angles of the modalities that all rows have -> (b, F), 0 where a value needs another modality."""
        pattern = self._pattern(modalities)
        values = expectations(pattern.compiled, torch.cat(angles, dim=1), self.weights[pattern.weights])
        if len(pattern.columns) == self.out_features:
            return values
        columns = torch.tensor(pattern.columns, device=values.device)
        return values.new_zeros(len(values), self.out_features).index_copy(1, columns, values)

    def _pattern(self, modalities: tuple[str, ...]) -> _Pattern:
        if modalities not in self._patterns:
            part = restrict(self._full, self.layout, modalities)
            self._patterns[modalities] = _Pattern(CompiledCircuit(part.circuit), part.weights, part.observables)
            if len(self._patterns) > _KEPT_PATTERNS:
                self._patterns.popitem(last=False)
        self._patterns.move_to_end(modalities)
        return self._patterns[modalities]

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles compile for themselves, when they first meet a pattern."""
        return {**self.__dict__, "_patterns": OrderedDict()}

    def counterparts(self, budget: Budget) -> dict[str, Fusion]:
        """Concatenation + MLP of the same capacity: "concat" within 5 %, else "concat-below" and "concat-above"."""
        return dict(concat_counterparts(self.widths, budget))
