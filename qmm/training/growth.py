"""LayerwiseGrowth: the layers of circuits join the training one after the other."""

import logging
import re
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from qmm.errors import InputError
from qmm.initialisers import trained_layers
from qmm.initialisers.landscape import ModelLandscape
from qmm.quantum import Circuit

log = logging.getLogger(__name__)
_LAYER = re.compile(r"(\d+)\.")


class LayerwiseGrowth(Callback):
    """Layerwise learning: circuit weights of the first layers are trained alone, then further layers join.

    Layers that have not joined have all weights at 0, where rotations are the identity; gates without an angle are there from
    the start (in the paper such a layer is not). A layer that joins starts at 0. While layers join, `window` of them are
    trained, the newest ones; when all have joined, the training is over all of them. Everything that is no circuit weight is
    trained all the time. What an optimiser does to weights that rest is taken back, so any optimiser will do.

    A layer is what stands before the first dot of a weight's name (`0.vision.ry1`), as fusions name theirs; in a circuit
    where not all names say so, the trained gates that have equally many trained gates before them.

    The state follows from the epoch, so a continued training goes on as it would have.

    Args:
        epochs: Between one layer's joining and the next.
        first: How many layers begin.
        window: How many of the layers that have joined are trained until the last has joined; by default all of them.
    """

    reference = "arXiv:2006.14904"

    def __init__(self, epochs: int = 2, first: int = 1, window: int | None = None):
        if epochs < 1 or first < 1 or (window is not None and window < 1):
            raise InputError(f"epochs={epochs}, first={first}, window={window}; each is at least 1")
        self.epochs, self.first, self.window = epochs, first, window
        self._landscape: ModelLandscape | None = None
        self._layer = torch.zeros(0, dtype=torch.long)
        self._before = torch.zeros(0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raises InputError for a module without circuit weights, or with no more layers than begin."""
        self._landscape = ModelLandscape(pl_module, [], lambda batch: torch.zeros(()))
        if not self._landscape.size:
            raise InputError(f"{type(pl_module).__name__} has no circuit weights that could join; leave LayerwiseGrowth out")
        self._layer = layers_of(self._landscape)
        if self.layers <= self.first:
            raise InputError(f"the circuits have {self.layers} layers, and {self.first} begin; no layer is left to join")
        if trainer.max_epochs not in (None, -1) and trainer.max_epochs <= (self.layers - self.first) * self.epochs:
            log.warning("LayerwiseGrowth: in %d epochs not all of %d layers join", trainer.max_epochs, self.layers)
        if trainer.ckpt_path is None:
            weights = self._landscape.weights
            self._landscape.set(torch.where(self._layer < self.first, weights, 0.0))

    @property
    def layers(self) -> int:
        """How many there are."""
        return int(self._layer.max()) + 1

    def resting(self, epoch: int) -> Tensor:
        """(W,) bool: the weights that are not trained in an epoch."""
        joined = self.first + epoch // self.epochs
        if joined > self.layers:  # the last has had its epochs
            return torch.zeros_like(self._layer, dtype=torch.bool)
        oldest = 0 if self.window is None else max(0, joined - self.window)
        return (self._layer >= joined) | (self._layer < oldest)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trained = int((~self.resting(trainer.current_epoch)).sum())
        pl_module.log("circuit_weights_trained", float(trained))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        assert self._landscape is not None
        self._before = self._landscape.weights

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Gradients of weights that rest count neither for clipping nor for the moments of an optimiser."""
        assert self._landscape is not None
        self._landscape.clear_gradients(self.resting(trainer.current_epoch))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert self._landscape is not None
        resting = self.resting(trainer.current_epoch)
        if resting.any():
            self._landscape.set(torch.where(resting, self._before, self._landscape.weights))


def layers_of(landscape: ModelLandscape) -> Tensor:
    """(W,): the layer of each weight, counted from 0. A weight that circuits share stands in the earlier one."""
    found = torch.full((landscape.size,), torch.iinfo(torch.long).max)
    for compiled, columns in landscape.circuits.values():
        own = torch.tensor(_layers(compiled.circuit))
        found[columns] = torch.minimum(found[columns], own)
    known = {layer: place for place, layer in enumerate(found.unique().tolist())}
    return torch.tensor([known[layer] for layer in found.tolist()])


def _layers(circuit: Circuit) -> list[int]:
    named = [_LAYER.match(weight.name) for weight in circuit.weights]
    if all(named):
        return [int(match[1]) for match in named if match]
    layers = trained_layers(circuit)
    placed = {weight: place for place, layer in enumerate(layers) for weight in layer}
    return [placed.get(weight, 0) for weight in range(len(circuit.weights))]
