"""The command line, as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from PIL import Image

from qmm.cli import COMMANDS
from qmm.training.checkpoints import read_checkpoint
from qmm.training.cli import TrainingCLI

Qmm = Callable[..., Any]


def last(folder: Path) -> Path:
    return folder / "checkpoints" / "last.ckpt"


def metrics(folder: Path, split: str = "test") -> dict[str, float]:
    return json.loads((folder / split / "metrics.json").read_text())["metrics"]


def test_help_names_every_command(qmm: Qmm) -> None:
    text = qmm("--help").stdout
    assert all(command in text for command in COMMANDS)
    assert "--ckpt_path" in qmm("predict", "--help").stdout


def test_a_run_leaves_a_folder_that_a_person_can_read(trained: Path) -> None:
    expected = ["config.yaml", "circuit.png", "learning_curves.png", "history.csv", "skipped.json", "checkpoints/last.ckpt"]
    expected += [f"test/{name}" for name in ("metrics.json", "predictions.parquet", "confusion_matrix.png", "examples.png")]
    assert [name for name in expected if not (trained / name).is_file()] == []
    report = json.loads((trained / "test" / "metrics.json").read_text())
    assert set(report["metrics"]) == {"loss", "accuracy", "f1", "auroc", "calibration_error"}
    assert report["samples"] == 24
    assert report["parameters"]["trained"] >= report["parameters"]["fusion"] + report["parameters"]["decoder"] > 0
    table = pd.read_parquet(trained / "test" / "predictions.parquet")
    assert report["metrics"]["accuracy"] == pytest.approx((table["target"] == table["prediction"]).mean())
    assert {"birdwatching", "lighthouse"} & set(table["target"])
    history = pd.read_csv(trained / "history.csv")
    assert len(history) == 2
    assert {"train/loss", "val/accuracy", "angles/vision_std"} <= set(history)


def test_the_written_configuration_makes_the_run_again(qmm: Qmm, trained: Path, tmp_path: Path) -> None:
    qmm("fit", "--config", trained / "config.yaml", "--runs", tmp_path, "--name", "again")
    assert metrics(tmp_path / "again") == metrics(trained)


def test_evaluation_needs_no_configuration_but_the_checkpoints(qmm: Qmm, trained: Path, tmp_path: Path) -> None:
    qmm("test", "--ckpt_path", last(trained), "--runs", tmp_path, "--name", "evaluated")
    assert metrics(tmp_path / "evaluated") == metrics(trained)
    qmm("validate", "--ckpt_path", last(trained), "--runs", tmp_path, "--name", "evaluated")
    assert (tmp_path / "evaluated" / "val" / "confusion_matrix.png").is_file()


def test_an_existing_run_is_not_begun_anew(qmm: Qmm, tiny: list[str], trained: Path) -> None:
    before = last(trained).read_bytes()
    refused = qmm("fit", *tiny, "--runs", trained.parent, "--name", "trained", ok=False)
    assert "--ckpt_path last" in refused.stderr
    assert last(trained).read_bytes() == before


def test_trainer_settings_of_ones_own_stand_beside_ours(qmm: Qmm, tiny: list[str], tmp_path: Path) -> None:
    overlay = tmp_path / "own.yaml"
    callback = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val/loss"}}
    overlay.write_text(yaml.safe_dump({"trainer": {"logger": False, "max_epochs": 1, "callbacks": [callback]}}))
    qmm("fit", *tiny, "--config", overlay, "--runs", tmp_path, "--name", "own")
    assert last(tmp_path / "own").is_file()
    assert not (tmp_path / "own" / "tensorboard").exists()


@pytest.mark.parametrize("command", ["fit", "test"])
def test_last_where_nothing_lies_is_an_error(qmm: Qmm, tiny: list[str], tmp_path: Path, command: str) -> None:
    refused = qmm(command, *tiny, "--runs", tmp_path, "--name", "new", "--ckpt_path", "last", ok=False)
    assert "last.ckpt to continue from" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_killed_in_mid_epoch_it_ends_as_if_it_never_was(qmm: Qmm, tiny: list[str], tmp_path: Path) -> None:
    common = [*tiny, "--runs", str(tmp_path), "--trainer.max_epochs", "3", "--data.init_args.size", "96"]
    qmm("fit", *common, "--name", "whole")
    command = [sys.executable, "-m", "qmm", "fit", *common, "--name", "killed"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    deadline = time.monotonic() + 120
    while not last(tmp_path / "killed").is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.1)  # into the next epoch
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert read_checkpoint(last(tmp_path / "killed"))["epoch"] < 2, "the training ended before it was killed"
    qmm("fit", *common, "--name", "killed", "--ckpt_path", "last")
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
    whole, killed = (pd.read_csv(tmp_path / name / "history.csv") for name in ("whole", "killed"))
    pd.testing.assert_frame_equal(whole, killed)


def instantiate(monkeypatch: pytest.MonkeyPatch, *args: object) -> TrainingCLI:
    """What the command line would have run."""
    monkeypatch.setattr(TrainingCLI, "_run_subcommand", lambda self, subcommand: None)
    return TrainingCLI([*map(str, args)])


def test_precedence_is_checkpoint_configs_flags(
    monkeypatch: pytest.MonkeyPatch, tiny: list[str], trained: Path, tmp_path: Path
) -> None:
    run = ["--runs", tmp_path, "--name", "x", "--ckpt_path", last(trained)]
    fusion = "model.init_args.model.fusion.init_args.layers"
    from_checkpoint = instantiate(monkeypatch, "test", *run)
    assert from_checkpoint.model.model.fusion.layers == 3
    assert from_checkpoint.datamodule.sizes["test"] == 24
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump({"model": {"init_args": {"model": {"fusion": {"init_args": {"layers": 2}}}}}}))
    by_config = instantiate(monkeypatch, "test", *tiny, "--config", overlay, *run)
    assert by_config.model.model.fusion.layers == 2
    by_flag = instantiate(monkeypatch, "test", *tiny, "--config", overlay, *run, f"--{fusion}", "1")
    assert by_flag.model.model.fusion.layers == 1


def test_a_run_begins_from_the_weights_of_another(qmm: Qmm, trained: Path, tmp_path: Path) -> None:
    idle = ["--trainer.max_epochs", "0", "--trainer.log_every_n_steps", "1"]
    qmm("fit", "--weights", last(trained), *idle, "--runs", tmp_path, "--name", "again")
    assert metrics(tmp_path / "again") == metrics(trained)
    wider = ("--model.init_args.model.vision.compressor.init_args.features", "4")
    refused = qmm("fit", "--weights", last(trained), *wider, "--runs", tmp_path, "--name", "wider", ok=False)
    assert "the checkpoint belongs to another model" in refused.stderr


def test_a_checkpoint_of_another_shape_is_refused(qmm: Qmm, trained: Path, tmp_path: Path) -> None:
    flags = ["--model.init_args.model.fusion.init_args.layers", "2", "--runs", tmp_path]
    refused = qmm("test", "--ckpt_path", last(trained), *flags, ok=False)
    assert "the checkpoint belongs to another model" in refused.stderr
    assert "model.fusion.weights: model" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_key_that_does_not_exist_is_named(qmm: Qmm, tiny: list[str], tmp_path: Path) -> None:
    overlay = tmp_path / "typo.yaml"
    overlay.write_text("model:\n  init_args:\n    learning_rat: 1.0\n")
    refused = qmm("fit", *tiny, "--config", overlay, "--runs", tmp_path, ok=False)
    assert "learning_rat" in refused.stderr
    assert not (tmp_path / "quickstart").exists()


def test_more_features_than_the_register_holds(qmm: Qmm, tiny: list[str], tmp_path: Path) -> None:
    flags = ["--model.init_args.model.fusion.init_args.qubits", "{vision: 1, audio: 1, text: 1}"]
    flags += ["--model.init_args.model.audio.compressor.init_args.features", "3"]
    refused = qmm("fit", *tiny, *flags, "--runs", tmp_path, ok=False)
    assert "audio" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_predicts_on_files_of_ones_own(qmm: Qmm, trained: Path, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 4), np.uint8)).save(tmp_path / "a.png")
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(8000) / 9), 11025)
    files = ["--image", tmp_path / "a.png", "--audio", tmp_path / "a.wav", "--text", "they went to bed"]
    line = qmm("predict", "--ckpt_path", last(trained), *files, "--json").stdout.strip()
    answer = json.loads(line)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert answer["label"] in qmm("predict", "--ckpt_path", last(trained), *files).stdout
    partly = qmm("predict", "--ckpt_path", last(trained), "--audio", tmp_path / "a.wav", "--json").stdout
    assert json.loads(partly)["probabilities"] != answer["probabilities"]


def test_predicts_on_a_manifest(qmm: Qmm, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("id,text\none,they went to bed\ntwo,bright sun\n")
    lines = qmm("predict", "--ckpt_path", last(trained), "--manifest", tmp_path / "m.csv", "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["one", "two"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "give either files"),
        (["--text", "a", "--manifest", "m.csv"], "give either files"),
        (["--image", "gone.png"], "gone.png"),
        (["--manifest", "gone.csv"], "gone.csv"),
    ],
)
def test_predict_says_what_is_wrong(qmm: Qmm, trained: Path, args: list[str], message: str) -> None:
    refused = qmm("predict", "--ckpt_path", last(trained), *args, ok=False)
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
