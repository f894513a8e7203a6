"""`qmm crossval`, as a user runs it: on vectors of speakers of whom none may be torn apart."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from qmm.errors import InputError
from qmm.validation import cross_validate
from qmm.validation.cli import _parser, _plan

Qmm = Callable[..., Any]


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    n = 72
    split = np.where(np.arange(n) < 60, "train", "test")
    np.savez(
        tmp_path / "vectors.npz",
        vision=rng.normal(size=(n, 3)),
        audio=rng.normal(size=(n, 3)),
        label=np.arange(n) % 2,
        speaker=np.array([f"s{i // 6}" for i in range(n)]),
        split=split,
        row=np.array([f"r{i}" for i in range(n)]),
    )
    branch = {
        "encoder": {"class_path": "qmm.encoders.VectorEncoder", "init_args": {"dim": 3}},
        "compressor": {"class_path": "qmm.encoders.LinearCompressor", "init_args": {"features": 2}},
    }
    parts = {
        "fusion": {"class_path": "qmm.fusion.QuantumFusion", "init_args": {"layers": 1}},
        "decoder": {"class_path": "qmm.decoders.ClassDecoder"},
    }
    config = {
        "model": {
            "class_path": "qmm.tasks.MultimodalClassification",
            "init_args": {"model": {"vision": branch, "audio": branch, **parts}},
        },
        "trainer": {"max_epochs": 1, "logger": False, "enable_progress_bar": False, "accelerator": "cpu"},
        "data": {
            "class_path": "qmm.data.VectorsDataModule",
            "init_args": {
                "path": str(tmp_path / "vectors.npz"),
                "columns": {"vision": "vision", "audio": "audio"},
                "classes": ["low", "high"],
                "id": "row",
            },
        },
    }
    path = tmp_path / "vectors.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def finished(folder: Path) -> dict[str, float]:
    """When each finished cell was written."""
    return {path.parent.name: path.stat().st_mtime for path in folder.glob("cells/*/result.json")}


def test_in_whole_groups_on_the_same_folds_and_what_is_done_is_not_repeated(
    qmm: Qmm, configuration: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cv"
    overlay = tmp_path / "slow.yaml"
    overlay.write_text(yaml.safe_dump({"model": {"init_args": {"learning_rate": 1e-5}}}))
    command = ["crossval", "--config", configuration, "--folds", 2, "--group", "speaker", "--folder", folder]
    command += ["--arm", f"slow={overlay}", "--base", "quick"]
    done = qmm(*command)
    before = finished(folder)
    table = pd.read_parquet(folder / "results.parquet")
    assert sorted(zip(table["arm"], table["fold"], strict=True)) == [(a, f) for a in ("quick", "slow") for f in range(2)]
    assert set(table["split"]) == {"val"}
    predictions = pd.read_parquet(folder / "predictions.parquet")
    speakers = {f"r{i}": f"s{i // 6}" for i in range(60)}
    for _, own in predictions.groupby("arm"):
        assert sorted(own["id"]) == sorted(speakers)  # each training sample once, no test sample
        folds_of = own.groupby(own["id"].map(speakers))["fold"].nunique()
        assert (folds_of == 1).all()  # no speaker in two folds
    held = predictions.groupby(["fold", "arm"])["id"].agg(frozenset)
    assert all(own.nunique() == 1 for _, own in held.groupby(level="fold"))
    for row in table.to_dict("records"):
        own = predictions[(predictions["arm"] == row["arm"]) & (predictions["fold"] == row["fold"])]
        assert row["accuracy"] == pytest.approx((own["target"] == own["prediction"]).mean())
        used = yaml.safe_load(row["config"])
        assert used["data"]["init_args"]["group"] == "speaker"
        assert used["model"]["init_args"]["learning_rate"] == (1e-5 if row["arm"] == "slow" else 1e-3)
    assert "groups of 'speaker' kept whole" in done.stdout
    assert (folder / "summary.png").is_file()
    found = json.loads((folder / "summary.json").read_text())
    assert found["arms"]["slow"]["accuracy"]["mean"] == pytest.approx(table[table["arm"] == "slow"]["accuracy"].mean())
    assert "changed since" in qmm(*command, "--group-pattern", ".*", ok=False).stderr
    unknown = _plan(_parser().parse_args([*map(str, command[1:]), "--metric", "f2"]))
    with pytest.raises(InputError, match="set `--metric` to one of loss, accuracy"):
        cross_validate(unknown, folder)
    assert finished(folder) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folds", "1"], "at least 2 folds"),
        (["--arm", "x"], "give NAME=OVERLAY"),
        (["--arm", "base=a.yaml"], "each name once"),
        (["--arm", "x=gone.yaml"], "arm 'x': gone.yaml does not exist"),
        (["--group-pattern", "x"], "give the column with --group"),
    ],
)
def test_mistakes_are_named_before_anything_runs(qmm: Qmm, configuration: Path, arguments: list[str], message: str) -> None:
    assert message in qmm("crossval", "--config", configuration, *arguments, ok=False).stderr


def test_data_without_groups_is_told(qmm: Qmm, tiny: list[str], tmp_path: Path) -> None:
    done = qmm("crossval", *tiny, "--group", "speaker", "--folder", tmp_path / "cv", ok=False)
    assert "qmm.data.ScenesDataModule does not take fold, folds, group, group_pattern" in done.stderr
    assert not (tmp_path / "cv").exists()


def test_without_data_nothing_can_be_held_out(qmm: Qmm, tmp_path: Path) -> None:
    empty = tmp_path / "empty.yaml"
    empty.write_text("trainer: {max_epochs: 1}\n")
    assert "no data: give a configuration with it" in qmm("crossval", "--config", empty, ok=False).stderr
