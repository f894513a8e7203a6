"""What a study runs: a YAML file -> cells, one for each arm and seed."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from qmm.errors import InputError

KEYS = {"name", "configs", "arms", "seeds", "metric"}


class Cell(NamedTuple):
    """One training: the configurations of its arm, in order, and a seed."""

    arm: str
    seed: int
    configs: tuple[str | dict[str, Any], ...]
    """Files, or overlays written in the study itself."""

    @property
    def name(self) -> str:
        return f"{self.arm}-seed{self.seed}"

    @property
    def fingerprint(self) -> str:
        """Changes with the content of its configurations."""
        parts = [json.dumps(c, sort_keys=True) if isinstance(c, dict) else Path(c).read_text() for c in self.configs]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Study(NamedTuple):
    name: str
    arms: dict[str, tuple[str | dict[str, Any], ...]]
    """Arm -> its configurations, the common ones first; the first arm is what the others are compared with."""
    seeds: tuple[int, ...]
    metric: str
    """Which number of metrics.json is compared."""

    def cells(self) -> list[Cell]:
        """Seed by seed, so that a study cut short has whole seeds."""
        return [Cell(arm, seed, configs) for seed in self.seeds for arm, configs in self.arms.items()]


def read_study(path: str | Path) -> Study:
    """Reads name, configs (common), arms (name -> list of files or inline overlays), seeds (list, or how many), metric.

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
            f"study {path}: expected the keys configs, arms, seeds (and name, metric), got {content and list(content)}"
        )
    common, arms, seeds = content["configs"], content["arms"], content["seeds"]
    if not isinstance(arms, dict) or not arms or not isinstance(common, list):
        raise InputError(f"study {path}: `configs` must be a list and `arms` map names to lists of overlays, got {arms!r}")
    seeds = range(seeds) if isinstance(seeds, int) else seeds
    if not seeds or not all(isinstance(seed, int) for seed in seeds):
        raise InputError(f"study {path}: `seeds` must be whole numbers, or how many, got {content['seeds']!r}")
    study = Study(
        content.get("name", path.stem),
        {str(arm): (*common, *(overlays or [])) for arm, overlays in arms.items()},
        tuple(seeds),
        content.get("metric", "accuracy"),
    )
    for arm, configs in study.arms.items():
        for config in configs:
            if not isinstance(config, dict) and not Path(config).is_file():
                raise InputError(
                    f"study {path}, arm {arm!r}: {config} does not exist; paths are relative to where qmm is started"
                )
    return study
