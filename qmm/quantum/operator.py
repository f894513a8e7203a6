"""The layer as one opaque operator for torch.compile and torch.export, which cannot look into the engine.

The circuit travels in the operator's arguments as text, so that an exported program that is loaded elsewhere needs only
`import qmm.quantum`.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from qmm.quantum.circuit import Circuit
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.exact import ExactBackend

_KEPT = 256  # circuits that were compiled from their text


def opaque_expectations(inputs: Tensor, weights: Tensor, circuit: CompiledCircuit) -> Tensor:
    """(B, n_inputs) and (W,) or (B, W) -> (B, n_outputs); exact, differentiable once."""
    return torch.ops.qmm.expectations(inputs, weights, *circuit.serial())


@lru_cache(_KEPT)
def _circuit(serial: str) -> CompiledCircuit:
    return CompiledCircuit(Circuit.from_json(serial))


@torch.library.custom_op("qmm::expectations", mutates_args=())
def _expectations(inputs: Tensor, weights: Tensor, circuit: str, n_outputs: int) -> Tensor:
    return ExactBackend().submit(_circuit(circuit), inputs, weights).result()


@_expectations.register_fake
def _(inputs: Tensor, weights: Tensor, circuit: str, n_outputs: int) -> Tensor:
    return inputs.new_empty(inputs.shape[0], n_outputs)


@torch.library.custom_op("qmm::expectations_backward", mutates_args=())
def _backward(gradient: Tensor, inputs: Tensor, weights: Tensor, circuit: str) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaves = [inputs.detach().requires_grad_(), weights.detach().requires_grad_()]
        backend = ExactBackend()
        values = backend.gradient.values(backend, _circuit(circuit), *leaves)
        found = torch.autograd.grad(values, leaves, gradient, allow_unused=True)
    of_inputs, of_weights = (torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, found, strict=True))
    return of_inputs, of_weights


@_backward.register_fake
def _(gradient: Tensor, inputs: Tensor, weights: Tensor, circuit: str) -> tuple[Tensor, Tensor]:
    return torch.empty_like(inputs), torch.empty_like(weights)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, str, int], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.circuit = inputs[2]


def _pull_back(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
    return *torch.ops.qmm.expectations_backward(gradient.contiguous(), *ctx.saved_tensors, ctx.circuit), None, None


torch.library.register_autograd("qmm::expectations", _pull_back, setup_context=_keep)
