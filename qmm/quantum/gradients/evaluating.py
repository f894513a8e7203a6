"""Values at many points with their variances, in as few submissions as can be."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from qmm.quantum.backends import Backend, Evaluation, Job
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.gradients.allotment import Allotment


class Points(NamedTuple):
    """Where one circuit is evaluated: at S points for each of B samples."""

    circuit: CompiledCircuit
    inputs: Tensor
    """(B, S, n_inputs) of this circuit, float64."""
    weights: Tensor
    """(B, S, n_weights) of this circuit, float64."""


class Mixed(NamedTuple):
    """Mixtures of the outputs at all points, with the variances of these."""

    values: Tensor
    """(B, S, K)"""
    variances: Tensor
    """(B, S, K); outputs count as measured independently of each other."""


class Evaluator:
    """Evaluates points on a backend.

    Args:
        backend: Where to evaluate.
        pieces: S points in all, of one circuit after the other.
        upstream: (B, K, n_outputs): the mixtures of outputs that are asked for.
        device: Where the backend shall find its tensors.
    """

    def __init__(self, backend: Backend, pieces: Sequence[Points], upstream: Tensor, device: torch.device):
        self._backend, self._pieces, self._upstream, self._device = backend, pieces, upstream, device
        self._batch, self._points = len(upstream), sum(piece.inputs.shape[1] for piece in pieces)

    def alike(self, shots: int | None = None) -> Mixed:
        """With the same number of shots at each point; None: the backend's own. Raises CircuitError where it has none."""
        return self._run([(torch.arange(self._batch * self._points), shots)])

    def allotted(self, allotment: Allotment, importance: Tensor, shots: int | None = None) -> Mixed:
        """With shots where they tell most: as many as `shots` at each point, or the backend's own number, in all.

        `importance` is (B, S): what a unit of a mixture at each point adds to what is computed. Raises CircuitError for a
        backend without shots.
        """
        total = shots if shots is not None else getattr(self._backend, "shots", None)
        if total is None:
            raise CircuitError(f"an allotment of shots for {type(self._backend).__name__}, which has none; leave it out")
        first, rest = allotment.split(total)
        pilot = self.alike(first)
        spread = importance * (first * pilot.variances.sum(-1)).sqrt()
        groups = allotment.groups(spread.flatten().numpy(), rest)
        main = self._run([(torch.from_numpy(places), number) for places, number in groups])
        a, b = first / total, rest / total
        return Mixed(a * pilot.values + b * main.values, a**2 * pilot.variances + b**2 * main.variances)

    def _run(self, groups: Sequence[tuple[Tensor, int | None]]) -> Mixed:
        """Each group: places among the B * S points, and the shots of each."""
        evaluations, samples, columns = [], [], []
        for places, shots in groups:
            start = 0
            for piece in self._pieces:
                rows, offsets = places // self._points, places % self._points - start
                start += piece.inputs.shape[1]
                own = (offsets >= 0) & (offsets < piece.inputs.shape[1])
                if own.any():
                    evaluations.append(self._evaluation(piece, rows[own], offsets[own], shots))
                    samples.append(rows[own])
                    columns.append(places[own] % self._points)
        found = Mixed(*torch.zeros(2, self._batch, self._points, self._upstream.shape[1], dtype=torch.float64))
        for job, row, column in zip(self._backend.submit_many(evaluations), samples, columns, strict=True):
            mixture = self._upstream[row]
            values, variances = _estimates(job)
            found.values[row, column] = (mixture @ values.unsqueeze(-1)).squeeze(-1)
            found.variances[row, column] = (mixture**2 @ variances.unsqueeze(-1)).squeeze(-1)
        return found

    def _evaluation(self, piece: Points, rows: Tensor, columns: Tensor, shots: int | None) -> Evaluation:
        weights = piece.weights[rows, columns] if piece.weights.shape[-1] else torch.empty(0, dtype=torch.float64)
        return Evaluation(piece.circuit, piece.inputs[rows, columns].to(self._device), weights.to(self._device), shots)


def _estimates(job: Job) -> tuple[Tensor, Tensor]:
    """(N, n_outputs) values and their variances, which are 0 where a backend knows none."""
    values = job.result().double().cpu()
    variances = getattr(job, "variances", None)
    return values, torch.zeros_like(values) if variances is None else variances().double().cpu()
