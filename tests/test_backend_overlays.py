"""A trained model on another backend: by an overlay, whatever the command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from qmm.quantum.execution import PrimitiveBackend
from qmm.quantum.execution.ideal import Ideal
from qmm.quantum.gradients import SPSA
from qmm.training.cli import TrainingCLI

Qmm = Callable[..., Any]
FLAG = "--model.init_args.model.backend.init_args.shots"
EXACT = {"class_path": "qmm.quantum.ExactEstimator"}


def last(folder: Path) -> str:
    return str(folder / "checkpoints" / "last.ckpt")


@pytest.fixture
def overlay(tmp_path: Path) -> Callable[..., list[str]]:
    """`overlay(shots=50)`: the flags of an overlay with this backend; `primitive=...`, and entries beside the backend."""

    def write(primitive: Any = None, beside: dict[str, Any] | None = None, **arguments: Any) -> list[str]:
        primitive = primitive or {"class_path": "qmm.quantum.execution.ideal.Ideal"}
        backend = {"class_path": "qmm.quantum.execution.PrimitiveBackend", "init_args": {"primitive": primitive, **arguments}}
        path = tmp_path / f"overlay{len(list(tmp_path.glob('overlay*')))}.yaml"
        path.write_text(yaml.safe_dump({"model": {"init_args": {"model": {"backend": backend, **(beside or {})}}}}))
        return ["--config", str(path)]

    return write


SPSA_3 = {"class_path": "qmm.quantum.gradients.SPSA", "init_args": {"repetitions": 3}}


@pytest.fixture
def instantiated(monkeypatch: pytest.MonkeyPatch, trained: Path, tmp_path: Path) -> Callable[..., Any]:
    """`instantiated("test", *flags)`: the model that the command would have run, of the checkpoint that was trained."""
    monkeypatch.setattr(TrainingCLI, "_run_subcommand", lambda self, subcommand: None)
    known = ["--runs", str(tmp_path), "--name", "x", "--ckpt_path", last(trained)]
    return lambda command, *flags: TrainingCLI([command, *flags, *known]).model.model


@pytest.mark.parametrize("command", ["fit", "validate", "test"])
def test_the_backend_is_what_the_overlay_says(instantiated: Any, overlay: Any, command: str) -> None:
    made = instantiated(command, *overlay(shots=50, beside={"gradient": SPSA_3, "micro_batch": 4}))
    assert type(made.fusion.backend) is PrimitiveBackend
    assert type(made.fusion.backend.provider) is Ideal
    assert made.fusion.backend.shots == 50
    assert type(made.fusion.gradient) is SPSA
    assert made.fusion.gradient.repetitions == 3
    assert made.micro_batch == 4


def test_later_overlays_and_flags_prevail(instantiated: Any, tiny: list[str], overlay: Any) -> None:
    assert instantiated("test", *tiny, *overlay(shots=50), *overlay(shots=60)).fusion.backend.shots == 60
    assert instantiated("test", *tiny, *overlay(shots=50), FLAG, "70").fusion.backend.shots == 70


def test_what_was_trained_on_a_backend_is_evaluated_exactly_without_its_overlay(
    qmm: Qmm, tiny: list[str], trained: Path, overlay: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = ["--trainer.max_epochs", "1", "--data.init_args.size", "12", "--runs", str(tmp_path), "--pictures", "false"]
    on_shots = overlay(primitive=EXACT, beside={"gradient": SPSA_3})
    tuning = [*tiny, "--weights", last(trained), *on_shots, *short]
    qmm("fit", *tuning, "--name", "tuned")
    assert json.loads((tmp_path / "tuned" / "test" / "metrics.json").read_text())["samples"] == 24
    monkeypatch.setattr(TrainingCLI, "_run_subcommand", lambda self, subcommand: None)
    again = TrainingCLI(["test", "--ckpt_path", last(tmp_path / "tuned"), "--runs", str(tmp_path), "--name", "again"])
    assert again.model.model.fusion.backend is None


def test_exact_expectation_values_give_the_exact_evaluation(qmm: Qmm, trained: Path, overlay: Any, tmp_path: Path) -> None:
    common = ["--ckpt_path", last(trained), "--runs", tmp_path, "--pictures", "false"]
    for name, flags in (("exact", []), ("estimator", overlay(primitive=EXACT))):
        qmm("test", *common, "--name", name, *flags)
    exact, estimated = (
        json.loads((tmp_path / name / "test" / "metrics.json").read_text())["metrics"] for name in ("exact", "estimator")
    )
    assert estimated == pytest.approx(exact, abs=1e-4)


def test_predict_runs_where_the_overlay_says(qmm: Qmm, trained: Path, overlay: Any) -> None:
    def probabilities(*flags: str) -> dict[str, float]:
        text = ["--text", "they went to bed", "--json"]
        return json.loads(qmm("predict", "--ckpt_path", last(trained), *text, *flags).stdout)["probabilities"]

    exact = probabilities()
    assert probabilities(*overlay(primitive=EXACT)) == pytest.approx(exact, abs=1e-5)
    on_shots = probabilities(*overlay(shots=4, seed=1))
    assert on_shots != pytest.approx(exact, abs=1e-3)
    assert probabilities(*overlay(shots=4, seed=1)) == on_shots
    merged = probabilities(*overlay(shots=1), *overlay(shots=10**6))
    assert merged == pytest.approx(exact, abs=2e-2)


def test_predict_says_what_an_overlay_lacks(qmm: Qmm, trained: Path, tmp_path: Path, overlay: Any) -> None:
    (tmp_path / "no.yaml").write_text("model: {init_args: {learning_rate: 1.0}}\n")
    for flags, message in (
        (["--config", str(tmp_path / "no.yaml")], "no backend"),
        (["--config", str(tmp_path / "gone.yaml")], "gone.yaml"),
        (overlay(shots=0), "shots=0"),
    ):
        refused = qmm("predict", "--ckpt_path", last(trained), "--text", "a", *flags, ok=False)
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_circuit_is_drawn_and_counted_wherever_it_is_to_run(qmm: Qmm, tiny: list[str], overlay: Any, tmp_path: Path) -> None:
    def costs(*flags: str) -> Any:
        qmm("circuit", *tiny, *flags, "--out", tmp_path / "drawn", "--json", tmp_path / "costs.json")
        found = json.loads((tmp_path / "costs.json").read_text())
        del found["step"]["milliseconds"]
        return found

    assert costs(*overlay(shots=50)) == costs()
