"""What was taken for what, from the predictions of every cell."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from qmm.study.report import figures
from qmm.study.report.parts import Picture, Section, Table, counted
from qmm.study.report.reading import largest, records

MOST_CLASSES = 20
"""With more, a matrix is no picture for a page."""
_SHOWN = 4
"""Matrices; those of other arms are folded away."""


def counts(samples: pd.DataFrame, classes: Sequence[Any]) -> np.ndarray:
    """(C, C): how often each class (row) was taken for each (column)."""
    place = {name: k for k, name in enumerate(classes)}
    found = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(found, (samples["target"].map(place).to_numpy(), samples["prediction"].map(place).to_numpy()), 1)
    return found


def section(arms: Sequence[str], table: pd.DataFrame) -> Section | None:
    """A matrix for each arm, summed over seeds; None where predictions are no classes, or of too many."""
    if "predictions" not in table:
        return None
    table = largest(table)
    samples = {
        arm: pd.DataFrame([one for own in table.loc[table["arm"] == arm, "predictions"] for one in records(own)])
        for arm in arms
    }
    samples = {arm: own for arm, own in samples.items() if {"target", "prediction"} <= set(own)}
    values = {value for own in samples.values() for value in (*own["target"], *own["prediction"])}
    if not 2 <= len(values) <= MOST_CLASSES or not all(isinstance(value, (str, int, bool, np.integer)) for value in values):
        return None
    classes = sorted(values, key=lambda value: (isinstance(value, str), value))
    names = [str(value) for value in classes]
    pictures, numbers = [], []
    for place, (arm, own) in enumerate(samples.items(), 1):
        found = counts(own, classes)
        seeds = int((table["arm"] == arm).sum())
        title = f"{arm}: {np.trace(found) / found.sum():.3f} right, {counted(seeds, 'seed')}"
        picture = Picture(f"confusion-{place}", title, _in_words(found, names, arm), figures.confusion(found, names, title))
        pictures.append(picture)
        numbers += [(arm, names[r], names[c], int(n)) for (r, c), n in np.ndenumerate(found)]
    heads = ("arm", "true", "predicted", "count")
    text = "Rows are the truth, columns what was predicted, summed over seeds; the columns bear the rows' numbers."
    rows = [(arm, true, said, f"{n:,}") for arm, true, said, n in numbers if n and true != said]
    caption = "The commonest mistakes: at most ten of each arm"
    shown = [
        row
        for arm in samples
        for row in sorted((r for r in rows if r[0] == arm), key=lambda r: -int(r[3].replace(",", "")))[:10]
    ]
    mistakes = Table("confusion", caption, heads, shown, pd.DataFrame(numbers, columns=list(heads)))
    return Section(
        "confusion",
        "What was taken for what",
        [text],
        pictures=pictures[:_SHOWN],
        more_pictures=pictures[_SHOWN:],
        more_tables=[mistakes],
    )


def _in_words(found: np.ndarray, names: Sequence[str], arm: str) -> str:
    recall = np.diag(found) / found.sum(1).clip(min=1)
    each = ", ".join(f"{name} {share:.0%}" for name, share in zip(names, recall, strict=True))
    return f"Confusion matrix of {arm}, {found.sum():,} predictions. Right of each class: {each}."
