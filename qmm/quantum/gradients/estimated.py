"""What the gradients of estimated values have in common: values at several points, and how they add up to derivatives."""

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qmm.quantum.backends import Backend, Gradient
from qmm.quantum.circuit import Circuit
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.exact import is_transformed
from qmm.quantum.gradients.allotment import Allotment
from qmm.quantum.gradients.evaluating import Evaluator, Mixed, Points
from qmm.quantum.layer import check_finite, check_shapes


class Stencil(NamedTuple):
    """S points around each sample, and how the values there add up to its derivatives: df/dp = sum_s shares[., s, p] f_s."""

    pieces: list[Points]
    """The S points, of one circuit after the other."""
    shares: Tensor
    """(B or 1, S, n_inputs + n_weights): of the derivatives by each input, then by each weight."""
    repetitions: int | None = None
    """Where the points are so many equal groups, each of which estimates the whole: their spread is the variance."""


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

    In backward all points of all samples are one submission. Samples whose upstream gradient is zero are left out.

    Args:
        shots: Of each point, in place of the backend's own number. The forward pass always takes the backend's.
        allotment: Shots go where the variance is, in place of the same number to each point.
    """

    input_variance: float | None = None
    """Of the latest backward pass: the estimated variance of the gradient, its mean over all elements of inputs (or of weights,
    below). None where no gradient was asked for. Outputs count as measured independently of each other."""
    weight_variance: float | None = None

    def __init__(self, shots: int | None = None, allotment: Allotment | None = None):
        """Raises CircuitError for shots that are not positive."""
        if shots is not None and (isinstance(shots, bool) or not isinstance(shots, int) or shots < 1):
            raise CircuitError(f"shots={shots!r}; give a whole number of at least 1, or None for the backend's own number")
        self.shots, self.allotment = shots, allotment

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
        if is_transformed():
            raise CircuitError(
                f"{type(self).__name__} knows no torch.func transforms and no forward mode; use .backward() or "
                "torch.autograd.grad, or the ExactBackend with its own gradient"
            )
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
        upstream = torch.eye(compiled.circuit.n_outputs, dtype=torch.float64).expand(len(inputs), -1, -1)
        found = self._differentiate(backend, compiled, inputs, weights, upstream, (True, True))
        sizes = [inputs.shape[1], weights.shape[-1]]
        return Jacobian(*(part.to(weights) for tensor in found for part in tensor.split(sizes, dim=-1)))

    def _differentiate(
        self,
        backend: Backend,
        circuit: CompiledCircuit,
        inputs: Tensor,
        weights: Tensor,
        upstream: Tensor,
        wanted: tuple[bool, bool],
    ) -> tuple[Tensor, Tensor]:
        """Derivatives of K mixtures of the outputs, upstream (B, K, n_outputs), and their variances: (B, K, n_inputs +
        n_weights) each."""
        x, own = (t.detach().double().cpu() for t in (inputs, weights))
        stencil = self.stencil(circuit, x, own.expand(len(x), -1), wanted)
        values, variances = self._evaluate(backend, stencil, upstream, inputs.device)
        terms = values.mT  # (B, K, S)
        found = terms @ stencil.shares
        if stencil.repetitions is None:
            return found, variances.mT @ stencil.shares**2
        groups = stencil.repetitions
        each = groups * (terms.unflatten(-1, (groups, -1)).movedim(-2, 1) @ stencil.shares.unflatten(1, (groups, -1)))
        return found, each.var(dim=1) / groups  # NaN from a single group, which tells of no spread

    def _evaluate(self, backend: Backend, stencil: Stencil, upstream: Tensor, device: torch.device) -> Mixed:
        if len(upstream) == 0 or stencil.shares.shape[1] == 0:  # nothing is felt
            return Mixed(*torch.zeros(2, len(upstream), stencil.shares.shape[1], upstream.shape[1], dtype=torch.float64))
        evaluator = Evaluator(backend, stencil.pieces, upstream, device)
        if self.allotment is None:
            return evaluator.alike(self.shots)
        importance = stencil.shares.norm(dim=-1).expand(len(upstream), -1)
        return evaluator.allotted(self.allotment, importance, self.shots)

    def _pull(
        self,
        backend: Backend,
        circuit: CompiledCircuit,
        inputs: Tensor,
        weights: Tensor,
        upstream: Tensor,
        wanted: tuple[bool, bool],
    ) -> tuple[Tensor, Tensor]:
        """The gradients of inputs and weights; (B, n_outputs) upstream."""
        rows = upstream.any(dim=1)
        own = weights[rows] if weights.ndim == 2 else weights
        mixture = upstream[rows].double().cpu().unsqueeze(1)
        found = self._differentiate(backend, circuit, inputs[rows], own, mixture, wanted)
        sizes = [inputs.shape[1], weights.shape[-1]]
        (of_inputs, of_weights), (input_variances, weight_variances) = (t.squeeze(1).split(sizes, dim=1) for t in found)
        gradients = torch.zeros_like(inputs), torch.zeros_like(weights)
        gradients[0][rows] = of_inputs.to(inputs)
        if weights.ndim == 2:
            gradients[1][rows] = of_weights.to(weights)
        else:
            gradients[1].copy_(of_weights.sum(0))
        self.input_variance = input_variances.sum().item() / max(1, inputs.numel()) if wanted[0] else None
        self.weight_variance = weight_variances.sum().item() / max(1, weights.numel()) if wanted[1] else None
        return gradients


class _Estimated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: EstimatedGradient, backend: Backend, circuit: CompiledCircuit, *at: Tensor) -> Tensor:
        ctx.gradient, ctx.backend, ctx.circuit = gradient, backend, circuit
        ctx.save_for_backward(*at)
        return backend.submit(circuit, *at).result()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise CircuitError(
                f"{type(ctx.gradient).__name__} gives no gradients of gradients (create_graph=True); take the ExactBackend "
                "with its own gradient"
            )
        inputs, weights = ctx.saved_tensors
        wanted = ctx.needs_input_grad[3:]
        found = ctx.gradient._pull(ctx.backend, ctx.circuit, inputs, weights, upstream, wanted)
        return None, None, None, *(gradient if asked else None for gradient, asked in zip(found, wanted, strict=True))
