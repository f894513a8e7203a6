"""Splits: shares, classes and groups."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmm.data.splits import fold_rows, make_groups, part_rows, split_rows
from qmm.errors import InputError


def joined(splits: dict[str, np.ndarray]) -> list[int]:
    return sorted(np.concatenate(list(splits.values())).tolist())


@given(st.integers(40, 120), st.integers(2, 4), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_stratified_shares(count: int, classes: int, seed: int) -> None:
    labels = np.arange(count) % classes
    splits = split_rows({"val": 0.25, "test": 0.25}, labels, None, count, seed)
    assert joined(splits) == list(range(count))
    for rows, share in zip(splits.values(), (0.5, 0.25, 0.25), strict=True):
        assert abs(len(rows) - share * count) <= 1.5
        assert np.abs(np.bincount(labels[rows], minlength=classes) - share * np.bincount(labels)).max() <= 2
    again = split_rows({"val": 0.25, "test": 0.25}, labels, None, count, seed)
    assert all((splits[name] == again[name]).all() for name in splits)


@given(st.integers(0, 99))
@settings(deadline=None, max_examples=15)
def test_grouped_shares_tear_nothing_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [f"g{g}" for g in rng.integers(0, 30, 200)]
    labels = rng.integers(0, 3, 200)
    splits = split_rows({"val": 0.2, "test": 0.1}, labels, groups, 200, seed)
    assert joined(splits) == list(range(200))
    owners = [{groups[row] for row in rows} for rows in splits.values()]
    assert sum(map(len, owners)) == len(set(groups))
    assert abs(len(splits["val"]) - 40) <= 8
    shares = np.bincount(labels[splits["val"]], minlength=3) / np.bincount(labels)
    assert np.abs(shares - 0.2).max() < 0.12


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("labelled", [False, True])
def test_folds_cover_the_training_split_once(grouped: bool, labelled: bool) -> None:
    rows = np.arange(10, 130)
    labels = np.arange(200) % 4 if labelled else None
    groups = [f"g{row // 3}" for row in range(200)] if grouped else None
    held = []
    for fold in range(5):
        kept, out = fold_rows(rows, labels, groups, fold, 5, seed=3)
        assert sorted([*kept, *out]) == rows.tolist()
        held.extend(out.tolist())
        if groups:
            assert not {groups[row] for row in kept} & {groups[row] for row in out}
        if labels is not None:
            assert np.bincount(labels[out]).min() >= 4
    assert sorted(held) == rows.tolist()


def test_groups_by_pattern() -> None:
    paths = ["audio/1-100-A-0.ogg", "audio/1-100-B-0.ogg", "audio/2-7-A-1.ogg"]
    assert make_groups(paths, r"\d-(\d+)-", "m") == ["100", "100", "7"]
    assert make_groups(paths, r"^audio/\d", "m") == ["audio/1", "audio/1", "audio/2"]
    assert make_groups(paths, None, "m") == paths
    with pytest.raises(InputError, match=r"m: row 2: group_pattern 'x\+' finds nothing in 'b'"):
        make_groups(["x", "b"], "x+", "m")
    with pytest.raises(InputError, match=r"group_pattern '\(' is not a regular expression"):
        make_groups(["x"], "(", "m")


@pytest.mark.parametrize("fractions", [{"val": 0.0}, {"val": -0.1}, {"val": 0.6, "test": 0.4}, {"dev": 0.2}])
def test_impossible_shares(fractions: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected 'val' and 'test' with positive shares"):
        split_rows(fractions, None, None, 10, 0)


def test_too_little_to_split() -> None:
    with pytest.raises(InputError, match=r"cannot hold out a share of 0\.2 of 3 rows"):
        split_rows({"val": 0.2}, np.array([0, 1, 2]), None, 3, 0)
    with pytest.raises(InputError, match="cannot be cut into 5 folds"):
        fold_rows(np.arange(3), np.array([0, 1, 1]), None, 0, 5, 0)
    with pytest.raises(InputError, match="fold 5 of 5: expected at least 2 folds, and a fold from 0 to folds - 1"):
        fold_rows(np.arange(30), None, None, 5, 5, 0)


@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 99))
def test_parts_lie_in_each_other_and_keep_the_classes_shares(count: int, classes: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, classes, 200)
    rows = np.arange(0, 120, 2)  # of a split; labels are those of all rows
    part, larger = part_rows(rows, labels, count, seed), part_rows(rows, labels, min(60, count + 7), seed)
    assert len(part) == count
    assert set(part) <= set(larger) <= set(rows)
    assert (np.diff(part) > 0).all()
    shares = np.bincount(labels[rows], minlength=classes) / len(rows)
    assert np.abs(np.bincount(labels[part], minlength=classes) - count * shares).max() <= classes
    assert set(part_rows(rows, None, count, seed)) <= set(part_rows(rows, None, min(60, count + 7), seed))


def test_parts_that_cannot_be() -> None:
    for count in (0, 5):
        with pytest.raises(InputError, match=f"train_size {count}: the training split has 4 rows"):
            part_rows(np.arange(4), None, count, 0)
