"""`qmm select`: features of a configuration's data -> their indices, and an overlay that a training takes."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from qmm.costs.configuration import parse
from qmm.discrete import Exhaustive, feature_selection, redundancy, relevance
from qmm.discrete.problem import Choice
from qmm.discrete.select_cli import main, overlay
from qmm.discrete.selection import Pooled, Selected, named_solver, read_features, select
from qmm.encoders import SelectingCompressor
from qmm.errors import InputError
from qmm.training.cli import TrainingCLI

WIDTHS = {"vision": 6, "audio": 5}


@pytest.fixture
def configuration(tmp_path: Path) -> list[str]:
    """Vectors of scale 50: vision 2 and audio 1 say the class, vision 4 is a copy of vision 2, the rest is noise."""
    rng = np.random.default_rng(0)
    n = 240
    hidden = rng.normal(size=(n, 2))
    vision, audio = 50 * rng.normal(size=(n, 6)), 50 * rng.normal(size=(n, 5))
    vision[:, 2], audio[:, 1] = 50 * hidden[:, 0], 50 * hidden[:, 1]
    vision[:, 4] = vision[:, 2] + 0.5 * rng.normal(size=n)
    labels = (hidden.sum(1) > 0).astype(np.int64)
    split = np.where(np.arange(n) < 200, "train", "test")
    np.savez(tmp_path / "vectors.npz", vision=vision, audio=audio, label=labels, split=split)
    branches = {
        modality: {
            "encoder": {"class_path": "qmm.encoders.VectorEncoder", "init_args": {"dim": width}},
            "compressor": {"class_path": "qmm.encoders.LinearCompressor", "init_args": {"features": 2}},
        }
        for modality, width in WIDTHS.items()
    }
    parts = {
        "fusion": {"class_path": "qmm.fusion.QuantumFusion"},
        "decoder": {"class_path": "qmm.decoders.ClassDecoder"},
    }
    config = {
        "model": {"class_path": "qmm.tasks.MultimodalClassification", "init_args": {"model": {**branches, **parts}}},
        "data": {
            "class_path": "qmm.data.VectorsDataModule",
            "init_args": {
                "path": str(tmp_path / "vectors.npz"),
                "columns": {m: m for m in WIDTHS},
                "classes": ["low", "high"],
                "batch_size": 32,
            },
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return ["--config", str(tmp_path / "config.yaml")]


def test_the_command_keeps_what_says_the_class_and_no_copy(
    configuration: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found" / "selection.json"
    files = ["--json", str(out), "--out", str(tmp_path / "found" / "selection.yaml")]
    main([*configuration, "--keep", "vision=2", "audio=1", "--solver", "Exhaustive", *files])
    found = json.loads(out.read_text())
    assert found["indices"]["audio"] == [1]
    assert len({2, 4} & set(found["indices"]["vision"])) == 1
    assert found["feasible"]
    shown = capsys.readouterr().out
    assert "feasible" in shown
    assert f"vision: {found['indices']['vision']}" in shown
    assert "of 200 samples" in shown


def test_a_training_takes_the_overlay(configuration: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its angles are the features selected, within the range of the compressor that stood there."""
    narrow = tmp_path / "narrow.yaml"
    vision = {"compressor": {"init_args": {"low": -1.0, "high": 1.0}}}
    narrow.write_text(yaml.safe_dump({"model": {"init_args": {"model": {"vision": vision}}}}))
    out = tmp_path / "selection.yaml"
    flags = [*configuration, "--config", str(narrow)]
    main([*flags, "--keep", "vision=3", "--solver", "Exhaustive", "--out", str(out)])
    chosen = yaml.safe_load(out.read_text())["model"]["init_args"]["model"]["vision"]["compressor"]["init_args"]["indices"]
    monkeypatch.setattr(TrainingCLI, "_run_subcommand", lambda self, subcommand: None)
    model = TrainingCLI(["fit", *flags, "--config", str(out), "--runs", str(tmp_path)]).model.model
    compressor = model.branches["vision"].compressor
    assert isinstance(compressor, SelectingCompressor)
    assert (compressor.indices, compressor.low, compressor.high) == (chosen, -1.0, 1.0)
    assert type(model.branches["audio"].compressor).__name__ == "LinearCompressor"
    assert model.fusion.widths == {"vision": 3, "audio": 2}


def test_modalities_of_other_names_are_written_whole() -> None:
    compressor = {"class_path": "qmm.encoders.LinearCompressor", "init_args": {"features": 2, "gain": 0.5}}
    branch = {"encoder": {"class_path": "qmm.encoders.VectorEncoder", "init_args": {"dim": 4}}, "compressor": compressor}
    plain = {"model": {"init_args": {"model": {"others": {"lidar": branch, "radar": branch}, "audio": branch}}}}
    choice = Choice("", (), (), 0.0, 0.0, {}, ())
    made = overlay(plain, Selected({"radar": [1, 3]}, choice, choice, 0.0))["model"]["init_args"]["model"]
    selecting = {"class_path": "qmm.encoders.SelectingCompressor", "init_args": {"indices": [1, 3], "gain": 0.5}}
    assert made == {"others": {"lidar": branch, "radar": {**branch, "compressor": selecting}}}


def test_features_are_those_of_the_training_split_standardised_but_not_cut(configuration: list[str]) -> None:
    pooled = read_features(parse(configuration, "qmm select"), ["audio", "vision"])
    assert list(pooled.features) == ["audio", "vision"]
    assert pooled.features["vision"].shape == (200, 6)
    np.testing.assert_allclose(pooled.features["vision"].std(0), 1, atol=0.02)
    assert set(pooled.targets) == {0, 1}
    assert pooled.left_out == 0


def test_selecting_is_solving_the_problem_of_the_candidates() -> None:
    rng = np.random.default_rng(1)
    features = {"a": rng.normal(size=(150, 6)), "b": rng.normal(size=(150, 5))}
    targets = (features["a"][:, 3] + features["b"][:, 0] > 0).astype(int)
    pooled = Pooled(features, targets, 0)
    found = select(pooled, {"b": 2, "a": 1}, Exhaustive(), balance=0.5)
    values = np.concatenate([features["b"], features["a"]], axis=1)
    problem = feature_selection(
        relevance(values, targets), redundancy(values), {"b": 2, "a": 1}, 0.5, groups=["b"] * 5 + ["a"] * 6
    )
    best = Exhaustive().solve(problem).choice
    assert found.choice.objective == pytest.approx(best.objective, abs=1e-12)
    assert found.indices == {"b": [i for i in best.chosen if i < 5], "a": [i - 5 for i in best.chosen if i >= 5]}
    assert found.relevant.feasible
    assert found.relevant.objective >= found.choice.objective - 1e-12
    few = select(pooled, {"a": 1, "b": 2}, Exhaustive(), candidates=2)
    most = np.argsort(-relevance(features["b"], targets))[:2]
    assert few.indices["b"] == sorted(most.tolist())  # two of two candidates


def test_a_solver_is_named_by_class_path_or_file(tmp_path: Path) -> None:
    assert named_solver("Exhaustive").config_arguments() == {"most": 20}
    file = tmp_path / "solver.yaml"
    file.write_text("class_path: qmm.discrete.SimulatedAnnealing\ninit_args: {reads: 7}\n")
    assert named_solver(str(file)).config_arguments()["reads"] == 7
    assert type(named_solver("qmm.discrete.TabuSearch")).__name__ == "TabuSearch"
    with pytest.raises(InputError, match=r"there are QAOA, .*TabuSearch"):
        named_solver("TabuSerch")
    with pytest.raises(InputError, match="No such file"):
        named_solver(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--keep", "vision"], "give MODALITY=NUMBER"),
        (["--keep", "vision=0"], "give MODALITY=NUMBER"),
        (["--keep", "smell=1"], "--keep names smell"),
        (["--keep", "vision=7"], "7 features of vision, whose encoder makes 6"),
    ],
)
def test_what_cannot_be_kept(configuration: list[str], arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        main([*configuration, *arguments])


def test_a_trained_encoder_without_its_checkpoint_is_told(
    configuration: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(
        yaml.safe_dump({"model": {"init_args": {"model": {"vision": {"encoder": {"init_args": {"hidden": [8, 3]}}}}}}})
    )
    main(
        [*configuration, "--config", str(overlay), "--keep", "vision=1", "--solver", "Exhaustive", "--out", str(tmp_path / "o")]
    )
    assert "the encoder of vision is trained, and no checkpoint is given" in capsys.readouterr().err


def test_features_of_a_checkpoints_encoders(trained: Path) -> None:
    plain = parse(["--ckpt_path", str(trained / "checkpoints" / "last.ckpt")], "qmm select")
    pooled = read_features(plain, ["vision", "text"])
    assert {m: values.shape[1] for m, values in pooled.features.items()} == {"vision": 16, "text": 16}
    assert len(pooled.targets) + pooled.left_out == 48
    assert pooled.left_out > 0  # a fifth of each modality is missing
