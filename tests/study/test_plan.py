from pathlib import Path

import pytest

from qmm.errors import InputError
from qmm.study import read_study


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text("a: 1\n")
    Path("other.yaml").write_text("a: 2\n")
    return tmp_path


def write(text: str) -> str:
    Path("study.yaml").write_text(text)
    return "study.yaml"


def test_cells_are_arms_times_seeds_seed_by_seed(files: Path) -> None:
    study = read_study(write("configs: [base.yaml]\narms: {plain: , other: [other.yaml], inline: [{a: 3}]}\nseeds: 2\n"))
    assert study.name == "study"
    assert [cell.name for cell in study.cells()] == [
        *("plain-seed0", "other-seed0", "inline-seed0"),
        *("plain-seed1", "other-seed1", "inline-seed1"),
    ]
    assert study.arms["inline"] == ("base.yaml", {"a": 3})


def test_a_fingerprint_follows_the_content(files: Path) -> None:
    study = read_study(write("configs: [base.yaml]\narms: {plain: []}\nseeds: [7]\n"))
    before = study.fingerprint("plain")
    Path("base.yaml").write_text("a: 9\n")
    assert study.fingerprint("plain") != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("configs: [base.yaml]\nseeds: 1\n", "expected the keys configs, arms, seeds"),
        ("configs: [base.yaml]\narms: {a: }\nseeds: 1\nsedes: 2\n", "sedes"),
        ("configs: [gone.yaml]\narms: {a: }\nseeds: 1\n", r"arm 'a': no file gone\.yaml|gone\.yaml does not exist"),
        ("configs: [base.yaml]\narms: {a: }\nseeds: [x]\n", "`seeds` must be whole numbers"),
        ("configs: [base.yaml]\narms: [a]\nseeds: 1\n", "`arms` map names"),
        ("configs: [base.yaml\n", "is not YAML"),
    ],
)
def test_mistakes_are_named_before_anything_runs(files: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_study(write(text))


def test_a_missing_study_is_named(files: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.yaml does not exist"):
        read_study("nothing.yaml")


def test_sizes_are_drawn_by_seed_and_alike_for_every_arm(files: Path) -> None:
    study = read_study(write("configs: [base.yaml]\narms: {a: , b: }\nseeds: [7]\nsizes: [100, all]\n"))
    cells = study.cells()
    assert [cell.name for cell in cells] == ["a-n100-seed7", "b-n100-seed7", "a-seed7", "b-seed7"]
    assert cells[0].configs[-1] == cells[1].configs[-1] == {"data": {"init_args": {"train_size": 100, "part_seed": 7}}}
    assert cells[2].configs == ("base.yaml",)
    assert study.amount() == 4


def test_folds_go_round_with_the_seeds(files: Path) -> None:
    study = read_study(write("configs: [base.yaml]\narms: {a: , b: }\nseeds: 5\nfolds: 3\n"))
    overlays = [config for cell in study.cells() if cell.arm == "a" for config in cell.configs if isinstance(config, dict)]
    held = [overlay["data"]["init_args"] for overlay in overlays]
    assert [(h["fold"], h["split_seed"]) for h in held] == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)]
    assert all(overlay["score_on"] == "val" for overlay in overlays)
    assert study.overlap == 0.5


def test_pairs_are_the_first_with_each_other_unless_they_are_given(files: Path) -> None:
    arms = "configs: [base.yaml]\narms: {a: , b: , c: }\nseeds: 2\n"
    assert read_study(write(arms)).pairs == (("a", "b"), ("a", "c"))
    assert read_study(write(arms + "compare: [[b, c]]\n")).pairs == (("b", "c"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sizes: [0]\n", "`sizes` lists numbers"),
        ("sizes: [many]\n", "`sizes` lists numbers"),
        ("folds: 1\n", "`folds` is a number of parts"),
        ("compare: [[a, c]]\n", "names 'c', which is no arm"),
        ("compare: [a]\n", "lists pairs"),
        ("counterparts: maybe\n", "true or false"),
        ("robustness: [1]\n", "holds arguments"),
        ("sizes: [10]\ntuning: {held_out: {data: {}}, grid: {x: [1]}}\n", "in place of `held_out`"),
        ("folds: 2\ntuning: {folds: 2, grid: {x: [1]}}\n", "take fixed settings"),
        ("tuning: {folds: 2, method: random, grid: {x: [1]}}\n", "others `space` and `trials`"),
        ("tuning: {folds: 2, method: random, space: {x: [1]}, trials: 2}\n", "only 1 different settings"),
        ("tuning: {folds: 2, method: random, space: {x: {low: 0, high: 1, log: true}}, trials: 2}\n", "both above 0"),
        ("tuning: {folds: 2, method: optuna, space: {x: 3}, trials: 2}\n", "is a list, or a range"),
    ],
)
def test_mistakes_in_what_is_optional_are_named(files: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_study(write("configs: [base.yaml]\narms: {a: , b: }\nseeds: 2\n" + text))


def test_an_arm_may_be_tuned_over_settings_of_its_own_as_many(files: Path) -> None:
    text = "configs: [base.yaml]\narms: {{a: , b: {{configs: [other.yaml], grid: {{y.z: {}}}}}}}\nseeds: 1\n"
    text += "tuning: {{folds: 2, grid: {{x: [1, 2]}}}}\n"
    study = read_study(write(text.format("[3, 4]")))
    assert [(c.arm, c.choice, c.part) for c in study.trials()] == [
        *(("a", "x 1", 0), ("a", "x 1", 1), ("a", "x 2", 0), ("a", "x 2", 1)),
        *(("b", "z 3", 0), ("b", "z 3", 1), ("b", "z 4", 0), ("b", "z 4", 1)),
    ]
    assert study.trials()[5].configs == (
        "base.yaml", "other.yaml", {"y": {"z": 3}}, {"data": {"init_args": {"tuning_fold": 1, "tuning_folds": 2}}},
    )  # fmt: skip
    assert len({cell.name for cell in study.trials()}) == 8
    with pytest.raises(InputError, match="arm 'b' tries 1 settings, others 2"):
        read_study(write(text.format("[3]")))
