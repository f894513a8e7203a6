"""Whatever a configuration names that does not exist, the error says what was probably meant, for every command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from qmm.suggestions import did_you_mean, exported_classes, suggestions

Qmm = Callable[..., Any]


def nested(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


FUSION = "model.init_args.model.fusion"
CASES = {
    "class": (f"{FUSION}.init_args.entangler.class_path", "qmm.fusion.Paris", "did you mean 'qmm.fusion.Pairs'?"),
    "short class": (f"{FUSION}.init_args.entangler", "Paris", "did you mean 'qmm.fusion.Pairs'?"),
    "class elsewhere": (f"{FUSION}.class_path", "qmm.circuits.QuantumFusion", "did you mean 'qmm.fusion.QuantumFusion'"),
    "module": (f"{FUSION}.class_path", "qmm.fusio.QuantumFusion", "did you mean 'qmm.fusion.QuantumFusion'"),
    "argument": (f"{FUSION}.init_args.layer", 3, "did you mean 'layers'?"),
    "inherited argument": ("model.init_args.learning_rat", 0.1, "did you mean 'learning_rate'"),
    "data": ("data.class_path", "qmm.data.ScenesDataModul", "did you mean 'qmm.data.ScenesDataModule'"),
    "section": ("mdel.init_args.learning_rate", 0.1, "did you mean 'model.init_args.learning_rate'?"),
    "trainer": ("trainer.max_epoch", 3, "did you mean 'trainer.max_epochs'"),
}


@pytest.mark.parametrize("command", ["fit", "circuit"])
@pytest.mark.parametrize("case", CASES)
def test_configurations(qmm: Qmm, tiny: list[str], tmp_path: Path, command: str, case: str) -> None:
    key, value, meant = CASES[case]
    (tmp_path / "typo.yaml").write_text(yaml.safe_dump(nested(key, value)))
    refused = qmm(command, *tiny, "--config", tmp_path / "typo.yaml", "--runs", tmp_path, ok=False)
    assert meant in refused.stderr.splitlines()[-1]  # which is what a study shows of a cell that failed


def test_commands(qmm: Qmm) -> None:
    assert "did you mean 'circuit'?" in qmm("circut", ok=False).stderr


def test_an_argument_that_is_like_no_other_gets_the_list() -> None:
    message = "class_path 'qmm.fusion.ConcatFusion':\n  Option 'foo' is not accepted"
    assert suggestions(message) == ["qmm.fusion.ConcatFusion has no argument 'foo' (it takes hidden, out)"]
    assert suggestions("something else went wrong") == []


def test_names_that_are_near_nothing_get_no_suggestion() -> None:
    assert did_you_mean("zzz", ["pairs", "ring"]) == ""
    assert exported_classes("no.such.module") == {}
