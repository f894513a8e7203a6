"""Collation: every pattern of missing modalities, padding, cached features, and inputs that do not fit."""

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qmm.data import Sample, collate
from qmm.errors import InputError
from qmm.types import Features, Padded

MODALITIES = ("vision", "audio", "text")


def make_inputs(row: int) -> dict[str, Any]:
    return {
        "vision": torch.full((3, 2, 2), row + 1.0),
        "audio": torch.arange(1, row + 3, dtype=torch.float32),
        "text": Features(torch.full((4,), row + 1.0)),
    }


@pytest.mark.parametrize("pattern", list(product(*[list(product([False, True], repeat=3))[1:]] * 2)))
def test_every_missing_pattern_of_two_samples(pattern: tuple[tuple[bool, ...], ...]) -> None:
    samples = []
    for row, there in enumerate(pattern):
        own = {m: value for (m, value), has in zip(make_inputs(row).items(), there, strict=True) if has}
        samples.append(Sample(f"s{row}", own, {"label": row}))
    batch = collate(samples, MODALITIES)
    assert batch.ids == ["s0", "s1"]
    assert batch.targets["label"].tolist() == [0, 1]
    assert batch.targets["label"].dtype == torch.int64
    for place, modality in enumerate(MODALITIES):
        present = [there[place] for there in pattern]
        assert batch.present[modality].tolist() == present
        assert batch.present[modality].dtype == torch.bool
        inputs = batch.inputs[modality]
        if not any(present):
            assert inputs is None
            continue
        assert isinstance(inputs, Features if modality == "text" else Padded)
        assert len(inputs[0]) == 2
        for row in range(2):
            expected = make_inputs(row)[modality]
            values = expected.pooled if isinstance(expected, Features) else expected
            got = inputs[0][row]
            if not present[row]:
                assert not got.any()
            elif modality == "audio":
                length = len(got) if inputs[1] is None else int(inputs[1][row])
                assert torch.equal(got[:length], values)
                assert not got[length:].any()
            else:
                assert torch.equal(got, values)


@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=1, max_size=6))
@settings(deadline=None)
def test_padding_can_be_undone(lengths: list[int | None]) -> None:
    columns = [None if n is None else torch.arange(1, n + 1) for n in lengths]
    samples = [Sample(str(i), {} if c is None else {"text": c}, {}) for i, c in enumerate(columns)]
    batch = collate(samples, ["text"])
    inputs = batch.inputs["text"]
    if all(n is None for n in lengths):
        assert inputs is None
        return
    assert isinstance(inputs, Padded)
    assert inputs.values.dtype == torch.int64
    assert (inputs.lengths is None) == (len({n for n in lengths if n is not None}) == 1)
    for row, column in enumerate(columns):
        if column is not None:
            end = len(inputs.values[row]) if inputs.lengths is None else int(inputs.lengths[row])
            assert torch.equal(inputs.values[row, :end], column)
            assert not inputs.values[row, end:].any()


def test_cached_tokens_are_padded_with_their_mask() -> None:
    long = Features(torch.ones(4), torch.ones(3, 4), torch.tensor([True, False, True]))
    short = Features(torch.ones(4), torch.ones(2, 4))
    batch = collate([Sample("a", {"text": long}, {}), Sample("b", {}, {}), Sample("c", {"text": short}, {})], ["text"])
    inputs = batch.inputs["text"]
    assert isinstance(inputs, Features)
    assert inputs.tokens is not None
    assert inputs.mask is not None
    assert inputs.pooled.tolist() == [[1.0] * 4, [0.0] * 4, [1.0] * 4]
    assert inputs.tokens.shape == (3, 3, 4)
    assert inputs.mask.tolist() == [[True, False, True], [False] * 3, [True, True, False]]


def test_targets_of_a_regression_are_floats() -> None:
    batch = collate([Sample("a", {}, {"label": 1.5}), Sample("b", {}, {"label": 2.0})], [])
    assert batch.targets["label"].dtype == torch.float32


def test_inputs_that_do_not_fit() -> None:
    with pytest.raises(InputError, match=r"sample 'b': text is a str that nobody made a tensor of; .*data\.connect"):
        collate([Sample("a", {}, {}), Sample("b", {"text": "hello"}, {})], ["text"])  # type: ignore[dict-item]
    samples = [Sample("a", {"vision": torch.ones(3, 4, 4)}, {}), Sample("b", {"vision": torch.ones(3, 5, 4)}, {})]
    with pytest.raises(InputError, match=r"vision: shapes differ within a batch \('a' \(3, 4, 4\), 'b' \(3, 5, 4\)\)"):
        collate(samples, ["vision"])
