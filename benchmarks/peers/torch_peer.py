"""Peers that compute in torch and leave the gradient to autograd."""

from abc import abstractmethod
from typing import Any

import interface
import torch
from torch import Tensor


class TorchPeer(interface.Peer):
    DEVICES = ("cpu", "cuda")

    def __init__(self, circuit: interface.Description, dtype: str, batch: int, device: str):
        super().__init__(circuit, dtype, batch, device)
        self.real = torch.float32 if dtype == "complex64" else torch.float64

    @abstractmethod
    def values(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """(B, n_observables), differentiable."""

    def prepare(self, inputs: Any, weights: Any, mixture: Any) -> tuple[Tensor, Tensor, Tensor]:
        x, w, m = (torch.tensor(array, dtype=self.real, device=self.device) for array in (inputs, weights, mixture))
        return x.requires_grad_(), w.requires_grad_(), m

    def forward(self, inputs: Tensor, weights: Tensor) -> Tensor:
        with torch.no_grad():
            values = self.values(inputs, weights)
        return self.arrived(values)

    def step(self, inputs: Tensor, weights: Tensor, mixture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values = self.values(inputs, weights)
        gradients = torch.autograd.grad(values, (inputs, weights), mixture.to(values.dtype))
        return self.arrived(values.detach()), *map(self.arrived, gradients)

    def arrived(self, values: Tensor) -> Tensor:
        """On the CPU, so that what a GPU still computes is waited for."""
        return values.cpu()
