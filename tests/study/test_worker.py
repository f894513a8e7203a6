"""The worker: a cell has a process of its own, though Python is started once."""

import os
from pathlib import Path

import pytest

from qmm.study.worker import CAN_FORK, Worker


@pytest.fixture
def worker():
    made = Worker({**os.environ, "MARK": "of the study"})
    yield made
    made.close()


def test_it_answers_with_the_exit_status_and_the_output_goes_to_the_log(worker: Worker, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert worker.run(["fit", "--help"], log) == 0
    assert "--config" in log.read_text()
    assert worker.run(["fit", "--config", "gone.yaml"], log, ["qmm.gone.Class"]) not in (0, None)
    assert "gone.yaml" in log.read_text()
    assert worker.run(["study", "--config", "gone.yaml"], log) == 1
    assert log.read_text().rstrip().endswith("e.g. configs/studies/quickstart.yaml")


@pytest.mark.skipif(not CAN_FORK, reason="cells are forked on Linux only")
def test_a_worker_that_is_gone_says_so(tmp_path: Path) -> None:
    worker = Worker()
    worker._process.kill()
    worker._process.wait()
    assert worker.run(["fit", "--help"], tmp_path / "log.txt") is None
    worker.close()
