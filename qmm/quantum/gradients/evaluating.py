"""Values at many points with their variances, in as few jobs as can be."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

from qmm.quantum.backends import Backend, Evaluation, Job
from qmm.quantum.compiled import CompiledCircuit


class Points(NamedTuple):
    """Where one circuit is evaluated: at S points for each of B samples."""

    circuit: CompiledCircuit
    inputs: Tensor
    """(B, S, n_inputs) of this circuit, float64."""
    weights: Tensor
    """(B, S, n_weights) of this circuit, float64."""


class Found(NamedTuple):
    """Outputs, or mixtures of them, at all points."""

    values: Tensor
    """(B, S, K)"""
    variances: Tensor
    """(B, S, K): 0 where a backend knows none."""

    def mixed(self, upstream: Tensor) -> Self:
        """K mixtures of the outputs, (B, K, n_outputs). Outputs count as measured independently of each other."""
        return type(self)(self.values @ upstream.mT, self.variances @ (upstream**2).mT)


class Under(NamedTuple):
    """Points under way."""

    jobs: Sequence[Job]
    places: list[tuple[Tensor, Tensor]]
    """The samples, and the points, of each job's rows."""
    shape: tuple[int, int, int]
    """B, S, n_outputs"""

    def result(self) -> Found:
        found = Found(*torch.zeros(2, *self.shape, dtype=torch.float64))
        for job, (samples, points) in zip(self.jobs, self.places, strict=True):
            found.values[samples, points] = job.result().double().cpu()
            variances = getattr(job, "variances", None)
            if variances is not None:
                found.variances[samples, points] = variances().double().cpu()
        return found


def send(
    backend: Backend,
    pieces: Sequence[Points],
    groups: Sequence[tuple[Tensor, int | None]],
    device: torch.device,
    first: Sequence[Evaluation] = (),
) -> tuple[Sequence[Job], Under]:
    """Begins to evaluate points, in one submission.

    Args:
        backend: Where to evaluate.
        pieces: S points in all, of one circuit after the other, one piece at least.
        groups: Which of the B * S points, each group with its number of shots (None: the backend's own).
        device: Where the backend shall find its tensors.
        first: What goes along.

    Returns:
        The jobs of `first`, and the points under way.
    """
    batch, total = len(pieces[0].inputs), sum(piece.inputs.shape[1] for piece in pieces)
    evaluations, places = list(first), []
    for flat, shots in groups:
        start = 0
        for piece in pieces:
            end = start + piece.inputs.shape[1]
            own = flat[(flat % total >= start) & (flat % total < end)]
            if len(own):
                samples, points = own // total, own % total
                evaluations.append(_evaluation(piece, samples, points - start, shots, device))
                places.append((samples, points))
            start = end
    jobs = backend.submit_many(evaluations) if evaluations else []
    n_outputs = pieces[0].circuit.circuit.n_outputs
    return jobs[: len(first)], Under(jobs[len(first) :], places, (batch, total, n_outputs))


def _evaluation(piece: Points, samples: Tensor, points: Tensor, shots: int | None, device: torch.device) -> Evaluation:
    weights = piece.weights[samples, points] if piece.weights.shape[-1] else torch.empty(0, dtype=torch.float64)
    return Evaluation(piece.circuit, piece.inputs[samples, points].to(device), weights.to(device), shots)
