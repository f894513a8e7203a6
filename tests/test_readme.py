"""What the README says is what happens."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from qmm.cli import COMMANDS


def blocks(repository: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (repository / "README.md").read_text(), re.DOTALL)


def commands(repository: Path) -> list[list[str]]:
    lines = "".join(blocks(repository, "bash")).splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def test_the_gate_runs_exactly_the_test_command(repository: Path) -> None:
    (test,) = [" ".join(c) for c in commands(repository) if "pytest" in c]
    gate = [line.split("#")[0].strip() for line in (repository / ".ci" / "run").read_text().splitlines()]
    assert test in gate


def test_commands_and_files_exist(repository: Path) -> None:
    ours = [c[c.index("qmm") :] for c in commands(repository) if "qmm" in c]
    assert {c[1] for c in ours} == set(COMMANDS) - {"validate"}
    named = [word for c in ours for word in c if word.startswith("configs/")]
    assert [name for name in named if not (repository / name).is_file()] == []
    links = re.findall(r"\]\((?!http)([^)]+)\)", (repository / "README.md").read_text())
    assert [link for link in links if not (repository / link).exists()] == []


@pytest.mark.parametrize("number", range(3))
def test_python_blocks_run(repository: Path, tmp_path: Path, number: int) -> None:
    """As they stand, in an empty folder."""
    script = blocks(repository, "python")[number]
    assert len(script.splitlines()) < 60
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    if "Trainer(" in script:
        (accuracy,) = re.findall(r"'val/accuracy': tensor\(([\d.]+)\)", done.stdout)
        assert float(accuracy) > 0.8  # two classes that no modality alone can tell apart; 0.96 here


def test_there_are_no_other_python_blocks(repository: Path) -> None:
    assert len(blocks(repository, "python")) == 3
