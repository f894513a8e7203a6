"""Training curves and gradients, from what the runs logged by epoch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from qmm.study.report import figures
from qmm.study.report.parts import Picture, Section
from qmm.study.report.reading import largest, present, records

_FIRST = ("train/loss", "val/loss")
_GRADIENTS = (
    ("gradient_norm/quantum", "gradient norm of the loss, quantum part"),
    ("gradient_norm/classical", "gradient norm of the loss, classical part"),
    ("gradient_share/quantum", "the quantum part's share of the squared gradient"),
)
"""As `qmm.training.Dynamics` names them."""
_SLOPE, _VARIANCE = "output_gradient", "loss_gradient_variance"


def flat(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each number: arm, seed, name, x (the epoch), value."""
    rows: list[tuple[Any, ...]] = []
    if "curves" in table:
        for arm, seed, logged in table[["arm", "seed", "curves"]].itertuples(index=False):
            for record in records(logged):
                epoch = float(record.get("epoch", float("nan")))
                rows += [
                    (arm, seed, str(name).removeprefix("dynamics/"), epoch, float(value))
                    for name, value in record.items()
                    if name not in ("epoch", "step") and isinstance(value, (int, float))
                ]
    return pd.DataFrame(rows, columns=["arm", "seed", "name", "x", "value"]).dropna()


def section(arms: list[str], metric: str, points: pd.DataFrame) -> Section | None:
    """Loss and metric on what is trained on and on val; gradients where `Dynamics` logged them."""
    names = list(dict.fromkeys(points["name"]))
    wanted = [name for name in (*_FIRST, f"train/{metric}", f"val/{metric}") if name in names]
    pictures = [_picture(points, arms, name, name) for name in dict.fromkeys(wanted)]
    gradients = [_picture(points, arms, name, title, log="share" not in name) for name, title in _GRADIENTS if name in names]
    for part, title in (
        (_SLOPE, "|d output / d weight|, rms, per radian"),
        (_VARIANCE, "variance of the loss's gradient, over layers"),
    ):
        own = points[points["name"].map(lambda name, part=part: part in name.split("/")).astype(bool)]
        if part == _SLOPE:
            own = own[own["name"].str.endswith(part).astype(bool)]
        if len(own):
            mean = own.groupby(["arm", "seed", "x"], as_index=False)["value"].mean().assign(name=part)
            gradients.append(_picture(mean, arms, part, title, log=True))
    if not pictures and not gradients:
        return None
    text = [
        "Lines are means over seeds; a band reaches from the lowest to the highest seed, where there are at most four arms."
    ]
    return Section("training", "Training", text, pictures=[*pictures, *gradients])


def _picture(points: pd.DataFrame, arms: list[str], name: str, title: str, log: bool = False) -> Picture:
    own = points[points["name"] == name]
    log = log and bool((own["value"] > 0).all())
    places = {arm: place for place, arm in enumerate(arms) if (own["arm"] == arm).any()}
    last = [f"{arm} {own.loc[(own['arm'] == arm) & (own['x'] == own.loc[own['arm'] == arm, 'x'].max()), 'value'].mean():.4g}"
            for arm in places]  # fmt: skip
    description = f"{title} over epochs, mean over seeds. At the end: {', '.join(last)}."
    figure = figures.curves(own, places, "epoch", title, band=len(places) <= 4, log=log)
    return Picture(f"curve-{name.replace('/', '-')}", title, description, figure)


def with_dynamics(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The table whose curves also hold what `qmm.training.Dynamics` wrote into the cells' folders, where these are there."""
    if "curves" not in table or "config" not in table:
        return table
    curves = []
    for logged, config in zip(table["curves"], table["config"], strict=True):
        own = records(logged)
        path = folder / "cells" / _name(config) / "dynamics.csv"
        if path.is_file():
            by_epoch: Mapping[Any, Any] = {row["epoch"]: row for row in pd.read_csv(path).to_dict("records")}
            own = [
                {**{f"dynamics/{k}": v for k, v in by_epoch.get(row.get("epoch"), {}).items() if k != "epoch"}, **row}
                for row in own
            ]
        curves.append(own)
    return table.assign(curves=pd.Series(curves, table.index, dtype=object))


def _name(config: Any) -> str:
    try:
        return str(yaml.safe_load(config)["name"])
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return ""


def first_cells(study: Any, table: pd.DataFrame, folder: Path) -> dict[str, Path]:
    """Arm -> the folder of its first cell, as far as these are there."""
    if "config" not in table:
        return {}
    table = largest(table)
    names = {arm: _name(table.loc[table["arm"] == arm, "config"].iloc[0]) for arm in present(study, table)}
    return {arm: folder / "cells" / name for arm, name in names.items() if name and (folder / "cells" / name).is_dir()}
