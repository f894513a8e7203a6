"""Annealers and tabu search that run here, all of dwave-samplers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from dimod import BinaryQuadraticModel, SampleSet
from dwave.samplers import PathIntegralAnnealingSampler, SimulatedAnnealingSampler, TabuSampler
from tqdm.auto import tqdm

from qmm.discrete.ising import ising
from qmm.discrete.solver import Solver, positive
from qmm.errors import InputError

_PATIENCE = 2.0  # seconds before a progress bar is worth its line


class SimulatedAnnealing(Solver):
    """Metropolis sweeps while the temperature falls (doi:10.1126/science.220.4598.671).

    Args:
        reads: Runs, each from a random start; every one ends in a sample.
        sweeps: Of a run, each over all variables. The temperature falls geometrically, from where every flip is likely to where
            none is.
        seed: Of starts and flips.
    """

    def __init__(self, reads: int = 100, sweeps: int = 1000, seed: int = 0):
        positive(reads=reads, sweeps=sweeps)
        self.reads, self.sweeps, self.seed = reads, sweeps, seed

    def draw(self, model: BinaryQuadraticModel) -> SampleSet:
        cost = ising(model)
        flat = not cost.fields.any() and not cost.couplings.size  # of no use to find a range of temperatures
        with _progress("simulated annealing", self.reads) as bar:
            return SimulatedAnnealingSampler().sample(
                model,
                beta_range=(0.1, 1.0) if flat else None,
                num_reads=self.reads,
                num_sweeps=self.sweeps,
                seed=_seed(self.seed),
                interrupt_function=_counter(bar),
            )


class PathIntegralAnnealing(Solver):
    """Simulated quantum annealing: Monte Carlo of the path integral, in continuous imaginary time, of

        s H + (1 - s) field scale sum_i X_i,    s from 0 to 1,

    at a fixed low temperature: quantum fluctuations fade, not thermal ones (arXiv:cond-mat/9804280). `scale` is the root mean
    square of the field that a variable feels when the others are random; field and temperature are given in its units.

    Args:
        reads: Runs, each from a random start; every one ends in a sample.
        sweeps: Of a run, each over all variables.
        field: The transverse field at the beginning.
        temperature: Low enough that what it leaves of the states above the lowest is little; a sweep takes time in proportion
            to field / temperature.
        seed: Of starts and flips.
    """

    def __init__(self, reads: int = 20, sweeps: int = 100, field: float = 0.5, temperature: float = 0.02, seed: int = 0):
        positive(reads=reads, sweeps=sweeps, field=field, temperature=temperature)
        self.reads, self.sweeps, self.seed = reads, sweeps, seed
        self.field, self.temperature = field, temperature

    def draw(self, model: BinaryQuadraticModel) -> SampleSet:
        rising = np.arange(1, self.sweeps + 1) / self.sweeps  # the last sweep is without a field
        inverse = 1 / (self.temperature * ising(model).scale)
        with _progress("path-integral annealing", self.reads) as bar:
            return PathIntegralAnnealingSampler().sample(
                model,
                num_reads=self.reads,
                beta_schedule_type="custom",  # by default, this sampler has no transverse field at all
                Hp_field=inverse * rising,
                Hd_field=self.field / self.temperature * (1 - rising),
                seed=_seed(self.seed),
                interrupt_function=_counter(bar),
            )


class TabuSearch(Solver):
    """The best flip that is not among the latest, again and again, from many starts (doi:10.1287/ijoc.1.3.190).

    Args:
        reads: Runs, each from a random start; every one ends in a sample.
        restarts: Of a run, each from a changed copy of its best sample.
        tenure: How many flips are forbidden; by default a quarter of the variables, at most 20.
        seed: Of starts.
    """

    def __init__(self, reads: int = 10, restarts: int = 5, tenure: int | None = None, seed: int = 0):
        positive(reads=reads)
        self.reads, self.restarts, self.tenure, self.seed = reads, restarts, tenure, seed

    def draw(self, model: BinaryQuadraticModel) -> SampleSet:
        tenure = None if self.tenure is None else min(self.tenure, model.num_variables - 1)
        return TabuSampler().sample(
            model,
            num_reads=self.reads,
            num_restarts=self.restarts,
            tenure=tenure,
            timeout=-1,  # none: what it finds in a given time is not the same twice
            seed=_seed(self.seed),
        )


def _seed(seed: int) -> int:
    """What dwave-samplers takes: with a seed of 0, its path-integral annealer draws differently each time."""
    if seed < 0:
        raise InputError(f"seed={seed}; give 0 or more")
    return seed % (2**31 - 1) + 1


def _progress(what: str, total: int) -> Any:
    return tqdm(desc=what, total=total, unit="read", delay=_PATIENCE, leave=False)


def _counter(bar: Any) -> Callable[[], bool]:
    """What a sampler calls after each read; it would stop at True."""

    def count() -> bool:
        bar.update()
        return False

    return count
