"""Where a circuit runs, and how its values are differentiated: the bases of the two parts that a QuantumLayer is given."""

from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor

from qmm.quantum.compiled import CompiledCircuit


class Job(Protocol):
    """Values under way."""

    def result(self) -> Tensor:
        """(B, n_outputs), when they are there."""
        ...


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


class Gradient(ABC):
    """Makes a backend's values differentiable in inputs and weights."""

    @abstractmethod
    def values(self, backend: Backend, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> Tensor:
        """(B, n_outputs), attached to the graph of `inputs` and `weights`."""
