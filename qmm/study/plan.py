"""What a study runs: a YAML file -> cells, one for each arm and seed, and before them those that tune each arm."""

import hashlib
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from qmm.errors import InputError

KEYS = {"name", "configs", "arms", "seeds", "metric", "tuning"}
TUNING_KEYS = {"held_out", "grid", "seeds", "metric", "best"}

Config = str | dict[str, Any]
"""A file, or an overlay written in the study itself."""


class Cell(NamedTuple):
    """One training: the configurations of its arm, in order, and a seed."""

    arm: str
    seed: int
    configs: tuple[Config, ...]
    choice: str = ""
    """What of the tuning's grid is in its configurations."""
    trial: int | None = None
    """The place of `choice` in the grid while the arm is tuned; such a cell is scored on what is held out."""

    @property
    def name(self) -> str:
        return f"{self.arm}-{'' if self.trial is None else f'tuning{self.trial}-'}seed{self.seed}"


class Tuning(NamedTuple):
    """The same settings tried for every arm, on a part of the training split."""

    held_out: dict[str, Any]
    """Overlay that puts a part of the training split in the place of val."""
    choices: dict[str, dict[str, Any]]
    """Name -> overlay, the whole grid."""
    seeds: tuple[int, ...]
    metric: str
    lowest: bool
    """Whether the lowest mean of the metric is the best."""


class Study(NamedTuple):
    name: str
    arms: dict[str, tuple[Config, ...]]
    """Arm -> its configurations, the common ones first; the first arm is what the others are compared with."""
    seeds: tuple[int, ...]
    metric: str
    """Which number of metrics.json is compared."""
    tuning: Tuning | None = None

    def cells(self, chosen: Mapping[str, str] | None = None) -> list[Cell]:
        """Seed by seed, so that a study cut short has whole seeds. Where arms are tuned, those in `chosen`: arm -> choice."""
        if self.tuning is None:
            return [Cell(arm, seed, configs) for seed in self.seeds for arm, configs in self.arms.items()]
        return [
            Cell(arm, seed, (*configs, self.tuning.choices[chosen[arm]]), chosen[arm])
            for seed in self.seeds
            for arm, configs in self.arms.items()
            if chosen and arm in chosen
        ]

    def trials(self) -> list[Cell]:
        """The cells that tune: every choice for every arm."""
        if self.tuning is None:
            return []
        return [
            Cell(arm, seed, (*configs, overlay, self.tuning.held_out), choice, trial)
            for arm, configs in self.arms.items()
            for trial, (choice, overlay) in enumerate(self.tuning.choices.items())
            for seed in self.tuning.seeds
        ]

    def fingerprint(self, arm: str) -> str:
        """Changes with the content of the arm's configurations, and with how it is tuned."""
        parts = [json.dumps(c, sort_keys=True) if isinstance(c, dict) else Path(c).read_text() for c in self.arms[arm]]
        parts += [] if self.tuning is None else [json.dumps(self.tuning, sort_keys=True)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def read_study(path: str | Path) -> Study:
    """Reads name, configs (common), arms (name -> list of files or inline overlays), seeds (list, or how many), metric, tuning.

    Raises InputError naming the file and the key at fault, before anything runs.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"study {path} does not exist; give a YAML file, e.g. configs/studies/quickstart.yaml")
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"study {path} is not YAML: {error}") from error
    if not isinstance(content, dict) or set(content) - KEYS or not {"configs", "arms", "seeds"} <= set(content):
        raise InputError(
            f"study {path}: expected the keys configs, arms, seeds (and name, metric, tuning), got {content and list(content)}"
        )
    common, arms = content["configs"], content["arms"]
    if not isinstance(arms, dict) or not arms or not isinstance(common, list):
        raise InputError(f"study {path}: `configs` must be a list and `arms` map names to lists of overlays, got {arms!r}")
    metric = content.get("metric", "accuracy")
    study = Study(
        content.get("name", path.stem),
        {str(arm): (*common, *(overlays or [])) for arm, overlays in arms.items()},
        _seeds(content["seeds"], path),
        metric,
        _tuning(content["tuning"], metric, path) if content.get("tuning") is not None else None,
    )
    for arm, configs in study.arms.items():
        for config in configs:
            if not isinstance(config, dict) and not Path(config).is_file():
                raise InputError(
                    f"study {path}, arm {arm!r}: {config} does not exist; paths are relative to where qmm is started"
                )
    return study


def _seeds(given: Any, path: Path) -> tuple[int, ...]:
    seeds = range(given) if isinstance(given, int) else given
    if not seeds or not all(isinstance(seed, int) for seed in seeds):
        raise InputError(f"study {path}: `seeds` must be whole numbers, or how many, got {given!r}")
    return tuple(seeds)


def _tuning(given: Any, metric: str, path: Path) -> Tuning:
    if not isinstance(given, dict) or set(given) - TUNING_KEYS or not {"held_out", "grid"} <= set(given):
        raise InputError(
            f"study {path}: `tuning` has the keys held_out and grid (and seeds, metric, best), got {given and list(given)}"
        )
    if not isinstance(given["held_out"], dict) or not given["held_out"]:
        raise InputError(
            f"study {path}: `tuning.held_out` is an overlay that holds out a part of the training split, such as "
            f"{{data: {{init_args: {{fold: 0}}}}}}, got {given['held_out']!r}"
        )
    grid, best = given["grid"], given.get("best", "highest")
    if not isinstance(grid, dict) or not grid or not all(isinstance(values, list) and values for values in grid.values()):
        raise InputError(
            f"study {path}: `tuning.grid` maps settings such as model.init_args.learning_rate to lists, got {grid!r}"
        )
    if best not in ("highest", "lowest"):
        raise InputError(f"study {path}: `tuning.best` is 'highest' or 'lowest', got {best!r}")
    return Tuning(
        given["held_out"], _choices(grid), _seeds(given.get("seeds", 1), path), given.get("metric", metric), best == "lowest"
    )


def _choices(grid: Mapping[str, list[Any]]) -> dict[str, dict[str, Any]]:
    """Every combination, named by the last parts of its settings: `learning_rate 0.01, weight_decay 0.1`."""
    choices = {}
    for values in itertools.product(*grid.values()):
        name = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in zip(grid, values, strict=True))
        overlay: dict[str, Any] = {}
        for key, value in zip(grid, values, strict=True):
            *outer, last = key.split(".")
            place = overlay
            for part in outer:
                place = place.setdefault(part, {})
            place[last] = value
        choices[name] = overlay
    return choices
