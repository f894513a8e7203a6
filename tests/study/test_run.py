"""A study, run as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

Qmm = Callable[..., Any]


@pytest.fixture(scope="module")
def study_file(tiny: list[str], tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    path = tmp_path_factory.mktemp("study") / "tiny.yaml"
    configs = [tiny[1], tiny[3], {"trainer": {"max_epochs": 1}}]
    arms = {"quantum": [], "vision": [str(repository / "configs" / "modalities" / "vision.yaml")]}
    path.write_text(json.dumps({"configs": configs, "arms": arms, "seeds": [0, 1], "counterparts": False}))  # JSON is YAML
    return path


def results(folder: Path) -> dict[str, float]:
    """When each finished cell was written."""
    return {path.parent.name: path.stat().st_mtime for path in (folder / "cells").glob("*/result.json")}


def test_killed_it_goes_on_and_repeats_no_finished_cell(qmm: Qmm, study_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    command = [sys.executable, "-m", "qmm", "study", "--config", str(study_file), "--folder", str(folder)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    deadline = time.monotonic() + 200
    while not results(folder) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = results(folder)
    assert 0 < len(before) < 4
    done = qmm("study", "--config", study_file, "--folder", folder)
    after = results(folder)
    assert set(after) == {"quantum-seed0", "vision-seed0", "quantum-seed1", "vision-seed1"}
    assert {name: after[name] for name in before} == before
    assert "quantum - vision" in done.stdout
    table = pd.read_parquet(folder / "results.parquet")
    assert len(table) == 4
    assert set(table["split"]) == {"test"}
    row = table[table["arm"] == "quantum"].iloc[0]
    right = [p["target"] == p["prediction"] for p in row["predictions"]]
    assert row["accuracy"] == pytest.approx(sum(right) / len(right))
    assert {"parameters_fusion", "parameters_decoder", "fit_seconds", "wall_seconds", "config"} <= set(table)
    assert (table[["fit_cpu_seconds", "fit_joules", "peak_memory_bytes"]] > 0).all(axis=None)
    assert (folder / "summary.png").is_file()
    assert (folder / "summary.md").read_text() in done.stdout


def test_a_failing_cell_is_reported_and_not_fatal(qmm: Qmm, study_file: Path, tmp_path: Path) -> None:
    content = json.loads(study_file.read_text())
    content["arms"] = {"broken": [{"model": {"init_args": {"learning_rat": 1.0}}}], "vision": content["arms"]["vision"]}
    (tmp_path / "s.yaml").write_text(json.dumps({**content, "seeds": [0]}))
    done = qmm("study", "--config", tmp_path / "s.yaml", "--folder", tmp_path / "study", ok=False)
    assert "broken-seed0" in done.stderr
    assert set(pd.read_parquet(tmp_path / "study" / "results.parquet")["arm"]) == {"vision"}


def test_a_study_changed_half_way_is_refused(qmm: Qmm, study_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    (folder).mkdir()
    (folder / "fingerprints.json").write_text(json.dumps({"vision": "of other configurations"}))
    done = qmm("study", "--config", study_file, "--folder", folder, ok=False)
    assert "the configuration of vision changed" in done.stderr


def test_an_unknown_arm_names_the_known_ones(qmm: Qmm, study_file: Path, tmp_path: Path) -> None:
    done = qmm("study", "--config", study_file, "--folder", tmp_path, "--arms", "smell", ok=False)
    assert "it has quantum, vision" in done.stderr


def test_what_so_few_seeds_can_show_is_said_before_anything_runs(qmm: Qmm, study_file: Path, tmp_path: Path) -> None:
    done = qmm("study", "--config", study_file, "--folder", tmp_path / "s", "--seeds", 0, "--report", ok=False)
    assert "1 seed, 1 comparison: no conclusion about a difference is possible" in done.stderr
    assert "`counterparts: false`: no classical counterpart" in done.stderr
    assert "vision is not of the size of quantum" in done.stderr
    assert "no cell of the study is finished" in done.stderr
    assert not (tmp_path / "s" / "cells").exists()


def test_a_size_that_the_study_has_not_is_named(qmm: Qmm, study_file: Path, tmp_path: Path) -> None:
    done = qmm("study", "--config", study_file, "--folder", tmp_path / "s", "--sizes", "100", ok=False)
    assert "the study has no training size 100; it has all" in done.stderr
