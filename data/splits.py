"""Who is trained on and who is held out: stratified by class, or whole groups (speakers, recordings) at a time."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.model_selection import (
    BaseCrossValidator,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
)

from qmm.errors import InputError


def make_groups(values: Sequence[str], pattern: str | None, where: str) -> list[str]:
    """The group of each row: the value, or what `pattern` finds in it (its first bracket, else the whole match)."""
    if pattern is None:
        return list(values)
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"group_pattern {pattern!r} is not a regular expression: {error}") from error
    groups = []
    for row, value in enumerate(values):
        match = compiled.search(value)
        if match is None:
            raise InputError(f"{where}: row {row + 1}: group_pattern {pattern!r} finds nothing in {value!r}; correct it")
        groups.append(match.group(1 if compiled.groups else 0))
    return groups


def split_rows(
    fractions: Mapping[str, float], labels: np.ndarray | None, groups: Sequence[str] | None, count: int, seed: int
) -> dict[str, np.ndarray]:
    """Rows 0 .. count-1 by split; "train" is what the fractions of "val" and "test" leave.

    Stratified by `labels` where given; with `groups` no group is torn apart, and the shares are as near as whole groups allow.
    """
    if not set(fractions) <= {"val", "test"} or not all(f > 0 for f in fractions.values()) or sum(fractions.values()) >= 1:
        raise InputError(
            f"split fractions {dict(fractions)}: expected 'val' and 'test' with positive shares that leave something "
            "to train on, such as {val: 0.2, test: 0.1}"
        )
    splits, rest = {}, np.arange(count)
    for name, fraction in fractions.items():
        share = fraction * count / len(rest)
        own_labels = None if labels is None else labels[rest]
        held = _hold_out(share, own_labels, None if groups is None else np.array(groups)[rest], len(rest), seed)
        splits[name] = np.sort(rest[held])
        rest = np.delete(rest, held)
    return {"train": np.sort(rest), **splits}


def fold_rows(
    rows: np.ndarray, labels: np.ndarray | None, groups: Sequence[str] | None, fold: int, folds: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cut `rows` (the training split) into `folds` parts; return the rows outside and inside of part `fold`."""
    if folds < 2 or not 0 <= fold < folds:
        raise InputError(f"fold {fold} of {folds}: expected at least 2 folds, and a fold from 0 to folds - 1")
    own_labels = None if labels is None else labels[rows]
    own_groups = None if groups is None else np.array(groups)[rows]
    splitter: BaseCrossValidator
    if own_groups is not None:
        grouped = GroupKFold if own_labels is None else StratifiedGroupKFold
        splitter = grouped(folds, shuffle=True, random_state=seed)
    else:
        splitter = (KFold if own_labels is None else StratifiedKFold)(folds, shuffle=True, random_state=seed)
    try:
        parts = list(splitter.split(np.zeros(len(rows)), own_labels, own_groups))
    except ValueError as error:
        raise InputError(f"the training split cannot be cut into {folds} folds: {error}") from error
    kept, held = parts[fold]
    return rows[kept], rows[held]


def part_rows(rows: np.ndarray, labels: np.ndarray | None, count: int, seed: int) -> np.ndarray:
    """`count` of `rows`, stratified by class as far as whole rows allow; a smaller part lies in every larger one."""
    if not 1 <= count <= len(rows):
        raise InputError(
            f"train_size {count}: the training split has {len(rows)} rows; give a number from 1 to that, or leave it out"
        )
    order = rows[np.random.default_rng(seed).permutation(len(rows))]
    if labels is None:
        return np.sort(order[:count])
    _, classes, sizes = np.unique(labels[order], return_inverse=True, return_counts=True)
    turn = np.empty(len(order))
    for own, size in enumerate(sizes):
        turn[classes == own] = (np.arange(size) + 0.5) / size  # each class is spread evenly over the whole order
    return np.sort(order[np.argsort(turn, kind="stable")[:count]])


def _hold_out(share: float, labels: np.ndarray | None, groups: np.ndarray | None, count: int, seed: int) -> np.ndarray:
    places = np.zeros(count)
    try:
        if groups is None:
            kind = ShuffleSplit if labels is None else StratifiedShuffleSplit
            return next(iter(kind(1, test_size=share, random_state=seed).split(places, labels)))[1]
        # whole groups cannot be stratified exactly: of many random draws take the one with the nearest class counts
        draws = GroupShuffleSplit(200, test_size=share, random_state=seed).split(places, groups=groups)
        classes = np.zeros(count, dtype=np.int64) if labels is None else np.unique(labels, return_inverse=True)[1]
        wanted = share * np.bincount(classes)
        return min(
            (held for _, held in draws),
            key=lambda held: np.abs(np.bincount(classes[held], minlength=len(wanted)) - wanted).sum(),
        )
    except ValueError as error:
        raise InputError(f"cannot hold out a share of {share:.3g} of {count} rows: {error}") from error
