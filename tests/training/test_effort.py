"""What a training took: sums over epochs and restarts, memory of a process."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from qmm.training import RunFolder
from qmm.training.effort import WATTS_PER_CORE, Stopwatch, cpu_seconds


def work() -> None:
    before = cpu_seconds()
    while cpu_seconds() - before < 0.05:
        sum(range(10_000))


def test_what_lies_between_start_and_stop_is_summed() -> None:
    watch = Stopwatch()
    for _ in range(2):
        watch.start()
        work()
        watch.stop()
    assert watch.cpu_seconds >= 0.1 - 1e-9
    assert watch.joules == WATTS_PER_CORE * watch.cpu_seconds + watch.gpu_joules
    continued = Stopwatch()
    continued.load_state_dict(watch.state_dict())
    continued.start()
    work()
    continued.stop()
    assert continued.cpu_seconds >= watch.cpu_seconds + 0.05 - 1e-9
    assert continued.seconds > watch.seconds


def test_the_peak_is_what_a_process_held_not_what_it_holds() -> None:
    script = (
        "from qmm.training.effort import peak_memory_bytes as peak\n"
        "before = peak(); held = bytearray(300_000_000); held[::4096] = b'1' * len(held[::4096]); del held\n"
        "print(peak() - before)"
    )
    held = bytearray(600_000_000)  # by the process that starts the other: no part of what that one holds
    held[::4096] = b"1" * len(held[::4096])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    del held
    assert int(done.stdout) > 250_000_000


def test_what_was_not_started_adds_nothing() -> None:
    watch = Stopwatch()
    watch.stop()
    assert watch.seconds == watch.cpu_seconds == 0
    watch.start().stop()
    once = watch.seconds
    watch.stop()
    assert watch.seconds == once > 0


def test_an_epoch_that_ends_once_more_is_written_once(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    trainer: Any = SimpleNamespace(callback_metrics={"train/loss": torch.tensor(0.5)}, current_epoch=3)
    folder.on_train_epoch_start(trainer, None)
    folder.on_train_epoch_end(trainer, None)
    continued = RunFolder(str(tmp_path))
    continued.load_state_dict(folder.state_dict())
    trainer.callback_metrics = {}
    continued.on_train_epoch_end(trainer, None)
    assert continued.history == [{"epoch": 3, "train/loss": 0.5}]
    assert continued.effort.seconds == folder.effort.seconds
