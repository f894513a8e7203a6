"""How the plots look: one panel of a phone's width, light or dark, every series by colour, marker and dash."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

INK, MUTED, RULE, PAPER = "#1b1f24", "#57606a", "#d0d7de", "#ffffff"
SERIES = ("#1f5fbf", "#b45309", "#15803d", "#a21caf", "#0e7490", "#b91c1c", "#5f6b00", "#475569")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", ":", "-.")
VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", PAPER: "--paper"} | {
    colour: f"--series-{place}" for place, colour in enumerate(SERIES, 1)
}
"""What the page's style sheet calls these colours; it has others of its own for the dark."""
WIDTH = 5.0
"""Inches, 360 points: as wide as a phone, so that letters keep their size there."""

RC: dict[Any, Any] = {
    "text.parse_math": False,
    "font.size": 10.5,
    "axes.titlesize": 11,
    "axes.labelsize": 10.5,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.handlelength": 3,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
}


@contextmanager
def plain_names() -> Iterator[None]:
    """An arm called $x is no formula."""
    with mpl.rc_context({"text.parse_math": False}):
        yield


class Look(NamedTuple):
    """Of one series; 32 of them differ without colour."""

    color: str
    marker: str
    linestyle: str


def look(place: int) -> Look:
    n = len(MARKERS)
    return Look(SERIES[place % len(SERIES)], MARKERS[place % n], DASHES[(place // n) % len(DASHES)])


@contextmanager
def any_letters() -> Iterator[None]:
    """Names in scripts that Matplotlib's font lacks are no reason to warn: in a page the reader's own fonts have them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


@contextmanager
def styled() -> Iterator[None]:
    """A context, or a decorator of what draws."""
    with mpl.rc_context(RC):
        yield


def panel(height: float) -> tuple[Figure, Axes]:
    """One plot of a phone's width."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=1, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def legend_below(figure: Figure, axes: Axes, count: int) -> None:
    """Outside, so that it hides nothing; grows the figure by what it needs."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    columns = 2 if max(map(len, labels)) <= 20 and count > 1 else 1
    rows = -(-len(labels) // columns)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.2 * rows + 0.1)
    short = [shortened(label, 20 if columns == 2 else 46) for label in labels]
    figure.legend(handles, short, loc="outside lower left", ncols=columns)


def shortened(text: str, width: int = 44) -> str:
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def logarithmic(axis: Any) -> None:
    """1,000 in place of 10 to the power of 3: no formula to set; at least two numbers, however short the axis."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
    axis.set_major_formatter(FuncFormatter(_plain))
    axis.set_minor_formatter(FuncFormatter(lambda value, place: ""))


def _plain(value: float, place: int | None = None) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def whole_numbers(axis: mpl.axis.Axis) -> None:
    axis.set_major_locator(MaxNLocator(integer=True, nbins=6))
