"""What circuits can express, estimated with several seeds: the estimates' own spread is told with them."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tqdm.auto import tqdm

from qmm.circuits import effective_dimension, entangling_capability, expressibility
from qmm.quantum import Circuit

METRICS: dict[str, Callable[[Circuit, int], float]] = {
    "expressibility": lambda circuit, seed: expressibility(circuit, seed=seed),
    "entangling": lambda circuit, seed: entangling_capability(circuit, seed=seed),
    "effective_dimension": lambda circuit, seed: effective_dimension(circuit, seed=seed).effective,
}
"""By name: (circuit, seed) -> a number."""
LOWER_IS_BETTER = {"expressibility"}  # a divergence from what would be perfect


class Estimate(NamedTuple):
    mean: float
    std: float
    """Over seeds; 0 for a single one."""
    values: list[float]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0, list(values))


def estimate(circuits: Mapping[str, Circuit], metrics: Sequence[str], seeds: Sequence[int]) -> dict[str, dict[str, Estimate]]:
    """Circuit -> metric -> estimate, with a bar of progress. A circuit without weights has no effective dimension."""
    todo = [
        (name, metric)
        for name, circuit in circuits.items()
        for metric in metrics
        if circuit.weights or metric != "effective_dimension"
    ]
    found: dict[str, dict[str, Estimate]] = {name: {} for name in circuits}
    with tqdm(total=len(todo) * len(seeds), unit="seed", disable=not todo) as bar:
        for name, metric in todo:
            bar.set_description(f"{name}: {metric.replace('_', ' ')}")
            values = []
            for seed in seeds:
                values.append(METRICS[metric](circuits[name], seed))
                bar.update()
            found[name][metric] = Estimate.of(values)
    return found
