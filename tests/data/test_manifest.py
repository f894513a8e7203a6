"""Manifests: what is read, and every mistake in them one by one with its message."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from PIL import Image

from qmm.data import ManifestDataModule, read_picture, read_sound
from qmm.errors import InputError
from qmm.types import Sound

Rows = list[dict[str, Any]]
Make = Callable[..., ManifestDataModule]


def fails(data: ManifestDataModule, *parts: str, stage: str = "fit") -> None:
    """`setup` raises InputError whose message holds every part."""
    with pytest.raises(InputError) as caught:
        data.setup(stage)
    for part in parts:
        assert part in str(caught.value)


def write_csv(path: Path, rows: Rows) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_good_manifest(make: Make, files: Path, rows: Rows) -> None:
    data = make(rows)
    data.setup("fit")
    assert data.classes == ["a", "b"]
    assert data.modalities == ("vision", "audio", "text")
    assert {split: used.tolist() for split, used in data.rows.items()} == {"train": [0, 1, 2, 3], "val": [4, 5], "test": [6, 7]}
    assert data.skipped == []
    source = data.source
    assert source.ids == [f"r{i}" for i in range(8)]
    assert torch.equal(source.raw("vision", 3), read_picture(files / "p3.png"))
    assert torch.equal(source.raw("audio", 3).waveform, read_sound(files / "s3.wav").waveform)
    assert source.raw("text", 3) == "sentence 3"
    assert data.raw_sample("r3").keys() == {"vision", "audio", "text"}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_csv_and_parquet_hold_the_same(make: Make, files: Path, rows: Rows, suffix: str) -> None:
    rows[1]["audio"], rows[2]["text"] = None, None
    expected = make(rows).source
    path = files / f"other.{suffix}"
    if suffix == "csv":
        write_csv(path, rows)
    else:
        pd.DataFrame(rows).to_parquet(path)
    got = ManifestDataModule(str(path)).source
    assert got.ids == expected.ids
    assert got.classes == expected.classes
    for modality in ("vision", "audio", "text"):
        assert got.present[modality].tolist() == expected.present[modality].tolist()
        there = np.flatnonzero(got.present[modality]).tolist()
        assert [got.key(modality, row) for row in there] == [expected.key(modality, row) for row in there]
    assert got.targets["label"].tolist() == expected.targets["label"].tolist()


def test_csv_keeps_words_that_look_like_missing_values(files: Path, rows: Rows) -> None:
    for row in rows:
        row["text"], row["label"] = "NA", "null" if row["label"] == "a" else "None"
    source = ManifestDataModule(str(write_csv(files / "m.csv", rows))).source
    assert source.raw("text", 0) == "NA"
    assert source.classes == ["None", "null"]


def test_columns_of_other_names_and_kinds(make: Make, rows: Rows) -> None:
    for i, row in enumerate(rows):
        row["left"], row["right"], row["words"] = row.pop("image"), f"p{7 - i}.png", row.pop("text")
    columns = {"left": "left", "right": "right", "text": "words"}
    data = make(rows, columns=columns, kinds={"left": "vision", "right": "vision"})
    assert data.modalities == ("left", "right", "text")
    assert torch.equal(data.source.raw("left", 0), data.source.raw("right", 7))
    fails(make(rows, columns=columns), "modality 'left': unknown kind 'left'", "vision, audio, text", "kinds: {left: vision}")


def test_keys_follow_the_content(make: Make, files: Path, rows: Rows) -> None:
    (files / "copy.png").write_bytes((files / "p0.png").read_bytes())
    rows[1]["image"] = "copy.png"
    rows[1]["text"] = rows[0]["text"]
    source = make(rows).source
    assert source.key("vision", 0) == source.key("vision", 1) != source.key("vision", 2)
    assert source.key("text", 0) == source.key("text", 1) != source.key("text", 2)
    before = source.key("audio", 0)
    soundfile.write(files / "s0.wav", np.ones(99) * 0.1, 8000)
    assert source.key("audio", 0) != before


def test_regression(make: Make, rows: Rows) -> None:
    for i, row in enumerate(rows):
        row["label"] = i / 2
    data = make(rows, regression=True)
    data.setup("fit")
    assert data.classes is None
    assert data.class_weights is None
    assert data.target_scale == (0.75, pytest.approx(np.std([0, 0.5, 1, 1.5])))
    data.connect({"text": len_tensor})
    targets = next(iter(data.val_dataloader())).targets["label"]
    assert targets.tolist() == [2.0, 2.5]
    assert targets.dtype == torch.float32
    rows[5]["label"] = "warm"
    fails(make(rows, regression=True), "row 6, field 'label'", "expected a number to regress on, got 'warm'")
    rows[5]["label"] = float("nan")
    fails(make(rows, regression=True), "row 6, field 'label'", "expected a finite number, got nan")


def test_classes_in_an_order_of_ones_own(make: Make, rows: Rows) -> None:
    assert make(rows, classes=["b", "a"]).source.targets["label"].tolist() == [1, 0] * 4
    fails(make(rows, classes=["b", "c"]), "row 1, field 'label'", "unknown label 'a', which `classes` lacks")
    for row in rows:
        row["label"] = {"a": 10, "b": 9}[row["label"]]
    assert make(rows).classes == ["9", "10"]


def test_no_such_manifest_and_wrong_kinds_of_files(files: Path) -> None:
    fails(ManifestDataModule(str(files / "none.jsonl")), "no manifest", "none.jsonl", ".jsonl, .csv or .parquet")
    (files / "m.txt").write_text("{}")
    fails(ManifestDataModule(str(files / "m.txt")), "a manifest is .jsonl, .csv, .parquet, not '.txt'")
    (files / "m.jsonl").write_text("\n")
    fails(ManifestDataModule(str(files / "m.jsonl")), "the manifest holds no row")
    (files / "m.jsonl").write_text('{"text": "a"}\n{"text": \n')
    fails(ManifestDataModule(str(files / "m.jsonl")), "row 2: not a JSON object", "one object a line")
    (files / "m.jsonl").write_text("[1, 2]\n")
    fails(ManifestDataModule(str(files / "m.jsonl")), "row 1: expected a JSON object, got list")
    (files / "m.jsonl").write_bytes(b'{"text": "\xff"}\n')
    fails(ManifestDataModule(str(files / "m.jsonl")), "not UTF-8")
    (files / "m.csv").touch()
    fails(ManifestDataModule(str(files / "m.csv")), "not a CSV file with a header")
    (files / "m.parquet").write_text("hello")
    fails(ManifestDataModule(str(files / "m.parquet")), "not a Parquet file")
    fails(ManifestDataModule(), "give either the `path` of a manifest or `rows` in memory")
    fails(ManifestDataModule(rows=[]), "`rows` is empty")


@pytest.mark.parametrize(
    ("arguments", "column", "hint"),
    [
        ({"label": "lable"}, "lable", "'label'"),
        ({"split": "spilt"}, "spilt", "'split'"),
        ({"group": "speaker"}, "speaker", "there are: id, split, image"),
        ({"id": "ids"}, "ids", "'id'"),
        ({"columns": {"vision": "images"}}, "images", "'image'"),
    ],
)
def test_a_column_that_is_not_there(make: Make, rows: Rows, arguments: dict[str, Any], column: str, hint: str) -> None:
    fails(make(rows, **arguments), f"manifest.jsonl: no column {column!r}", hint)


def test_no_column_of_a_modality(make: Make, rows: Rows) -> None:
    renamed = [{"foto" if k == "image" else k: v for k, v in row.items() if k not in ("audio", "text")} for row in rows]
    fails(make(renamed), "no column image, audio or text; name yours in `columns`", "foto")


def test_a_modality_that_is_not_there(make: Make, rows: Rows) -> None:
    fails(make(rows, modalities=["vison"]), "the data has no modality 'vison'", "did you mean 'vision'?")


# Mistakes of one row: how to make it in row 3, then what its message must hold.
def _missing(files: Path, row: dict[str, Any]) -> None:
    row["image"] = "none.png"


def _empty_file(files: Path, row: dict[str, Any]) -> None:
    (files / "s2.wav").write_bytes(b"")


def _cut_picture(files: Path, row: dict[str, Any]) -> None:
    path = files / "p2.png"
    path.write_bytes(path.read_bytes()[:-100])


def _cut_sound(files: Path, row: dict[str, Any]) -> None:
    path = files / "s2.wav"
    path.write_bytes(path.read_bytes()[:-100])


def _no_samples(files: Path, row: dict[str, Any]) -> None:
    soundfile.write(files / "s2.wav", np.zeros(0), 8000)


def _nan(files: Path, row: dict[str, Any]) -> None:
    soundfile.write(files / "s2.wav", np.full(50, np.nan), 8000, subtype="FLOAT")


def _no_picture(files: Path, row: dict[str, Any]) -> None:
    row["image"] = "s2.wav"


def _empty_caption(files: Path, row: dict[str, Any]) -> None:
    row["text"] = " \t"


def _empty_path(files: Path, row: dict[str, Any]) -> None:
    row["audio"] = " "


def _number(files: Path, row: dict[str, Any]) -> None:
    row["text"] = 3


def _no_label(files: Path, row: dict[str, Any]) -> None:
    row["label"] = None


def _nothing(files: Path, row: dict[str, Any]) -> None:
    row.update(image=None, audio=None, text=None)


def _double(files: Path, row: dict[str, Any]) -> None:
    row["id"] = "r0"


def _dots(files: Path, row: dict[str, Any]) -> None:
    Image.new("RGB", (4, 4)).save(files.parent / "outside.png")
    row["image"] = "../outside.png"


def _absolute(files: Path, row: dict[str, Any]) -> None:
    Image.new("RGB", (4, 4)).save(files.parent / "outside.png")
    row["image"] = str(files.parent / "outside.png")


def _link(files: Path, row: dict[str, Any]) -> None:
    Image.new("RGB", (4, 4)).save(files.parent / "outside.png")
    (files / "link.png").symlink_to(files.parent / "outside.png")
    row["image"] = "link.png"


def _null_byte(files: Path, row: dict[str, Any]) -> None:
    row["image"] = "a\0.png"


OUTSIDE = "the file lies outside of the allowed folder"
MISTAKES: dict[str, tuple[Callable[[Path, dict[str, Any]], None], str, str, str]] = {
    "missing file": (_missing, "image", "none.png", "no such file or directory; correct the path"),
    "empty file": (_empty_file, "audio", "s2.wav", "the file is empty (0 bytes)"),
    "truncated picture": (_cut_picture, "image", "p2.png", "truncated"),
    "truncated sound": (_cut_sound, "audio", "s2.wav", "the sound is truncated"),
    "zero length": (_no_samples, "audio", "s2.wav", "a sound of zero length"),
    "NaN": (_nan, "audio", "s2.wav", "50 of 50 samples are NaN or infinite"),
    "no picture": (_no_picture, "image", "s2.wav", "not a picture that Pillow reads"),
    "empty caption": (_empty_caption, "text", "manifest.jsonl", "an empty caption; write null"),
    "empty path": (_empty_path, "audio", "manifest.jsonl", "an empty path; write null"),
    "no string": (_number, "text", "manifest.jsonl", "expected a string, got 3 (int)"),
    "no label": (_no_label, "label", "manifest.jsonl", "no label; give one"),
    "nothing there": (_nothing, "image, audio, text", "manifest.jsonl", "none of its modalities"),
    "double id": (_double, "id", "manifest.jsonl", "id 'r0' already stands in row 1"),
    "dots": (_dots, "image", "../outside.png", OUTSIDE),
    "absolute": (_absolute, "image", "outside.png", OUTSIDE),
    "link": (_link, "image", "link.png", OUTSIDE),
    "null byte": (_null_byte, "image", "manifest.jsonl", "is not a path"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_bad_row_is_named(make: Make, files: Path, rows: Rows, mistake: str) -> None:
    spoil, field, file, reason = MISTAKES[mistake]
    spoil(files, rows[2])
    with pytest.raises(InputError) as caught:
        make(rows).setup("fit")
    message = str(caught.value)
    assert f"row 3, field {field!r}: " in message
    assert message.partition(": row 3")[0].endswith(file)
    assert reason.lower() in message.lower()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_bad_row_is_skipped(make: Make, files: Path, rows: Rows, mistake: str) -> None:
    spoil, field, file, reason = MISTAKES[mistake]
    spoil(files, rows[2])
    data = make(rows, on_bad_sample="skip")
    data.setup("fit")
    assert [(bad.row, bad.field) for bad in data.skipped] == [(3, field)]
    assert data.skipped[0].file.endswith(file)
    assert reason.lower() in data.skipped[0].reason.lower()
    assert data.rows["train"].tolist() == [0, 1, 3]
    data.connect({"vision": torch.mean, "audio": first_sample, "text": len_tensor})
    assert next(iter(data.plain_train_dataloader())).ids == ["r0", "r1", "r3"]


def len_tensor(text: str) -> torch.Tensor:
    return torch.tensor(len(text))


def first_sample(sound: Sound) -> torch.Tensor:
    return sound.waveform[0]


def test_the_first_bad_row_is_named_and_the_others_are_counted(make: Make, files: Path, rows: Rows) -> None:
    for i in (6, 4, 1):
        (files / f"p{i}.png").unlink()
    fails(make(rows), "row 2, field 'image'", "p1.png", "2 more rows are bad", "on_bad_sample: skip")


def test_a_file_of_several_rows_is_reported_in_each(make: Make, files: Path, rows: Rows) -> None:
    _nan(files, rows[2])
    rows[5]["audio"] = "s2.wav"
    data = make(rows, on_bad_sample="skip")
    assert data.rows["train"].tolist() == [0, 1, 3]
    assert [bad.row for bad in data.skipped] == [3, 6]


def test_headers_alone_are_checked_without_verify(make: Make, files: Path, rows: Rows) -> None:
    _cut_picture(files, rows[2])
    make(rows, verify=False).setup("fit")
    _no_picture(files, rows[3])
    fails(make(rows, verify=False), "row 4, field 'image'", "not a picture that Pillow reads")


def test_a_file_that_breaks_after_the_check_is_named(make: Make, files: Path, rows: Rows) -> None:
    data = make(rows)
    data.setup("fit")
    (files / "p2.png").unlink()
    with pytest.raises(InputError, match=r"p2\.png: row 3, field 'image': no such file"):
        data.source.raw("vision", 2)


def test_a_mended_file_is_checked_again(make: Make, files: Path, rows: Rows) -> None:
    good = (files / "p2.png").read_bytes()
    _cut_picture(files, rows[2])
    fails(make(rows), "row 3")
    (files / "p2.png").write_bytes(good)
    make(rows).setup("fit")


def test_in_memory_reads_each_file_once(make: Make, files: Path, rows: Rows) -> None:
    data = make(rows, in_memory=True)
    data.setup("fit")
    before = data.source.raw("vision", 0).clone(), data.source.raw("audio", 0).waveform.clone()
    for i in range(8):
        (files / f"p{i}.png").unlink()
        (files / f"s{i}.wav").unlink()
    data.source.raw("vision", 0).zero_()
    data.source.raw("audio", 0).waveform.zero_()
    assert torch.equal(data.source.raw("vision", 0), before[0])
    assert torch.equal(data.source.raw("audio", 0).waveform, before[1])


def test_root_opens_a_folder_above(make: Make, files: Path, rows: Rows) -> None:
    _dots(files, rows[2])
    data = make(rows, root="..")
    data.setup("fit")
    assert data.source.raw("vision", 2).shape == (3, 4, 4)
    rows[2]["image"] = "../../outside.png"
    fails(make(rows, root=".."), "row 3, field 'image'", OUTSIDE, str(files.parent))


def test_an_absolute_path_inside_of_root_is_fine(make: Make, files: Path, rows: Rows) -> None:
    rows[2]["image"] = str(files / "p2.png")
    make(rows).setup("fit")


def test_an_unknown_label_in_val(make: Make, rows: Rows) -> None:
    rows[4]["label"] = "bb"
    fails(make(rows), "row 5, field 'label'", "unknown label 'bb', which the training split lacks", "did you mean 'b'?")
    data = make(rows, on_bad_sample="skip")
    assert [bad.row for bad in data.skipped] == [5]
    assert data.rows["val"].tolist() == [5]


def test_an_unknown_split(make: Make, rows: Rows) -> None:
    rows[4]["split"] = "dev"
    for mode in ("raise", "skip"):
        fails(
            make(rows, on_bad_sample=mode),
            "row 5, field 'split': unknown split 'dev', expected one of train, val, test, predict",
            "split: {val: 0.2}",
        )


def test_no_rows_to_train_on(make: Make, rows: Rows) -> None:
    for row in rows:
        row["split"] = "test"
    data = make(rows, classes=["a", "b"])
    fails(data, "the data has no rows for split 'train'; its splits are: test (8 rows)")
    data.setup("test")


def test_jsonl_rows_are_numbered_by_line(files: Path, rows: Rows) -> None:
    _missing(files, rows[2])
    path = files / "m.jsonl"
    path.write_text("\n" + "\n\n".join(json.dumps(row) for row in rows))
    fails(ManifestDataModule(str(path)), "none.png: row 6, field 'image'")


def test_a_label_is_needed_except_to_predict(make: Make, rows: Rows) -> None:
    fails(make(rows, label=None), "`label` is null; name the labels' column")
    rows[6]["split"] = rows[7]["split"] = "predict"
    rows[6]["label"] = None
    data = make(rows)
    data.setup("fit")
    data.connect({"vision": torch.mean})
    batch = next(iter(data.predict_dataloader()))
    assert batch.ids == ["r6", "r7"]
    assert batch.targets == {}


def test_loose_files(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    outside = files.parent / "outside.png"
    Image.new("RGB", (4, 4), "red").save(outside)
    data = ManifestDataModule.for_files([{"image": "p0.png", "text": "hello"}, {"image": str(outside)}], classes=["a", "b"])
    data.setup("predict")
    assert data.classes == ["a", "b"]
    data.connect({"vision": torch.mean, "text": len_tensor})
    batch = next(iter(data.predict_dataloader()))
    assert batch.present["text"].tolist() == [True, False]
    assert batch.targets == {}
    assert batch.ids == ["1", "2"]
    fails(ManifestDataModule.for_files([{"image": "none.png"}]), "none.png: row 1, field 'image'", stage="predict")


def test_a_manifest_to_predict_on(files: Path) -> None:
    path = write_csv(files / "m.csv", [{"image": "p0.png"}, {"image": "p1.png"}])
    data = ManifestDataModule.for_files(path=str(path))
    data.setup("predict")
    assert data.rows["predict"].tolist() == [0, 1]
    assert data.classes is None


@pytest.mark.data
def test_the_real_scenes(real_data: Path) -> None:
    """av-scenes: folds by sound recording keep every recording on one side, and every class in both."""
    if not (real_data / "av-scenes").is_dir():
        pytest.skip(f"the real data at {real_data} has no folder av-scenes")
    data = ManifestDataModule(
        str(real_data / "av-scenes" / "manifest.jsonl"),
        root="..",
        columns={"vision": "image", "audio": "audio", "text": "caption"},
        group="audio",
        group_pattern=r"\d-(\d+)-",
        fold=1,
        folds=4,
    )
    data.setup("fit")
    assert data.classes is not None
    assert len(data.classes) == 12
    assert len(data.rows["train"]) + len(data.rows["val"]) == 720
    groups, labels = np.array(data.source.groups), data.source.targets["label"]
    assert not set(groups[data.rows["train"]]) & set(groups[data.rows["val"]])
    assert set(labels[data.rows["train"]]) == set(labels[data.rows["val"]]) == set(range(12))
    assert data.source.raw("audio", 0).waveform.shape == (80000,)
    assert data.source.raw("vision", 0).shape[0] == 3
    with pytest.raises(InputError, match=re.escape(OUTSIDE)):
        ManifestDataModule(str(real_data / "av-scenes" / "manifest.jsonl")).setup("fit")
