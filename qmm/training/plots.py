"""The pictures of a run's folder: pure functions from numbers to matplotlib figures."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay
from torch import Tensor

from qmm.types import Sound

FAMILY = re.compile(r"(grounding|bleu|distinct|recall_\d+).*")
"""Metrics that share a panel."""


class Example(NamedTuple):
    """One scored sample, for people to look at."""

    inputs: Mapping[str, Any]
    """Raw inputs by modality: picture (3, H, W) in [0, 1], `Sound`, str, or a vector."""
    title: str
    right: bool | None = None
    """None where nobody judged."""


def confusion_matrix(targets: Sequence[int], predictions: Sequence[int], classes: Sequence[str]) -> Figure:
    """Rows are the truth, columns the prediction; each row is normalised, the cells say how many."""
    size = 2.5 + 0.45 * len(classes)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    labels = np.arange(len(classes))
    options: dict[str, Any] = {
        "labels": labels,
        "display_labels": classes,
        "xticks_rotation": "vertical",
        "cmap": "Blues",
        "ax": axes,
    }
    ConfusionMatrixDisplay.from_predictions(targets, predictions, colorbar=False, **options)
    axes.set(
        xlabel="predicted",
        ylabel="true",
        title=f"accuracy {np.mean(np.equal(targets, predictions)):.3f}, {len(targets)} samples",
    )
    return figure


def named_matrix(fact: str, targets: Sequence[str], named: Sequence[Sequence[str]]) -> Figure:
    """Rows are the true values of a fact, columns what sentences named: a value, none, several; shaded by the row's share."""
    values = sorted({*targets, *(value for row in named for value in row)})
    columns = [*values, "none", "several"]
    said = [row[0] if len(row) == 1 else "several" if row else "none" for row in named]
    counts = np.zeros((len(values), len(columns)), dtype=int)
    for target, column in zip(targets, said, strict=True):
        counts[values.index(target), columns.index(column)] += 1
    figure = Figure(figsize=(3.2 + 0.5 * len(columns), 2.4 + 0.45 * len(values)), layout="constrained")
    axes = figure.subplots()
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=color)
    axes.axvline(len(values) - 0.5, color="grey", linewidth=1)
    axes.set_xticks(range(len(columns)), columns, rotation=90)
    axes.set_yticks(range(len(values)), values)
    right = sum(t == s for t, s in zip(targets, said, strict=True)) / max(1, len(targets))
    axes.set(xlabel="named", ylabel="true", title=f"{fact}: {right:.3f} right, {len(targets)} samples")
    return figure


def regression_scatter(targets: Sequence[float], predictions: Sequence[float]) -> Figure:
    """Predicted against true values, with the diagonal."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(targets, predictions, s=10, alpha=0.6)
    ends = [min(*targets, *predictions), max(*targets, *predictions)]
    axes.plot(ends, ends, color="grey", linewidth=1)
    axes.set(xlabel="true", ylabel="predicted", title=f"{len(targets)} samples")
    return figure


def learning_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """One panel for each kind of number (loss, accuracy, angles, ...), its splits or modalities as lines, over epochs."""
    names = sorted({name for row in history for name in row if name.startswith(("train/", "val/", "angles/"))})
    panels: dict[str, list[str]] = {}
    for name in names:
        panels.setdefault(_panel(name), []).append(name)
    columns = min(3 if len(panels) < 13 else 4, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3 * rows), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, members) in zip(grid, panels.items(), strict=False):
        for name in members:
            points = [(row["epoch"], row[name]) for row in history if name in row]
            axes.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 3 else None)
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    return figure


def _panel(name: str) -> str:
    group, _, kind = name.partition("/")
    if group == "angles":
        return "angle spread (rad)"
    return kind.split("_")[0] if group == "train" else FAMILY.sub(r"\1", kind)


def examples(rows: Sequence[Example]) -> Figure:
    """A row for each sample, a column for each modality: picture, spectrogram, sentence; right ones green, wrong ones red."""
    colors = {True: "darkgreen", False: "firebrick", None: "black"}
    modalities = list(dict.fromkeys(m for row in rows for m in row.inputs))
    width = 58 * max(1, len(modalities))  # characters that fit above a row
    titles = ["\n".join(part for line in row.title.splitlines() for part in textwrap.wrap(line, width)) for row in rows]
    heights = [2.0 + 0.13 * title.count("\n") for title in titles]
    figure = Figure(figsize=(3.6 * max(1, len(modalities)), sum(heights)), layout="constrained")
    parts = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=heights).ravel()  # a title is as wide as its row
    for part, row, title in zip(parts, rows, titles, strict=True):
        for axes, modality in zip(part.subplots(1, max(1, len(modalities)), squeeze=False)[0], modalities, strict=False):
            _draw(axes, row.inputs.get(modality), modality)
        part.suptitle(title, x=0.01, ha="left", fontsize=8, color=colors[row.right])
    return figure


def _draw(axes: Axes, value: Any, modality: str) -> None:
    axes.set(xticks=[], yticks=[])
    if value is None:
        axes.text(0.5, 0.5, f"(no {modality})", ha="center", va="center", color="grey")
    elif isinstance(value, str):
        axes.text(0.5, 0.5, textwrap.fill(value, 32), ha="center", va="center", fontsize=8)
    elif isinstance(value, Sound):
        _spectrogram(axes, value)
    elif isinstance(value, Tensor) and value.ndim == 3:
        axes.imshow(value.permute(1, 2, 0).clamp(0, 1).numpy())
    else:
        axes.plot(np.asarray(value, dtype=float).ravel(), linewidth=0.7)
        axes.set_ylabel(modality, fontsize=7)


def _spectrogram(axes: Axes, sound: Sound) -> None:
    import librosa  # takes seconds to import; only here

    n_fft = min(1024, max(64, len(sound.waveform) // 4))
    hop = n_fft // 4
    n_mels = 40 if n_fft < 1024 else 64
    mel = librosa.feature.melspectrogram(
        y=sound.waveform.numpy(), sr=sound.sample_rate, n_fft=n_fft, hop_length=hop, n_mels=n_mels
    )
    seconds = len(sound.waveform) / sound.sample_rate
    axes.imshow(
        librosa.power_to_db(mel, ref=np.max), origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, n_mels)
    )
    axes.set_xticks([0, seconds], ["0", f"{seconds:.1f} s"], fontsize=6)
    axes.set_ylabel("mel band", fontsize=7)
