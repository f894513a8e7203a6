"""What the gradients of estimated values have in common: values at several points, and how they add up to derivatives."""

import copy
from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qmm.quantum.backends import Backend, Evaluation, Gradient
from qmm.quantum.circuit import Circuit
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.exact import is_transformed
from qmm.quantum.gradients.allotment import Allotment
from qmm.quantum.gradients.evaluating import Found, Points, send
from qmm.quantum.layer import check_finite, check_shapes


class Stencil(NamedTuple):
    """S points around each sample, and how the values there add up to its derivatives: df/dp = sum_s shares[., s, p] f_s."""

    pieces: list[Points]
    """The S points, of one circuit after the other; one piece at least, of no points where nothing is felt."""
    shares: Tensor
    """(B or 1, S, n_inputs + n_weights): of the derivatives by each input, then by each weight."""
    repetitions: int | None = None
    """Where the points are so many equal groups, each of which estimates the whole: their spread is the variance."""

    def derivatives(self, found: Found) -> tuple[Tensor, Tensor]:
        """From K mixtures of the outputs, (B, S, K): derivatives and their variances, (B, K, n_inputs + n_weights) each."""
        terms = found.values.mT
        derivatives = terms @ self.shares
        if self.repetitions is None:
            return derivatives, found.variances.mT @ self.shares**2
        parted = terms.unflatten(-1, (self.repetitions, -1)).movedim(-2, 1)  # (B, repetitions, K, S / repetitions)
        each = self.repetitions * (parted @ self.shares.unflatten(1, (self.repetitions, -1)))
        return derivatives, each.var(dim=1) / self.repetitions if self.repetitions > 1 else torch.full_like(
            derivatives, torch.nan
        )


class Jacobian(NamedTuple):
    """Estimated derivatives of a circuit's outputs, and the variances of these estimates."""

    inputs: Tensor
    """(B, n_outputs, n_inputs)"""
    weights: Tensor
    """(B, n_outputs, n_weights): each sample's own derivatives, also where all share the weights."""
    input_variances: Tensor
    """(B, n_outputs, n_inputs): squared standard errors."""
    weight_variances: Tensor
    """(B, n_outputs, n_weights)"""


class EstimatedGradient(Gradient):
    """A gradient that is made of values at several points, whatever backend gives these.

    All points of all samples are one submission: in backward, where samples whose upstream gradient is zero are left out, or
    together with the values themselves.

    Args:
        shots: Of each point, in place of the backend's own number. The values themselves always take the backend's.
        allotment: Shots go where the variance is, in place of the same number to each point.
        ahead: Whether the points go along with the values, in one job: a training step queues once instead of twice.
    """

    input_variance: float | None = None
    """Of the latest backward pass: the estimated variance of the gradient, its mean over all elements of the inputs (below: of
    the weights). None where no such gradient was asked for. Outputs count as measured independently of each other."""
    weight_variance: float | None = None

    def __init__(self, shots: int | None = None, allotment: Allotment | None = None, ahead: bool = False):
        """Raises CircuitError for shots that are not positive, and for an allotment ahead of the gradient that it needs."""
        if shots is not None and (isinstance(shots, bool) or not isinstance(shots, int) or shots < 1):
            raise CircuitError(f"shots={shots!r}; give a whole number of at least 1, or None for the backend's own number")
        if allotment is not None and ahead:
            raise CircuitError("an allotment follows the upstream gradient, which is not there ahead; leave out one of the two")
        self.shots, self.allotment, self.ahead = shots, allotment, ahead

    @abstractmethod
    def stencil(self, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor, wanted: tuple[bool, bool]) -> Stencil:
        """Where to evaluate.

        Args:
            circuit: What to differentiate.
            inputs: (B, n_inputs), float64 on the CPU.
            weights: (B, n_weights), float64 on the CPU.
            wanted: Whether derivatives by inputs, and by weights, are asked for. Those that are not may be 0.
        """

    def values(self, backend: Backend, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> Tensor:
        if torch.compiler.is_compiling():  # nothing of what follows can be traced
            found: Tensor = torch.compiler.disable(self._values)(backend, circuit, inputs, weights)
            return found
        return self._values(backend, circuit, inputs, weights)

    def _values(self, backend: Backend, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> Tensor:
        if is_transformed():
            raise CircuitError(
                f"{type(self).__name__} knows no torch.func transforms and no forward mode; use .backward() or "
                "torch.autograd.grad, or the ExactBackend with its own gradient"
            )
        if len(inputs) == 0:
            return (inputs.sum() + weights.sum()) * inputs.new_zeros(0, circuit.circuit.n_outputs)
        if torch.is_grad_enabled() and (inputs.requires_grad or weights.requires_grad):
            found: Tensor = _Estimated.apply(self, backend, circuit, inputs, weights)
            return found
        return backend.submit(circuit, inputs, weights).result()

    @torch.no_grad()
    def jacobian(self, backend: Backend, circuit: Circuit | CompiledCircuit, inputs: Tensor, weights: Tensor) -> Jacobian:
        """The derivatives of every output by every input and weight, sample by sample.

        Args:
            backend: Where to evaluate.
            circuit: What to differentiate.
            inputs: (B, n_inputs) radians.
            weights: (n_weights,), or (B, n_weights).

        Raises CircuitError for shapes that do not fit the circuit, and angles that are not finite.
        """
        compiled = circuit if isinstance(circuit, CompiledCircuit) else CompiledCircuit(circuit)
        check_shapes(compiled.circuit, inputs, weights)
        check_finite(compiled.circuit, inputs, weights)
        stencil = self._around(compiled, inputs, weights, (True, True))
        upstream = torch.eye(compiled.circuit.n_outputs, dtype=torch.float64).expand(len(inputs), -1, -1)
        found = stencil.derivatives(self._evaluate(backend, stencil, upstream, weights.device))
        sizes = [inputs.shape[1], weights.shape[-1]]
        return Jacobian(*(part.to(weights) for tensor in found for part in tensor.split(sizes, dim=-1)))

    def planned(self, circuit: CompiledCircuit, n_rows: int, wanted: tuple[bool, bool] = (True, True)) -> list[Evaluation]:
        """What is submitted for the gradient of so many samples, at arbitrary angles: for plans, nothing is sent.

        `wanted`: whether derivatives by inputs, and by weights, will be asked for.
        """
        sizes = len(circuit.circuit.inputs), len(circuit.circuit.weights)
        generator = torch.Generator().manual_seed(0)
        inputs, weights = (2 * torch.pi * torch.rand(n_rows, n, generator=generator, dtype=torch.float64) for n in sizes)
        pieces = copy.deepcopy(self).stencil(circuit, inputs, weights, wanted).pieces  # SPSA's own directions stay to be drawn
        rows = [(p.circuit, p.inputs.flatten(0, 1), p.weights.flatten(0, 1)) for p in pieces if p.inputs.shape[1]]
        return [Evaluation(circuit, x, w, self.shots) for circuit, x, w in rows]

    def _around(self, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor, wanted: tuple[bool, bool]) -> Stencil:
        x, own = (t.detach().double().cpu() for t in (inputs, weights))
        return self.stencil(circuit, x, own.expand(len(x), -1), wanted)

    def _evaluate(self, backend: Backend, stencil: Stencil, upstream: Tensor, device: torch.device) -> Found:
        """(B, S, K): K mixtures of the outputs, upstream (B, K, n_outputs), at the points; 0 where all mixtures are."""
        points = stencil.shares.shape[1]
        places = torch.arange(len(upstream) * points)[upstream.flatten(1).any(dim=1).repeat_interleave(points)]

        def run(groups: list[tuple[Tensor, int | None]]) -> Found:
            return send(backend, stencil.pieces, groups, device)[1].result().mixed(upstream)

        if self.allotment is None or len(places) == 0:
            return run([(places, self.shots)])
        total = self.shots if self.shots is not None else getattr(backend, "shots", None)
        if total is None:
            raise CircuitError(f"an allotment of shots for {type(backend).__name__}, which has none; leave it out")
        first, rest = self.allotment.split(total)
        pilot = run([(places, first)])
        spread = stencil.shares.norm(dim=-1) * (first * pilot.variances.sum(-1)).sqrt()  # of one shot
        groups = self.allotment.groups(spread.flatten()[places].numpy(), rest)
        main = run([(places[own], shots) for own, shots in groups])
        a, b = first / total, rest / total
        return Found(a * pilot.values + b * main.values, a**2 * pilot.variances + b**2 * main.variances)

    def _gradients(
        self, stencil: Stencil, found: Found, like: tuple[Tensor, Tensor], wanted: tuple[bool, bool]
    ) -> list[Tensor | None]:
        """Of the inputs and the weights, from one mixture at the points. Remembers their variances."""
        sizes = [t.shape[-1] for t in like]
        both = zip(*(d.squeeze(1).split(sizes, dim=1) for d in stencil.derivatives(found)), like, wanted, strict=True)
        gradients, means = [], []
        for derivatives, variances, at, asked in both:
            own = derivatives if at.ndim == 2 else derivatives.sum(0)
            gradients.append(own.to(at) if asked else None)
            means.append(variances.sum().item() / max(1, at.numel()) if asked else None)
        self.input_variance, self.weight_variance = means
        return gradients


class _Estimated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, gradient: EstimatedGradient, backend: Backend, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor
    ) -> Tensor:
        ctx.gradient, ctx.backend, ctx.circuit, ctx.ahead = gradient, backend, circuit, None
        ctx.save_for_backward(inputs, weights)
        if not gradient.ahead:
            return backend.submit(circuit, inputs, weights).result()
        stencil = gradient._around(circuit, inputs, weights, ctx.needs_input_grad[3:])
        everywhere = torch.arange(len(inputs) * stencil.shares.shape[1])
        own = Evaluation(circuit, inputs, weights)
        (job,), points = send(backend, stencil.pieces, [(everywhere, gradient.shots)], inputs.device, [own])
        ctx.ahead = stencil, points
        return job.result()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradient: EstimatedGradient = ctx.gradient
        if torch.is_grad_enabled():
            raise CircuitError(
                f"{type(gradient).__name__} gives no gradients of gradients (create_graph=True); take the ExactBackend with "
                "its own gradient"
            )
        inputs, weights = ctx.saved_tensors
        mixture = upstream.double().cpu().unsqueeze(1)
        if ctx.ahead is not None:
            stencil, points = ctx.ahead
            found = points.result().mixed(mixture)
        else:
            stencil = gradient._around(ctx.circuit, inputs, weights, ctx.needs_input_grad[3:])
            found = gradient._evaluate(ctx.backend, stencil, mixture, inputs.device)
        return None, None, None, *gradient._gradients(stencil, found, (inputs, weights), ctx.needs_input_grad[3:])
