"""What a fair comparison needs joins a study by itself, and sizes that do not match are named before anything runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from qmm.study import Study, matching
from qmm.study.matching import match
from qmm.study.tuning import Tuning


def overlay(**model: Any) -> dict[str, Any]:
    return {"model": {"init_args": {"model": model}}}


@pytest.fixture(scope="module")
def study(tiny: list[str]) -> Study:
    return Study(
        "s", {"quantum": (tiny[1], tiny[3]), "audio": (tiny[1], tiny[3], overlay(vision=None, text=None))}, (0,), "accuracy"
    )


def test_the_classical_counterpart_and_both_shams_join_in(study: Study, tmp_path: Path) -> None:
    found = match(study, tmp_path)
    assert found.added == ("concat", "sham-local", "sham-frozen")
    assert list(found.study.arms) == ["quantum", "audio", *found.added]
    assert found.study.arms["sham-local"] == (*study.arms["quantum"], overlay(counterpart="sham-local"))
    assert found.lines[0].startswith("added to compare quantum with: concat, sham-local, sham-frozen")
    (off,) = [line for line in found.lines if line.startswith("audio is not of the size of quantum")]
    assert "fewer" in off
    assert not [line for line in found.lines if line.startswith(("concat is", "sham"))]  # these match


def test_arms_that_are_counterparts_already_are_not_added_twice(study: Study, tmp_path: Path) -> None:
    mine = (*study.arms["quantum"], overlay(counterpart="late"))
    frozen = (*study.arms["quantum"], overlay(counterpart="sham-frozen"))
    found = match(study._replace(arms={"quantum": study.arms["quantum"], "mine": mine, "frozen": frozen}), tmp_path)
    assert found.added == ("sham-local",)


def test_where_nothing_matches_the_nearest_below_and_above_join_in_and_it_says_by_how_much(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = matching._all_facts

    def without_exact(*args: Any) -> Any:
        return {arm: f and f._replace(offered=("gated-below", "gated-above")) for arm, f in real(*args).items()}

    monkeypatch.setattr(matching, "_all_facts", without_exact)
    found = match(study, tmp_path)
    assert found.added == ("gated-below", "gated-above")


def test_switched_off_nothing_joins_in_and_it_is_said(study: Study, tmp_path: Path) -> None:
    found = match(study._replace(counterparts=False), tmp_path)
    assert found.study.arms == study.arms
    assert "no classical counterpart and no sham" in found.lines[0]


def test_added_arms_are_compared_with_the_quantum_one_and_tuned_as_it_is(study: Study, tmp_path: Path) -> None:
    tuning = Tuning({}, {"a": {}}, (0,), "accuracy", False, folds=3, own={"quantum": {"b": {}}})
    found = match(study._replace(compare=(("quantum", "audio"),), tuning=tuning), tmp_path).study
    assert found.pairs == (("quantum", "audio"), ("quantum", "concat"), ("quantum", "sham-local"), ("quantum", "sham-frozen"))
    assert found.tuning is not None
    assert found.tuning.of("sham-local") == {"b": {}}
    assert found.tuning.of("audio") == {"a": {}}


def test_a_study_without_circuits_stays_as_it_is(study: Study, tmp_path: Path) -> None:
    only = {arm: (*configs, overlay(counterpart="concat")) for arm, configs in study.arms.items()}
    assert match(study._replace(arms=only), tmp_path) == (study._replace(arms=only), (), ())


def test_what_was_read_is_read_once(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = match(study, tmp_path)
    monkeypatch.setattr(matching, "_facts", lambda *_: pytest.fail("read again"))
    assert match(study, tmp_path) == first


def test_a_configuration_that_cannot_be_read_is_left_to_its_cell(study: Study, tmp_path: Path) -> None:
    broken = (*study.arms["quantum"], {"model": {"init_args": {"learning_rat": 1}}})
    found = match(study._replace(arms={"quantum": study.arms["quantum"], "broken": broken}), tmp_path)
    assert "broken" in found.study.arms
    assert json.loads((tmp_path / "matching.json").read_text())


def test_published_studies_name_what_they_compare(repository: Path) -> None:
    for path in (repository / "configs" / "studies").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        assert isinstance(content.get("counterparts", True), bool), path
