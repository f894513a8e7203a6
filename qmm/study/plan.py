"""What a study runs: cells, one for each arm, training size and seed, and before them those that tune each arm."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from qmm.study.tuning import Overlay, Tuning

Config = str | Overlay
"""A file, or an overlay written in the study itself."""
ALL = -1
"""The size of the whole training split."""


class Cell(NamedTuple):
    """One training: the configurations of its arm, in order, and a seed."""

    arm: str
    seed: int
    configs: tuple[Config, ...]
    choice: str = ""
    """What the tuning chose, or tries."""
    trial: int | None = None
    """The place of `choice` among the arm's while the arm is tuned; such a cell is scored on what is held out."""
    size: int = ALL
    part: int = 0
    """Which of the tuning's parts it is scored on."""

    @property
    def name(self) -> str:
        tuned = "" if self.trial is None else f"tuning{self.trial}-" + (f"part{self.part}-" if self.part else "")
        return f"{tuned_name(self.arm, self.size)}-{tuned}seed{self.seed}"


def tuned_name(arm: str, size: int = ALL) -> str:
    """What is tuned by itself: an arm, at a training size. Keys of `Outcome.chosen`."""
    return arm if size == ALL else f"{arm}-n{size}"


class Study(NamedTuple):
    name: str
    arms: dict[str, tuple[Config, ...]]
    """Arm -> its configurations, the common ones first; the first arm is what the others are compared with."""
    seeds: tuple[int, ...]
    metric: str
    """Which number of metrics.json is compared."""
    tuning: Tuning | None = None
    sizes: tuple[int, ...] = (ALL,)
    """Rows of the training split to train on; each seed draws its own, smaller ones within larger ones, alike for every arm."""
    folds: int = 0
    """Seed s is scored on fold s mod `folds` of the training split, cut anew for every `folds` seeds; 0: on test, else val."""
    compare: tuple[tuple[str, str], ...] = ()
    """Pairs of arms; none: the first with each other one."""
    counterparts: bool = True
    """Whether the classical counterpart and the shams of the first quantum arm join in by themselves (`qmm.study.matching`)."""
    robustness: Overlay | None = None
    """Overlay that makes every cell measure what noise and missing modalities leave of its metrics."""

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        first, *others = self.arms
        return self.compare or tuple((first, other) for other in others)

    @property
    def overlap(self) -> float:
        """Size of a fold over what is trained on with it, by which scores on folds hang together; 0 where there are none."""
        return 1 / (self.folds - 1) if self.folds else 0.0

    def cells(self, chosen: Mapping[str, str] | None = None) -> list[Cell]:
        """Seed by seed, so that a study cut short has whole seeds. Where arms are tuned, those in `chosen`: name -> choice."""
        cells = []
        for seed in self.seeds:
            for size in self.sizes:
                for arm, configs in self.arms.items():
                    name, own = tuned_name(arm, size), (*configs, *self._of_seed(seed, size))
                    own = own if self.robustness is None else (*own, self.robustness)
                    if self.tuning is None:
                        cells.append(Cell(arm, seed, own, size=size))
                    elif chosen and name in chosen:
                        choices = self.tuning.own.get(name) or self.tuning.of(arm)
                        cells.append(Cell(arm, seed, (*own, choices[chosen[name]]), chosen[name], size=size))
        return cells

    def trials(self, done: pd.DataFrame | None = None) -> list[Cell]:
        """The cells that tune: every choice for every arm, as far as it is known from what is `done` (a row for each cell)."""
        if self.tuning is None:
            return []
        scores = self.scores(done)
        return [
            Cell(arm, seed, (*configs, overlay, *_part(size, seed), part), choice, trial, size, number)
            for size in self.sizes
            for arm, configs in self.arms.items()
            for trial, (choice, overlay) in enumerate(self.tuning.proposals(arm, scores.get(tuned_name(arm, size), {})).items())
            for number, part in enumerate(self.tuning.parts)
            for seed in self.tuning.seeds
        ]

    def scores(self, done: pd.DataFrame | None) -> dict[str, dict[int, float]]:
        """Tuned name -> place of a choice -> its mean score, of the choices all of whose cells are done."""
        found: dict[str, dict[int, float]] = {}
        if self.tuning is None or done is None or not len(done):
            return found
        wanted = len(self.tuning.parts) * len(self.tuning.seeds)
        for (arm, size, trial), rows in done.groupby(["arm", "size", "trial"]):
            values = rows[self.tuning.metric].dropna()
            if len(values) == wanted:
                found.setdefault(tuned_name(str(arm), int(str(size))), {})[int(str(trial))] = float(values.mean())
        return found

    def settled(self, done: pd.DataFrame) -> "Study":
        """With every arm's choices at every size written down, where they followed from scores."""
        if self.tuning is None or self.tuning.method != "optuna":
            return self
        scores, names = self.scores(done), {tuned_name(arm, size): arm for size in self.sizes for arm in self.arms}
        own = {name: self.tuning.proposals(arm, scores.get(name, {})) for name, arm in names.items()}
        return self._replace(tuning=self.tuning._replace(own=own))

    def amount(self) -> int:
        """How many cells there are in all."""
        tuned = 0 if self.tuning is None else self.tuning.amount * len(self.tuning.parts) * len(self.tuning.seeds)
        return len(self.arms) * len(self.sizes) * (tuned + len(self.seeds))

    def fingerprint(self, arm: str) -> str:
        """Changes with the content of the arm's configurations, and with how it is tuned, held out and measured."""
        parts = [json.dumps(c, sort_keys=True) if isinstance(c, dict) else Path(c).read_text() for c in self.arms[arm]]
        if self.tuning is not None:
            own = self.tuning._replace(
                choices=self.tuning.of(arm),
                own={},
                space=dict(self.tuning.own_spaces.get(arm, self.tuning.space)),
                own_spaces={},
            )
            parts.append(json.dumps(own, sort_keys=True))
        parts.append(json.dumps([self.folds, self.robustness], sort_keys=True))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _of_seed(self, seed: int, size: int) -> tuple[Overlay, ...]:
        held_out: dict[str, Any] = {"fold": seed % self.folds, "folds": self.folds} if self.folds else {}
        if self.folds:
            held_out["split_seed"] = seed // self.folds
        scored = ({"score_on": "val", "data": {"init_args": held_out}},) if self.folds else ()
        return (*scored, *_part(size, seed))


def _part(size: int, seed: int) -> tuple[Overlay, ...]:
    return () if size == ALL else ({"data": {"init_args": {"train_size": size, "part_seed": seed}}},)
