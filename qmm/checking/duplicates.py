"""Findings about contents: the same or nearly the same ones within and across splits, blank ones, contradictory labels."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from qmm.checking.contents import Contents
from qmm.checking.finding import Finding, Rows, Severity, many, shown
from qmm.checking.likeness import MIN_WIDTH, Alike


def blank_contents(rows: Rows, contents: Contents) -> list[Finding]:
    """Contents of which nothing can be learned."""
    found = []
    for reason, count in Counter(item.blank for item in contents.items if item.blank).items():
        own = [row for item in contents.items if item.blank == reason for row in item.rows]
        message = f"{contents.modality} of {many(len(own), 'row')} says nothing: {reason} ({count} different)"
        examples = shown({"id": rows.ids[row]} for row in own)
        found.append(Finding("warning", "blank", message, len(own), contents.modality, examples))
    return found


def constant_columns(rows: Rows, contents: Contents) -> list[Finding]:
    """Of vectors, in the training split."""
    train = set(rows.splits.get("train", np.empty(0, dtype=np.int64)).tolist())
    vectors = [item.fingerprint for item in contents.items if item.fingerprint is not None and train & set(item.rows)]
    if contents.kind != "vector" or len(vectors) < 2:
        return []
    constant = np.flatnonzero(np.ptp(np.stack(vectors), axis=0) == 0)
    if not len(constant):
        return []
    message = f"{len(constant)} of {len(vectors[0])} numbers of {contents.modality} are the same in every row of train"
    return [Finding("note", "constant", message, len(constant), contents.modality, [{"columns": constant.tolist()}])]


def same_samples(rows: Rows, contents: Mapping[str, Contents]) -> list[Finding]:
    """Rows that are equal in all they hold, prompts too."""
    digests: dict[int, list[str]] = {}
    telling: set[int] = set()  # rows that are not blank in all they hold
    for modality, own in contents.items():
        for item in own.items:
            for row in item.rows:
                digests.setdefault(row, []).append(f"{modality} {item.digest}")
            telling.update(item.rows if item.blank is None else ())
    telling -= {row for own in contents.values() for row in own.unreadable}
    together: dict[tuple[str, ...], list[int]] = {}
    for row, content in digests.items():
        if row in telling:
            prompt = rows.prompts[row] if rows.prompts is not None else ""
            together.setdefault((prompt, *content), []).append(row)
    sets = [sorted(own) for own in together.values() if len(own) > 1]
    found = _exact(rows, sets, "sample", None, "fault", "warning")
    labels = rows.labels
    if labels is not None and rows.classes is not None:
        torn = [own for own in sets if len({int(labels[row]) for row in own if labels[row] >= 0}) > 1]
        if torn:
            message = (
                f"{many(len(torn), 'set')} of equal samples with different labels; no model can be right about all of them"
            )
            named = ({"ids": [rows.ids[r] for r in own], "labels": [_name(rows, r) for r in own]} for own in torn)
            found.append(Finding("warning", "contradiction", message, len(torn), None, shown(named)))
    return found


def same_contents(rows: Rows, contents: Contents) -> list[Finding]:
    """Of one modality among several: rows that share a picture, a sound, a sentence or a vector."""
    sets = [sorted(item.rows) for item in contents.items if len(item.rows) > 1 and item.blank is None]
    across: Severity = "warning" if contents.kind == "sentence" else "fault"  # short sentences are said twice, sounds are not
    return _exact(rows, sets, f"content of {contents.modality}", contents.modality, across, "note")


def near_contents(rows: Rows, contents: Contents, alike: Alike) -> list[Finding]:
    """Of one modality: contents that are alike, and not equal."""
    split_of, scored = rows.split_of, set(rows.scored())
    across: list[Mapping[str, Any]] = []
    within: list[tuple[bool, Mapping[str, Any]]] = []
    held: set[int] = set()
    for pair in alike.pairs:
        first, second = contents.items[pair.first].rows, contents.items[pair.second].rows
        there, here = ({split_of[row]: row for row in reversed(own) if split_of[row] in scored} for own in (first, second))
        crossing = [(there[one], here[other]) for one in there for other in here if one != other]
        a, b = crossing[0] if crossing else (first[0], second[0])
        ids, splits = [rows.ids[a], rows.ids[b]], [split_of[a], split_of[b]]
        example = {"ids": ids, "splits": splits, "similarity": pair.similarity}
        if crossing:
            across.append(example)
            for own, others in ((first, here), (second, there)):
                held.update(row for row in own if split_of[row] in scored - {"train"} and others.keys() - {split_of[row]})
        else:
            within.append((_torn(rows, [*first, *second]), example))
    found = []
    modality, cut = contents.modality, " (and more: not all were looked at)" if alike.cut else ""
    if across:
        message = (
            f"{many(len(across), 'pair')} of {modality} nearly the same, in different splits, with "
            f"{many(len(held), 'row')} held out{cut}; look at them: where they are copies, the score on those rows is "
            "remembered, not learned"
        )
        found.append(Finding("warning", "near-duplicate", message, len(across), modality, shown(across)))
    if within:
        torn = sum(own for own, _ in within)
        message = f"{many(len(within), 'pair')} of {modality} nearly the same, within a split{cut}{_folds(torn)}"
        severity: Severity = "warning" if torn else "note"
        worst = shown(example for _, example in sorted(within, key=lambda own: not own[0]))
        found.append(Finding(severity, "near-duplicate", message, len(within), modality, worst))
    return found


def narrow_vectors(contents: Contents) -> bool:
    """Whether they are too short to say which are alike."""
    first = next((item.fingerprint for item in contents.items if item.fingerprint is not None), None)
    return contents.kind == "vector" and first is not None and len(first) < MIN_WIDTH


def _exact(
    rows: Rows, sets: Iterable[Sequence[int]], what: str, modality: str | None, across: Severity, within: Severity
) -> list[Finding]:
    """`across`, `within`: how severe it is that rows of a set stand in several splits, in one."""
    split_of, scored = rows.split_of, rows.scored()
    leaking: list[Sequence[int]] = []
    inside: list[Sequence[int]] = []
    for own in sets:
        there = {split_of[row] for row in own} & set(scored)
        (leaking if len(there) > 1 else inside).append(own)
    found = []
    if leaking:
        held = sum(split_of[row] not in ("train", "predict") for own in leaking for row in own)
        splits = ", ".join(split for split in scored if any(split_of[row] == split for own in leaking for row in own))
        message = (
            f"{many(len(leaking), what)} in several splits ({splits}), with {many(held, 'row')} held out; keep each in one "
            "split (`group`), or remove the copies"
        )
        found.append(Finding(across, "duplicate", message, len(leaking), modality, shown(_sets(rows, leaking))))
    if inside:
        torn = [own for own in inside if _torn(rows, own)]
        held = sum(len(own) for own in inside)
        message = f"{many(len(inside), what)} more than once within a split, in {held:,} rows" + _folds(len(torn))
        worst = sorted(inside, key=lambda own: not _torn(rows, own))
        severity = "warning" if torn else within
        found.append(Finding(severity, "duplicate", message, len(inside), modality, shown(_sets(rows, worst))))
    return found


def _torn(rows: Rows, own: Sequence[int]) -> bool:
    """Whether folds of the training split may tear these rows apart."""
    split_of = rows.split_of
    train = [row for row in own if split_of[row] == "train"]
    groups = {rows.groups[row] for row in train} if rows.groups is not None else {""}
    return len(train) > 1 and (len(groups) > 1 or "" in groups)


def _folds(torn: int) -> str:
    if not torn:
        return ""
    return f"; {torn:,} of them cross-validation may tear apart, into training and held-out fold: give them a common `group`"


def _sets(rows: Rows, sets: Iterable[Sequence[int]]) -> Iterable[Mapping[str, Any]]:
    split_of = rows.split_of
    return ({"ids": [rows.ids[row] for row in own[:20]], "splits": [split_of[row] for row in own[:20]]} for own in sets)


def _name(rows: Rows, row: int) -> str | None:
    label = int(rows.labels[row]) if rows.labels is not None else -1
    return rows.classes[label] if rows.classes is not None and label >= 0 else None
