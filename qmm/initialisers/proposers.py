"""Proposers: where AdaInit's next weights come from."""

import math
import warnings
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qmm.config import Configurable
from qmm.errors import InputError

_FLOOR = 1e-300  # of a variance, before its logarithm


class Task(NamedTuple):
    """What weights are proposed for."""

    size: int
    """W, how many."""
    n_qubits: int
    depth: int
    seed: int


class Proposer(Configurable, ABC):
    """Proposes weights, and is told what variance of gradients they gave. One search at a time."""

    @abstractmethod
    def begin(self, task: Task, start: Tensor, variance: float) -> None:
        """A new search, from weights (W,) whose variance is known."""

    @abstractmethod
    def propose(self) -> Tensor:
        """(count, W) radians, float64; the count is the proposer's own."""

    @abstractmethod
    def observe(self, proposals: Tensor, variances: Tensor) -> None:
        """What `propose` returned last, (count, W), and what came of it, (count,)."""

    def end(self) -> None:
        """The search is over."""


class EvolutionStrategy(Proposer):
    """CMA-ES on the logarithm of the variance (the package `cma`).

    Args:
        spread: The first proposals' standard deviation around the start, in radians.
        population: Proposals a round; by default 4 + 3 ln W.
    """

    reference = "arXiv:1604.00772"

    def __init__(self, spread: float = 0.3, population: int | None = None):
        if spread <= 0 or (population is not None and population < 2):
            raise InputError(f"spread={spread}, population={population}; more than 0, and at least 2")
        self.spread, self.population = spread, population

    def begin(self, task: Task, start: Tensor, variance: float) -> None:
        from cma import CMAEvolutionStrategy

        options: dict[str, Any] = {"seed": task.seed + 1, "verbose": -9}  # a seed of 0 would be the clock's
        if self.population is not None:
            options["popsize"] = self.population
        self._alone = task.size == 1  # which CMA-ES does not treat: a second coordinate means nothing
        first = [*start.tolist(), 0.0] if self._alone else start.tolist()
        self._strategy = CMAEvolutionStrategy(first, self.spread, options)

    def propose(self) -> Tensor:
        self._asked = self._strategy.ask()
        found = torch.tensor([row.tolist() for row in self._asked], dtype=torch.float64)
        return found[:, :1] if self._alone else found

    def observe(self, proposals: Tensor, variances: Tensor) -> None:
        self._strategy.tell(self._asked, [-math.log(max(v, _FLOOR)) for v in variances.tolist()])


class Bayesian(Proposer):
    """A Gaussian process on the logarithm of the variance, asked for the expected improvement (Optuna's GPSampler).

    Args:
        low, high: Of every weight, in radians.
        trials: Proposals a round.
        random: Random ones before the first that the process proposes.
    """

    reference = "arXiv:1206.2944"

    def __init__(self, low: float = -math.pi, high: float = math.pi, trials: int = 4, random: int = 10):
        if not low < high or trials < 1:
            raise InputError(f"low={low}, high={high}, trials={trials}; low is below high, and there is a trial at least")
        self.low, self.high, self.trials, self.random = low, high, trials, random

    def begin(self, task: Task, start: Tensor, variance: float) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)  # it warns that greenlet would be faster
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.GPSampler(seed=task.seed, n_startup_trials=self.random, deterministic_objective=True)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._space: Any = {f"w{i}": optuna.distributions.FloatDistribution(self.low, self.high) for i in range(task.size)}
        inside = start.clamp(self.low, self.high).tolist()
        known = optuna.trial.create_trial(
            params=dict(zip(self._space, inside, strict=True)),
            distributions=self._space,
            value=math.log(max(variance, _FLOOR)),
        )
        self._study.add_trial(known)

    def propose(self) -> Tensor:
        self._asked = [self._study.ask(self._space) for _ in range(self.trials)]
        return torch.tensor([[trial.params[name] for name in self._space] for trial in self._asked], dtype=torch.float64)

    def observe(self, proposals: Tensor, variances: Tensor) -> None:
        for trial, variance in zip(self._asked, variances.tolist(), strict=True):
            self._study.tell(trial, math.log(max(variance, _FLOOR)))
