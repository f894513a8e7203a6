"""Vectors: from .npz and Parquet, and their mistakes one by one."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from qmm.data import VectorsDataModule
from qmm.errors import InputError

RNG = np.random.default_rng(0)
COLUMNS = {"text": "words", "vision": "video"}


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    return {
        "words": RNG.standard_normal((10, 4)).astype(np.float32),
        "video": RNG.standard_normal((10, 3)),
        "label": np.arange(10) % 2,
        "speaker": np.array(["a", "b", "c", "d", "e"] * 2),
        "split": np.array(["train"] * 6 + ["val"] * 2 + ["test"] * 2),
    }


def save(folder: Path, arrays: dict[str, np.ndarray], **arguments: Any) -> VectorsDataModule:
    np.savez(folder / "v.npz", **arrays)  # type: ignore[arg-type]
    return VectorsDataModule(str(folder / "v.npz"), COLUMNS, **arguments)


def fails(data: VectorsDataModule, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        data.setup("fit")
    for part in parts:
        assert part in str(caught.value)


def test_npz(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    data = save(tmp_path, arrays, classes=["bad", "good"], batch_size=4)
    data.setup("fit")
    assert data.modalities == ("text", "vision")
    assert data.classes == ["bad", "good"]
    batch = next(iter(data.val_dataloader()))
    assert batch.ids == ["6", "7"]
    np.testing.assert_array_equal(batch.inputs["text"].values, arrays["words"][6:8])
    np.testing.assert_array_equal(batch.inputs["vision"].values, arrays["video"][6:8].astype(np.float32))
    assert batch.inputs["text"].lengths is None
    assert batch.targets["label"].tolist() == [0, 1]


def test_labels_in_every_form(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    assert save(tmp_path, arrays).classes == ["0", "1"]
    arrays["label"] = np.array(["yes", "no"] * 5)
    assert save(tmp_path, arrays).classes == ["no", "yes"]
    data = save(tmp_path, arrays, classes=["yes", "no"])
    assert data.source.targets["label"].tolist() == [0, 1] * 5
    arrays["label"] = np.linspace(0, 1, 10)
    data = save(tmp_path, arrays, regression=True)
    assert data.classes is None
    np.testing.assert_allclose(data.source.targets["label"], np.linspace(0, 1, 10), rtol=1e-6)


@pytest.mark.parametrize("form", ["lists", "numbered"])
def test_parquet(tmp_path: Path, arrays: dict[str, np.ndarray], form: str) -> None:
    table: dict[str, Any] = {k: v for k, v in arrays.items() if v.ndim == 1}
    arrays["words"] = RNG.standard_normal((10, 12)).astype(np.float32)  # numbered columns must not be sorted as words
    for key in ("words", "video"):
        if form == "lists":
            table[key] = list(arrays[key])
        else:
            table |= {f"{key}_{i}": arrays[key][:, i] for i in range(arrays[key].shape[1])}
    pd.DataFrame(table).to_parquet(tmp_path / "v.parquet")
    data = VectorsDataModule(str(tmp_path / "v.parquet"), COLUMNS)
    data.setup("fit")
    for row in range(10):
        np.testing.assert_array_equal(data.source.raw("text", row), arrays["words"][row])
        np.testing.assert_array_equal(data.source.raw("vision", row), arrays["video"][row].astype(np.float32))
    assert {k: len(v) for k, v in data.rows.items()} == {"train": 6, "val": 2, "test": 2}


def test_a_null_in_parquet_is_a_missing_modality(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    table: dict[str, Any] = {k: list(v) for k, v in arrays.items()}
    table["words"][0] = table["video"][3] = None
    pd.DataFrame(table).to_parquet(tmp_path / "v.parquet")
    data = VectorsDataModule(str(tmp_path / "v.parquet"), COLUMNS, batch_size=6)
    data.setup("fit")
    batch = next(iter(data.plain_train_dataloader()))
    assert batch.present["text"].tolist() == [False] + [True] * 5
    assert batch.present["vision"].tolist() == [True] * 3 + [False] + [True] * 2
    table["video"][0] = None
    pd.DataFrame(table).to_parquet(tmp_path / "v.parquet")
    fails(VectorsDataModule(str(tmp_path / "v.parquet"), COLUMNS), "row 1 has none of its modalities")


def test_mistakes(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    def with_(**changes: Any) -> dict[str, Any]:
        return {k: v for k, v in {**arrays, **changes}.items() if v is not None}

    broken = arrays["video"].copy()
    broken[[2, 5], 1] = np.nan
    fails(save(tmp_path, with_(video=broken)), "'video' holds NaN or infinite numbers in row 3, 6")
    fails(save(tmp_path, with_(video=arrays["video"][:7])), "'video' has 7 rows, 'words' has 10")
    fails(save(tmp_path, with_(label=arrays["label"][:7])), "'label' has 7 rows, 'words' has 10")
    fails(save(tmp_path, with_(video=arrays["video"][:, 0])), "'video' has shape (10,), expected (rows, width)")
    fails(
        save(tmp_path, with_(video=None, vidoe=arrays["video"])),
        "no key 'video'; there are: words, label",
        "did you mean 'vidoe'?",
    )
    fails(save(tmp_path, arrays, group="speakers"), "no key 'speakers'", "did you mean 'speaker'?")
    fails(save(tmp_path, with_(split=np.array(["train"] * 9 + ["dev"]))), "row 10: unknown split 'dev'")
    fails(save(tmp_path, with_(label=arrays["label"] + 1), classes=["a", "b"]), "row 2, label: 2 is no place in `classes`")
    fails(save(tmp_path, with_(label=arrays["label"] / 3)), "row 1, label: expected a class, got 0.0; for numbers set")
    fails(save(tmp_path, with_(label=np.array(["a"] * 9 + ["b"]))), "row 10: unknown label 'b', which the training split lacks")
    fails(save(tmp_path, arrays, label=None), "`label` is null")
    fails(save(tmp_path, arrays, id="speaker"), "'speaker' names two rows alike")
    values = np.linspace(0, 1, 10)
    values[4] = np.inf
    fails(save(tmp_path, with_(label=values), regression=True), "row 5, label: expected a finite number, got inf")
    fails(VectorsDataModule(str(tmp_path / "v.npz"), {}), "`columns` is empty")


def test_broken_files(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    fails(VectorsDataModule(str(tmp_path / "none.npz"), COLUMNS), "no file", "none.npz")
    fails(VectorsDataModule(str(tmp_path / "none.parquet"), COLUMNS), "no file", "none.parquet")
    path = tmp_path / "v.npz"
    save(tmp_path, arrays)
    path.write_bytes(path.read_bytes()[:300])
    fails(VectorsDataModule(str(path), COLUMNS), "not a .npz file that can be read", "truncated")
    (tmp_path / "v.parquet").write_text("hello")
    fails(VectorsDataModule(str(tmp_path / "v.parquet"), COLUMNS), "not a .npz or Parquet file")


def test_a_pickle_is_never_opened(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "exploded").touch, ())

    data = save(tmp_path, {**arrays, "label": np.array([Bomb()] * 10, dtype=object)})
    fails(data, "'label' is pickled, and never opened")
    assert not (tmp_path / "exploded").exists()


def test_files_to_predict_on(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    del arrays["label"], arrays["split"]
    data = save(tmp_path, arrays, label=None, split=None, classes=["a", "b"])
    data.setup("predict")
    batch = next(iter(data.predict_dataloader()))
    assert len(batch.ids) == 10
    assert batch.targets == {}
    assert data.classes == ["a", "b"]
    with pytest.raises(InputError, match="this model reads vectors"):
        VectorsDataModule.for_files([{"image": "a.png"}])


@pytest.mark.data
def test_the_real_features(real_data: Path) -> None:
    """mosi-features: three modalities, and folds that keep every video on one side."""
    path = real_data / "mosi-features" / "train.npz"
    if not path.is_file():
        pytest.skip(f"the real data at {real_data} has no mosi-features/train.npz")
    columns = {"text": "text", "audio": "audio", "vision": "video"}
    data = VectorsDataModule(str(path), columns, label="labels", classes=["negative", "positive"], group="video_id", fold=0)
    data.setup("fit")
    assert len(data.rows["train"]) + len(data.rows["val"]) == 1245
    videos = np.array(data.source.groups)
    assert not set(videos[data.rows["train"]]) & set(videos[data.rows["val"]])
    batch = next(iter(data.train_dataloader()))
    assert {m: tuple(x.values.shape) for m, x in batch.inputs.items()} == {
        "text": (32, 100),
        "audio": (32, 73),
        "vision": (32, 100),
    }
    assert torch.unique(batch.targets["label"]).tolist() == [0, 1]
