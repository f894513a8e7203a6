"""Symmetrisation, or debiasing: a circuit on several sets of qubits, so that what one of them does wrong is averaged away."""

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import ClassVar

import numpy as np
import rustworkx as rx
from numpy.typing import NDArray
from qiskit.circuit import QuantumCircuit
from qiskit.providers import BackendV2

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.requests import Estimates, Execution, Expansion, Mitigation, Request
from qmm.quantum.fingerprint import Fingerprint
from qmm.quantum.mitigation.randomizing import positive, split
from qmm.quantum.pubs import Cache

_SEARCHES, _FOUND = 16, 2000  # of placements: on devices with too many for all, searches from places drawn at random
_CALLS = 10**6  # of such a search, which on a device without room would never end
_WORSE = 2.0  # a mapping may be expected to have at most so many times the errors of the best one


class Symmetrisation(Mitigation):
    """The same circuit on several qubit mappings of the device, averaged, the shots divided (arXiv:2301.07233).

    What is wrong with one qubit then befalls each qubit of the circuit in turn instead of always the same one. The transpiled
    circuit is laid over the device in all ways that its couplings allow; among the best by the device's own errors those are
    taken where each qubit of the circuit stands on another one each time, as far as there are any.

    Args:
        mappings: How many, or as many as there are.
    """

    stage: ClassVar[int] = 20

    def __init__(self, mappings: int = 4):
        """Raises CircuitError for fewer than two."""
        if positive("mappings", mappings) < 2:
            raise CircuitError(f"mappings={mappings}; there is something to average from two mappings on")
        self.mappings = mappings

    def expand(self, request: Request, execution: Execution) -> Expansion:
        """Raises CircuitError without a device, on one with a single mapping, and where the mapping is prescribed."""
        layouts = self.layouts(request, execution)
        shots = split(request.shots, len(layouts))
        requests = [
            _placed(request, layout, execution.device)._replace(shots=own, variants=request.variants * len(shots))
            for layout, own in zip(layouts, shots, strict=False)  # fewer shots than layouts
        ]
        return Expansion(requests, _mean)

    def layouts(self, request: Request, execution: Execution) -> list[tuple[int, ...]]:
        """The mappings: the device's qubit of each of the circuit's. Raises as `expand` does."""
        if execution.device is None or not execution.device.num_qubits:
            raise CircuitError(
                "Symmetrisation averages over the qubits of a device, and this simulator imitates none: its qubits are alike; "
                "give it a device, or leave Symmetrisation out"
            )
        if request.initial_layout is not None:
            raise CircuitError(
                f"the circuit is prescribed to run on qubits {list(request.initial_layout)}, and Symmetrisation moves it; "
                "leave one of the two out"
            )
        device, known = execution.device, execution.memory.setdefault((type(self).__name__, self), Cache())

        def search() -> list[tuple[int, ...]]:
            return _choose(*_placements(execution.transpile(request).circuit, device), self.mappings)

        found = known.get(Fingerprint(request.circuit), search)
        if len(found) < 2:
            raise CircuitError(f"{device.name} holds this circuit in one way only; leave Symmetrisation out")
        return found


def _placed(request: Request, layout: tuple[int, ...], device: BackendV2 | None) -> Request:
    """Where any gate can stand between any qubits, the transpiler has no layout, and the circuit is written on its qubits."""
    if device is None or device.coupling_map is not None:
        return request._replace(initial_layout=layout)
    wide, own = QuantumCircuit(device.num_qubits), request.measurement
    return request._replace(
        circuit=wide.compose(request.circuit, list(layout)),
        measurement=own._replace(
            observables=tuple(o.apply_layout(list(layout), device.num_qubits) for o in own.observables),
            bases=tuple(basis.apply_layout(list(layout), device.num_qubits) for basis in own.bases),
        ),
    )


def _mean(estimates: Sequence[Estimates]) -> Estimates:
    """Of mappings that count alike, whatever their shots."""
    return Estimates(
        np.mean([e.values for e in estimates], axis=0), np.sum([e.variances for e in estimates], axis=0) / len(estimates) ** 2
    )


def _placements(physical: QuantumCircuit, device: BackendV2) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(M, n) qubits of the device for each of the circuit's, every row another one, and (M,) the errors expected there.

    The fewest errors come first.
    """
    layout = list(range(physical.num_qubits))
    if physical.layout is not None:
        layout = physical.layout.initial_index_layout(filter_ancillas=True)
    gates = Counter[tuple[str, tuple[int, ...]]](
        (item.operation.name, tuple(physical.find_bit(qubit).index for qubit in item.qubits))
        for item in physical.data
        if item.operation.name != "barrier"
    )
    used = sorted({*layout, *(qubit for _, qubits in gates for qubit in qubits)})
    place = {qubit: i for i, qubit in enumerate(used)}
    pattern = rx.PyGraph(multigraph=False)
    pattern.add_nodes_from(used)
    pattern.add_edges_from_no_data([(place[q[0]], place[q[1]]) for _, q in gates if len(q) == 2])
    rows = np.array([used, *_embeddings(pattern, _couplings(device))])
    errors = np.zeros(len(rows))
    for (name, qubits), times in (*gates.items(), *((("measure", (qubit,)), 1) for qubit in layout)):
        errors += times * _errors(device, name, len(qubits))[tuple(rows[:, place[qubit]] for qubit in qubits)]
    order = np.argsort(errors, kind="stable")
    rows, errors = rows[order][:, [place[qubit] for qubit in layout]], errors[order]
    first = np.sort(np.unique(rows, axis=0, return_index=True)[1])
    return rows[first], errors[first]


def _embeddings(pattern: "rx.PyGraph[int, None]", couplings: "rx.PyGraph[int, None]") -> list[list[int]]:
    """The qubit of each node of the pattern, in ways that the couplings allow: all, or many of them drawn alike each time."""
    rng, n = np.random.default_rng(0), couplings.num_nodes()
    found, order = [], list(range(n))
    for _ in range(_SEARCHES):
        shuffled = rx.PyGraph(multigraph=False)
        shuffled.add_nodes_from(order)
        node = {qubit: i for i, qubit in enumerate(order)}
        shuffled.add_edges_from_no_data([(node[a], node[b]) for a, b in couplings.edge_list()])
        every = rx.vf2_mapping(shuffled, pattern, subgraph=True, induced=False, id_order=False, call_limit=_CALLS)
        own = [sorted(mapping, key=mapping.__getitem__) for mapping in islice(every, _FOUND)]
        found += [[order[i] for i in nodes] for nodes in own]
        if len(own) < _FOUND:
            break
        order = rng.permutation(n).tolist()
    return found


def _couplings(device: BackendV2) -> "rx.PyGraph[int, None]":
    if device.coupling_map is None:
        return rx.generators.complete_graph(device.num_qubits)
    return device.coupling_map.graph.to_undirected(multigraph=False)


def _errors(device: BackendV2, name: str, n_qubits: int) -> NDArray[np.float64]:
    """(qubits,) or (qubits, qubits): how likely an instruction fails; 0 where that is not said, 1 where it is missing."""
    shape = (device.num_qubits,) * n_qubits
    stated = device.target[name] if name in device.target.operation_names else None
    if stated is None or None in stated:
        return np.zeros(shape)
    found = np.ones(shape)
    for qubits, properties in stated.items():
        error = getattr(properties, "error", None) or 0.0
        for own in {qubits, qubits[::-1]}:  # against its direction it is turned round
            found[own] = min(found[own], error)
    return found


def _choose(rows: NDArray[np.int64], errors: NDArray[np.float64], wanted: int) -> list[tuple[int, ...]]:
    """Of rows in the order of their errors: the first, then such that fewest qubits stand where they stood before."""
    near = max(wanted, int(np.searchsorted(errors, _WORSE * errors[0], side="right")))
    rows, repeats, chosen = rows[:near], np.zeros(min(near, len(rows))), []
    for _ in range(min(wanted, len(rows))):
        best = int(np.argmin(repeats))
        chosen.append(tuple(rows[best].tolist()))
        repeats += (rows == rows[best]).sum(axis=1)
        repeats[best] = np.inf
    return chosen
