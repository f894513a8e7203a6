"""Gradients of a mixture of a circuit's outputs; a backend that counts."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from qmm.quantum import Backend, Circuit, CompiledCircuit, ExactBackend, Gradient, expectations
from qmm.quantum.backends import Evaluation


class Counting(ExactBackend):
    """Remembers what was submitted: for each submission the number of rows of each circuit."""

    def __init__(self) -> None:
        super().__init__()
        self.submissions: list[list[int]] = []

    def submit_many(self, evaluations: Sequence[Evaluation]) -> Any:
        self.submissions.append([len(e.inputs) for e in evaluations])
        return [ExactBackend.submit(self, e.circuit, e.inputs, e.weights) for e in evaluations]

    def submit(self, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> Any:
        self.submissions.append([len(inputs)])
        return super().submit(circuit, inputs, weights)


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Callable[[Backend], list[list[Evaluation]]]:
    """A backend -> what is submitted to it from now on, submission by submission."""

    def watch(backend: Backend) -> list[list[Evaluation]]:
        seen, submit_many = list[list[Evaluation]](), backend.submit_many

        def submit(evaluations: Sequence[Evaluation]) -> Any:
            seen.append(list(evaluations))
            return submit_many(evaluations)

        monkeypatch.setattr(backend, "submit_many", submit)
        return seen

    return watch


@pytest.fixture
def gradients() -> Callable[..., tuple[Tensor, ...]]:
    """Of a mixture (B, n_outputs) of the outputs, by inputs and weights; by default the exact ones."""

    def compute(
        circuit: CompiledCircuit | Circuit,
        inputs: Tensor,
        weights: Tensor,
        gradient: Gradient | None = None,
        backend: Backend | None = None,
        mixture: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        inputs, weights = (t.detach().clone().requires_grad_() for t in (inputs, weights))
        values = expectations(circuit, inputs, weights, backend, gradient)
        if mixture is None:
            mixture = torch.linspace(-1, 2, values.numel(), dtype=values.dtype).reshape(values.shape)
        return torch.autograd.grad((values * mixture).sum(), [inputs, weights])

    return compute


@pytest.fixture
def draw() -> Callable[..., Tensor]:
    """A shape -> normal numbers, the same in every run."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)
