"""Contents exchanged between samples: nobody keeps its own, targets stay, training is as it was."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qmm.data import ManifestDataModule, ManifestSource, ScenesDataModule
from qmm.data.shuffling import exchange
from qmm.errors import InputError
from qmm.types import Features


def texts(contents: list[str]) -> ManifestSource:
    return ManifestSource(None, [{"text": text} for text in contents], label=None, split=None)


@given(st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=30), st.integers(0, 3))
@settings(deadline=None)
def test_each_content_is_given_away_once_to_somebody_who_has_another(contents: list[str], seed: int) -> None:
    rows = np.arange(len(contents))
    got = exchange(texts(contents), "text", rows, seed)
    assert sorted(got) == sorted(got.values()) == rows.tolist()
    kept = sum(contents[row] == contents[other] for row, other in got.items())
    largest = max(Counter(contents).values())
    assert kept == max(0, 2 * largest - len(contents))  # the least that is possible
    assert all(row != other for row, other in got.items())
    assert got == exchange(texts(contents), "text", rows, seed)


def test_the_exchange_is_random() -> None:
    source = texts([str(i) for i in range(400)])
    first, second = (exchange(source, "text", np.arange(400), seed) for seed in (0, 1))
    assert sum(first[row] == second[row] for row in range(400)) < 12
    assert abs(np.corrcoef(list(first), list(first.values()))[0, 1]) < 0.2


def test_a_single_sample_has_nobody() -> None:
    assert exchange(texts(["a"]), "text", np.arange(0), 0) == {}
    with pytest.raises(InputError, match="text cannot be shuffled: a single sample"):
        exchange(texts(["a"]), "text", np.arange(1), 0)


def make(**options: Any) -> ScenesDataModule:
    data = ScenesDataModule(size=30, val_size=40, test_size=20, picture_size=8, sound_seconds=0.2, **options)
    data.setup("fit")
    data.connect({"vision": torch.mean, "text": _length})
    return data


def _length(text: str) -> torch.Tensor:
    return torch.tensor(float(sum(map(ord, text))))


def _samples(loader: Any) -> list[Any]:
    return list(loader.dataset)


@pytest.mark.parametrize("loader", ["val_dataloader", "test_dataloader", "predict_dataloader"])
def test_only_the_shuffled_modality_moves(loader: str) -> None:
    plain, other = (_samples(getattr(make(captions=True, missing=0.3, **o), loader)()) for o in ({}, {"shuffled": ["text"]}))
    moved = 0
    for a, b in zip(plain, other, strict=True):
        assert a.id == b.id
        assert a.targets == b.targets
        assert a.inputs.keys() == b.inputs.keys()
        assert a.inputs.get("vision") == b.inputs.get("vision")
        moved += "text" in a.inputs and bool(a.inputs["text"] != b.inputs["text"])
    assert moved == sum("text" in sample.inputs for sample in plain)
    assert Counter(float(s.inputs["text"]) for s in plain if "text" in s.inputs) == Counter(
        float(s.inputs["text"]) for s in other if "text" in s.inputs
    )


def test_training_is_as_it_was() -> None:
    plain, other = make(), make(shuffled=["vision", "text"])
    for loader in ("train_dataloader", "plain_train_dataloader"):
        for a, b in zip(getattr(plain, loader)(), getattr(other, loader)(), strict=True):
            assert a.ids == b.ids
            assert all(torch.equal(a.inputs[m].values, b.inputs[m].values) for m in ("vision", "text"))


def test_reports_show_what_the_model_gets() -> None:
    plain, other = make(), make(shuffled=["text"])
    for split, name in (("train", "train-00003"), ("val", "val-00003")):
        a, b = plain.raw_sample(name), other.raw_sample(name)
        assert torch.equal(a["vision"], b["vision"])
        assert (a["text"] == b["text"]) == (split == "train")
    shown = {sample.id: sample.inputs["text"] for sample in _samples(other.val_dataloader())}
    assert all(_length(other.raw_sample(name)["text"]) == value for name, value in shown.items())


def test_cached_features_move_too() -> None:
    data = make(shuffled=["text"])
    keys = [data.source.key("text", row) for row in data.rows["val"]]
    data.cached["text"] = {key: Features(torch.tensor([float(i)])) for i, key in enumerate(keys)}
    got = [sample.inputs["text"].pooled.item() for sample in _samples(data.val_dataloader())]
    assert sorted(got) == list(range(40))
    assert all(value != place for place, value in enumerate(got))


def test_a_modality_that_is_not_there(make_rows: Callable[[int], list[dict[str, Any]]]) -> None:
    data = ManifestDataModule(rows=make_rows(4), label=None, captions="text", shuffled=["adio"])
    with pytest.raises(InputError, match="no modality 'adio'"):
        data.setup("fit")


@pytest.fixture
def make_rows() -> Callable[[int], list[dict[str, Any]]]:
    return lambda count: [{"split": "train", "text": f"sentence {i}"} for i in range(count)]
