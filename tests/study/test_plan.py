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
