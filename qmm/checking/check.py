"""A data module -> a report on what it reads."""

from collections import Counter
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from qmm.checking.balance import class_balance, class_counts, group_leaks, group_sizes, presence, value_balance
from qmm.checking.contents import Contents, read_contents
from qmm.checking.duplicates import (
    blank_contents,
    constant_columns,
    narrow_vectors,
    near_contents,
    same_contents,
    same_samples,
)
from qmm.checking.finding import SEVERITIES, Finding, Rows, many, shown
from qmm.checking.likeness import MIN_WIDTH, find_alike
from qmm.errors import InputError

_SHOWN_CLASSES = 8
_NEEDED = ("source", "rows", "modalities", "skipped", "dropped")


class Report(NamedTuple):
    """What a data set holds, and what is wrong with it."""

    samples: dict[str, int]
    """By split, those that can be used."""
    present: dict[str, dict[str, int]]
    """Split -> modality -> rows."""
    different: dict[str, int]
    """Modality -> different contents."""
    classes: dict[str, dict[str, int]]
    """Split -> class -> rows; {} without classes."""
    groups: dict[str, int]
    """Split -> groups; {} where the data says nothing of groups."""
    findings: list[Finding]
    """The gravest first."""

    def number_of(self, severity: str) -> int:
        return sum(finding.severity == severity for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return self._asdict() | {"findings": [finding._asdict() for finding in self.findings]}

    def text(self, examples: int = 3) -> str:
        """A table of the splits, and a paragraph for each finding."""
        lines = [self._table().to_string(), ""]
        for finding in self.findings:
            lines.append(f"{finding.severity.upper():8}{finding.kind}: {finding.message}")
            lines += [f"{'':10}{_line(example)}" for example in finding.examples[:examples]]
        counts = ", ".join(many(self.number_of(severity), severity) for severity in SEVERITIES)
        return "\n".join([*lines, "" if self.findings else "nothing found", counts])

    def _table(self) -> pd.DataFrame:
        table = pd.DataFrame({"rows": self.samples})
        for modality in self.different:
            table[modality] = [self.present[split][modality] for split in table.index]
        if self.groups:
            table["groups"] = [self.groups[split] for split in table.index]
        counts = pd.DataFrame(self.classes).T.reindex(table.index)
        if 0 < len(counts.columns) <= _SHOWN_CLASSES:
            table = table.join(counts.add_prefix("= "))
        elif len(counts.columns):
            table["classes"] = (counts > 0).sum(axis=1)
            table["smallest"], table["largest"] = counts.min(axis=1), counts.max(axis=1)
        return table.astype("Int64")


def check(data: Any, exact: bool = False) -> Report:
    """Reads everything once, behind progress bars.

    Args:
        data: A MultimodalDataModule of qmm.data; one that reads files leaves bad rows out (`on_bad_sample: skip`).
        exact: Look for equal contents alone, not for what is alike.

    Raises InputError where the data cannot be read as a whole, or is none of ours.
    """
    if not all(hasattr(type(data), name) for name in _NEEDED):
        raise InputError(
            f"{type(data).__name__} does not say what its rows are; give a data module of qmm.data, or one derived from "
            "MultimodalDataModule"
        )
    source = data.source
    rows = _rows(data)
    if not rows.splits:  # not even bad rows are listed then
        raise InputError(_nothing(data))
    bad = {row: str(p.reason) for row, p in source.verify(_all(rows).tolist(), data.modalities, True).items()}
    contents = {m: _read(rows, source, m, set(bad)) for m in data.modalities}
    findings = [*_bad_rows(data, rows, bad), *group_leaks(rows), *same_samples(rows, contents)]
    for modality, own in contents.items():
        findings += [*_unreadable(rows, own), *blank_contents(rows, own), *constant_columns(rows, own)]
        if len(contents) > 1:
            findings += same_contents(rows, own)
        if exact:
            continue
        findings += near_contents(rows, own, find_alike(own, partial(source.raw, modality)))
        if narrow_vectors(own):
            message = f"vectors of {modality} have fewer than {MIN_WIDTH} numbers: too few to say which are alike"
            findings.append(Finding("note", "near-duplicate", message, 0, modality))
    findings += [*class_balance(rows), *value_balance(rows), *presence(rows)]
    return Report(
        {split: len(own) for split, own in rows.splits.items()},
        {split: {m: int(there[own].sum()) for m, there in rows.present.items()} for split, own in rows.splits.items()},
        {modality: len(own.items) for modality, own in contents.items()},
        class_counts(rows),
        group_sizes(rows),
        sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)),
    )


def _rows(data: Any) -> Rows:
    source = data.source
    return Rows(
        data.rows,
        {int(row): split for split, own in data.rows.items() for row in own},
        source.ids,
        source.targets.get("label"),
        source.classes,
        source.groups,
        {modality: source.present[modality] for modality in data.modalities},
        source.prompts,
    )


def _all(rows: Rows) -> Any:
    return np.sort(np.concatenate(list(rows.splits.values())))


def _read(rows: Rows, source: Any, modality: str, bad: set[int]) -> Contents:
    there = [int(row) for row in _all(rows) if rows.present[modality][row] and int(row) not in bad]
    return read_contents(source, modality, there)


def _bad_rows(data: Any, rows: Rows, bad: dict[int, str]) -> list[Finding]:
    """Rows that were left out, or should be."""
    listed = [problem._asdict() for problem in data.skipped]
    listed += [{"id": rows.ids[row], "reason": reason} for row, reason in bad.items()]
    gone = [problem for problem in listed if problem["reason"].casefold().startswith("no such file")]
    broken = [problem for problem in listed if problem not in gone]
    found = []
    if gone:
        message = f"{many(len(gone), 'row')} with a file that does not exist, left out of all below"
        found.append(Finding("fault", "missing", message, len(gone), None, shown(gone)))
    if broken:
        message = f"{many(len(broken), 'row')} with damaged files or fields, left out of all below"
        found.append(Finding("fault", "damaged", message, len(broken), None, shown(broken)))
    dropped = {split: count for split, count in data.dropped.items() if count}
    if dropped:
        message = f"rows without any of {', '.join(data.modalities)}: " + ", ".join(f"{n} in {s}" for s, n in dropped.items())
        found.append(Finding("note", "missing", message, sum(dropped.values())))
    return found


def _unreadable(rows: Rows, contents: Contents) -> list[Finding]:
    """What a source did not know of before it was asked for the content."""
    if not contents.unreadable:
        return []
    examples = shown({"id": rows.ids[row], "reason": reason} for row, reason in contents.unreadable.items())
    message = f"{contents.modality} of {many(len(contents.unreadable), 'row')} cannot be read"
    return [Finding("fault", "damaged", message, len(examples), contents.modality, examples)]


def _nothing(data: Any) -> str:
    source = data.source
    found = source.verify(sorted(int(row) for own in source.splits.values() for row in own), data.modalities, True)
    reasons = Counter(str(problem.reason) for problem in [*source.bad, *found.values()])
    listed = "; ".join(f"{count} rows: {reason}" for reason, count in reasons.most_common(3))
    return f"no row of the data can be used{': ' if listed else ''}{listed}"


def _line(example: Any) -> str:
    """An example on one line of the terminal."""
    parts = []
    for name, value in example.items():
        plain = (
            f"{value:.4f}"
            if isinstance(value, float)
            else ", ".join(map(str, value))
            if isinstance(value, list)
            else str(value)
        )
        parts.append(f"{name} {plain}")
    line = "; ".join(parts)
    return line if len(line) <= 160 else line[:157] + "..."
