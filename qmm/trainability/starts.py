"""How a layerwise training begins, for its gradients to be compared with those of other starts."""

import re

import torch
from torch import Tensor

from qmm.errors import InputError
from qmm.initialisers import Initialiser, SmallAngle, trained_layers
from qmm.quantum import Circuit

_LAYER = re.compile(r"(\d+)\.")


class FirstLayers(Initialiser):
    """The first layers drawn, all others 0: where `qmm.training.LayerwiseGrowth` begins.

    A layer is what stands before the first dot of a weight's name; where not all names say so, the trained gates that have
    equally many trained gates before them. Gates without an angle are there in all layers.

    Args:
        first: How many layers are drawn.
        initialiser: Draws them; by default SmallAngle.
    """

    reference = "arXiv:2006.14904"

    def __init__(self, first: int = 1, initialiser: Initialiser | None = None):
        if first < 1:
            raise InputError(f"first={first}; at least one layer begins")
        self.first_layers, self.initialiser = first, initialiser or SmallAngle()

    def draw(self, circuit: Circuit, generator: torch.Generator, count: int = 1) -> Tensor:
        weights = self.initialiser.draw(circuit, generator, count)
        named = [_LAYER.match(weight.name) for weight in circuit.weights]
        if all(named):
            known = sorted({int(found[1]) for found in named if found})
            begins = [i for i, found in enumerate(named) if found and int(found[1]) in known[: self.first_layers]]
        else:
            begins = [i for layer in trained_layers(circuit)[: self.first_layers] for i in layer]
        begun = torch.zeros(len(circuit.weights), dtype=weights.dtype)
        begun[begins] = 1.0
        return weights * begun
