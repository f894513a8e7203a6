"""Solvers: whatever finds samples of small energy of a binary quadratic model."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from dimod import BinaryQuadraticModel, ExactSolver, SampleSet

from qmm.config import Configurable
from qmm.discrete.problem import Choice, Problem, biases
from qmm.errors import InputError

_MOST_ENUMERATED = 24  # variables whose samples fit into memory together: 16 million of them


class Solution(NamedTuple):
    """What a solver made of a problem."""

    choice: Choice
    """Of the samples that meet the constraints, the best."""
    samples: SampleSet
    """Those among which it was, with energies and, in `info`, what else the solver tells."""
    seconds: float


class Solver(Configurable, ABC):
    """Draws samples of a binary quadratic model, of small energy as far as it can. In YAML, by its `class_path`."""

    @abstractmethod
    def draw(self, model: BinaryQuadraticModel) -> SampleSet:
        """Samples of a checked model that has variables, of its own vartype."""

    def sample(self, model: BinaryQuadraticModel) -> SampleSet:
        """Samples of the model. Raises InputError for one without variables, and for biases that are not finite."""
        if not model.num_variables:
            raise InputError("a model without variables; there is nothing to choose")
        found = biases(model)
        if not (np.isfinite(found.linear).all() and np.isfinite(found.quadratic).all() and np.isfinite(found.offset)):
            raise InputError("the model has biases that are NaN or infinite; look at the numbers that it was made of")
        return self.draw(model)

    def solve(self, problem: Problem, shares: Sequence[float] = (1.0,)) -> Solution:
        """The best choice among the samples; whether it keeps the constraints, `choice.feasible` says.

        Args:
            problem: What to choose.
            shares: Of the penalties' strength: the problem is solved with each of them (`Problem.weakened`), and the best
                choice of all is taken.
        """
        began = time.perf_counter()
        best: tuple[Choice, SampleSet] | None = None
        for share in shares:
            own = problem if share == 1 else problem.weakened(share)
            samples = self.sample(own.model)
            choice = own.best(samples)
            if best is None or _rank(choice) < _rank(best[0]):
                best = choice, samples
        if best is None:
            raise InputError("shares=() of the penalties' strength; give at least one, 1 for instance")
        return Solution(*best, time.perf_counter() - began)


def _rank(choice: Choice) -> tuple[bool, float]:
    return not choice.feasible, choice.objective


class Exhaustive(Solver):
    """Every sample there is: the optimum for certain, in time and memory that double with each variable.

    Args:
        most: Variables, at most; 20 take a second or two, and some 24 what memory a laptop has.
    """

    def __init__(self, most: int = 20):
        if not 1 <= most <= _MOST_ENUMERATED:
            raise InputError(f"most={most} variables; every sample of 1 to {_MOST_ENUMERATED} can be looked at")
        self.most = most

    def draw(self, model: BinaryQuadraticModel) -> SampleSet:
        n = model.num_variables
        if n > self.most:
            raise InputError(
                f"{n} variables have 2**{n} samples, and `most` allows {self.most} variables; take SimulatedAnnealing or "
                "TabuSearch, or leave candidates out"
            )
        return ExactSolver().sample(model)


def positive(**numbers: float) -> None:
    """Raises InputError for numbers that are not above 0, by name."""
    for name, number in numbers.items():
        if not (np.isfinite(number) and number > 0):
            raise InputError(f"{name}={number}; give a number above 0")
