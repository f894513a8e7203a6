"""A picture of a comparison of backends."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

_SCORES = ("accuracy", "grounding", "recall@1", "f1", "mae")


def picture(table: pd.DataFrame) -> Figure:
    """Error of the values, and score, of each backend: a bar for the mean over seeds, a dot for each seed."""
    names = list(dict.fromkeys(table["backend"]))
    score = next((name for name in _SCORES if name in table), None)
    panels = [("error", "mean |error| of the expectation values")] + ([(score, score)] if score else [])
    figure = Figure(figsize=(4.6 * len(panels) + 1.8, 1.2 + 0.34 * len(names)), layout="constrained")
    shared: Any = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (column, label) in zip(shared, panels, strict=True):
        means = [table.loc[table["backend"] == name, column].mean() for name in names]
        axes.barh(range(len(names)), means, color="#9ec5e8")
        for place, name in enumerate(names):
            values = table.loc[table["backend"] == name, column]
            axes.plot(values, [place] * len(values), "o", color="#1c4e80", markersize=3.5)
        axes.set_xlabel(label)
        axes.grid(axis="x", alpha=0.3)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    shared[0].set_yticks(range(len(names)), names)
    shared[0].set_ylim(len(names) - 0.4, -0.6)
    return figure
