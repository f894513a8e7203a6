"""Findings about labels, presence and groups, which need no content."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, ks_2samp

from qmm.checking.finding import Finding, Rows, many, shown

UNEVEN = 3.0
"""The largest class over the smallest, from which accuracy flatters."""
FEW = 10
"""Training rows of a class, below which nothing is learned of it."""
_P, _V = 1e-3, 0.1  # a difference that is no accident, and that is large enough to matter (Cramer's V)


def group_leaks(rows: Rows) -> list[Finding]:
    """Groups that stand in several splits."""
    if rows.groups is None:
        return []
    where: dict[str, dict[str, int]] = {}
    for split in rows.scored():
        for row in rows.splits[split]:
            own = where.setdefault(rows.groups[row], {})
            own[split] = own.get(split, 0) + 1
    found = []
    ungrouped = sum(where.pop("", {}).values())
    if ungrouped:
        found.append(Finding("warning", "group leak", f"{many(ungrouped, 'row')} without a group", ungrouped))
    torn = {group: own for group, own in where.items() if len(own) > 1}
    if torn:
        held = sum(count for own in torn.values() for split, count in own.items() if split != "train")
        message = (
            f"{len(torn)} of {many(len(where), 'group')} in several splits, with {many(held, 'row')} held out: "
            "the score says little of new groups; split by group"
        )
        worst = sorted(torn.items(), key=lambda item: -sum(item[1].values()))
        found.append(Finding("fault", "group leak", message, len(torn), None, shown({"group": g, "rows": o} for g, o in worst)))
    return found


def class_counts(rows: Rows) -> dict[str, dict[str, int]]:
    """Split -> class -> rows; {} where there are no classes."""
    if rows.labels is None or rows.classes is None:
        return {}
    counts = {split: _counts(rows, split) for split in rows.scored()}
    return {split: dict(zip(rows.classes, own.tolist(), strict=True)) for split, own in counts.items()}


def class_balance(rows: Rows) -> list[Finding]:
    """Classes that lack rows, that outnumber others, or whose shares differ between splits."""
    if rows.labels is None or rows.classes is None or "train" not in rows.splits:
        return []
    names, found = list(rows.classes), []
    train = _counts(rows, "train")
    absent = [name for name, count in zip(names, train, strict=True) if count == 0]
    if absent:
        message = f"{many(len(absent), 'class')} without a row in train: {_listed(absent)}; leave out the name, or give rows"
        found.append(Finding("fault", "balance", message, len(absent)))
    few = [name for name, count in zip(names, train, strict=True) if 0 < count < FEW]
    if few:
        message = f"{many(len(few), 'class')} with fewer than {FEW} rows in train: {_listed(few)}"
        found.append(Finding("warning", "balance", message, len(few)))
    there = train[train > 0]
    if len(there) > 1 and there.max() >= UNEVEN * there.min():
        most, least = names[int(train.argmax())], names[int(np.where(train > 0, train, train.max() + 1).argmin())]
        message = (
            f"train holds {there.max() / there.min():.1f} times as many rows of {most!r} as of {least!r}: always saying the "
            f"former is right in {train.max() / train.sum():.1%}; report F1 or balanced accuracy"
        )
        found.append(Finding("warning", "balance", message, len(there)))
    for split in [split for split in rows.scored() if split != "train"]:
        own = _counts(rows, split)
        gone = [name for name, here, before in zip(names, own, train, strict=True) if before and not here]
        if gone:
            message = f"{many(len(gone), 'class')} without a row in {split}: {_listed(gone)}; nothing is measured of them there"
            found.append(Finding("warning", "balance", message, len(gone)))
        if differ := _differ(np.stack([train, own])):
            message = f"classes have other shares in {split} than in train ({differ})"
            found.append(Finding("warning", "balance", message, len(names)))
    return found


def value_balance(rows: Rows) -> list[Finding]:
    """For regression: values that never change, or are distributed otherwise where they are scored."""
    if rows.labels is None or rows.classes is not None or "train" not in rows.splits:
        return []
    train = rows.labels[rows.splits["train"]]
    train = train[np.isfinite(train)]
    if len(train) and np.ptp(train) == 0:
        return [Finding("fault", "balance", f"every target of train is {train[0]:g}; there is nothing to learn", len(train))]
    found = []
    for split in [split for split in rows.scored() if split != "train"]:
        own = rows.labels[rows.splits[split]]
        test = ks_2samp(train, own[np.isfinite(own)])
        if test.pvalue < _P and test.statistic > _V:
            message = f"targets are distributed otherwise in {split} than in train (Kolmogorov-Smirnov {test.statistic:.2f})"
            found.append(Finding("warning", "balance", message, len(own)))
    return found


def presence(rows: Rows) -> list[Finding]:
    """Modalities that a split lacks, and those whose absence tells the class."""
    found = []
    for modality, there in rows.present.items():
        shares = {split: float(there[rows.splits[split]].mean()) for split in rows.scored()}
        without = [split for split, share in shares.items() if share == 0]
        if without and any(shares.values()):
            message = f"{modality} is missing in all of {', '.join(without)}, and there in other splits"
            found.append(Finding("warning", "presence", message, len(without), modality))
        train = rows.splits.get("train")
        if train is None or rows.labels is None or rows.classes is None:
            continue
        own = train[rows.labels[train] >= 0]
        table = np.stack(
            [np.bincount(rows.labels[own][there[own] == here], minlength=len(rows.classes)) for here in (True, False)]
        )
        if differ := _differ(table):
            message = f"whether {modality} is missing tells something of the class ({differ}): models will learn that"
            found.append(Finding("warning", "presence", message, int(table[1].sum()), modality))
    return found


def _counts(rows: Rows, split: str) -> NDArray[np.int64]:
    assert rows.labels is not None  # asked before
    assert rows.classes is not None
    labels = rows.labels[rows.splits[split]]
    return np.bincount(labels[labels >= 0], minlength=len(rows.classes))


def _differ(table: NDArray[np.int64]) -> str:
    """(2, C) counts: how much the two rows' shares differ; "" where chance explains it, or where it is little."""
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2 or (table.sum(axis=1) == 0).any():
        return ""
    test = chi2_contingency(table)
    v = float(np.sqrt(test.statistic / table.sum()))  # of two rows
    return f"Cramer's V {v:.2f}, p {test.pvalue:.1g}" if test.pvalue < _P and v > _V else ""


def _listed(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def group_sizes(rows: Rows) -> dict[str, int]:
    """Split -> number of groups; {} where there are none."""
    if rows.groups is None:
        return {}
    return {split: len(Counter(rows.groups[row] for row in own)) for split, own in rows.splits.items()}
