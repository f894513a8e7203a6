"""A batch of a circuit that is cut: what of it each fragment runs, and how its values are put together again."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import Parameter
from qiskit.quantum_info import PauliList
from torch import Tensor

from qmm.quantum.angles import Angles, collect
from qmm.quantum.backends import Evaluation
from qmm.quantum.circuit import Circuit
from qmm.quantum.execution.requests import Estimates
from qmm.quantum.scaling.fragments import FragmentCircuits, Variant, fragment_circuits
from qmm.quantum.scaling.places import Pieces
from qmm.quantum.scaling.plans import ReadOut, within
from qmm.quantum.scaling.reconstruction import Measured, Whole, draw, reconstruct, rows_of


class Ready(NamedTuple):
    """A circuit cut once, to be run for any bindings."""

    whole: Whole
    angles: Angles
    """Of the cuts, 0 where one has none, as functions of a binding's columns."""
    offsets: NDArray[np.float64]
    """(O,)"""
    columns: dict[Parameter, int]
    """Of bindings: the circuit's inputs, then its weights."""


def ready(circuit: Circuit, pieces: Pieces, read: ReadOut) -> Ready:
    """`pieces`: those of the circuit; `read`: its outputs."""
    fragments, places = [], []
    for fragment in pieces.fragments:
        strings = within(read.strings, pieces, fragment)
        own, place = np.unique(np.concatenate([strings.x, strings.z], axis=1), axis=0, return_inverse=True)
        x, z = np.split(own, 2, axis=1)
        fragments.append(fragment_circuits(fragment, pieces.cuts, PauliList.from_symplectic(z, x), set(circuit.weights)))
        places.append(place.reshape(-1))
    decompositions = tuple(cut.decomposition for cut in pieces.cuts)
    angles = collect([0.0 if d.angle is None else d.angle for d in decompositions], (*circuit.inputs, *circuit.weights), ())
    columns = {parameter: i for i, parameter in enumerate((*circuit.inputs, *circuit.weights))}
    return Ready(Whole(tuple(fragments), decompositions, tuple(places), read.outputs), angles, read.offsets, columns)


class Outputs(NamedTuple):
    """What one circuit of a fragment gave, for U bindings."""

    values: NDArray[np.float64]
    """(U, V * K): K outputs for each of V turns, 0 for those that were not asked for."""
    variances: NDArray[np.float64]
    """(U, V * K)"""
    runs: NDArray[np.int64]
    """(V * K,): which of the V."""


class Slot:
    """One circuit of a fragment: what of a batch it runs. Its `job` is set once it does."""

    job: Any = None

    def __init__(self, variant: Variant, inputs: Tensor, weights: Tensor, rows: NDArray[np.int64], shots: int | None = None):
        """Args:
        inputs: (U, inputs of the variant) radians.
        weights: (weights of the variant,), or (U, weights of the variant).
        rows: Those of its turns that are asked for.
        """
        self._variant, self._rows, self._n_bindings = variant, rows, len(inputs)
        turns = torch.from_numpy(variant.turns[rows]).repeat(len(inputs), 1)
        whole = torch.cat([inputs.repeat_interleave(len(rows), 0), turns], dim=1)
        if weights.ndim == 2:
            weights = weights.repeat_interleave(len(rows), 0)
        self.evaluation = Evaluation(variant.compiled, whole, weights, shots)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked for."""
        return not len(self._rows) or not self._n_bindings

    def outputs(self) -> Outputs:
        n_turns, n_outputs = len(self._variant.turns), self._variant.compiled.circuit.n_outputs
        shape = self._n_bindings, n_turns, n_outputs
        values, variances = np.zeros((2, *shape))
        if not self.is_idle:
            found = self.job.result().double().numpy(force=True)
            spread = self.job.estimates().variances if hasattr(self.job, "estimates") else np.zeros_like(found)
            values[:, self._rows] = found.reshape(shape[0], -1, n_outputs)
            variances[:, self._rows] = spread.reshape(shape[0], -1, n_outputs)
        flat = shape[0], n_turns * n_outputs
        return Outputs(values.reshape(flat), variances.reshape(flat), np.repeat(np.arange(n_turns), n_outputs))


class Batch:
    """N bindings of a circuit that is cut."""

    def __init__(self, ready: Ready, evaluation: Evaluation, samples: int | None, rng: np.random.Generator):
        self.ready = ready
        self._inputs, self._weights = (t.detach().double().cpu() for t in (evaluation.inputs, evaluation.weights))
        self._trained = evaluation.weights.requires_grad
        self._bindings = torch.cat([self._inputs, self._weights.expand(len(self._inputs), -1)], dim=1).numpy()
        cuts = ready.whole.decompositions
        self._drawn = draw(cuts, samples, rng) if samples is not None and cuts else None
        copies = _copies(self._bindings)
        self.slots: list[list[Slot]] = []
        self._inverse: list[NDArray[np.int64]] = []
        for fragment in ready.whole.fragments:
            slots, inverse = self._slots(fragment, copies, evaluation.shots)
            self.slots.append(slots)
            self._inverse.append(inverse)

    def assemble(self) -> Estimates:
        """(N, n_outputs), from the results of all slots."""
        n, whole = len(self._bindings), self.ready.whole
        if not n or not whole.outputs.shape[1]:
            return Estimates(np.tile(self.ready.offsets, (n, 1)), np.zeros((n, len(self.ready.offsets))))
        measured = [_measured(slots, inverse) for slots, inverse in zip(self.slots, self._inverse, strict=True)]
        none = torch.empty(0, dtype=torch.float64)
        angles = self.ready.angles.evaluate(torch.from_numpy(self._bindings), none).expand(n, -1).numpy()
        coefficients = [cut.coefficients(angles[:, i]) for i, cut in enumerate(whole.decompositions)]
        values, variances = reconstruct(whole, measured, coefficients, self._drawn)
        return Estimates(values + self.ready.offsets, variances)

    def _slots(
        self, fragment: FragmentCircuits, copies: NDArray[np.int64], shots: int | None
    ) -> tuple[list[Slot], NDArray[np.int64]]:
        """What a fragment runs, and for each of N bindings which of its distinct ones it is."""
        columns = self.ready.columns
        used = sorted(
            {columns[parameter] for variant in fragment.variants for parameter in (*variant.inputs, *variant.weights)}
        )
        _, first, inverse = np.unique(
            np.concatenate([self._bindings[:, used], copies[:, None]], axis=1), axis=0, return_index=True, return_inverse=True
        )
        slots, start = [], 0
        for variant in fragment.variants:
            size = len(variant.turns) * variant.compiled.circuit.n_outputs
            rows = self._rows(fragment, variant, start)
            start += size
            own = self._inputs[first][:, [columns[p] for p in variant.inputs]]
            weights = self._weights if self._weights.ndim == 1 else self._weights[first]
            weights = weights[..., [columns[p] - self._inputs.shape[1] for p in variant.weights]]
            slots.append(Slot(variant, own, weights.requires_grad_(self._trained), rows, shots))
        return slots, inverse.reshape(-1)

    def _rows(self, fragment: FragmentCircuits, variant: Variant, start: int) -> NDArray[np.int64]:
        """The turns of a variant, whose outputs begin at `start`, that are asked for."""
        n_outputs = variant.compiled.circuit.n_outputs
        if self._drawn is None:
            return np.arange(len(variant.turns))
        asked = fragment.entries[rows_of(fragment, self.ready.whole.decompositions, self._drawn.maps)] - start
        inside = asked[(asked >= 0) & (asked < len(variant.turns) * n_outputs)]
        return np.unique(inside // n_outputs)


def _copies(bindings: NDArray[np.float64]) -> NDArray[np.int64]:
    """(N,): how many rows before each are equal to it. Samples that come twice are to be run twice."""
    _, inverse = np.unique(bindings, axis=0, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    sorted_ = inverse[order].reshape(-1)
    starts = np.searchsorted(sorted_, sorted_)
    copies = np.empty(len(bindings), np.int64)
    copies[order] = np.arange(len(bindings)) - starts
    return copies


def _measured(slots: list[Slot], inverse: NDArray[np.int64]) -> Measured:
    """What a fragment gave, for each of N bindings."""
    parts = [slot.outputs() for slot in slots]
    constants = np.tile([0.0, 1.0], (int(inverse.max()) + 1, 1))
    values = np.concatenate([*[p.values for p in parts], constants], axis=1)[inverse]
    variances = np.concatenate([*[p.variances for p in parts], np.zeros_like(constants)], axis=1)[inverse]
    runs: list[NDArray[np.int64]] = []
    n_runs = 0
    for part in parts:
        runs.append(part.runs + n_runs)
        n_runs += int(part.runs.max()) + 1
    return Measured(torch.from_numpy(values), torch.from_numpy(variances), np.concatenate([*runs, np.array([n_runs, n_runs])]))
