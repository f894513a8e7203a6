"""Primitive unified blocs (PUBs) as batches: each circuit compiled once, each binding and each observable once."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import groupby
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import SparseObservable, SparsePauliOp

from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.fingerprint import Fingerprint
from qmm.quantum.layer import expectations

_KEPT = 256  # compiled circuits of a primitive; a linear combination of unitaries takes one for each parameter of a network
_AMPLITUDES = 2**26  # that a batch may have: 1 GiB

_T = TypeVar("_T")


def by_circuit(pubs: Sequence[_T]) -> Iterator[tuple[Fingerprint, list[_T]]]:
    """PUBs that follow each other and have equal circuits, together."""
    known: dict[int, Fingerprint] = {}  # the PUBs keep their circuits alive, and with them these identities

    def fingerprint(pub: Any) -> Fingerprint:
        key = id(pub.circuit)
        if key not in known:
            known[key] = Fingerprint(pub.circuit)
        return known[key]

    for key, group in groupby(pubs, fingerprint):
        yield key, list(group)


def batches(compiled: CompiledCircuit, rows: NDArray[np.float64], device: torch.device) -> Iterator[NDArray[np.float64]]:
    """The outputs, (b, n_outputs), for (N, n_inputs) bindings, as many at once as memory should hold."""
    inputs, weights = torch.from_numpy(rows).to(device), torch.empty(0, dtype=torch.float64, device=device)
    for batch in inputs.split(max(1, _AMPLITUDES >> compiled.circuit.quantum_circuit.num_qubits)):
        yield expectations(compiled, batch, weights).cpu().numpy()


class Bindings:
    """The distinct bindings of several PUBs of one circuit: gradients and many observables ask for the same ones again."""

    def __init__(self, n_parameters: int):
        self._n_parameters = n_parameters
        self._starts: dict[Hashable, int] = {}
        self._arrays: list[NDArray[np.float64]] = []
        self._size = 0

    def add(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """(..., n_parameters) -> (...), their rows in `stacked`."""
        shape, size = values.shape[:-1], int(np.prod(values.shape[:-1]))
        start = self._starts.setdefault((size, values.tobytes()), self._size)
        if start == self._size:
            self._arrays.append(values.reshape(size, self._n_parameters))
            self._size += size
        return np.arange(start, start + size).reshape(shape)

    def stacked(self) -> NDArray[np.float64]:
        """(N, n_parameters)"""
        return np.concatenate(self._arrays)


class Observables:
    """The distinct observables of several PUBs."""

    def __init__(self) -> None:
        self.keys: dict[Hashable, int] = {}
        self._found: list[SparseObservable] = []

    def add(self, observables: ObservablesArray) -> NDArray[np.int64]:
        """Their columns in the outputs, in the shape of the array."""
        columns = np.empty(observables.shape, np.int64)
        for index, observable in np.ndenumerate(observables.sparse_observables_array()):
            parts = (observable.bit_terms, observable.indices, observable.boundaries, observable.coeffs)
            columns[index] = self.keys.setdefault(tuple(np.asarray(part).tobytes() for part in parts), len(self._found))
            if columns[index] == len(self._found):
                self._found.append(observable)
        return columns

    def paulis(self) -> list[SparsePauliOp]:
        return [SparsePauliOp.from_sparse_observable(observable) for observable in self._found]


class Cache(Generic[_T]):
    """Bounded; what was not asked for the longest goes first. Jobs may share it; copies and pickles begin empty."""

    def __init__(self, size: int = _KEPT):
        self._size, self._kept, self._lock = size, OrderedDict[Hashable, _T](), threading.Lock()

    def get(self, key: Hashable, make: Callable[[], _T]) -> _T:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
                if len(self._kept) > self._size:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

    def __reduce__(self) -> tuple[type["Cache[_T]"], tuple[int]]:
        return Cache, (self._size,)
