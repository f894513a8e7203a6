"""What optimisers of circuit weights have in common, and how several optimisers take one step together."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.optim import Optimizer

from qmm.config import Configurable
from qmm.errors import InputError
from qmm.optimisers.probing import Closure, Probes, fill, flat
from qmm.suggestions import did_you_mean


class OptimizerPlan(Configurable, ABC):
    """An optimiser as a configuration names it, before it knows what it optimises."""

    @abstractmethod
    def bind(self, params: Iterable[Any]) -> Optimizer:
        """The optimiser of these parameters, or groups of them."""


class Torch(OptimizerPlan):
    """An optimiser of `torch.optim` for the weights of circuits, with a learning rate and settings of their own.

    Args:
        name: "AdamW", "SGD", ...
        lr: Learning rate.
        options: Its other arguments, {momentum: 0.9} for instance.
    """

    def __init__(self, name: str = "AdamW", lr: float = 0.01, options: dict[str, Any] | None = None):
        """Raises InputError for a class that torch.optim has not."""
        kind = getattr(torch.optim, name, None)
        if not (isinstance(kind, type) and issubclass(kind, Optimizer)):
            known = [n for n, k in vars(torch.optim).items() if isinstance(k, type) and issubclass(k, Optimizer)]
            raise InputError(f"torch.optim has no optimiser {name!r}{did_you_mean(name, known)}; it has {', '.join(known)}")
        self.kind: type[Any] = kind
        self.lr, self.options = lr, options or {}

    def bind(self, params: Iterable[Any]) -> Optimizer:
        made: Optimizer = self.kind(params, lr=self.lr, **self.options)
        return made


class CircuitOptimizer(OptimizerPlan, Optimizer):
    """A torch optimiser for weights of circuits. `step(closure)` needs the closure, which returns the loss, and may run
    backward and zero_grad as those of torch and Lightning do.

    Constructed without parameters it is a plan, as a configuration writes one down; `bind(parameters)` makes the optimiser.
    Where gradients are accumulated over batches, those without gradients look at the last batch alone.

    Args:
        params: Parameters, or groups of them, as in torch; `qmm.circuit_weights.circuit_parameters` finds them.
        lr: Learning rate, which schedulers change.
        max_step: The longest step, in radians (Euclidean norm over all weights); longer ones are shortened.
    """

    reference: ClassVar[str] = ""
    """Where it was published."""
    uses_gradient: ClassVar[bool]
    """Whether it needs the gradients that backward leaves; without, none are computed for its parameters."""
    watches: ClassVar[bool] = False
    """Whether it needs the loss to be computed at the weights as they are, though it needs no gradients."""

    def __init__(self, params: Any = None, lr: float = 1.0, max_step: float | None = None):
        """Raises InputError for no parameters, and for a rate or a step that is not positive."""
        if lr < 0 or (max_step is not None and max_step <= 0):
            raise InputError(f"{type(self).__name__}: lr={lr}, max_step={max_step}; expected positive numbers")
        self.lr, self.max_step = lr, max_step
        if params is None:
            self.param_groups, self.state = [], {}  # type: ignore[assignment]
            return
        params = list(params)
        if not params or (isinstance(params[0], dict) and not any(len(list(group["params"])) for group in params)):
            raise InputError(
                f"{type(self).__name__} was given no circuit weights; give it those of a module that holds a QuantumLayer or a "
                "fusion with circuits (`qmm.circuit_weights.circuit_parameters(module).values()`), or take another optimiser"
            )
        super().__init__(params, {"lr": lr})

    def config_arguments(self) -> dict[str, Any]:
        return {name: value for name, value in super().config_arguments().items() if name != "params"}

    def bind(self, params: Iterable[Any]) -> Self:
        """The optimiser that this one plans, for these parameters or groups."""
        return type(self)(params, **self.config_arguments())

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def step(self, closure: Closure | None = None) -> float:  # type: ignore[override]
        """Takes a step; returns the loss before it, or, where that is not computed, the mean of what was probed around it."""
        return take_step([self], closure)

    def watching(self) -> ExitStack:
        """What is entered while the loss and its gradients are computed."""
        return ExitStack()

    def explore(self, probes: Probes) -> float | None:
        """Look at the loss at other weights, for the step to come, and leave the weights as they are; the mean of what was
        seen, if anything was."""
        return None

    @abstractmethod
    def direction(self) -> Tensor:
        """(P,) float64: what is subtracted from the weights, times the learning rate."""

    @torch.no_grad()
    def advance(self) -> None:
        """Move the weights."""
        move = self.direction() * self.rates()
        if not move.isfinite().all():
            raise InputError(f"{type(self).__name__}: the step is not finite; take a smaller lr, or more regularisation")
        length = float(move.norm())
        if self.max_step is not None and length > self.max_step:
            move = move * (self.max_step / length)
        fill(self.parameters, flat(self.parameters) - move)
        self.own_state["step"] = self.own_state.get("step", 0) + 1

    @property
    def parameters(self) -> list[Tensor]:
        """All that it optimises, group by group; as one vector (P,) they stand in this order."""
        return [p for group in self.param_groups for p in group["params"]]

    def rates(self) -> Tensor:
        """(P,): the learning rate of each element."""
        each = [(p.numel(), float(group["lr"])) for group in self.param_groups for p in group["params"]]
        return torch.cat([torch.full((size,), rate, dtype=torch.float64) for size, rate in each])

    @property
    def own_state(self) -> dict[str, Any]:
        """What it remembers beside its parameters; kept, as torch keeps all state, with a parameter, the first."""
        return self.state[self.parameters[0]]

    @property
    def steps(self) -> int:
        """How many it has taken."""
        return int(self.own_state.get("step", 0))


class Together(Optimizer):
    """Several optimisers as one, for Lightning's automatic optimisation, its schedulers and its gradient clipping.

    Parts whose parameters need no gradients look around first; then the closure runs once, with the gradients of all others;
    then all parts step, from the same point.

    Args:
        parts: Optimisers of different parameters: those of torch, and CircuitOptimizers.
    """

    def __init__(self, parts: Sequence[Optimizer]):
        super().__init__([{**group} for part in parts for group in part.param_groups], {})
        self.parts = list(parts)
        self._share()

    def _share(self) -> None:
        """Groups and state are the parts' own: what a scheduler writes into a group, its part reads."""
        groups = iter(self.param_groups)
        for part in self.parts:
            part.param_groups = list(islice(groups, len(part.param_groups)))
            self.state.update(part.state)
            part.state = self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "parts" in self.__dict__:
            self._share_loaded()

    def _share_loaded(self) -> None:
        for part in self.parts:
            part.state = self.state
        self._share()

    def step(self, closure: Closure | None = None) -> float:  # type: ignore[override]
        return take_step(self.parts, closure)


def take_step(parts: Sequence[Optimizer], closure: Closure | None) -> float:
    """One step of all parts from the same point. Returns the loss.

    Raises InputError without a closure: with mixed precision by float16 Lightning gives none.
    """
    circuit_parts = [part for part in parts if isinstance(part, CircuitOptimizer)]
    if closure is None:
        names = ", ".join(type(part).__name__ for part in circuit_parts)
        raise InputError(
            f"{names}: step() without a closure; give one that returns the loss, `optimizer.step(closure)` (with Lightning: "
            "automatic optimisation, and a precision other than 16-mixed)"
        )
    blind = [p for part in circuit_parts if not part.uses_gradient for p in part.parameters]
    probes = Probes(closure, blind)
    seen = [value for part in circuit_parts if (value := part.explore(probes)) is not None]
    sighted = len(blind) < sum(len(group["params"]) for part in parts for group in part.param_groups)
    if sighted or any(part.watches for part in circuit_parts):
        with ExitStack() as stack:
            for circuits in circuit_parts:
                stack.enter_context(circuits.watching())
            loss = probes.final(backward=sighted)
    else:
        loss = sum(seen) / len(seen)
    for part in parts:
        if isinstance(part, CircuitOptimizer):
            part.advance()
        else:
            part.step()
    return loss
