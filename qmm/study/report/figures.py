"""Numbers -> plots. Arms are named above their rows, so that names may be long and the plot as narrow as a phone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from qmm.study.plan import Study
from qmm.study.report.parts import joined
from qmm.study.report.reading import present, size_name
from qmm.study.report.style import (
    INK,
    MUTED,
    PAPER,
    SERIES,
    legend_below,
    logarithmic,
    look,
    panel,
    plain_names,
    shortened,
    styled,
    whole_numbers,
)
from qmm.study.statistics import Claim, paired_difference

ROW = 0.42
"""Inches that a name and what stands below it take."""


@plain_names()
def plot(study: Study, table: pd.DataFrame) -> Figure:
    """Every cell a dot, every arm's mean a line; arms from the top, the first one's mean drawn through."""
    arms = present(study, table)
    figure = Figure(figsize=(7, 1.5 + 0.35 * len(arms)), layout="constrained")
    axes = figure.subplots()
    for i, arm in enumerate(arms):
        values = table.loc[table["arm"] == arm, study.metric]
        axes.scatter(values, [i] * len(values), alpha=0.6)
        axes.vlines(values.mean(), i - 0.3, i + 0.3, color="black", linewidth=1)
    axes.axvline(table.loc[table["arm"] == arms[0], study.metric].mean(), color="grey", linestyle=":", linewidth=1)
    axes.set_yticks(range(len(arms)), arms)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set(xlabel=study.metric, title=study.name)
    axes.grid(axis="x", alpha=0.3)
    return figure


@styled()
def scores(values: Mapping[str, Sequence[float]], metric: str) -> Figure:
    """Arm -> the values of its seeds: a dot each, the mean, and its 95 % interval over seeds (Student's t)."""
    figure, axes = _rows(list(values), metric, f"{metric}, by arm")
    for place, own in enumerate(values.values()):
        mean = float(np.mean(own))
        over_seeds = paired_difference(own, np.zeros(len(own)).tolist())
        axes.scatter(own, np.full(len(own), place), s=22, facecolors="none", edgecolors=MUTED, linewidths=1, zorder=3)
        if np.isfinite(over_seeds.low):
            axes.hlines(place, over_seeds.low, over_seeds.high, color=SERIES[0], linewidth=2)
        axes.scatter([mean], [place], s=34, marker="D", color=SERIES[0], zorder=4)
    axes.axvline(float(np.mean(next(iter(values.values())))), color=MUTED, linestyle=":", linewidth=1)
    return figure


@styled()
def differences(found: Sequence[Claim], metric: str) -> Figure:
    """Every claim's mean and interval over seeds, beside it the one over seeds and samples; filled where the verdict is one."""
    sizes = {claim.size for claim in found if claim.size is not None}
    title = "Paired differences" + (f" with {joined([size_name(n) for n in sizes])} training samples" if sizes else "")
    figure, axes = _rows([f"{c.first} − {c.other}" for c in found], f"difference of {metric}", title)
    for place, claim in enumerate(found):
        over, wider = claim.seeds, claim.samples
        decided = claim.verdict in ("higher", "lower")
        if np.isfinite(over.low):
            axes.hlines(place, over.low, over.high, color=SERIES[0], linewidth=2)
        if wider is not None and np.isfinite(wider.low):
            axes.hlines(place + 0.2, wider.low, wider.high, color=SERIES[1], linewidth=1.5, linestyle="--")
        face = SERIES[0] if decided else "none"
        axes.scatter([over.mean], [place], s=34, marker="D", facecolors=face, edgecolors=SERIES[0], zorder=4)
    axes.axvline(0, color=INK, linewidth=1)
    return figure


def _rows(names: Sequence[str], label: str, title: str, row: float = ROW) -> tuple[Figure, Axes]:
    """Room for one row each, `row` inches, the name above it, from the top."""
    figure, axes = panel(0.9 + row * len(names))
    for place, name in enumerate(names):
        behind = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.5}  # no line runs through a name
        where: Any = {"xycoords": ("axes fraction", "data"), "va": "center", "annotation_clip": False}
        axes.annotate(shortened(name, 48), (0, place - 0.6 + 0.11 / row), color=INK, bbox=behind, **where)
    axes.set_ylim(len(names) - 0.6, -0.6)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", visible=True)
    axes.set_xlabel(label)
    axes.set_title(shortened(title, 50), loc="left")
    return figure, axes


@styled()
def curves(points: pd.DataFrame, places: Mapping[str, int], x: str, title: str, band: bool = True, log: bool = False) -> Figure:
    """Of each arm in `places` (arm -> its look) the mean over seeds; `points` has the columns arm, seed, x, value; the band
    reaches from the lowest to the highest seed."""
    figure, axes = panel(2.6)
    for arm, place in places.items():
        own = points[points["arm"] == arm].groupby("x")["value"].agg(["mean", "min", "max"]).sort_index()
        if not len(own):
            continue
        colour, marker, dash = look(place)
        every = max(1, len(own) // 8)
        axes.plot(
            own.index,
            own["mean"],
            color=colour,
            marker=marker,
            linestyle=dash,
            markersize=5,
            markevery=every,
            linewidth=1.5,
            label=arm,
        )
        if band:
            axes.fill_between(own.index, own["min"], own["max"], color=colour, alpha=0.12, linewidth=0)
    if log:
        logarithmic(axes.yaxis)
    if points["x"].map(float.is_integer).all():
        whole_numbers(axes.xaxis)
    axes.set_xlabel(x)
    axes.set_title(shortened(title, 50), loc="left")
    legend_below(figure, axes, len(places))
    return figure


@styled()
def low_data(points: pd.DataFrame, places: Mapping[str, int], metric: str, everything: float | None) -> Figure:
    """As `curves`, over the logarithm of the training size; `everything` is where the whole training split is drawn."""
    figure = curves(points, places, "training samples", metric)
    axes = figure.axes[0]
    axes.set_xscale("log")
    ticks = sorted(points["x"].unique())
    axes.set_xticks(ticks, ["all" if everything is not None and x == everything else f"{x:,.0f}" for x in ticks])
    axes.set_xticks([], minor=True)
    return figure


@styled()
def missing(points: pd.DataFrame, whole: Mapping[str, float], places: Mapping[str, int], metric: str) -> Figure:
    """What is left without each modality: a row each; `points` has the columns arm, modality, value (the mean); from the hollow
    mark of what the arm reaches with all, `whole`, a line leads there."""
    modalities = list(dict.fromkeys(points["modality"]))
    row, step = 0.36 + 0.15 * len(places), 0.15  # inches
    figure, axes = _rows(
        ["without " + modality.replace("+", " and ") for modality in modalities], metric, f"{metric} without a modality", row
    )
    for line, (arm, place) in enumerate(places.items()):
        own = points[points["arm"] == arm].set_index("modality")["value"].reindex(modalities)
        colour, marker, _ = look(place)
        rows = np.arange(len(modalities)) - 0.6 + (0.32 + step * line) / row
        axes.hlines(rows, own, whole[arm], color=colour, linewidth=1)
        axes.scatter(np.full(len(rows), whole[arm]), rows, s=30, facecolors=PAPER, edgecolors=colour, marker=marker, zorder=3)
        axes.scatter(own, rows, s=34, color=colour, marker=marker, label=arm, zorder=3)
    legend_below(figure, axes, len(places))
    return figure


@styled()
def cost(points: pd.DataFrame, places: Mapping[str, int], metric: str, label: str) -> Figure:
    """Columns arm, cost, mean, deviation: a mark for each arm, its standard deviation over seeds a line."""
    figure, axes = panel(2.6)
    for arm, place in places.items():
        own = points[points["arm"] == arm]
        colour, marker, _ = look(place)
        axes.errorbar(
            own["cost"], own["mean"], yerr=own["deviation"].fillna(0), color=colour, marker=marker, markersize=7,
            linestyle="none", elinewidth=1.2, label=arm,
        )  # fmt: skip
    if (points["cost"] > 0).all() and points["cost"].max() > 4 * points["cost"].min():
        logarithmic(axes.xaxis)
    axes.set_xlabel(label)
    axes.set_title(metric, loc="left")
    legend_below(figure, axes, len(places))
    return figure


@styled()
def confusion(counts: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Rows are the truth, columns the prediction, (C, C) counts; shaded by the row's share. Columns are numbered, and the
    numbers stand beside the names of the rows."""
    n = len(classes)
    figure, axes = panel(1.0 + max(0.25, 0.4 - 0.01 * n) * n)
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    for (row, col), count in np.ndenumerate(counts):
        if count:
            box = (col - 0.5, row - 0.5)
            axes.add_patch(_shade(box, 0.08 + 0.4 * float(shares[row, col]), framed=row == col))
            size = 9 if n <= 12 and counts.max() < 1000 else 6
            axes.text(col, row, str(count), ha="center", va="center", fontsize=size, color=INK)
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), xlabel="predicted")
    axes.set_xticks(range(n), [str(place + 1) for place in range(n)])
    axes.set_yticks(range(n), [f"{shortened(name, 20)}  {place + 1}" for place, name in enumerate(classes)])
    axes.tick_params(length=0, labelsize=9 if n <= 12 else 7)
    axes.grid(visible=False)
    axes.set_title(shortened(title, 50), loc="left")
    return figure


def _shade(corner: tuple[float, float], alpha: float, framed: bool) -> Rectangle:
    return Rectangle(
        corner, 1, 1, facecolor=(*to_rgb(SERIES[0]), alpha), edgecolor=SERIES[0] if framed else "none", linewidth=0.8
    )
