"""What the gradients of estimated values have in common: evaluations around a point, and what is added up of them."""

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from qmm.quantum.backends import Backend, Gradient
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.exact import is_transformed


class Stencil(NamedTuple):
    """S evaluations of each sample, and how they add up to its derivatives: d f / d p = sum_s shares[., s, p] f_s."""

    circuit: CompiledCircuit
    inputs: Tensor
    """(B, S, n_inputs of that circuit)"""
    weights: Tensor
    """(n_weights of that circuit,), or (B, S, n_weights of that circuit)"""
    shares: Tensor
    """(B or 1, S, n_inputs + n_weights): of the derivatives of the original circuit's inputs, then of its weights."""


class EstimatedGradient(Gradient):
    """A gradient that is made of values at several points, whatever backend gives these."""

    @abstractmethod
    def stencil(self, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor, wanted: tuple[bool, bool]) -> Stencil:
        """What to evaluate around inputs (B, n_inputs) and weights (B, n_weights), float64 on the CPU.

        `wanted`: whether derivatives of inputs and of weights are asked for; those that are not may be 0.
        """

    def values(self, backend: Backend, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> Tensor:
        if is_transformed():
            raise CircuitError(
                f"{type(self).__name__} knows no torch.func transforms and no forward mode; use .backward() or "
                "torch.autograd.grad, or the ExactBackend with Adjoint()"
            )
        if torch.is_grad_enabled() and (inputs.requires_grad or weights.requires_grad):
            found: Tensor = _Estimated.apply(self, backend, circuit, inputs, weights)
            return found
        return backend.submit(circuit, inputs, weights).result()


def evaluate(backend: Backend, stencil: Stencil) -> Tensor:
    """(B, S, n_outputs)"""
    batch, points = stencil.inputs.shape[:2]
    weights = stencil.weights.flatten(0, 1) if stencil.weights.ndim == 3 else stencil.weights
    job = backend.submit(stencil.circuit, stencil.inputs.flatten(0, 1), weights)
    return job.result().double().cpu().unflatten(0, (batch, points))


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
                f"{type(ctx.gradient).__name__} gives no gradients of gradients (create_graph=True); take the ExactBackend with "
                "Adjoint()"
            )
        inputs, weights = ctx.saved_tensors
        wanted = ctx.needs_input_grad[3:]
        x, own = (t.double().cpu() for t in (inputs, weights))
        stencil = ctx.gradient.stencil(ctx.circuit, x, own.expand(len(x), -1), wanted)
        if stencil.inputs.numel() == 0:
            return None, None, None, torch.zeros_like(inputs), torch.zeros_like(weights)
        contracted = (evaluate(ctx.backend, stencil) * upstream.double().cpu().unsqueeze(1)).sum(-1)  # (B, S)
        both = (contracted.unsqueeze(-2) @ stencil.shares).squeeze(-2)  # (B, n_inputs + n_weights)
        of_inputs, of_weights = both.split([inputs.shape[1], weights.shape[-1]], dim=1)
        if weights.ndim == 1:
            of_weights = of_weights.sum(0)
        return None, None, None, of_inputs.to(inputs), of_weights.to(weights)


def slopes(angles: Any, chosen: np.ndarray, inputs: Tensor, weights: Tensor) -> Tensor:
    """(B or 1, chosen angles, n_inputs + n_weights): derivatives of some angles. Weights are (B, n_weights)."""
    identity = torch.eye(len(angles.offset), dtype=torch.float64)[chosen]
    count = len(identity)
    if not angles.formulas:
        of = [torch.zeros(n, len(angles.offset)) if m is None else m for n, m in _matrices(angles, inputs, weights)]
        return (identity @ torch.cat(of).double().T).unsqueeze(0)
    tiled = [t.repeat_interleave(count, dim=0) for t in (inputs, weights)]
    pulled = angles.pullback(identity.repeat(len(inputs), 1), *tiled)
    found = [torch.zeros_like(t) if p is None else p for t, p in zip(tiled, pulled, strict=True)]
    return torch.cat(found, dim=1).unflatten(0, (len(inputs), count))


def _matrices(angles: Any, inputs: Tensor, weights: Tensor) -> list[tuple[int, Tensor | None]]:
    return [(inputs.shape[1], angles.of_inputs), (weights.shape[1], angles.of_weights)]
