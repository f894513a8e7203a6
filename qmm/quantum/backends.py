"""Where a circuit runs, and how its values are differentiated: the bases of the two parts that a QuantumLayer is given."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from torch import Tensor

from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError

_T = TypeVar("_T")


class Job(Protocol):
    """Values under way."""

    def result(self) -> Tensor:
        """(B, n_outputs), when they are there."""
        ...


class Evaluation(NamedTuple):
    """One of several circuits to run together."""

    circuit: CompiledCircuit
    inputs: Tensor
    """(B, n_inputs) radians"""
    weights: Tensor
    """(W,), or (B, W)"""
    shots: int | None = None
    """In place of the backend's own number."""


class Backend(ABC):
    """Runs circuits. It owns no entry of a state dict."""

    @property
    @abstractmethod
    def gradient(self) -> "Gradient":
        """How its values are differentiated where the user names no other way."""

    @abstractmethod
    def submit(self, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> Job:
        """Begins to compute a circuit's values.

        Args:
            circuit: What to run.
            inputs: (B, n_inputs) radians.
            weights: (W,), or (B, W) for weights of each sample's own; they have the dtype of `inputs`.
        """

    def submit_many(self, evaluations: Sequence[Evaluation]) -> Sequence[Job]:
        """Begins to compute the values of several circuits, together where the backend can.

        Raises CircuitError for a number of shots where the backend has none to change.
        """
        if any(evaluation.shots is not None for evaluation in evaluations):
            raise CircuitError(f"shots were given for {type(self).__name__}, which takes no number of them; leave shots out")
        return [self.submit(e.circuit, e.inputs, e.weights) for e in evaluations]

    def together(self, tasks: Sequence[Callable[[], _T]]) -> list[_T]:
        """The results of tasks that run circuits and do not need each other: one after the other, or, where that saves jobs,
        side by side."""
        return [task() for task in tasks]


class Gradient(ABC):
    """Makes a backend's values differentiable in inputs and weights."""

    @abstractmethod
    def values(self, backend: Backend, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> Tensor:
        """(B, n_outputs), attached to the graph of `inputs` and `weights`."""
