"""A search by `qmm.discrete`: a quadratic model of the losses so far, and its minimum by an annealer."""

import random
from collections.abc import Sequence

import numpy as np

from qmm.discrete import SimulatedAnnealing, Solver, entangler_placement, surrogate
from qmm.errors import InputError
from qmm.search.proposers import Proposer, Trial, finished
from qmm.search.space import Point, unseen


class QuadraticModel(Proposer):
    """The next point is where a quadratic model of the losses is lowest, as an annealer finds it.

    The model has a cost for each option and one for every two options of different choices (`qmm.discrete.surrogate`); its
    minimum is a quadratic problem over bits (`qmm.discrete.entangler_placement`), so that any solver of `qmm.discrete` serves.
    Each time it is fitted to trials drawn with replacement, which lets it err in other directions each time: a bootstrap in the
    place of the posterior that Bayesian optimisation of combinatorial structures draws from (arXiv:1806.08838).

    Args:
        start: So many points at random come first.
        solver: By default SimulatedAnnealing, 50 reads of 200 sweeps.
        ridge: How strongly the model's coefficients are held near 0, in units of the losses' variance.
    """

    reference = "arXiv:1806.08838"

    def __init__(self, start: int = 10, solver: Solver | None = None, ridge: float = 0.01):
        if start < 2:
            raise InputError(f"start={start}; a model is fitted to two trials at least")
        self.start, self.solver, self.ridge = start, solver or SimulatedAnnealing(reads=50, sweeps=200), ridge

    def propose(self, sizes: tuple[int, ...], trials: Sequence[Trial], rng: random.Random) -> Point | None:
        seen, known = {trial.point for trial in trials}, finished(trials)
        if len(known) < self.start or len(sizes) < 2:
            return unseen(sizes, seen, rng)
        drawn = rng.choices(known, k=len(known))
        losses = np.array([loss for _, loss in drawn])
        spread = float(losses.std()) or 1.0
        model = surrogate(np.array([point for point, _ in drawn]), (losses - losses.mean()) / spread, max(sizes), self.ridge)
        costs = model.costs.copy()
        for choice, size in enumerate(sizes):  # others have more options than this one
            costs[choice, size:] = costs.max() + 2 * (np.ptp(costs) + np.ptp(model.interactions))
        problem = entangler_placement(costs, model.interactions)
        samples = self.solver.sample(problem.model)
        for sample in samples.data(["sample"], sorted_by="energy", name=None):
            point = tuple(int(option) for option in problem.read(sample[0]).chosen)
            if all(0 <= option < size for option, size in zip(point, sizes, strict=True)) and point not in seen:
                return point
        return unseen(sizes, seen, rng)
