"""Weight decay for angles: towards the nearest angle at which a gate does nothing, however many turns away from 0 it is."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from qmm.circuit_weights import circuit_parameters, places, weighted_circuits
from qmm.config import Configurable
from qmm.errors import InputError
from qmm.regularisation.periods import periods


class PeriodicWeightDecay(Configurable, Callback):
    """Decay of circuit weights that knows their periods. After each step of the optimiser, with its learning rate lr,

        w <- w - lr rate T/(2 pi) sin(2 pi w / T),

    decoupled from the gradient as AdamW's (arXiv:1711.05101), which it equals for small angles: the slope of
    rate (T/(2 pi))^2 (1 - cos(2 pi w / T)). T is what the weight's gates return after, 2 pi for rotations, 4 pi for controlled
    ones (`periods`); a weight without a period decays as any other. AdamW would pull an angle of 2 pi all the way back to 0,
    though they are the same gate.

    Args:
        rate: As AdamW's `weight_decay`, which should be 0 for these weights, as `MultimodalTask` has it.

    Raises InputError for a negative rate, and at the start of a training for a model without trained circuit weights.
    """

    def __init__(self, rate: float = 0.01):
        if not 0 <= rate < math.inf:
            raise InputError(f"rate={rate}; give a number of 0 or more, 0.01 for instance")
        self.rate = rate
        self._handles: list[RemovableHandle] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._handles = decay(pl_module, trainer.optimizers, self.rate)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


def decay(module: nn.Module, optimizers: list[Optimizer], rate: float) -> list[RemovableHandle]:
    """Has circuit weights of the module decay after each step of the optimisers that train them, as `PeriodicWeightDecay` says;
    `remove()` of each handle ends it.

    Raises InputError where there is no circuit weight that an optimiser trains.
    """
    trained = circuit_parameters(module)
    by_name = {name: (trained[name], period.to(trained[name])) for name, period in parameter_periods(module).items()}
    handles = []
    for optimizer in optimizers:
        rated = {id(p): "lr" in group for group in optimizer.param_groups for p in group["params"]}
        own = {id(p): (p, period) for p, period in by_name.values() if id(p) in rated}
        if not all(rated[p] for p in own):
            raise InputError(f"{type(optimizer).__name__} has no learning rate, which decay goes by; leave the decay out")
        if own:
            handles.append(optimizer.register_step_post_hook(_Decay(own, rate)))
    if not handles:
        raise InputError(
            "periodic weight decay found no trained circuit weights; the model has none, they are frozen, or they are made of "
            "its parameters in another way than one by one"
        )
    return handles


class _Decay:
    """A hook of an optimiser."""

    def __init__(self, own: Mapping[int, tuple[nn.Parameter, Tensor]], rate: float):
        self._own, self._rate = own, rate

    @torch.no_grad()
    def __call__(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if id(parameter) in self._own:
                    parameter.sub_(float(group["lr"]) * self._rate * pull(parameter, self._own[id(parameter)][1]))


def pull(weights: Tensor, period: Tensor) -> Tensor:
    """T/(2 pi) sin(2 pi w / T) of weights w with periods T, of one shape; w where T is infinite, 0 where it is 0."""
    inverse = 2 * math.pi / period
    periodic = torch.where(inverse > 0, torch.sin(weights * inverse) / inverse, weights)
    return torch.where(period > 0, periodic, 0)


def parameter_periods(module: nn.Module) -> dict[str, Tensor]:
    """Of each trained parameter that is made of circuit weights the periods of its elements, in its shape; 0 where an element
    is no circuit weight. An element that several circuits take has the least period of them all."""
    trained = circuit_parameters(module)
    found = {name: torch.zeros(parameter.numel(), dtype=torch.float64) for name, parameter in trained.items()}
    for compiled, weights in weighted_circuits(module).values():
        where = places(weights, trained)
        if where is None:
            continue
        period = periods(compiled.circuit)
        for weight, (name, element) in zip(compiled.circuit.weights, where, strict=True):
            found[name][element] = _both(float(found[name][element]), period[weight])
    return {name: own.reshape(trained[name].shape) for name, own in found.items() if own.any()}


def _both(a: float, b: float) -> float:
    """The least period of both, each a few halves of turns; 0: none so far."""
    if not a or math.isinf(b):
        return b
    if math.isinf(a):
        return a
    return next((n * a for n in range(1, 65) if abs(n * a / b - round(n * a / b)) < 1e-9), math.inf)
