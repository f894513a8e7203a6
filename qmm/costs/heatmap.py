"""A picture of a sweep."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from qmm.costs.expressing import LOWER_IS_BETTER
from qmm.costs.sweet_spot import SweetSpot

_SPOT = "#d9480f"


def heatmap(summary: pd.DataFrame, metric: str, cost: str, spot: SweetSpot, title: str) -> Figure:
    """Qubits by layers, each cell with its mean, spread over seeds and cost; the sweet spot framed, the best marked."""
    qubits, layers = (sorted(summary[name].unique()) for name in ("qubits", "layers"))
    grid = np.full((len(qubits), len(layers)), math.nan)
    figure = Figure(figsize=(2.2 + 1.35 * len(layers), 1.7 + 0.95 * len(qubits)), layout="constrained")
    axes = figure.add_subplot()
    rows: Any = summary.to_dict("records")
    for row in rows:
        grid[qubits.index(row["qubits"]), layers.index(row["layers"])] = row[metric]
    colours = "viridis_r" if metric in LOWER_IS_BETTER else "viridis"
    image = axes.imshow(grid, cmap=colours, aspect="auto", origin="lower")
    axes.set_facecolor("#e9e9e9")  # where there is no number
    for row in rows:
        shade = image.cmap(image.norm(row[metric])) if not math.isnan(row[metric]) else (1.0, 1.0, 1.0)
        ink = "white" if np.dot(shade[:3], (0.299, 0.587, 0.114)) < 0.55 else "black"
        star = "★ " if (row["qubits"], row["layers"]) == (spot.best["qubits"], spot.best["layers"]) else ""
        centre = layers.index(row["layers"]), qubits.index(row["qubits"])
        axes.text(*centre, star + _label(row, metric, cost), ha="center", va="center", fontsize=9, color=ink)
    place = layers.index(spot.cheapest["layers"]) - 0.5, qubits.index(spot.cheapest["qubits"]) - 0.5
    axes.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor=_SPOT, linewidth=3.5, clip_on=False, zorder=3))
    axes.set_xticks(range(len(layers)), [str(n) for n in layers])
    axes.set_yticks(range(len(qubits)), [str(n) for n in qubits])
    axes.set_xlabel("layers")
    axes.set_ylabel("qubits a register")
    axes.set_title(f"{title}\nframe: sweet spot by {cost.replace('_', ' ')}, ★ best", fontsize=10)
    bar = figure.colorbar(image, ax=axes)
    bar.set_label(metric.replace("_", " ") + (", lower is better" if metric in LOWER_IS_BETTER else ""))
    return figure


def _label(row: Mapping[str, Any], metric: str, cost: str) -> str:
    if math.isnan(row[metric]):
        return "not built" if row["reason"] else "failed"
    spread = "" if math.isnan(row["std"]) else f"\n±{row['std']:.2g}"
    return f"{row[metric]:.3g}{spread}\n{row[cost]:,} {_SHORT[cost]}"


_SHORT = {
    "two_qubit_gates": "2q gates",
    "gates": "gates",
    "depth": "deep",
    "parameters": "weights",
    "total_qubits": "qubits",
}
