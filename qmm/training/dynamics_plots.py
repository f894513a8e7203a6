"""The picture of a training's dynamics."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


class Panel(NamedTuple):
    title: str
    parts: tuple[str, ...]
    """What the names of its numbers contain, between slashes."""
    scale: str = "linear"


PANELS = (
    Panel("gradient norm of the loss, the quantum part's share", ("gradient_norm", "gradient_share"), "log"),
    Panel("variance of the loss's gradient, by layer", ("loss_gradient_variance",), "log"),
    Panel("|d output / d weight|, rms, per radian", ("output_gradient",), "log"),
    Panel("Fisher information of a weight", ("quantum_fisher", "classical_fisher"), "log"),
    Panel("share of the weights that count", ("directions",)),
    Panel("entanglement (entropies in bits)", ("entanglement",)),
    Panel("spread of angles (rad)", ("spread",)),
    Panel("cosine of two losses' gradients", ("conflict",)),
)


def dynamics(history: Sequence[Mapping[str, float]], plateau: float | None = None) -> Figure:
    """One panel for each kind of number that there is, over epochs.

    Args:
        history: Rows with "epoch" and numbers by name, `model.fusion.fusion/entanglement/vision`.
        plateau: Below this slope of outputs a circuit counts as flat: a line.
    """
    names = list(dict.fromkeys(name for row in history for name in row))
    members = {panel: [name for name in names if set(panel.parts) & set(name.split("/"))] for panel in PANELS}
    shown = {panel: own for panel, own in members.items() if own}
    columns = min(3, max(1, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    figure = Figure(figsize=(4.6 * columns, 3.3 * rows), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    for axes, (panel, own) in zip(grid, shown.items(), strict=False):
        _draw(axes, panel, own, history)
        if panel.parts == ("output_gradient",) and plateau:
            axes.axhline(plateau, color="firebrick", linewidth=1, linestyle="--", label="flat below")
        if len(axes.get_lines()) <= 14:
            axes.legend(fontsize=6)
    return figure


def _draw(axes: Axes, panel: Panel, names: Sequence[str], history: Sequence[Mapping[str, float]]) -> None:
    labels = _labels(names, panel)
    for name, label in zip(names, labels, strict=True):
        points = [(row["epoch"], row[name]) for row in history if math.isfinite(row.get(name, math.nan))]
        if panel.scale == "log":
            points = [(epoch, value) for epoch, value in points if value > 0]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, marker="." if len(points) < 30 else None, linewidth=1)
    axes.set(title=panel.title, xlabel="epoch")
    axes.title.set_fontsize(9)
    positive = any(len(line.get_xdata()) for line in axes.get_lines())  # type: ignore[arg-type]
    if panel.scale == "log" and positive:
        axes.set_yscale("log")
    if panel.parts == ("conflict",):
        axes.axhline(0, color="grey", linewidth=0.8)
    axes.grid(alpha=0.3)


def _labels(names: Sequence[str], panel: Panel) -> list[str]:
    """Without what all of them share: the circuit, where there is one, and the panel's own words."""
    split = [name.split("/") for name in names]
    circuits = {parts[0] for parts in split if parts[0] not in panel.parts}
    labels = []
    for parts in split:
        own = parts if len(circuits) > 1 or parts[0] in panel.parts else parts[1:]
        shorter = [part for part in own if part not in panel.parts or len(panel.parts) > 1]
        labels.append(" ".join(shorter).replace("_", " ") or "all")
    return labels
