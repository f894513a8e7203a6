"""Probes: values of a loss at other circuit weights, on the same batch, with the same random numbers."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from qmm.errors import InputError

Closure = Callable[[], Any]
_PROBES: ContextVar["Probes | None"] = ContextVar("qmm_probes", default=None)


class _ValuesOnly(TorchFunctionMode):
    """A closure also runs backward, which a value does not need."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return None if func is torch.Tensor.backward else func(*args, **(kwargs or {}))


class Probes:
    """The evaluations of one step: as many values at other weights as are asked for, then at most one at the step's own with
    gradients. All draw the same random numbers (dropout, mixup).

    Args:
        closure: Gives the loss of the batch.
        blind: Parameters that are optimised without gradients: none are computed for them.

    Raises InputError where there are several processes: each would see another loss, and go another way.
    """

    def __init__(self, closure: Closure, blind: Sequence[Tensor] = ()):
        self._closure, self._blind = torch.enable_grad()(closure), list(blind)
        self._random, self._kept = _random_state(), dict[Any, Any]()
        self.probing, self.backward = False, True
        if self._blind and torch.distributed.is_available() and torch.distributed.is_initialized():
            processes = torch.distributed.get_world_size()
            if processes > 1:
                raise InputError(
                    f"an optimiser without gradients in {processes} processes, each of which sees another loss; train in one "
                    "process (`trainer.devices: 1`), or take QuantumNaturalGradient"
                )

    def value(self, graph: bool = False) -> float:
        """The loss with the parameters as they are; nothing is logged by tasks of qmm.tasks, and backward is left out. With
        `graph` what depends on blind parameters is attached to them."""
        return self._run(probing=True, backward=False, blind=not graph)

    def with_gradients(self) -> float:
        """The value, with gradients of all parameters, blind ones too."""
        return self._run(probing=True, backward=True, blind=False)

    def final(self, backward: bool = True) -> float:
        """The loss that the step counts as, with gradients of all but the blind parameters, if there are others."""
        return self._run(probing=False, backward=backward)

    def _run(self, probing: bool, backward: bool, blind: bool = True) -> float:
        _set_random_state(self._random)
        frozen = [p for p in self._blind if p.requires_grad] if blind else []
        self.probing, self.backward, before = probing, backward, _PROBES.set(self)
        try:
            for parameter in frozen:
                parameter.requires_grad_(False)
            with nullcontext() if backward else _ValuesOnly():
                loss = self._closure()
        finally:
            for parameter in frozen:
                parameter.requires_grad_(True)
            _PROBES.reset(before)
        if loss is None:
            raise InputError("the closure returned None; it has to return the loss")
        return float(loss.detach() if isinstance(loss, Tensor) else loss)

    def reuse(self, key: Any, module: nn.Module, make: Callable[[], Any]) -> Any:
        """What `make` gives by the parameters of `module`, made once in a step where none of them is blind: probes get it
        without its graph, the evaluation with gradients with it, once. Random numbers go on as if it were made each time."""
        if not self._blind or {id(p) for p in module.parameters()} & {id(p) for p in self._blind}:
            return make()
        if key not in self._kept:
            self._kept[key] = make(), _random_state()
        made, after = self._kept[key]
        _set_random_state(after)
        if self.probing:
            return tree_map_only(Tensor, Tensor.detach, made)
        return made


def current_probes() -> Probes | None:
    """Those of the step that an optimiser of qmm.optimisers is taking, while it runs its closure."""
    return _PROBES.get()


def is_probing() -> bool:
    """Whether a closure runs for a value beside its step's own: nothing of it should be logged."""
    probes = _PROBES.get()
    return probes is not None and probes.probing


@contextmanager
def encoding_once(model: Any) -> Iterator[None]:
    """While a step probes, `model.encode` (of a MultimodalModel) runs once in it: probes are about what comes after."""
    probes = _PROBES.get()
    if probes is None:
        yield
        return
    encode, calls = model.encode, itertools.count()
    model.encode = lambda *given: probes.reuse(next(calls), model.branches, lambda: encode(*given))
    try:
        yield
    finally:
        del model.encode


@contextmanager
def moved(parameters: Sequence[Tensor]) -> Iterator[Callable[[Tensor], None]]:
    """A function that puts a vector (P,) into the place of these parameters, which have their values again afterwards."""
    kept = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def put(vector: Tensor) -> None:
        fill(parameters, vector)

    try:
        yield put
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)


def flat(parameters: Sequence[Tensor]) -> Tensor:
    """(P,) float64 on the CPU"""
    return torch.cat([p.detach().double().flatten().cpu() for p in parameters])


@torch.no_grad()
def fill(parameters: Sequence[Tensor], vector: Tensor) -> None:
    """The reverse of `flat`."""
    for parameter, part in zip(parameters, vector.split([p.numel() for p in parameters]), strict=True):
        parameter.copy_(part.reshape(parameter.shape))


def _random_state() -> tuple[Tensor, list[Tensor]]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return torch.get_rng_state(), cuda


def _set_random_state(state: tuple[Tensor, list[Tensor]]) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
