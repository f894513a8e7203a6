"""LCUFusion: a polynomial of a linear combination of the modalities' unitaries, post-selected (Quixer)."""

from collections.abc import Collection, Mapping, Sequence
from itertools import product

import torch
from qiskit.circuit import Parameter, QuantumCircuit, QuantumRegister
from qiskit.quantum_info import SparsePauliOp
from torch import Tensor, nn
from torch.nn.functional import pad

from qmm.circuits import (
    Ansatz,
    HardwareEfficient,
    diagonal_phases,
    multiplexed_rotation,
    phase_turns,
    real_state,
    state_turns,
    turns_of,
)
from qmm.contracts import Budget, Fusion, WeightedCircuit
from qmm.errors import InputError
from qmm.quantum import Circuit, CompiledCircuit

from .assembly import by_first_use
from .classical import classical_counterparts
from .patterns import PatternCache, fuse_by_pattern

_SPREAD = 0.3  # of the first weights, in radians, as in QuantumFusion
_LEAST = 1e-9  # a success probability below it is taken for it: float32 knows no smaller one beside 1


def circuit_14(n_qubits: int, layers: int) -> list[tuple[str, tuple[int, ...]]]:
    """The gates of a token's unitary, an angle each, all of them 1 at angle 0: circuit 14 of arXiv:1905.10876, as in Quixer.

    A layer: RY of each qubit, CRX round the qubits one way, RY of each, CRX the other way; 4n gates. Names and qubits, the
    control first.
    """
    ring = [*range(n_qubits - 1, -1, -1)]
    back = [n_qubits - 1, *range(n_qubits - 1)]
    turns: list[tuple[str, tuple[int, ...]]] = [("ry", (q,)) for q in range(n_qubits)]
    layer = [
        *turns,
        *(("crx", (q, (q + 1) % n_qubits)) for q in ring),
        *turns,
        *(("crx", (q, (q - 1) % n_qubits)) for q in back),
    ]
    return layer * layers


def select(n_qubits: int, layers: int, turns: Sequence[Sequence[Parameter]]) -> QuantumCircuit:
    """sum_i |i><i| (x) U(angles of i), U = `circuit_14`: the data qubits come first, then the index.

    Args:
        turns: For each gate of U, `turns_of` its angles by index.
    """
    n_index = len(turns[0]).bit_length() - 1
    circuit = QuantumCircuit(n_qubits + n_index)
    index = range(n_qubits, n_qubits + n_index)
    for (name, qubits), own in zip(circuit_14(n_qubits, layers), turns, strict=True):
        target = qubits[-1]
        if name == "ry":
            circuit.compose(multiplexed_rotation("y", own), [target, *index], inplace=True)
        else:  # CRX(a) = RX(a/2) CZ RX(-a/2) CZ
            for sign in (0.5, -0.5):
                circuit.compose(multiplexed_rotation("x", [sign * turn for turn in own]), [target, *index], inplace=True)
                circuit.cz(qubits[0], target)
    return circuit


def lcu_circuit(n_items: int, n_qubits: int, layers: int, degree: int, ansatz: Ansatz) -> Circuit:
    """`degree` times PREPARE, phases, SELECT, PREPARE^dagger, each with an index register of its own; then the ansatz.

    With every index at 0, the data carry the product over j of sum_i p_ji exp(i phi_ji) U_i, times |0>, unnormalised. Inputs
    are the turns of SELECT, the same each time; weights those of PREPARE and of the phases, j by j, and the ansatz'.
    Observables: X, Y and Z of each data qubit where all indices are 0, and the probability that they are.
    """
    n_index = (n_items - 1).bit_length()
    registers = [QuantumRegister(n_qubits, "data"), *(QuantumRegister(n_index, f"index{j}") for j in range(degree))]
    circuit = QuantumCircuit(*registers)
    n_gates = len(circuit_14(n_qubits, layers))
    turns = [[Parameter(f"token{g}.{t}") for t in range(2**n_index)] for g in range(n_gates)]
    weights: list[Parameter] = []
    for j, index in enumerate(registers[1:]):
        shares, phases = ([Parameter(f"{j}.{kind}{t}") for t in range(2**n_index - 1)] for kind in ("prepare", "phase"))
        weights += [*shares, *phases]
        prepare = real_state(shares)
        circuit.compose(prepare, index, inplace=True)
        circuit.compose(diagonal_phases(phases), index, inplace=True)
        circuit.compose(select(n_qubits, layers, turns), [*registers[0], *index], inplace=True)
        circuit.compose(prepare.inverse(), index, inplace=True)
    trained = ansatz.circuit(n_qubits)
    own = {p: Parameter(f"data.{p.name}") for p in by_first_use(trained)}
    weights += own.values()
    circuit.compose(trained.assign_parameters(own), registers[0], inplace=True)
    return Circuit.of(circuit, [t for gate in turns for t in gate], weights, _post_selected(n_qubits, degree * n_index))


def _post_selected(n_qubits: int, n_ancillas: int) -> list[SparsePauliOp]:
    zero = SparsePauliOp(["".join(p) for p in product("IZ", repeat=n_ancillas)], [0.5**n_ancillas] * 2**n_ancillas)
    data = [SparsePauliOp.from_sparse_list([(letter, [q], 1.0)], n_qubits) for letter in "XYZ" for q in range(n_qubits)]
    return [zero.tensor(observable) for observable in (*data, SparsePauliOp("I" * n_qubits))]


class LCUFusion(Fusion):
    """Quixer, arXiv:2406.04305 (complex mixing as in CLAQS, arXiv:2510.06532), with a token for each modality.

    On shared data qubits, M = sum_m b_m U_m over the modalities, b_m complex, of 1-norm 1, U_m = `circuit_14` at angles
    scale * feature + offset; a polynomial P of M of degree d acts on |0>, a trained circuit follows, and X, Y, Z of each qubit
    are read where post-selection succeeded, as ratios of expectation values.

    P is a true circuit: over the complex numbers P(M) = c (a_1 + M) ... (a_d + M), and each factor is a linear combination of
    the identity and the U_m, with trained complex a_j, by PREPARE, SELECT and PREPARE^dagger on index qubits of its own; d
    ceil(log2(modalities + 1)) of them. The probability of success is `success_probability`. Quixer names QSVT for this step,
    and in simulation sums powers of M, which is what the factors multiply out to.

    A missing modality is no item of PREPARE and SELECT: b is normalised over the others, and index registers shrink.

    Different from Quixer: the features' angles come from a scale and an offset for each gate, which takes the features in
    turn, instead of a full linear layer, so that little is learnt outside the circuit.

    Args:
        degree: d.
        qubits: Data qubits, at least 2.
        layers: Layers of `circuit_14` in a token's unitary.
        ansatz: The trained circuit on the data qubits, at the end; by default HardwareEfficient.
    """

    reference = "arXiv:2406.04305"

    def __init__(self, degree: int = 2, qubits: int = 2, layers: int = 1, ansatz: Ansatz | None = None):
        super().__init__()
        for name, given, least in (("degree", degree, 1), ("qubits", qubits, 2), ("layers", layers, 1)):
            if given < least:
                raise InputError(f"{name}={given}; a linear combination of unitaries takes at least {least}")
        self.degree, self.qubits, self.layers, self.ansatz = degree, qubits, layers, ansatz or HardwareEfficient()
        self._patterns = PatternCache(self._compile)

    def build(self, widths: Mapping[str, int]) -> None:
        """Raises InputError for more features than a token's unitary has angles."""
        self.widths, n_gates = dict(widths), len(circuit_14(self.qubits, self.layers))
        for modality, width in widths.items():
            if width > n_gates:
                raise InputError(
                    f"{modality!r}: {width} features for a unitary of {n_gates} angles; take more qubits or layers"
                )
        self.out_features = 3 * self.qubits
        self.scale = nn.Parameter(torch.empty(len(widths), n_gates))
        self.offset = nn.Parameter(torch.empty(len(widths), n_gates))
        self.mixing = nn.Parameter(torch.empty(2, len(widths)))  # log |b| and arg b
        self.roots = nn.Parameter(torch.empty(2, self.degree))  # log |a| and arg a
        self.weights = nn.Parameter(torch.empty(len(by_first_use(self.ansatz.circuit(self.qubits)))))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Features themselves as angles, all items of about one weight, the rest N(0, 0.3) as in QuantumFusion."""
        self.scale.fill_(1.0)
        for parameter in (self.offset, self.mixing, self.roots, self.weights):
            parameter.normal_(0.0, _SPREAD)

    def circuit(self, present: Collection[str] | None = None) -> Circuit:
        """The circuit of the modalities in `present` (default: all). `values` are its angles."""
        names = self.widths if present is None else set(self.widths) & set(present)
        return lcu_circuit(1 + len(names), self.qubits, self.layers, self.degree, self.ansatz)

    def circuits(self, present: Collection[str] | None = None) -> dict[str, Circuit]:
        return {"fusion": self.circuit(present)}

    def weighted_circuits(self) -> dict[str, WeightedCircuit]:
        like = next(self.parameters())
        _, weights = self.values({m: like.new_zeros(1, k) for m, k in self.widths.items()})
        return {"fusion": WeightedCircuit(self._patterns[tuple(self.widths)], weights)}

    def values(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(b, k) features of the modalities that are present -> the inputs (b, n) and the weights (w,) of their circuit."""
        items = [i for i, m in enumerate(self.widths) if m in features]
        n_gates, spare = self.scale.shape[1], 2 ** len(items).bit_length() - 1 - len(items)
        each = [
            x[:, torch.arange(n_gates, device=x.device) % x.shape[1]] for m in self.widths if (x := features.get(m)) is not None
        ]
        angles = torch.stack(each, dim=2) * self.scale[items].T + self.offset[items].T  # (b, gates, items)
        inputs = turns_of(pad(angles, (1, spare))).flatten(1)  # item 0 is the identity
        weights = []
        for j in range(self.degree):
            size, phase = torch.cat([self.roots[:, j : j + 1], self.mixing[:, items]], dim=1)
            weights += [state_turns(pad(size.softmax(dim=0), (0, spare))), phase_turns(pad(phase, (0, spare)))]
        return inputs, torch.cat([*weights, self.weights])

    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) and (B,) bool by modality -> (B, 3 qubits): X of each, Y of each, Z of each, given success.

        Raises InputError for a row in which nothing is present.
        """
        values = fuse_by_pattern(tuple(self.widths), angles, present, self._fuse, self)
        return values[:, :-1] / values[:, -1:].clamp_min(_LEAST)

    def success_probability(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """As `forward`, (B,): how likely all index qubits are found in 0. 1 / it is what post-selection costs in shots."""
        return fuse_by_pattern(tuple(self.widths), angles, present, self._fuse, self)[:, -1]

    def _fuse(self, modalities: tuple[str, ...], features: list[Tensor]) -> Tensor:
        inputs, weights = self.values(dict(zip(modalities, features, strict=True)))
        return self.expectations(self._patterns[modalities], inputs, weights)

    def _compile(self, modalities: tuple[str, ...]) -> CompiledCircuit:
        return CompiledCircuit(self.circuit(modalities))

    def counterparts(self, budget: Budget) -> dict[str, Fusion]:
        """The classical members of the same capacity."""
        return classical_counterparts(self.widths, budget)
