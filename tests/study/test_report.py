"""What a report says of a study, and what it warns of."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import confusion_matrix

from qmm.errors import InputError
from qmm.study.report import circuits, rebuild, summary, tables, write_report
from qmm.study.report.cautions import cautions
from qmm.study.report.configs import differences, flat
from qmm.study.report.confusing import counts
from qmm.study.report.markdown import as_markdown
from qmm.study.report.reading import compared
from qmm.study.report.sections import page
from qmm.study.report.training import flat as flat_curves
from qmm.study.report.training import with_dynamics
from qmm.study.runner import Outcome
from qmm.study.tuning import Tuning


def test_a_report_is_made_again_from_the_tables_alone(made_up: Any, tmp_path: Path) -> None:
    study = made_up.study(seeds=2)
    outcome = made_up.outcome(study, rich=False)
    outcome.table.to_parquet(tmp_path / "results.parquet")
    text = write_report(study, outcome, tmp_path, "qmm study --config x")
    page = (tmp_path / "report.html").read_text()
    (tmp_path / "report.html").unlink()
    (tmp_path / "report" / "of-an-arm-that-is-gone.png").write_bytes(b"")
    assert rebuild(study, tmp_path) == text
    assert (tmp_path / "report.html").read_text() == page
    assert not list((tmp_path / "report").glob("of-an-arm*"))
    with pytest.raises(InputError, match=r"no results\.parquet"):
        rebuild(study, tmp_path / "elsewhere")
    with pytest.raises(InputError, match="none of the arms"):
        rebuild(made_up.study(("x", "y")), tmp_path)


def test_one_arm_or_one_seed_is_no_error(made_up: Any, tmp_path: Path) -> None:
    for study in (made_up.study(("alone",), seeds=2), made_up.study(("a", "b"), seeds=1)):
        text = write_report(study, made_up.outcome(study, rich=False), tmp_path, "x")
        assert ("too few seeds" in text) == (len(study.arms) == 2)
        assert "Answer" in (tmp_path / "report.html").read_text()


def test_numbers_of_the_tables(made_up: Any) -> None:
    study = made_up.study()
    outcome = made_up.outcome(study, (100, 400))
    arms = tables.arms(study, outcome).frame.set_index("arm")
    own = outcome.table[(outcome.table["arm"] == "sham") & (outcome.table["size"] == 400)]
    assert arms.loc["sham", "mean"] == pytest.approx(own["accuracy"].mean())
    assert arms.loc["sham", "deviation"] == pytest.approx(np.std(own["accuracy"], ddof=1))
    assert arms.loc["sham", "mismatch"] == pytest.approx(0.3)
    assert dict(zip(tables.arms(study, outcome).columns, tables.arms(study, outcome).rows[2], strict=True))[
        "fusion + decoder parameters"
    ].endswith("(+30%)")
    low = tables.low_data(study, outcome.table)
    assert [table.key for table in low] == ["low-data", "low-data-areas"]
    (robust,), points = tables.robust(study, outcome.table)
    assert set(points["level"]) == {0.0, 0.25, 0.5, 1.0}
    measured = own["robustness"].iloc[0]
    gone = robust.frame.query("arm == 'sham' and kind == 'missing' and modality == 'audio' and seed == 0")
    assert gone["relative"].item() == pytest.approx(measured[-1]["value"])


def test_confusions_are_those_of_sklearn() -> None:
    rng = np.random.default_rng(0)
    samples = pd.DataFrame(rng.choice(list("abcd"), (200, 2)), columns=["target", "prediction"])
    ours = counts(samples, list("abcd"))
    assert (ours == confusion_matrix(samples["target"], samples["prediction"], labels=list("abcd"))).all()


def test_differences_of_configurations() -> None:
    one = "seed_everything: 1\nmodel: {class_path: a.B, init_args: {x: 1, y: [1, 2], z: null}}\n"
    two = "seed_everything: 2\nmodel: {class_path: a.B, init_args: {x: 2, y: [1, 2], w: {}}}\n"
    assert dict(flat({"a": [{"b": 1.5, "c": {}}, "x"], "d": None})) == {"a.0.b": "1.5", "a.0.c": "{}", "a.1": "x", "d": "null"}
    found = differences({"one": one, "two": two})
    assert found is not None
    assert found.rows == [
        ("model.x", "1", "2"),
        ("model.z", "null", "–"),
        ("model.w", "–", "{}"),
    ]
    assert differences({"one": one, "again": one.replace("seed_everything: 1", "seed_everything: 2")}) is None


Change = Callable[[Any, Outcome], tuple[Any, Outcome]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s, o: (s._replace(counterparts=False), o), "Counterparts are switched off"),
        (lambda s, o: (s, o), r"Not of the same capacity.*sham \(\+30%\)"),
        (lambda s, o: (s, o._replace(failures={"concat-seed3": "exit status 1"})), "Cell concat-seed3 failed: exit status 1"),
        (lambda s, o: (s, o._replace(table=o.table[o.table["seed"] < 3])), "Few seeds"),
        (lambda s, o: (s, o._replace(table=o.table[o.table["arm"] != "concat"])), "Without a finished cell.*concat"),
        (lambda s, o: (s, o._replace(table=o.table.drop(index=2))), r"fewer finished cells.*quantum \(9 of 10\)"),
        (
            lambda s, o: (s, o._replace(table=o.table.assign(versions=[{"torch": str(k % 2)} for k in range(len(o.table))]))),
            "different versions of torch: 0 and 1",
        ),
    ],
)
def test_what_is_wrong_is_said_before_it_is_believed(made_up: Any, change: Change, said: str) -> None:
    study = made_up.study(seeds=10)
    found = cautions(*change(study, made_up.outcome(study)))
    assert [re.search(said, text) for text in found].count(None) == len(found) - 1


def test_a_sound_study_has_no_caution(made_up: Any) -> None:
    study = made_up.study(("quantum", "concat"), seeds=10)
    assert cautions(study, made_up.outcome(study)) == []


def test_every_score_of_a_tuning_is_shown(made_up: Any) -> None:
    choices: dict[str, Any] = {"rate 0.1": {}, "rate 0.2": {}}
    study = made_up.study(("a", "b"), tuning=Tuning({"x": 1}, choices, (0,), "loss", True))
    trials = pd.DataFrame(
        [
            {"arm": arm, "size": size, "choice": choice, "seed": 0, "loss": 1.0 + place + (size == 50)}
            for arm in study.arms
            for size in (50, -1)
            for place, choice in enumerate(choices)
        ]
    )
    outcome = made_up.outcome(study, (50, -1))._replace(trials=trials, chosen={"a": "rate 0.1", "a-n50": "rate 0.1"})
    found = tables.tuning(study, outcome)
    assert found is not None
    assert found.rows[:2] == [("a", "50", "rate 0.1", "2.0000", "✓ chosen"), ("a", "50", "rate 0.2", "3.0000", "no")]
    assert len(found.rows) == 8
    assert as_markdown(found) in summary(study, outcome, "x")
    assert tables.arms(study, outcome).rows[0][-1] == "rate 0.1"
    one_size = outcome._replace(table=outcome.table.query("size == -1"), trials=trials.query("size == -1"))
    assert "| a | **1.000** | 2.000 |" in summary(study, one_size, "x")


def test_folds_are_told_of(made_up: Any, tmp_path: Path) -> None:
    study = made_up.study(("a", "b"), folds=5)
    text = write_report(study, made_up.outcome(study, rich=False), tmp_path, "x")
    assert "corrected resampled t test" in text
    assert "corrected resampled t test" in (tmp_path / "report.html").read_text()


def test_circuits_are_drawn_once_and_of_what_can_be_built(repository: Path, tmp_path: Path) -> None:
    quantum = (repository / "configs" / "quickstart.yaml").read_text()
    whole: Any = yaml.safe_load(quantum)
    whole["model"]["init_args"]["model"]["counterpart"] = "sham-local"
    whole["model"]["init_args"]["model"]["fusion"] |= {"class_path": "qmm.fusion.QuantumFusion"}
    (tmp_path / "circuit.png").write_bytes(b"a picture")
    configs = {
        "quantum": quantum,
        "twin": quantum,
        "sham": yaml.safe_dump(whole),
        "none": "model: 3",
        "broken": "a: [",
        "gone": "",
    }
    found = circuits.section(configs, {"sham": tmp_path, "none": tmp_path / "nowhere"})
    assert found is not None
    (picture,) = found.pictures
    assert "quantum and twin" in picture.description
    assert "6 qubits in registers vision (2), audio (2) and text (2)" in picture.description
    (bitmap,) = found.bitmaps
    assert bitmap.png == b"a picture"
    assert circuits.section({"none": "model: 3"}, {}) is None


def test_gradients_of_the_cells_folders_join_the_curves(made_up: Any, tmp_path: Path) -> None:
    table = made_up.outcome(made_up.study(("a",), seeds=2)).table
    home = tmp_path / "cells" / "a-seed1"
    home.mkdir(parents=True)
    pd.DataFrame({"epoch": [0.0, 12.0], "gradient_share/quantum": [0.25, 0.5]}).to_csv(home / "dynamics.csv", index=False)
    points = flat_curves(with_dynamics(table, tmp_path)).query("name == 'gradient_share/quantum'")
    assert points[["seed", "x", "value"]].to_numpy().tolist() == [[1, 0, 0.25]]  # no other epoch was trained
    assert set(flat_curves(table)["name"]) >= {"train/loss", "val/accuracy", "gradient_norm/quantum"}


def test_of_many_comparisons_those_without_evidence_are_folded_away(made_up: Any) -> None:
    arms = ("quantum", "far", *(f"near{i}" for i in range(9)))
    own = made_up.study(arms, counterparts=True)
    rows = [
        {"arm": arm, "seed": seed, "split": "test", "samples": 10, "accuracy": 0.5 + 0.001 * ((seed * (place + 2)) % 5)}
        | ({"accuracy": 0.3 + 0.001 * seed} if arm == "far" else {})
        for place, arm in enumerate(arms)
        for seed in range(5)
    ]
    table = pd.DataFrame(rows)
    made = page(own, Outcome(table, pd.DataFrame(), {}, {}), compared(own, table), "qmm study", {})
    assert [verdict.word for verdict in made.verdicts] == ["quantum against far: higher"]
    assert len(made.more_verdicts) == 9
    assert made.more == "All other comparisons"
    assert made.question == "Do arms differ in accuracy, in 10 pairs of them?"
    few = page(
        own, Outcome(table[table["arm"].isin(arms[:4])], pd.DataFrame(), {}, {}), compared(own, table)[:3], "qmm study", {}
    )
    assert len(few.verdicts) == 3
    assert not few.more_verdicts
