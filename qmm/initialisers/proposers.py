"""Proposers: where AdaInit's next weights come from."""

import math
import warnings
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
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
        self._strategy.tell(self._asked, [-_log(variance) for variance in variances.tolist()])


class Bayesian(Proposer):
    """A Gaussian process on the logarithm of the variance proposes where it expects the largest improvement.

    Scikit-learn's process with a Matern kernel over the cosines and sines of the weights, so that angles have their period;
    the expected improvement is looked up at random candidates, half of them uniform, half near the best weights so far. Within
    a round, each proposal is taken to give what the process expects of it before the next is chosen.

    Args:
        trials: Proposals a round.
        random: Random proposals before the process has its say.
        candidates: At how many places the expected improvement is looked up.
        near: Standard deviation of those near the best, in radians.
    """

    reference = "arXiv:1206.2944"

    def __init__(self, trials: int = 4, random: int = 8, candidates: int = 1024, near: float = 0.3):
        if trials < 1 or random < 1 or candidates < 2 or near <= 0:
            raise InputError(
                f"trials={trials}, random={random}, candidates={candidates}, near={near}; at least 1, 1, 2, and more than 0"
            )
        self.trials, self.random, self.candidates, self.near = trials, random, candidates, near

    def begin(self, task: Task, start: Tensor, variance: float) -> None:
        self._rng = np.random.default_rng(task.seed)
        self._known, self._values = start.numpy()[None], np.array([_log(variance)])

    def propose(self) -> Tensor:
        size = self._known.shape[1]
        if len(self._known) <= self.random:
            return torch.from_numpy(self._rng.uniform(-math.pi, math.pi, (self.trials, size)))
        half = self.candidates // 2
        best = self._known[self._values.argmax()]
        near = best + self.near * self._rng.standard_normal((half, size))
        candidates = np.concatenate([self._rng.uniform(-math.pi, math.pi, (half, size)), near])
        known, values, kernel = self._known, self._values, None
        for _ in range(self.trials):
            process = _process(known, values, kernel)
            kernel = process.kernel_
            mean, deviation = process.predict(_circle(candidates), return_std=True)
            gain = mean - values.max()
            z = gain / np.maximum(deviation, 1e-12)
            chosen = int((gain * stats.norm.cdf(z) + deviation * stats.norm.pdf(z)).argmax())
            known = np.concatenate([known, candidates[chosen][None]])
            values = np.append(values, mean[chosen])
        return torch.from_numpy(known[len(self._known) :].copy())

    def observe(self, proposals: Tensor, variances: Tensor) -> None:
        self._known = np.concatenate([self._known, proposals.numpy()])
        self._values = np.append(self._values, [_log(variance) for variance in variances.tolist()])


def _log(variance: float) -> float:
    return math.log(max(variance, _FLOOR))


def _circle(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([np.cos(weights), np.sin(weights)], axis=1)


def _process(weights: NDArray[np.float64], values: NDArray[np.float64], kernel: Any) -> Any:
    """Fitted; with a kernel, that one as it is."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern

    optimiser = None if kernel is not None else "fmin_l_bfgs_b"
    kernel = kernel or ConstantKernel(1.0) * Matern(math.sqrt(weights.shape[1]), nu=2.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound is an answer
        return GaussianProcessRegressor(kernel, alpha=1e-6, normalize_y=True, optimizer=optimiser).fit(_circle(weights), values)
