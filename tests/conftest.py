"""Shared fixtures."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
Qmm = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture
def real_data() -> Path:
    """The folder of the real data; skips the test where there is none."""
    folder = Path(os.environ.get("QMM_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data: $QMM_DATA is unset, and there is no shared/data beside the repository")
    return folder


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Configuration of a run that takes seconds: the quickstart, made small."""
    return ["--config", str(REPOSITORY / "configs" / "quickstart.yaml"), "--config", str(REPOSITORY / "tests" / "tiny.yaml")]


@pytest.fixture(scope="session")
def qmm() -> Qmm:
    """Runs `qmm ...` as a user does, in a process of its own; `ok=False` where it is meant to fail."""

    def run(*args: object, ok: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run([sys.executable, "-m", "qmm", *map(str, args)], capture_output=True, text=True, timeout=300)
        assert (done.returncode == 0) == ok, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    return run


@pytest.fixture(scope="session")
def trained(qmm: Qmm, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny run."""
    runs = tmp_path_factory.mktemp("runs")
    qmm("fit", *tiny, "--runs", runs, "--name", "trained")
    return runs / "trained"
