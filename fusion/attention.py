"""QuantumSelfAttention: modalities as tokens that attend to each other by expectation values (QSANN)."""

import math
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import combinations, islice, product

import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import PassManager
from qiskit.transpiler.passes import LightCone
from torch import Tensor, nn
from torch.nn.functional import pad

from qmm.contracts import Budget, Fusion, WeightedCircuit
from qmm.errors import InputError
from qmm.quantum import Circuit, CompiledCircuit

from .assembly import by_first_use
from .classical import classical_counterparts
from .patterns import fuse_by_pattern

_SPREAD = 0.3  # of the first weights, in radians, as in QuantumFusion
_KINDS = ("query", "key", "value")


def qsann_ansatz(angles: Sequence[Parameter], n_qubits: int) -> QuantumCircuit:
    """RX of each qubit, RY of each qubit, then CX round the qubits and RY of each, D times: n (D + 2) angles.

    Raises InputError for another number of angles.
    """
    depth, rest = divmod(len(angles), n_qubits)
    if rest or depth < 2:
        raise InputError(
            f"{len(angles)} angles for the ansatz of {n_qubits} qubits; it takes {n_qubits} for each of its columns"
        )
    circuit = QuantumCircuit(n_qubits)
    for place, angle in enumerate(angles):
        column, qubit = divmod(place, n_qubits)
        if column > 1 and qubit == 0 and n_qubits > 1:
            for control in range(n_qubits):
                circuit.cx(control, (control + 1) % n_qubits)
        (circuit.ry if column else circuit.rx)(angle, qubit)
    return circuit


def value_observables(n_qubits: int, number: int) -> list[SparsePauliOp]:
    """The first Pauli strings: Z of each qubit, X of each, Y of each, then those of two qubits, and so on.

    Raises InputError for more than 4**n - 1.
    """
    if number > 4**n_qubits - 1:
        raise InputError(f"{number} Pauli strings of {n_qubits} qubits, there are {4**n_qubits - 1}; take more qubits")
    strings = (
        ("".join(letters), qubits, 1.0)
        for weight in range(1, n_qubits + 1)
        for letters in product("ZXY", repeat=weight)
        for qubits in combinations(range(n_qubits), weight)
    )
    return [SparsePauliOp.from_sparse_list([string], n_qubits) for string in islice(strings, number)]


def attention_circuit(kind: str, n_qubits: int, encoding_depth: int, depth: int) -> Circuit:
    """The circuit that makes the query, the key or the value of one token: the token's d = n (encoding_depth + 2) features by
    `qsann_ansatz`, then the same ansatz with n (depth + 2) weights.

    Query and key read <Z> of the first qubit, and leave out what is not in its light cone; value reads d Pauli strings.
    """
    inputs = [Parameter(f"token.x{i}") for i in range(n_qubits * (encoding_depth + 2))]
    circuit = qsann_ansatz(inputs, n_qubits)
    circuit.compose(qsann_ansatz([Parameter(f"{kind}.{i}") for i in range(n_qubits * (depth + 2))], n_qubits), inplace=True)
    if kind == "value":
        observables = value_observables(n_qubits, len(inputs))
    else:
        observables = value_observables(n_qubits, 1)
        circuit = PassManager([LightCone("Z", [0])]).run(circuit)
    return Circuit.of(circuit, inputs, [p for p in by_first_use(circuit) if p not in set(inputs)], observables)


class QuantumSelfAttention(Fusion):
    """Quantum self-attention (QSANN, arXiv:2205.05625) with a token for each modality.

    In each layer, with query q_s = <Z_1>, key k_s = <Z_1> and value o_s = (<P_1>, ..., <P_d>) of token y_s by three circuits
    that all tokens share:

        y_s <- y_s + sum_j a_sj o_j,    a_sj = exp(-(q_s - k_j)^2) / sum_m exp(-(q_s - k_m)^2)

    over the tokens j, m of the modalities that are present. A missing modality is no token: nobody attends to it, no circuit
    runs for it, and its place in the output is 0.

    Here features of modalities that differ in width are padded with 0 to d = n (encoding_depth + 2), without weights; and no
    Hadamards come before the encoding, since behind them its RX would change nothing.

    Args:
        layers: How many times the tokens attend to each other.
        qubits: n, of the circuit of one token; by default as few as the widest modality needs, at least 2.
        encoding_depth: Columns of CX and RY in the encoding.
        depth: The same in the circuits of query, key and value.
        average: Give the mean of the tokens, as the paper does, of width d; by default they stand side by side, in the order
            of the modalities, since the mean cannot tell whose token was whose.
    """

    reference = "arXiv:2205.05625"

    def __init__(
        self, layers: int = 1, qubits: int | None = None, encoding_depth: int = 1, depth: int = 1, average: bool = False
    ):
        super().__init__()
        least = {"layers": (layers, 1), "qubits": (qubits or 1, 1), "encoding_depth": (encoding_depth, 0), "depth": (depth, 0)}
        for name, (given, lowest) in least.items():
            if given < lowest:
                raise InputError(f"{name}={given}; quantum self-attention takes at least {lowest}")
        self.layers, self.qubits, self.average = layers, qubits, average
        self.encoding_depth, self.depth = encoding_depth, depth

    def build(self, widths: Mapping[str, int]) -> None:
        """Raises InputError where the widest modality has more features than a token holds."""
        self.widths, columns, widest = dict(widths), self.encoding_depth + 2, max(widths.values())
        n_qubits = self.qubits or max(2, math.ceil(widest / columns))
        self.token = n_qubits * columns
        if self.token < widest:
            raise InputError(
                f"{widest} features for a token of {n_qubits} qubits, which holds {self.token}; "
                f"take {math.ceil(widest / columns)} qubits, or a deeper encoding"
            )
        compiled = {
            kind: CompiledCircuit(attention_circuit(kind, n_qubits, self.encoding_depth, self.depth)) for kind in _KINDS
        }
        self._compiled = compiled
        self.out_features = self.token if self.average else self.token * len(widths)
        self.weights = nn.ParameterDict(
            {kind: nn.Parameter(torch.empty(self.layers, len(c.circuit.weights))) for kind, c in compiled.items()}
        )
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """N(0, 0.3), as in QuantumFusion: near the identity, where what is read out are few encoded angles' products."""
        for weights in self.weights.values():
            weights.normal_(0.0, _SPREAD)

    def circuits(self, present: Collection[str] | None = None) -> dict[str, Circuit]:
        """Query, key and value of a token, by layer; the same ones for every token, whichever are present."""
        return {f"{layer}.{kind}": c.circuit for layer in range(self.layers) for kind, c in self._compiled.items()}

    def weighted_circuits(self) -> dict[str, WeightedCircuit]:
        return {
            f"{layer}.{kind}": WeightedCircuit(compiled, self.weights[kind][layer])
            for layer in range(self.layers)
            for kind, compiled in self._compiled.items()
        }

    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) and (B,) bool by modality -> (B, F). Raises InputError for a row in which nothing is present."""
        return fuse_by_pattern(tuple(self.widths), angles, present, self._fuse, self)

    def _fuse(self, modalities: tuple[str, ...], features: list[Tensor]) -> Tensor:
        tokens = torch.stack([pad(x, (0, self.token - x.shape[1])) for x in features], dim=1)  # (b, tokens, d)
        for layer in range(self.layers):
            tokens = tokens + self.attend(tokens, layer)
        if self.average:
            return tokens.mean(dim=1)
        places = [list(self.widths).index(m) for m in modalities]
        everywhere = tokens.new_zeros(len(tokens), len(self.widths), self.token)
        return everywhere.index_copy(1, torch.tensor(places, device=tokens.device), tokens).flatten(1)

    def attend(self, tokens: Tensor, layer: int = 0) -> Tensor:
        """(b, tokens, d) -> what each token takes from all of them, (b, tokens, d)."""
        rows = tokens.flatten(0, 1)
        own = [partial(self.expectations, self._compiled[kind], rows, self.weights[kind][layer]) for kind in _KINDS]
        query, key, value = (values.unflatten(0, tokens.shape[:2]) for values in self.together(own))
        attention = (-(query - key.mT).square()).softmax(dim=2)
        return attention @ value

    def counterparts(self, budget: Budget) -> dict[str, Fusion]:
        """The classical members of the same capacity."""
        return classical_counterparts(self.widths, budget)
