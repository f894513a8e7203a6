"""SuperpositionFusion: all modalities' features in one superposition, written and processed P times (QFL)."""

import copy
from collections.abc import Collection, Mapping

import torch
from qiskit.circuit import Parameter, QuantumCircuit, QuantumRegister
from torch import Tensor, nn

from qmm.circuits import (
    Ansatz,
    HardwareEfficient,
    Readout,
    ZAndZZAcross,
    multiplexed_rotation,
    superposition_encoding,
    turns_of,
)
from qmm.contracts import Budget, Fusion, WeightedCircuit
from qmm.errors import InputError
from qmm.quantum import Circuit, CompiledCircuit
from qmm.registers import RegisterLayout

from .assembly import by_first_use
from .classical import classical_counterparts
from .patterns import PatternCache, fuse_by_pattern

_SPREAD = 0.3  # of the first weights, in radians, as in QuantumFusion


def branches(widths: Mapping[str, int]) -> dict[str, range]:
    """The branches of each modality's features, in order; branch 0 is the constant."""
    starts, start = {}, 1
    for modality, width in widths.items():
        starts[modality] = range(start, start + width)
        start += width
    return starts


def superposition_circuit(
    widths: Mapping[str, int], present: Collection[str], degree: int, ansatz: Ansatz, readout: Readout
) -> Circuit:
    """(S(x), then U(theta)), `degree` times, on one signal qubit and an index register of ceil(log2(1 + sum of widths)).

    S(x) is `superposition_encoding` over the constant and the features of the modalities in `present`. U(theta) turns the
    signal by RZ and RY on each branch by angles of its own, and then mixes branches and signal by one layer of the ansatz.
    Inputs are the turns of S(x), `x0`; weights those of U(theta), `0.rz0`, `0.ry0`, and the ansatz', `0.index.ry0`.
    """
    places = branches(widths)
    n_branches = 2 ** sum(widths.values()).bit_length()
    layout = RegisterLayout({"signal": 1, "index": n_branches.bit_length() - 1})
    circuit = QuantumCircuit(*(QuantumRegister(size, name) for name, size in layout.sizes.items()))
    inputs = [Parameter(f"x{i}") for i in range(n_branches)]
    weights: list[Parameter] = []
    for step in range(degree):
        kept = [0, *(branch for m in widths if m in present for branch in places[m])]
        circuit.compose(superposition_encoding(kept, inputs), inplace=True)
        for axis in "zy":
            turns = [Parameter(f"{step}.r{axis}{i}") for i in range(n_branches)]
            weights += turns
            circuit.compose(multiplexed_rotation(axis, turns), inplace=True)
        mixing = ansatz.circuit(layout.n_qubits)
        own = {p: Parameter(f"{step}.index.{p.name}") for p in by_first_use(mixing)}
        weights += own.values()
        circuit.compose(mixing.assign_parameters(own), inplace=True)
    return Circuit.of(circuit, inputs, weights, readout.observables(layout, ansatz.read(layout.n_qubits)))


class SuperpositionFusion(Fusion):
    """The Quantum Fusion Layer, arXiv:2510.06938: S(x), the superposition of all features of all modalities, then a trained
    U(theta); the pair P times, then the read-out.

    With N = 1 + the number of features, the state is of 2N dimensions, ceil(log2 N) + 1 qubits, and each amplitude behind
    the P-th pair is a polynomial of degree P in cos(x/2), sin(x/2) of the features of all modalities: what is read out is one
    of degree 2P. Parameters are linear in the number of features: in each pair 2N, two a branch, and the ansatz', which
    grow with log N.

    The paper's text, as far as it could be read, gives S(x) as a superposition over modality and feature indices, its
    dimension 2(MD + 1), the degree and the linear number of parameters. Chosen here: equal amplitudes; one branch without
    a feature, for the lower degrees; features as angles, cos(x/2)|0> + sin(x/2)|1> on the signal qubit; U(theta) as in
    `superposition_circuit`; modalities may differ in width.

    A missing modality's branches are left out of the superposition, which is normalised over the others, and nothing turns
    them; the other branches, and the ansatz, stay as they are.

    Args:
        degree: P.
        ansatz: What mixes branches and signal; by default HardwareEfficient.
        readout: What is measured, of two registers "signal" and "index"; by default ZAndZZAcross.
    """

    reference = "arXiv:2510.06938"

    def __init__(self, degree: int = 2, ansatz: Ansatz | None = None, readout: Readout | None = None):
        super().__init__()
        if degree < 1:
            raise InputError(f"degree={degree}; the superposition is written at least once")
        self.degree, self.ansatz = degree, ansatz or HardwareEfficient()
        self.readout = copy.deepcopy(readout) or ZAndZZAcross()
        self._patterns = PatternCache(self._compile)

    def build(self, widths: Mapping[str, int]) -> None:
        self.widths, self._branches = dict(widths), branches(widths)
        circuit = self.circuit()
        self.readout.build(circuit.n_outputs)
        self.out_features = self.readout.out_features
        self.n_branches = len(circuit.inputs)
        mixing = len(circuit.weights) // self.degree - 2 * self.n_branches
        self.turns = nn.Parameter(torch.empty(self.degree, 2, 1 + sum(widths.values())))  # RZ, then RY, of each branch
        self.mixing = nn.Parameter(torch.empty(self.degree, mixing))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """N(0, 0.3), as in QuantumFusion; features are seen in Z at once, since S(x) turns the signal by RY."""
        for parameter in (self.turns, self.mixing):
            parameter.normal_(0.0, _SPREAD)

    def circuit(self, present: Collection[str] | None = None) -> Circuit:
        """The circuit over the features of the modalities in `present` (default: all). `values` are its angles."""
        names = self.widths if present is None else present
        return superposition_circuit(self.widths, names, self.degree, self.ansatz, self.readout)

    def circuits(self, present: Collection[str] | None = None) -> dict[str, Circuit]:
        return {"fusion": self.circuit(present)}

    def weighted_circuits(self) -> dict[str, WeightedCircuit]:
        like = next(self.parameters())
        _, weights = self.values({m: like.new_zeros(1, k) for m, k in self.widths.items()})
        return {"fusion": WeightedCircuit(self._patterns[tuple(self.widths)], weights)}

    def values(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(b, k) features of the modalities that are present -> the inputs (b, n) and the weights (w,) of their circuit."""
        kept = [0, *(branch for m in self.widths if m in features for branch in self._branches[m])]
        shown = torch.cat([features[m] for m in self.widths if m in features], dim=1)
        spread = nn.functional.one_hot(torch.tensor(kept, device=shown.device), self.n_branches).to(shown)  # (kept, branches)
        inputs = turns_of(shown @ spread[1:])
        turns = turns_of(self.turns[:, :, kept] @ spread.to(self.turns))
        return inputs, torch.cat([turns.flatten(1), self.mixing], dim=1).flatten()

    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) and (B,) bool by modality -> (B, F). Raises InputError for a row in which nothing is present."""
        return self.readout(fuse_by_pattern(tuple(self.widths), angles, present, self._fuse, self))

    def _fuse(self, modalities: tuple[str, ...], features: list[Tensor]) -> Tensor:
        inputs, weights = self.values(dict(zip(modalities, features, strict=True)))
        return self.expectations(self._patterns[modalities], inputs, weights)

    def _compile(self, modalities: tuple[str, ...]) -> CompiledCircuit:
        return CompiledCircuit(self.circuit(modalities))

    def counterparts(self, budget: Budget) -> dict[str, Fusion]:
        """The classical members of the same capacity."""
        return classical_counterparts(self.widths, budget)
