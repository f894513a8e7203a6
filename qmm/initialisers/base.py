"""What initialisers of circuit weights have in common."""

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from qmm.config import Configurable
from qmm.quantum import Circuit

if TYPE_CHECKING:
    from qmm.initialisers.landscape import Landscape


class Initialiser(Configurable, ABC):
    """Draws the weights that a circuit's training starts from."""

    reference = ""
    """Where it was published."""

    def see(self, circuit: Circuit, inputs: Tensor) -> "Initialiser":
        """The initialiser to draw from once a circuit's inputs (B, n_inputs) on training data are known: itself."""
        return self

    def first(self, circuit: Circuit, generator: torch.Generator) -> Tensor:
        """(1, W): what the circuits of a model are started with."""
        return self.draw(circuit, generator)

    @abstractmethod
    def draw(self, circuit: Circuit, generator: torch.Generator, count: int = 1) -> Tensor:
        """(count, W) radians, float64 on the CPU, in the order of `circuit.weights`; each row another start.

        Raises InputError for a circuit that it cannot start.
        """


class SearchingInitialiser(Initialiser):
    """Looks at a model's loss on its data to start its circuits; what it draws `first` is where it begins to search."""

    @abstractmethod
    def improve(self, landscape: "Landscape", start: Tensor, generator: torch.Generator) -> tuple[Tensor, str]:
        """Better weights (W,) than the drawn ones, for a model and its data, and in words what was done."""


class Uniform(Initialiser):
    """Uniform in [low, high): by default all angles alike, where gradients vanish with the number of qubits."""

    reference = "arXiv:1803.11173"

    def __init__(self, low: float = -math.pi, high: float = math.pi):
        self.low, self.high = low, high

    def draw(self, circuit: Circuit, generator: torch.Generator, count: int = 1) -> Tensor:
        size = (count, len(circuit.weights))
        return self.low + (self.high - self.low) * torch.rand(size, generator=generator, dtype=torch.float64)
