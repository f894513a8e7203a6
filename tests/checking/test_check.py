"""`qmm data check` finds what is planted, and nothing where nothing is."""

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image
from scipy.ndimage import gaussian_filter

from qmm.checking import Finding, Report, check
from qmm.data import ManifestDataModule, ScenesDataModule, VectorsDataModule
from qmm.errors import InputError

Qmm = Callable[..., Any]
Rows = list[dict[str, Any]]


@cache
def picture(seed: int) -> Image.Image:
    """Smooth colours, another picture for every seed."""
    noise = np.random.default_rng(seed).normal(size=(60, 80, 3))
    smooth = gaussian_filter(noise, (6, 6, 0))
    return Image.fromarray(((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8))


@cache
def sound(seed: int, rate: int = 8000) -> np.ndarray:
    """Half a second of noise that swells and fades in another way for every seed."""
    rng = np.random.default_rng(seed)
    envelope = np.interp(np.arange(rate // 2), np.linspace(0, rate // 2, 6), rng.uniform(0.1, 1, 6))
    return 0.3 * envelope * rng.uniform(-1, 1, rate // 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(40):
        picture(i).save(tmp_path / f"p{i}.png")
        soundfile.write(tmp_path / f"s{i}.wav", sound(i), 8000, subtype="PCM_16")
    return tmp_path


@pytest.fixture
def rows() -> Rows:
    """Forty good rows, thirty to train on; two classes, twenty speakers, none torn apart."""
    rng = np.random.default_rng(1)
    return [
        {
            "id": f"r{i}",
            "image": f"p{i}.png",
            "audio": f"s{i}.wav",
            "text": " ".join("".join(rng.choice(list("abcdefghij"), 6)) for _ in range(8)),
            "label": "ab"[i % 2],
            "speaker": f"v{i // 2}",
            "split": "train" if i < 30 else "val",
        }
        for i in range(40)
    ]


@pytest.fixture
def run(folder: Path) -> Callable[..., Report]:
    def checked(rows: Rows, exact: bool = False, **arguments: Any) -> Report:
        path = folder / "manifest.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        given = {"group": "speaker", "on_bad_sample": "skip"} | arguments
        return check(ManifestDataModule(str(path), **given), exact)

    return checked


def only(report: Report, severity: str, kind: str) -> Finding:
    """The one finding; notes aside there is no other."""
    (finding,) = [finding for finding in report.findings if finding.severity != "note"]
    assert (finding.severity, finding.kind) == (severity, kind)
    return finding


def found(report: Report) -> set[tuple[str, str, str | None]]:
    return {(finding.severity, finding.kind, finding.modality) for finding in report.findings}


def test_nothing_is_found_in_a_good_set(run: Callable[..., Report], rows: Rows) -> None:
    report = run(rows)
    assert report.findings == []
    assert report.samples == {"train": 30, "val": 10}
    assert report.classes == {"train": {"a": 15, "b": 15}, "val": {"a": 5, "b": 5}}
    assert report.groups == {"train": 15, "val": 5}
    assert report.different == {"vision": 40, "audio": 40, "text": 40}
    assert "nothing found" in report.text()


def test_missing_and_damaged_files(run: Callable[..., Report], rows: Rows, folder: Path) -> None:
    (folder / "p3.png").unlink()
    (folder / "p5.png").write_bytes((folder / "p5.png").read_bytes()[:400])
    (folder / "s7.wav").write_bytes((folder / "s7.wav").read_bytes()[:900])
    rows[9]["label"] = None
    report = run(rows)
    assert found(report) == {("fault", "missing", None), ("fault", "damaged", None)}
    missing, damaged = report.findings
    assert [example["row"] for example in missing.examples] == [4]
    assert sorted(example["row"] for example in damaged.examples) == [6, 8, 10]
    assert report.samples == {"train": 26, "val": 10}


def test_a_set_without_one_good_row_is_an_error(run: Callable[..., Report], rows: Rows) -> None:
    for row in rows:
        row["image"] = "gone.png"
    with pytest.raises(InputError, match=r"(?i)no row of the data can be used: 40 rows: no such file"):
        run(rows)


@pytest.mark.parametrize("name", ["copy.png", "copy.bmp"])
def test_a_picture_that_stands_in_two_splits(run: Callable[..., Report], rows: Rows, folder: Path, name: str) -> None:
    picture(2).save(folder / name)  # also where it was saved anew without loss
    rows[33]["image"] = name
    finding = only(run(rows), "fault", "duplicate")
    assert (finding.modality, finding.number) == ("vision", 1)
    assert finding.examples[0] == {"ids": ["r2", "r33"], "splits": ["train", "val"]}


def test_a_sample_repeated_with_another_label(run: Callable[..., Report], rows: Rows) -> None:
    rows[35] |= {name: rows[4][name] for name in ("image", "audio", "text")}
    report = run(rows)
    assert found(report) == {
        ("fault", "duplicate", None),
        ("fault", "duplicate", "vision"),
        ("fault", "duplicate", "audio"),
        ("warning", "duplicate", "text"),
        ("warning", "contradiction", None),
    }
    (contradiction,) = [finding for finding in report.findings if finding.kind == "contradiction"]
    assert contradiction.examples[0] == {"ids": ["r4", "r35"], "labels": ["a", "b"]}


def test_what_a_group_keeps_together_is_a_note_and_else_a_warning(run: Callable[..., Report], rows: Rows) -> None:
    rows[1]["audio"] = rows[0]["audio"]  # the same speaker
    assert found(run(rows)) == {("note", "duplicate", "audio")}
    assert found(run(rows, group=None)) == {("warning", "duplicate", "audio")}
    rows[6]["audio"] = rows[0]["audio"]
    finding = only(run(rows), "warning", "duplicate")
    assert "1 of them cross-validation may tear apart" in finding.message
    rows[6]["audio"], rows[1]["audio"] = "s6.wav", "s1.wav"
    rows[33]["audio"] = rows[39]["audio"]  # nobody trains on val
    assert found(run(rows)) == {("note", "duplicate", "audio")}


def altered_picture(image: Image.Image, how: str) -> Image.Image:
    if how == "jpeg":
        image.save(file := io.BytesIO(), "JPEG", quality=30)
        return Image.open(file)
    if how == "small":
        return image.resize((40, 30))
    pixels = np.asarray(image, float)
    noise = np.random.default_rng(0).normal(0, 8, pixels.shape) if how == "noise" else 0
    return Image.fromarray(np.clip((0.8 if how == "dark" else 1) * pixels + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("how", ["jpeg", "small", "noise", "dark"])
def test_pictures_that_are_nearly_the_same(run: Callable[..., Report], rows: Rows, folder: Path, how: str) -> None:
    for i in range(10):  # every picture of val is one of train, altered
        altered_picture(picture(i), how).save(folder / f"p{30 + i}.png")
    finding = only(run(rows), "warning", "near-duplicate")
    assert finding.modality == "vision"
    assert {tuple(example["ids"]) for example in finding.examples} == {(f"r{i}", f"r{30 + i}") for i in range(10)}
    assert finding.number == 10
    assert run(rows, exact=True).findings == []


def altered_sound(waveform: np.ndarray, how: str) -> tuple[np.ndarray, int]:
    if how == "quiet":
        return 0.3 * waveform, 8000
    if how == "late":
        return np.concatenate([np.zeros(1000), waveform, np.zeros(700)]), 8000
    if how == "rate":
        return np.interp(np.arange(2 * len(waveform) - 1) / 2, np.arange(len(waveform)), waveform), 16000
    noise = np.random.default_rng(0).normal(0, 0.1 * waveform.std(), len(waveform))  # 20 dB below
    return waveform + noise, 8000


@pytest.mark.parametrize("how", ["quiet", "late", "noise", "rate"])
def test_sounds_that_are_nearly_the_same(run: Callable[..., Report], rows: Rows, folder: Path, how: str) -> None:
    for i in range(10):
        smooth = gaussian_filter(sound(i), 2)  # so that a rate may be changed by interpolation
        soundfile.write(folder / f"s{i}.wav", smooth, 8000, subtype="PCM_16")
        altered, rate = altered_sound(smooth, how)
        soundfile.write(folder / f"s{30 + i}.wav", altered, rate, subtype="PCM_16")
    finding = only(run(rows), "warning", "near-duplicate")
    assert finding.modality == "audio"
    assert {tuple(example["ids"]) for example in finding.examples} == {(f"r{i}", f"r{30 + i}") for i in range(10)}


def test_sentences_that_are_nearly_the_same(run: Callable[..., Report], rows: Rows) -> None:
    rows[31]["text"] = rows[3]["text"].upper() + "s"
    rows[32]["text"] = rows[8]["text"].replace(" ", "  ").title()  # the same but for spaces and capitals
    report = run(rows)
    assert found(report) == {("warning", "near-duplicate", "text"), ("warning", "duplicate", "text")}
    assert {tuple(finding.examples[0]["ids"]) for finding in report.findings} == {("r3", "r31"), ("r8", "r32")}


def test_groups_torn_apart(run: Callable[..., Report], rows: Rows) -> None:
    rows[34]["speaker"] = rows[35]["speaker"] = "v2"
    rows[0]["speaker"] = None
    report = run(rows)
    assert found(report) == {("fault", "group leak", None), ("warning", "group leak", None)}
    assert report.findings[0].examples == [{"group": "v2", "rows": {"train": 2, "val": 2}}]
    assert "2 rows held out" in report.findings[0].message


def test_blank_contents(run: Callable[..., Report], rows: Rows, folder: Path) -> None:
    for i in (2, 12, 32):
        soundfile.write(folder / f"s{i}.wav", np.zeros(3000 + i), 8000)
    Image.new("RGB", (30, 30), "grey").save(folder / "p9.png")
    report = run(rows)
    assert found(report) == {("warning", "blank", "audio"), ("warning", "blank", "vision")}
    assert sorted(finding.number for finding in report.findings) == [1, 3]


def test_classes_out_of_balance(run: Callable[..., Report], rows: Rows) -> None:
    for i, row in enumerate(rows):
        row["label"] = "a" if i < 25 else "b" if i < 30 else "a"
    report = run(rows, classes=["a", "b", "c"])
    messages = " | ".join(finding.message for finding in report.findings)
    assert [finding.kind for finding in report.findings] == ["balance"] * 4
    assert "1 class without a row in train: c" in messages
    assert "1 class with fewer than 10 rows in train: b" in messages
    assert "5.0 times as many rows of 'a' as of 'b'" in messages
    assert "right in 83.3%" in messages
    assert "1 class without a row in val: b" in messages


def test_absence_that_tells_the_class(run: Callable[..., Report], rows: Rows) -> None:
    for row in rows[:30]:
        row["audio"] = row["audio"] if row["label"] == "a" else None
    finding = only(run(rows), "warning", "presence")
    assert (finding.modality, finding.number) == ("audio", 15)
    for i, row in enumerate(rows):
        row["audio"], row["text"] = f"s{i}.wav", row["text"] if i < 30 else None
    assert "text is missing in all of val" in only(run(rows), "warning", "presence").message


def vectors(path: Path, **changes: Any) -> VectorsDataModule:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {"v": rng.normal(size=(200, 12)), "label": np.arange(200) % 2}
    arrays |= {"split": np.where(np.arange(200) < 150, "train", "val"), **changes}
    np.savez(path / "v.npz", **arrays)
    return VectorsDataModule(str(path / "v.npz"), {"audio": "v"})


def test_vectors(tmp_path: Path) -> None:
    clean = np.random.default_rng(0).normal(size=(200, 12))
    assert check(vectors(tmp_path)).findings == []
    planted = clean.copy()
    planted[160] = planted[10]
    planted[170] = planted[20] + 0.005 * np.random.default_rng(1).normal(size=12)
    planted[:, 5] = 3.0
    report = check(vectors(tmp_path, v=planted))
    assert found(report) == {
        ("fault", "duplicate", None),
        ("warning", "near-duplicate", "audio"),
        ("note", "constant", "audio"),
    }
    assert [report.findings[i].examples[0]["ids"] for i in (0, 1)] == [["10", "160"], ["20", "170"]]
    assert report.findings[2].examples[0]["columns"] == [5]
    narrow = check(vectors(tmp_path, v=clean[:, :3]))
    assert "too few to say which are alike" in narrow.findings[0].message


def test_values_to_regress_on(run: Callable[..., Report], rows: Rows) -> None:
    values = np.random.default_rng(0).normal(size=40)
    for row, value in zip(rows, values, strict=True):
        row["label"] = value
    assert run(rows, regression=True).findings == []
    for row in rows[30:]:
        row["label"] += 5
    assert "distributed otherwise in val" in only(run(rows, regression=True), "warning", "balance").message
    for row in rows[:30]:
        row["label"] = 1.0
    assert "nothing to learn" in only(run(rows, regression=True), "fault", "balance").message


def test_what_is_made_on_the_spot_is_sound() -> None:
    report = check(ScenesDataModule(size=48, val_size=24, test_size=24))
    assert report.number_of("fault") == 0
    assert report.samples == {"train": 48, "val": 24, "test": 24}


def test_the_command(qmm: Qmm, run: Callable[..., Report], rows: Rows, folder: Path, tmp_path: Path) -> None:
    run(rows)  # writes the manifest
    told = qmm("data", "check", folder / "manifest.jsonl", "--group", "speaker", "--json", tmp_path / "report.json")
    assert "0 faults, 0 warnings, 0 notes" in told.stdout
    rows[33]["audio"] = rows[2]["audio"]
    rows[34]["audio"] = "gone.wav"
    run(rows)
    data = {"class_path": "qmm.data.ManifestDataModule", "init_args": {"path": str(folder / "manifest.jsonl")}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": data}))
    command = ["data", "check", "--config", tmp_path / "config.yaml", "--json", tmp_path / "report.json"]
    told = qmm(*command, "--data.init_args.modalities", "[vision, audio]", ok=False)
    assert "qmm data check: 2 faults, 0 warnings" in told.stderr
    assert "gone.wav" in told.stdout
    written = json.loads((tmp_path / "report.json").read_text())
    assert [finding["kind"] for finding in written["findings"]] == ["missing", "duplicate"]
    assert written["samples"] == {"train": 30, "val": 9}
    assert set(written["different"]) == {"vision", "audio"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chekc"], "did you mean 'check'"),
        (["check"], "no data: give a manifest"),
        (["check", "gone.csv"], "no manifest gone.csv"),
        (["check", "--data", "qmm.data.ScenesDataModule", "--group", "speaker"], "ScenesDataModule takes no group"),
    ],
)
def test_mistakes_are_named(qmm: Qmm, arguments: list[str], message: str) -> None:
    assert message in qmm("data", *arguments, ok=False).stderr
