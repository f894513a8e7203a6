"""A data set whose contents of one modality are noisy."""

import copy
from typing import Any

import numpy as np
import torch

from qmm.errors import InputError
from qmm.robustness.noise import UNBOUNDED, Disturb, Spread, content_kind, generator_for, noise_named
from qmm.robustness.plan import Plan, Point

MOST_ROWS = 4096
"""Of which the spread of vectors is taken; its standard error is then 1 %."""


class NoisySource:
    """A source of samples (`qmm.data.source.Source`) whose raw contents are disturbed; all else is the source's own."""

    def __init__(self, source: Any, disturb: Disturb, level: float, seed: int, spread: Spread | None):
        self.source, self.disturb, self.level, self.seed, self.spread = source, disturb, level, seed, spread

    def raw(self, modality: str, row: int) -> Any:
        rng = generator_for(self.seed, self.source.ids[row], modality, self.level)
        return self.disturb(self.source.raw(modality, row), self.level, rng, self.spread)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "source":  # asked for while a worker unpickles it
            raise AttributeError(name)
        return getattr(self.source, name)


class Disturber:
    """Noise for the modalities of a data set, found by what their contents are.

    Raises InputError for a data set without raw contents, for noise that a modality's contents do not have, and for levels
    above 1 of a noise that ends there.
    """

    def __init__(self, dataset: Any, plan: Plan, modalities: list[str]):
        self.dataset, self.plan = dataset, plan
        self.names: dict[str, str] = {}
        self._noises: dict[str, Disturb] = {}
        self._spreads: dict[str, Spread] = {}
        for modality in modalities:
            kind = content_kind(self._first(modality))
            self.names[modality], self._noises[modality] = noise_named(plan.noise.get(modality), kind, modality)
            if plan.levels[-1] > 1 and self._noises[modality] not in UNBOUNDED:
                raise InputError(
                    f"level {plan.levels[-1]}: {self.names[modality]} of {modality} ends at 1, where nothing is left of it"
                )

    def disturbed(self, point: Point) -> Any:
        """The data set with this modality alone, noisy. Where features of it are cached, its raw contents are taken instead:
        the noise is the sensor's, and the encoder has to stand it."""
        (modality,) = point.modalities
        noisy = copy.copy(self.dataset)
        noisy.source = NoisySource(
            self.dataset.source, self._noises[modality], point.level, self.plan.seed, self._spread(modality)
        )
        noisy.modalities = (modality,)
        noisy.cached = {name: cache for name, cache in self.dataset.cached.items() if name != modality}
        return noisy

    def _first(self, modality: str) -> Any:
        if not all(hasattr(self.dataset, name) for name in ("source", "rows", "modalities", "cached")):
            raise InputError(
                "noise goes to raw contents, which this data module does not show; use one of qmm.data, or ask for "
                "`kinds: [missing]` alone"
            )
        there = [row for row in self.dataset.rows if self.dataset.source.present[modality][row]]
        if not there:
            raise InputError(f"no sample of the split has {modality}; leave it out of `modalities`")
        return self.dataset.source.raw(modality, there[0])

    def _spread(self, modality: str) -> Spread | None:
        if content_kind(self._first(modality)) != "vector":
            return None
        if modality not in self._spreads:
            self._spreads[modality] = spread_of(self.dataset.source, modality, self.dataset.rows)
        return self._spreads[modality]


def spread_of(source: Any, modality: str, otherwise: list[int]) -> Spread:
    """Mean and standard deviation of each entry of a modality's vectors over the whole training split, whatever part of it a
    model was trained on, so that it is the same for every one; over rows `otherwise` where there is none."""
    rows = np.asarray(source.splits.get("train", otherwise))
    rows = rows[source.present[modality][rows]]
    if not len(rows):
        rows = np.asarray(otherwise)[source.present[modality][otherwise]]
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).astype(int)]
    values = torch.stack([torch.as_tensor(source.raw(modality, row), dtype=torch.float64) for row in chosen.tolist()])
    return Spread(values.mean(0).float(), values.std(0, correction=0).float())
