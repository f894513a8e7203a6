"""Hamiltonian evolution: features are the fields on coupled spins, which evolve for a while."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from qiskit.circuit import Parameter, ParameterExpression, QuantumCircuit
from qiskit.circuit.library import PauliEvolutionGate
from qiskit.quantum_info import SparsePauliOp
from qiskit.synthesis import SuzukiTrotter
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from qmm.circuits.contracts import Encoding, FeatureMap
from qmm.circuits.feature_maps.diagonal import check_pairs
from qmm.circuits.feature_maps.spectrum import say_frequencies
from qmm.circuits.gates import check_name
from qmm.errors import InputError

INTERACTIONS = {"zz": ("ZZ",), "heisenberg": ("XX", "YY", "ZZ")}


class CouplingGraph(NamedTuple):
    edges: list[tuple[int, int]]
    couplings: list[float]
    """One for each edge."""


def coupling_graph(features: ArrayLike, threshold: float = 0.5) -> CouplingGraph:
    """(N, k) features -> the graph of those that go together: an edge, coupled by their correlation, where its size is at
    least `threshold`; and the edges of a tree of largest correlations, so that all are connected.

    Raises InputError for fewer than 2 rows, or features that are not finite.
    """
    rows = np.asarray(features, dtype=float)
    if rows.ndim != 2 or len(rows) < 2 or not np.isfinite(rows).all():
        raise InputError(f"features of shape {rows.shape}; correlations take at least 2 rows of finite features, (N, k)")
    centred = rows - rows.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=0)
    centred = centred / np.where(lengths > 0, lengths, 1.0)  # a constant feature correlates with nothing
    correlation = centred.T @ centred
    tree = minimum_spanning_tree(np.triu(2.0 - np.abs(correlation), 1)).toarray() > 0  # 0 would be no edge
    kept = np.triu((np.abs(correlation) >= threshold) | tree | tree.T, 1)
    edges = [(int(i), int(j)) for i, j in np.argwhere(kept)]
    return CouplingGraph(edges, [float(correlation[edge]) for edge in edges])


def hamiltonian_evolution(
    fields: Sequence[float | ParameterExpression],
    graph: CouplingGraph,
    n_qubits: int,
    interaction: str = "zz",
    time: float = 1.0,
    steps: int = 1,
    order: int = 2,
) -> QuantumCircuit:
    """exp(-i time H), H = (sum_i fields_i X_i + sum_ij couplings_ij Z_i Z_j)/2, by Qiskit's Suzuki-Trotter formula.

    Args:
        fields: On the first qubits; those without one have the field 0.
        interaction: "zz", or "heisenberg" for X_i X_j + Y_i Y_j + Z_i Z_j.
        steps: How often the product formula is repeated, each time for time / steps.
        order: Of the formula: 1 or even. Its error falls as steps**-order.
    """
    factors: dict[tuple[str, frozenset[int]], Any] = {("X", frozenset({i})): field for i, field in enumerate(fields)}
    groups: list[list[tuple[str, list[int], float]]] = [[("X", [i], 0.5) for i in range(len(fields))]]
    for paulis in INTERACTIONS[interaction] if graph.edges else ():
        groups.append([(paulis, list(edge), 0.5) for edge in graph.edges])
        factors |= {(paulis, frozenset(edge)): c for edge, c in zip(graph.edges, graph.couplings, strict=True)}
    commuting = [SparsePauliOp.from_sparse_list(group, num_qubits=n_qubits) for group in groups]
    formula = SuzukiTrotter(order=order, reps=steps, preserve_order=True).expand(PauliEvolutionGate(commuting, time=time))
    circuit = QuantumCircuit(n_qubits)
    for paulis, qubits, share in _merged(formula):
        getattr(circuit, f"r{paulis.lower()}")(share * factors[paulis, frozenset(qubits)], *qubits)
    return circuit


def _merged(formula: Sequence[tuple[str, Sequence[int], float]]) -> list[tuple[str, tuple[int, ...], float]]:
    """Rotations that follow each other about one axis are one: the end of a step and the beginning of the next."""
    merged: list[tuple[str, tuple[int, ...], float]] = []
    last: dict[int, int] = {}
    for paulis, qubits, share in formula:
        before = {last.get(qubit) for qubit in qubits}
        place = before.pop() if len(before) == 1 else None
        if place is not None and merged[place][:2] == (paulis, tuple(qubits)):
            merged[place] = (paulis, tuple(qubits), merged[place][2] + float(share))
            continue
        last.update(dict.fromkeys(qubits, len(merged)))
        merged.append((paulis, tuple(qubits), float(share)))
    return merged


class HamiltonianEvolution(FeatureMap):
    """`hamiltonian_evolution`: each feature is the field on a spin, and spins that belong together are coupled.

    A transverse-field Ising model (or Heisenberg's) that evolves from |0...0>, after arXiv:2011.01938, which has the features
    as couplings of a chain.

    Args:
        edges: Pairs of qubits that are coupled; by default a chain. They must connect all qubits.
        couplings: One for all edges, or one for each. `HamiltonianEvolution.of_data` takes both from correlations.
        interaction: "zz" or "heisenberg".
        time: How long they evolve, in units in which a spin without partners is turned by its feature at time 1.
        steps: Of the Suzuki-Trotter formula.
        order: Of the formula: 1, 2, 4, 6 ...
    """

    reference = "arXiv:2011.01938"

    def __init__(
        self,
        edges: list[tuple[int, int]] | None = None,
        couplings: float | list[float] = 1.0,
        interaction: str = "zz",
        time: float = 1.0,
        steps: int = 2,
        order: int = 2,
    ):
        super().__init__()
        check_name("interaction", interaction, tuple(INTERACTIONS))
        if steps < 1 or order < 1 or (order > 1 and order % 2):
            raise InputError(f"steps={steps}, order={order}; a Suzuki-Trotter formula has 1 step or more, and order 1 or even")
        self.edges = None if edges is None else [(int(a), int(b)) for a, b in edges]
        if isinstance(couplings, list) and len(couplings) != len(self.edges or ()):
            raise InputError(f"{len(couplings)} couplings for {len(self.edges or ())} edges; give one for each, or a number")
        self.couplings, self.interaction, self.time, self.steps, self.order = couplings, interaction, time, steps, order

    @classmethod
    def of_data(cls, features: ArrayLike, threshold: float = 0.5, **settings: Any) -> Self:
        """Coupled by the `coupling_graph` of (N, k) features. `settings`: as the constructor takes them."""
        graph = coupling_graph(features, threshold)
        return cls(edges=graph.edges, couplings=graph.couplings, **settings)

    def least_qubits(self, features: int) -> int:
        return max([features, *(1 + max(edge) for edge in self.edges or ())])

    def build(self, features: int, n_qubits: int, uploads: int = 1) -> None:
        """Raises InputError where the register is too small, and for a graph that does not connect all of its qubits."""
        super().build(features, n_qubits, uploads)
        edges = [(i, i + 1) for i in range(n_qubits - 1)] if self.edges is None else self.edges
        couplings = self.couplings if isinstance(self.couplings, list) else [self.couplings] * len(edges)
        self.graph = CouplingGraph(edges, [float(c) for c in couplings])
        check_connected(edges, n_qubits)

    def circuit(self, angles: Sequence[Parameter], upload: int = 0) -> QuantumCircuit:
        settings = self.interaction, self.time, self.steps, self.order
        return hamiltonian_evolution(angles, self.graph, self.n_qubits, *settings)

    def describe(self) -> Encoding:
        return self.described(
            "1", f"{say_frequencies(self)}; they are those of the product formula, and grow denser with steps"
        )


def check_connected(edges: Sequence[tuple[int, int]], n_qubits: int) -> None:
    """Raises InputError for an edge that is no pair of qubits, or comes twice, and for qubits that no path joins."""
    check_pairs("the coupling graph", edges, n_qubits)
    adjacency = np.zeros((n_qubits, n_qubits))
    for a, b in edges:
        adjacency[a, b] = 1
    parts, label = connected_components(adjacency, directed=False)
    if parts > 1:
        groups = "; ".join(str(np.flatnonzero(label == part).tolist()) for part in range(parts))
        raise InputError(
            f"the coupling graph does not connect the {n_qubits} qubits: it falls into {groups}; add edges between these, "
            "or take coupling_graph(features), which connects all"
        )
