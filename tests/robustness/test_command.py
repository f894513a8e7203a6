"""`qmm robustness`, and the callback by which runs and studies measure it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from lightning import Trainer
from PIL import Image

from qmm.errors import InputError
from qmm.quantum import ExactBackend
from qmm.robustness import Evaluation, Robustness, evaluate, robustness_table
from qmm.robustness.cli import named_models
from qmm.study.statistics import effective_robustness, relative_robustness

from .conftest import Planted, make_task

Qmm = Callable[..., Any]
MakeTrainer = Callable[..., Trainer]


@pytest.fixture(scope="module")
def beside(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model: the first one, its read-out changed."""
    content = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    content["state_dict"]["model.decoder.linear.weight"] *= -1
    path = tmp_path_factory.mktemp("beside") / "other.ckpt"
    torch.save(content, path)
    return path


def test_two_models_are_compared_and_nothing_is_measured_twice(
    qmm: Qmm, trained: Path, beside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["--ckpt_path", trained / "checkpoints" / "last.ckpt", beside, "--levels", "0", "0.5", "1"]
    asked += ["--modalities", "vision", "text", "--noise", "vision=blur", "--folder", tmp_path / "found"]
    shown = qmm("robustness", *asked).stdout
    folder = tmp_path / "found"
    table = pd.read_csv(folder / "robustness.csv")
    assert list(dict.fromkeys(table["arm"])) == ["trained", "other"]
    plain = json.loads((trained / "test" / "metrics.json").read_text())["metrics"]
    clean = table[(table["arm"] == "trained") & (table["level"] == 0)]
    for _, curve in clean.groupby(["kind", "modality"]):
        assert dict(zip(curve["metric"], curve["value"], strict=True)) == {k: v for k, v in plain.items() if k != "loss"}
    report = json.loads((folder / "robustness.json").read_text())
    assert (report["metric"], report["baseline"]) == ("accuracy", "trained")
    own = table[(table["metric"] == "accuracy") & (table["kind"] == "noise") & (table["modality"] == "text")]
    curves = {arm: rows["value"].tolist() for arm, rows in own.groupby("arm")}
    (found,) = [r for r in report["summary"] if (r["arm"], r["kind"], r["modality"]) == ("other", "noise", "text")]
    assert found["relative"] == pytest.approx(relative_robustness([0, 0.5, 1], curves["other"]))
    assert found["effective"] == pytest.approx(effective_robustness([0, 0.5, 1], curves["other"], curves["trained"]))
    assert "effective: against trained" in shown
    for name in ("robustness.png", "robustness.svg", "summary.csv"):
        assert (folder / name).is_file()
    Image.open(folder / "robustness.png").verify()
    monkeypatch.setattr(Evaluation, "_measure", lambda *_: pytest.fail("measured twice"))
    assert qmm("robustness", *asked).stdout == shown


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--levels", "0.2", "1"], "levels [0.2, 1.0]: expected 0 and higher ones"),
        (["--modalities", "visoin"], "no modality 'visoin'; there are: vision, audio, text; did you mean 'vision'?"),
        (["--noise", "vision"], "--noise vision: give MODALITY=NAME"),
        (["--noise", "vision=dropout"], "noise of vision: 'dropout' is none of a picture's"),
        (["--levels", "0", "3"], "level 3.0: white_noise of audio ends at 1"),
        (["--baseline", "mine"], "--baseline mine: there are trained"),
        (["--metric", "mae"], "--metric mae: the task has accuracy"),
        (["--config", "configs/backend/shots.yaml"], "leave out the backend"),
    ],
)
def test_what_cannot_be_is_said_first(
    qmm: Qmm, trained: Path, flags: list[str], message: str, monkeypatch: pytest.MonkeyPatch, repository: Path, tmp_path: Path
) -> None:
    monkeypatch.chdir(repository)
    monkeypatch.setattr(Evaluation, "_measure", lambda *_: pytest.fail("began to measure"))
    given = ["--ckpt_path", trained / "checkpoints" / "last.ckpt", "--folder", tmp_path]
    assert message in qmm("robustness", *given, *flags, ok=False).stderr


def test_models_are_named_by_their_runs_or_as_told(tmp_path: Path) -> None:
    for run in ("a0", "a1", "b"):
        (tmp_path / run / "checkpoints").mkdir(parents=True)
        (tmp_path / run / "checkpoints" / "last.ckpt").touch()
    last = "checkpoints/last.ckpt"
    found = named_models([f"a={tmp_path}/a*/{last}", f"{tmp_path}/b/{last}"])
    assert [(model.arm, model.seed) for model in found] == [("a", 0), ("a", 1), ("b", 0)]
    with pytest.raises(InputError, match="there is no such file"):
        named_models([f"c={tmp_path}/c*/{last}"])
    with pytest.raises(InputError, match="two models are called 'b'"):
        named_models([f"{tmp_path}/b/{last}", f"{tmp_path}/b/{last}"])


def test_different_samples_are_not_compared(qmm: Qmm, trained: Path, beside: Path, tmp_path: Path) -> None:
    content = torch.load(beside, weights_only=True)
    content["qmm"]["data"]["init_args"]["test_size"] = 12
    torch.save(content, tmp_path / "other.ckpt")
    done = qmm("robustness", "--ckpt_path", trained / "checkpoints" / "last.ckpt", tmp_path / "other.ckpt", ok=False)
    assert "their test splits are 24 and 12 samples, not the same ones" in done.stderr


def test_the_callback_writes_what_evaluate_finds(
    planted: Planted, make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, data = make_task(quantum=True), planted(batch_size=64)
    trainer = make_trainer(Robustness([0, 1], folder=str(tmp_path)), limit_val_batches=0)
    trainer.fit(task, datamodule=data)
    assert not (tmp_path / "robustness.json").exists()
    trainer.test(task, datamodule=data, verbose=False)
    written = json.loads((tmp_path / "robustness.json").read_text())
    assert written == evaluate(task, planted(batch_size=64), levels=[0, 1], progress=False).to_dict("records")
    assert written[0].keys() >= {"kind", "modality", "level", "metric", "value"}
    clean = {r["metric"]: r["value"] for r in written if r["level"] == 0}
    assert clean == {k.split("/")[1]: float(v) for k, v in trainer.callback_metrics.items() if k != "test/loss"}
    Image.open(tmp_path / "robustness.png").verify()
    monkeypatch.setattr(Evaluation, "_measure", lambda *_: pytest.fail("measured twice"))
    trainer.test(task, datamodule=data, verbose=False)
    assert json.loads((tmp_path / "robustness.json").read_text()) == written


def test_circuits_that_it_compiled_can_be_trained_later(planted: Planted, make_trainer: MakeTrainer, tmp_path: Path) -> None:
    task, data = make_task(quantum=True), planted(batch_size=64)
    task.model.run_on(ExactBackend("torch"))  # which keeps tensors of what it compiled
    make_trainer(Robustness([0, 1], ["missing"], folder=str(tmp_path))).test(task, datamodule=data, verbose=False)
    batch = next(iter(data.test_dataloader()))
    batch.present["noise"][:] = False  # a pattern of modalities that nothing but the callback has met
    task.model(batch).fused.sum().backward()
    assert task.model.fusion.weights.grad.any()


def test_the_callback_says_before_a_training_what_it_cannot_do(planted: Planted, make_trainer: MakeTrainer) -> None:
    with pytest.raises(InputError, match="levels"):
        Robustness([0.5, 1])
    trainer = make_trainer(Robustness(modalities=["sound"]), limit_val_batches=0)
    with pytest.raises(InputError, match="no modality 'sound'; there are: signal, noise"):
        trainer.fit(make_task(quantum=False), datamodule=planted())
    loader = planted().test_dataloader()
    with pytest.raises(InputError, match=r"give the trainer one of qmm\.data"):
        make_trainer(Robustness()).test(make_task(quantum=False), loader)


def test_sentences_are_refused(qmm: Qmm, repository: Path, tmp_path: Path) -> None:
    files = [repository / "configs/quickstart_captions.yaml", repository / "configs/training/robustness.yaml"]
    given = [word for file in (*files, repository / "tests/tiny_captions.yaml") for word in ("--config", file)]
    done = qmm("fit", *given, "--runs", tmp_path, ok=False)
    assert "not of a MultimodalCaptioning" in done.stderr


def test_a_run_measures_behind_its_evaluation(qmm: Qmm, tiny: list[str], tmp_path: Path) -> None:
    overlay = {"class_path": "qmm.robustness.Robustness", "init_args": {"levels": [0, 1], "modalities": ["text"]}}
    path = tmp_path / "overlay.yaml"
    path.write_text(yaml.safe_dump({"trainer": {"callbacks+": [overlay], "max_epochs": 1}}))
    qmm("fit", *tiny, "--config", path, "--runs", tmp_path, "--name", "all")
    records = json.loads((tmp_path / "all" / "robustness.json").read_text())
    assert {(r["kind"], r["modality"], r["level"]) for r in records} == {
        ("noise", "text", 0), ("noise", "text", 1), ("missing", "text", 0), ("missing", "text", 1)
    }  # fmt: skip
    metrics = json.loads((tmp_path / "all" / "test" / "metrics.json").read_text())["metrics"]
    assert all(r["value"] == metrics[r["metric"]] for r in records if r["level"] == 0)


def test_an_arm_without_the_modality_measures_nothing(planted: Planted, make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """In a study whose overlay names it: the cell does not fail."""
    task = make_task(quantum=False, read=("signal",))
    make_trainer(Robustness(modalities=["noise"], folder=str(tmp_path))).test(task, datamodule=planted(), verbose=False)
    assert json.loads((tmp_path / "robustness.json").read_text()) == []


def test_tables_pair_seeds() -> None:
    rows = [
        {"arm": arm, "seed": seed, "kind": "noise", "modality": "m", "level": level, "metric": "accuracy", "value": value}
        for arm, slope in (("base", 0.4), ("better", 0.2))
        for seed in (0, 1)
        for level, value in ((0.0, 0.9 + 0.01 * seed), (1.0, 0.9 + 0.01 * seed - slope))
    ]
    found = robustness_table(pd.DataFrame(rows), "accuracy", "base").set_index(["arm", "seed"])
    assert found["effective"].to_dict() == pytest.approx(
        {("base", 0): 0, ("base", 1): 0, ("better", 0): 0.1, ("better", 1): 0.1}
    )
    assert found["relative"]["better", 1] == pytest.approx(0.81)
    assert "effective" not in robustness_table(pd.DataFrame(rows), "accuracy")
