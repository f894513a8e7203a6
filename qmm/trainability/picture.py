"""Pictures: variance against qubits and, where several depths were measured, against depth."""

import math
from collections.abc import Mapping
from itertools import cycle

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qmm.trainability.estimates import ZERO, Estimate
from qmm.trainability.report import Row, Series

_LABELS = {"first": "Var of the first weight's gradient", "every": "Var of the gradient, mean over weights"}
_MARKERS = "osD^vPX*<>"


def against_qubits(rows: Mapping[Series, Row], which: str = "first") -> Figure:
    """A panel for each kind of circuits and depth (rows) and observable (columns); a line for each start, its slope beside it.

    Bars are 95 % bootstrap intervals; the grey line falls as 2**-n.
    """
    kinds = list(dict.fromkeys((key.circuits, key.depth) for key in rows))
    observables = list(dict.fromkeys(key.observable for key in rows))
    figure = Figure(figsize=(0.6 + 7.4 * len(observables), 0.5 + 3.7 * len(kinds)), layout="constrained")
    grid = figure.subplots(len(kinds), len(observables), squeeze=False)
    colours = _colours(list(dict.fromkeys(key.initialiser for key in rows)))
    for (circuits, depth), line in zip(kinds, grid, strict=True):
        for observable, axes in zip(observables, line, strict=True):
            own = {k: row for k, row in rows.items() if k[:3] == (circuits, depth, observable)}
            for key, row in own.items():
                colour, marker = colours[key.initialiser]
                label = f"{key.initialiser}: {_slope(row.slopes[which])}"
                _line(axes, row.variances[which], label, color=colour, marker=marker)
            _finish(axes, f"{circuits}, depth {depth}, {observable}", which, "qubits")
            _guide(axes, [row.variances[which] for row in own.values()])
            axes.legend(fontsize=7, title="ln Var per qubit", title_fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def against_depth(rows: Mapping[Series, Row], which: str = "first") -> Figure | None:
    """A panel for each kind of circuits, observable and start; a line for each number of qubits. None where no circuits have
    been measured at several depths."""
    panels: dict[tuple[str, str, str], dict[int, dict[int, Estimate]]] = {}
    for key, row in rows.items():
        for n, variance in row.variances[which].items():
            by_qubits = panels.setdefault((key.circuits, key.observable, key.initialiser), {})
            by_qubits.setdefault(n, {})[key.depth.layers(n)] = variance
    panels = {name: lines for name, lines in panels.items() if any(len(line) > 1 for line in lines.values())}
    if not panels:
        return None
    columns = min(3, len(panels))
    figure = Figure(figsize=(0.8 + 4.4 * columns, 3.6 * math.ceil(len(panels) / columns)), layout="constrained")
    grid = figure.subplots(math.ceil(len(panels) / columns), columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (name, lines) in zip(grid, panels.items(), strict=False):
        shades = colormaps["viridis"](np.linspace(0.9, 0.1, len(lines)))
        for (n, line), shade in zip(sorted(lines.items()), shades, strict=True):
            _line(axes, line, f"{n} qubits", color=shade, marker="o")
        _finish(axes, ", ".join(name), which, "layers")
        axes.legend(fontsize=7)
    return figure


def _line(axes: Axes, values: Mapping[int, Estimate], label: str, color: object, marker: str) -> None:
    """What is 0 has no place on a logarithmic axis, so the label says where."""
    places = [x for x in sorted(values) if values[x].value >= ZERO]
    if len(places) < len(values):
        label += f" (0 at {', '.join(str(x) for x in sorted(values) if x not in places)})"
    shown = np.array([values[x].value for x in places])
    low, high = (np.array([getattr(values[x], end) for x in places]) for end in ("low", "high"))
    bars = np.stack([np.maximum(shown - np.maximum(low, ZERO), 0), np.maximum(high - shown, 0)])
    axes.errorbar(places, shown, bars, label=label, color=color, marker=marker, markersize=4, linewidth=1.3, capsize=2)


def _guide(axes: Axes, lines: list[dict[int, Estimate]]) -> None:
    """2**-n, from the largest variance at the fewest qubits."""
    known = [line for line in lines if line]
    if not known:
        return
    least, most = min(min(line) for line in known), max(max(line) for line in known)
    top = max(line[least].value for line in known if least in line)
    places = np.array([least, most])
    axes.plot(places, top * 2.0 ** (least - places), color="grey", linestyle=":", linewidth=1, label="2$^{-n}$")


def _finish(axes: Axes, title: str, which: str, x: str) -> None:
    axes.set_yscale("log")
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(x)
    axes.set_ylabel(_LABELS[which], fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def _colours(names: list[str]) -> dict[str, tuple[object, str]]:
    palette = colormaps["tab10"].colors  # type: ignore[attr-defined]
    return dict(zip(names, zip(cycle(palette), cycle(_MARKERS)), strict=False))


def _slope(found: Estimate | None) -> str:
    return "no slope" if found is None else f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
