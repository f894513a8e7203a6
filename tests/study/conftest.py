"""Studies that never ran, for what reads them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import yaml

from qmm.study import Study
from qmm.study.runner import Outcome

CLASSES = ("market", "harbour", "forest", "station")


class MadeUp(NamedTuple):
    study: Callable[..., Study]
    outcome: Callable[..., Outcome]


@pytest.fixture(scope="session")
def made_up() -> MadeUp:
    """`study(arms, seeds, ...)`, and `outcome(study, sizes, rich, classes)` of it."""
    return MadeUp(study, outcome)


def study(arms: tuple[str, ...] = ("quantum", "concat", "sham"), seeds: int = 5, **more: Any) -> Study:
    return Study("made up", dict.fromkeys(arms, ()), tuple(range(seeds)), "accuracy", **more)


def outcome(own: Study, sizes: tuple[int, ...] = (-1,), rich: bool = True, classes: tuple[str, ...] = CLASSES) -> Outcome:
    """A row for each arm, size and seed; `rich` ones have every column that a study may write."""
    rng = np.random.default_rng(0)
    rows = [
        _cell(rng, arm, place, seed, size, rich, classes)
        for place, arm in enumerate(own.arms)
        for size in sizes
        for seed in own.seeds
    ]
    return Outcome(pd.DataFrame(rows), pd.DataFrame(), {}, {})


def _cell(rng: np.random.Generator, arm: str, place: int, seed: int, size: int, rich: bool, classes: tuple[str, ...]) -> dict:
    skill = 0.85 - 0.1 * place - (0.25 if 0 < size < 200 else 0.1 if size > 0 else 0) + 0.03 * rng.normal()
    target = np.random.default_rng(1).integers(0, len(classes), 40)
    right = rng.random(40) < skill
    prediction = np.where(right, target, (target + rng.integers(1, len(classes), 40)) % len(classes))
    row: dict[str, Any] = {
        "arm": arm, "seed": seed, "split": "test", "samples": 40, "accuracy": float(np.mean(target == prediction)),
        "fit_seconds": 3.0 + place, "parameters_fusion": 60 - 20 * place, "parameters_fusion_total": 60,
        "parameters_decoder": 40, "parameters_decoder_total": 40 + 30 * (place == 2),
    }  # fmt: skip
    if not rich:
        return row
    epochs = range(12)
    row |= {
        "size": size, "f1": row["accuracy"] - 0.02, "fit_cpu_seconds": 5.0 * (1 + place), "fit_joules": 50.0 * (1 + place),
        "peak_memory_bytes": 400_000_000, "epochs": 12, "versions": {"torch": "2.14.1", "qmm": "0.1"},
        "predictions": [{"id": f"s{k}", "target": classes[t], "prediction": classes[p]}
                        for k, (t, p) in enumerate(zip(target, prediction, strict=True))],
        "robustness": [{"kind": "noise", "modality": m, "level": level, "metric": "accuracy",
                        "value": row["accuracy"] * (1 - (0.2 + 0.1 * place) * level) + 0.01 * float(rng.normal())}
                       for m in ("vision", "audio") for level in (0.25, 0.5, 1.0)]
        + [{"kind": "missing", "modality": m, "level": 1.0, "metric": "accuracy", "value": row["accuracy"] * 0.6}
           for m in ("vision", "audio")],
        "curves": [{"epoch": e, "train/loss": 2.0 * 0.8**e + 0.1 * place, "val/loss": 2.1 * 0.85**e + 0.1 * place,
                    "val/accuracy": skill * (1 - 0.7**e), "dynamics/gradient_norm/quantum": 0.5 * 0.7 ** (e + place),
                    "dynamics/gradient_norm/classical": 1.5 * 0.8**e} for e in epochs],
        "config": yaml.safe_dump({"seed_everything": seed, "name": f"{arm}-seed{seed}", "model": {"layers": 3 + place},
                                  "data": {"class_path": "somewhere.Data", "init_args": {"size": 400}}}),
    }  # fmt: skip
    return row
