"""A picture of robustness: curves under noise, and what is left where modalities are missing."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_COLOURS = ("#1c4e80", "#c8553d", "#588157", "#7d4e9f", "#b08900", "#3a8f9e", "#8c5a4a", "#555555")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def picture(table: pd.DataFrame, metric: str) -> Figure:
    """A panel for each modality under noise, and one of what is missing. Lines are means over seeds, bands their standard
    deviation, small dots the seeds.

    Args:
        table: Rows of `evaluate` with arm and seed.
        metric: Which one to draw.
    """
    table = table[table["metric"] == metric]
    noisy = list(dict.fromkeys(table.loc[table["kind"] == "noise", "modality"]))
    gone = list(dict.fromkeys(table.loc[table["kind"] == "missing", "modality"]))
    panels = len(noisy) + bool(gone)
    width = 3.1 * len(noisy) + (1.6 + 0.62 * (len(gone) + 1) if gone else 0)
    figure = Figure(figsize=(max(4.2, width), 3.5), layout="constrained")
    ratios = [3.1] * len(noisy) + ([1.6 + 0.62 * (len(gone) + 1)] if gone else [])
    axes: Any = figure.subplots(1, panels, sharey=True, squeeze=False, width_ratios=ratios)[0]
    for panel, modality in zip(axes, noisy, strict=False):
        _curves(panel, table[(table["kind"] == "noise") & (table["modality"] == modality)])
        panel.set_title(f"noise on {modality}", fontsize=10)
        panel.set_xlabel("level")
    if gone:
        _missing(axes[-1], table[table["kind"] == "missing"], gone)
    axes[0].set_ylabel(metric)
    for panel in axes:
        panel.grid(axis="y", alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False, fontsize=9)
    return figure


def _curves(axes: Axes, rows: pd.DataFrame) -> None:
    for place, (arm, own) in enumerate(rows.groupby("arm", sort=False)):
        colour, marker = _COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)]
        spread = own.groupby("level")["value"].agg(["mean", "std"]).fillna(0.0)
        levels = spread.index.to_numpy(dtype=float)
        mean, deviation = spread["mean"].to_numpy(), spread["std"].to_numpy()
        axes.plot(levels, mean, color=colour, marker=marker, markersize=4.5, label=str(arm))
        if own["seed"].nunique() > 1:
            axes.fill_between(levels, mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0)
            axes.plot(own["level"], own["value"], ".", color=colour, markersize=3, alpha=0.6)


def _missing(axes: Axes, rows: pd.DataFrame, gone: list[str]) -> None:
    """A place for each set of modalities that is missing; arms side by side."""
    arms = list(dict.fromkeys(rows["arm"]))
    step = 0.8 / len(arms)
    for place, arm in enumerate(arms):
        colour, marker = _COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)]
        own = rows[rows["arm"] == arm]
        clean = own[own["level"] == 0].drop_duplicates("seed")["value"]
        values = [clean, *(own.loc[(own["level"] > 0) & (own["modality"] == name), "value"] for name in gone)]
        at = np.arange(len(values)) + (place - (len(arms) - 1) / 2) * step
        for x, here in zip(at, values, strict=True):
            axes.plot([x] * len(here), here, ".", color=colour, markersize=3, alpha=0.6)
        means = [here.mean() for here in values]
        axes.plot(at, means, marker, color=colour, markersize=5.5, label=str(arm))
    names = ["none", *(name.replace("+", "\n") for name in gone)]
    axes.set_xticks(range(len(names)), names, fontsize=8)
    for between in range(len(gone)):
        axes.axvline(between + 0.5, color="#dddddd", linewidth=0.8)
    axes.set_title("missing", fontsize=10)
