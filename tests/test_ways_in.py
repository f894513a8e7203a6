"""Ours in somebody else's code: the very blocks of docs/howto/lightning.md, run where no file of the repository lies."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HOME = Path(__file__).parents[1]


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (HOME / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def theirs() -> str:
    """The one that tests/test_readme.py does not run."""
    (own,) = [block for block in blocks("docs/howto/lightning.md") if block not in blocks("README.md")]
    return own


def test_a_task_of_ours_under_their_trainer_data_callbacks_and_optimiser(theirs: str, tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(theirs)
    done = subprocess.run([sys.executable, "theirs.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    (right,) = re.findall(r"^right: ([\d.]+)$", done.stdout, re.MULTILINE)
    assert float(right) > 0.85  # ten classes; 0.96 here
    (checkpoint,) = (tmp_path / "checkpoints").glob("*.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    assert "momentum" in content["optimizer_states"][0]["param_groups"][0]  # their SGD, not our AdamW
    assert {"ModelCheckpoint", "EarlyStopping"} <= {name.partition("{")[0] for name in content["callbacks"]}
    assert content["qmm"]["data"] is None  # nothing is claimed of data that is not ours
