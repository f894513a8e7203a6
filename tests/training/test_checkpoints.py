import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from qmm.errors import InputError
from qmm.training.checkpoints import AtomicCheckpointIO, check_shapes, read_checkpoint


def test_round_trip(tmp_path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint({"a": torch.arange(3), "b": {"c": [1, "x"]}}, tmp_path / "deep" / "x.ckpt")
    content = AtomicCheckpointIO().load_checkpoint(tmp_path / "deep" / "x.ckpt")
    assert torch.equal(content["a"], torch.arange(3))
    assert content["b"] == {"c": [1, "x"]}
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["x.ckpt"]


def test_a_kill_while_writing_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    writer = (
        "import torch, sys\n"
        "from qmm.training.checkpoints import AtomicCheckpointIO\n"
        "for i in range(100000):\n"
        f"    AtomicCheckpointIO().save_checkpoint({{'i': torch.full((200_000,), i)}}, {str(path)!r})\n"
        "    print(i, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", writer], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    values = read_checkpoint(path)["i"]
    assert (values == values[0]).all()


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'pwned'}",)

    torch.save({"x": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(InputError, match="never unpickles"):
        read_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "pwned").exists()


def test_truncated_and_missing_files_are_named(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(1000)}, tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes((tmp_path / "a.ckpt").read_bytes()[:500])
    with pytest.raises(InputError, match=r"b\.ckpt cannot be read as a checkpoint: it is truncated"):
        read_checkpoint(tmp_path / "b.ckpt")
    with pytest.raises(InputError, match=r"c\.ckpt does not exist"):
        read_checkpoint(tmp_path / "c.ckpt")


def test_shapes_that_differ_are_named() -> None:
    model = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}
    check_shapes(model, {"weight": torch.ones(2, 3), "bias": torch.ones(2)})
    with pytest.raises(InputError, match=r"weight: model \(2, 3\), checkpoint \(4, 3\)"):
        check_shapes(model, {"weight": torch.ones(4, 3), "bias": torch.ones(2)})
    with pytest.raises(InputError, match=r"bias: not in the checkpoint.*extra: not in the model"):
        check_shapes(model, {"weight": torch.ones(2, 3), "extra": torch.ones(1)})
