"""Quantum natural gradient: steps of equal size in the space of states, not of angles."""

from contextlib import ExitStack
from typing import Any, Literal

import torch
from torch import Tensor

from qmm.errors import InputError
from qmm.geometry.fisher import KINDS, Kind
from qmm.optimisers.base import CircuitOptimizer
from qmm.optimisers.counting import metric_evaluations, metric_of
from qmm.optimisers.metric import Metric, conjugate_gradient, product, pulled_back, solve
from qmm.optimisers.tape import Tape

Solver = Literal["auto", "cholesky", "cg"]
SOLVERS = ("auto", "cholesky", "cg")
_DENSE = 1024  # parameters up to which the whole metric is made: 8 MiB, factored in some 20 ms


class QuantumNaturalGradient(CircuitOptimizer):
    """weights -= lr (g + regularisation)^-1 gradient, with g the Fubini-Study metric of the circuits, inputs and weights that
    the closure's pass has used, exact from the engine whatever backend they ran on, the mean over the samples.

    Gradients are those that backward leaves, clipped if Lightning clips. In an accumulation of gradients over batches g is that
    of the last batch, in several processes the mean of theirs. A circuit that is run several times counts with each.

    Args:
        params, lr, max_step: As in CircuitOptimizer.
        kind: "full"; "block", the metric between weights of different layers taken to be 0; "diagonal".
        regularisation: Added to the diagonal of g, where a weight that alone turns a qubit has at most 1/4.
        solver: "cholesky"; "cg", conjugate gradient with products of g and vectors, which does not make g; "auto": the first
            up to 1,024 parameters. A "block" or "diagonal" g is always made.
        tolerance, iterations: Where "cg" ends: residual over gradient, and number of products.
        rows: Samples of each batch whose states make g; None: all. Fewer cost less and give a noisier g.
        every: Steps after which g is computed anew.
    """

    reference = "arXiv:1909.02108"
    uses_gradient = True

    def __init__(
        self,
        params: Any = None,
        lr: float = 0.02,
        kind: Kind = "full",
        regularisation: float = 0.01,
        solver: Solver = "auto",
        tolerance: float = 1e-3,
        iterations: int = 50,
        rows: int | None = None,
        every: int = 1,
        max_step: float | None = None,
    ):
        super().__init__(params, lr, max_step)
        if kind not in KINDS or solver not in SOLVERS:
            raise InputError(f"kind={kind!r}, solver={solver!r}; choose of {', '.join(KINDS)} and of {', '.join(SOLVERS)}")
        if regularisation < 0 or every < 1 or iterations < 1 or (rows is not None and rows < 1):
            raise InputError(
                f"regularisation={regularisation}, every={every}, iterations={iterations}, rows={rows}; expected 0 or more, "
                "and numbers of at least 1"
            )
        if solver == "cg" and (kind != "full" or every > 1):
            raise InputError(f"solver='cg' with kind={kind!r}, every={every}; it takes the full metric, at every step")
        self.kind, self.regularisation, self.solver = kind, regularisation, solver
        self.tolerance, self.iterations, self.rows, self.every = tolerance, iterations, rows, every
        self._tape = Tape(self.parameters) if self.param_groups else None

    def watching(self) -> ExitStack:
        stack = ExitStack()
        assert self._tape is not None
        stack.enter_context(self._tape.recording())
        return stack

    def direction(self) -> Tensor:
        assert self._tape is not None
        gradient, felt = self._gradient(), self._tape.felt
        if not gradient.any():
            return gradient
        self._check_felt(gradient)
        if self.solver == "cg" or (
            self.solver == "auto" and self.kind == "full" and self.every == 1 and len(gradient) > _DENSE
        ):
            return self._by_products(gradient)
        metric = self._metric()
        if metric is None:
            with metric_of(sum(metric_evaluations(own, self.kind, self.rows) for own in felt)):
                metric = pulled_back(felt, len(gradient), self.kind, self.rows)
            if self.every > 1:
                self.own_state["metric"] = metric.matrix.to(self.parameters[0])
        return solve(metric, gradient, self.regularisation)

    def _by_products(self, gradient: Tensor) -> Tensor:
        assert self._tape is not None
        felt = self._tape.felt
        with metric_of(sum(metric_evaluations(own, "full", self.rows) for own in felt)):
            multiply = product(felt, len(gradient), self.rows)
            return conjugate_gradient(multiply, gradient, self.regularisation, self.tolerance, self.iterations)

    def _metric(self) -> Metric | None:
        """The last one that was computed, as long as it is good for."""
        known = self.own_state.get("metric")
        if self.every == 1 or known is None or self.steps % self.every == 0:
            return None
        return Metric(known.double().cpu(), 1e-12 if known.dtype == torch.float64 else 1e-5)

    def _gradient(self) -> Tensor:
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        return torch.cat([part.double().flatten().cpu() for part in parts])

    def _check_felt(self, gradient: Tensor) -> None:
        """Raises InputError for a parameter with a gradient that no circuit of the pass depends on."""
        assert self._tape is not None
        start = 0
        for place, parameter in enumerate(self.parameters):
            own = slice(start, start + parameter.numel())
            start += parameter.numel()
            if gradient[own].any() and not any(_feels(felt, own) for felt in self._tape.felt):
                raise InputError(
                    f"parameter {place}, of shape {tuple(parameter.shape)}, has a gradient, but is no weight of a circuit that "
                    "the closure ran; give it to another optimiser (`qmm.circuit_weights.circuit_parameters` tells them apart)"
                )


def _feels(felt: Any, own: slice) -> bool:
    if felt.picks is not None:
        return bool(((felt.picks >= own.start) & (felt.picks < own.stop)).any())
    return bool((felt.slopes[..., own] != 0).any())
