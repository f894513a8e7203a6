"""`qmm backends`: exact values against those of other backends, the same samples for all, nothing computed twice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from qmm.backends import comparing
from qmm.backends.configuration import build_setup, read_setup
from qmm.backends.plan import read_cases
from qmm.errors import InputError
from qmm.quantum import CircuitError
from qmm.quantum.execution import PrimitiveBackend

Qmm = Callable[..., Any]
IDEAL = {"class_path": "qmm.quantum.execution.ideal.Ideal"}


def overlay(path: Path, **arguments: Any) -> Path:
    backend = {"class_path": "qmm.quantum.execution.PrimitiveBackend", "init_args": {"primitive": IDEAL, **arguments}}
    path.write_text(yaml.safe_dump({"model": {"init_args": {"model": {"backend": backend}}}}))
    return path


@pytest.fixture
def given(trained: Path, tmp_path: Path) -> list[object]:
    return ["--ckpt_path", trained / "checkpoints" / "last.ckpt", "--folder", tmp_path / "found"]


def test_more_shots_are_nearer_and_nothing_runs_twice(
    qmm: Qmm, given: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = overlay(tmp_path / "few.yaml", shots=20), overlay(tmp_path / "many.yaml", shots=20_000)
    asked = [*given, "--on", few, "--on", f"many shots={many}", "--samples", "10", "--seeds", "0", "1"]
    shown = qmm("backends", *asked).stdout
    table = pd.read_csv(tmp_path / "found" / "backends.csv")
    assert table[["backend", "seed"]].values.tolist() == [["few", 0], ["few", 1], ["many shots", 0], ["many shots", 1]]
    assert set(table["samples"]) == {10}
    assert table["error"][0] != table["error"][1]
    ratio = table["error"][:2].mean() / table["error"][2:].mean()
    assert ratio == pytest.approx(1000**0.5, rel=0.5)
    assert "many shots" in shown
    Image.open(tmp_path / "found" / "backends.png").verify()

    def fails(*_: Any) -> None:
        raise AssertionError("computed twice")

    monkeypatch.setattr(comparing, "run", fails)
    qmm("backends", *asked)
    assert pd.read_csv(tmp_path / "found" / "backends.csv").equals(table)


def test_the_exact_backend_changes_nothing(qmm: Qmm, given: list[object], tmp_path: Path) -> None:
    cases = tmp_path / "cases.yaml"
    few = overlay(tmp_path / "few.yaml", shots=20)
    cases.write_text(
        yaml.safe_dump({"cases": {"exact": [], "three": {"overlays": [str(few)], "samples": 3, "arguments": {"shots": 5}}}})
    )
    qmm("backends", *given, "--cases", cases)
    table = pd.read_csv(tmp_path / "found" / "backends.csv").set_index("backend")
    assert table.loc[["exact"], ["error", "changed"]].to_numpy().tolist() == [[0, 0]]
    assert table["samples"].to_dict() == {"exact": 24, "three": 3}
    assert read_cases(str(cases))[1].setup["backend"]["init_args"]["shots"] == 5


def test_one_backend_that_fails_takes_no_other_with_it(qmm: Qmm, given: list[object], tmp_path: Path) -> None:
    cliffords = {"class_path": "qmm.quantum.execution.Aer", "init_args": {"method": "stabilizer"}}
    narrow = overlay(tmp_path / "narrow.yaml", primitive=cliffords)  # rotations by any angle are none
    failed = qmm("backends", *given, "--on", narrow, "--on", overlay(tmp_path / "few.yaml", shots=20), ok=False)
    assert "narrow, seed 0" in failed.stderr
    assert pd.read_csv(tmp_path / "found" / "backends.csv")["backend"].tolist() == ["few"]


def test_a_subset_is_the_same_for_all_and_the_seed_decides_it() -> None:
    data = range(50)
    assert comparing.choose(data, 10, 0) == comparing.choose(data, 10, 0) != comparing.choose(data, 10, 1)
    assert comparing.choose(data, None, 0) == list(data)
    assert set(comparing.choose(data, 5, 0)) < set(comparing.choose(data, 10, 0))


def test_later_overlays_lie_over_earlier_ones(tmp_path: Path) -> None:
    first, second = overlay(tmp_path / "a.yaml", shots=20), tmp_path / "b.yaml"
    second.write_text("model: {init_args: {model: {backend: {init_args: {shots: 7}}}}}")
    backend = build_setup(read_setup([first, second])).backend
    assert isinstance(backend, PrimitiveBackend)
    assert (backend.shots, backend.provider.name) == (7, "ideal device")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cases: 3", "no cases"),
        ("cases: {a: {overlays: [], sample: 3}}", "case 'a': give a list of overlays"),
        ("cases: {a: {overlays: [], samples: 0}}", "samples=0"),
        ("cases: {a: [nowhere.yaml]}", "nowhere.yaml"),
    ],
)
def test_a_wrong_file_of_cases_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "cases.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_cases(str(path))


def test_bad_input_is_refused_before_anything_runs(qmm: Qmm, given: list[object], tmp_path: Path) -> None:
    assert "no backend: give --on" in qmm("backends", *given, ok=False).stderr
    nothing = tmp_path / "nothing.yaml"
    nothing.write_text("trainer: {max_epochs: 1}")
    assert "nothing.yaml: no backend" in qmm("backends", *given, "--on", nothing, ok=False).stderr
    none = overlay(tmp_path / "none.yaml", shots=0)
    assert "shots=0" in qmm("backends", *given, "--on", none, ok=False).stderr
    twice = overlay(tmp_path / "few.yaml", shots=20)
    assert "two backends are called 'few'" in qmm("backends", *given, "--on", twice, "--on", twice, ok=False).stderr
    with pytest.raises((InputError, CircuitError), match="shots=0"):
        build_setup(read_setup([none]))


def test_other_answers_are_counted() -> None:
    outcome = comparing.Outcome(torch.zeros(2, 3), ["a", "b"], {}, 0.0)
    other = outcome._replace(fused=torch.tensor([[0.3, 0, 0], [0, -0.3, 0]]), predictions=["a", "c"])
    found = comparing.compared(other, outcome)
    assert found["changed"] == 0.5
    assert found["error"] == pytest.approx(0.1)
    assert found["bias"] == pytest.approx(0.1)
