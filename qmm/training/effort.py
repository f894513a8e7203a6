"""Effort: what a training took of a machine."""

import re
import sys
import time
from pathlib import Path
from typing import Self

import psutil
import torch

WATTS_PER_CORE = 10.0
"""What a busy core draws, roughly: 80 to 90 W over the 8 cores of a desktop or server processor. Energy is that times CPU time,
so that comparisons between trainings do not depend on it."""


class Stopwatch:
    """Wall time, CPU time of all threads and ended child processes, and GPU energy, of what lies between `start` and `stop`,
    summed up."""

    def __init__(self) -> None:
        self.seconds = self.cpu_seconds = self.gpu_joules = 0.0
        self._began: float | None = None
        self._cpu_began = 0.0

    def start(self) -> Self:
        self._began, self._cpu_began = time.perf_counter(), cpu_seconds()
        return self

    def stop(self) -> None:
        """Adds nothing where it was not started: a run continued from the end of an epoch ends this epoch once more."""
        if self._began is None:
            return
        seconds, self._began = time.perf_counter() - self._began, None
        self.seconds += seconds
        self.cpu_seconds += cpu_seconds() - self._cpu_began
        self.gpu_joules += seconds * gpu_watts()

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds, "gpu_joules": self.gpu_joules}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.seconds, self.cpu_seconds, self.gpu_joules = state["seconds"], state["cpu_seconds"], state["gpu_joules"]

    @property
    def joules(self) -> float:
        """An estimate: `WATTS_PER_CORE` for each second of CPU time, and what GPUs said they drew."""
        return WATTS_PER_CORE * self.cpu_seconds + self.gpu_joules


def cpu_seconds() -> float:
    """User and system time of this process and of its children that have ended."""
    return float(sum(psutil.Process().cpu_times()[:4]))


def peak_memory_bytes() -> int:
    """The most memory that this process has held at once; of a forked one that includes pages that it shares with its
    parent."""
    if sys.platform == "linux":  # where `getrusage` goes on from what the process held that started this one
        return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # Unix alone has it

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def gpu_watts() -> float:
    """What the GPU in use draws now; 0 without one, and where it does not say (nvidia-ml-py missing)."""
    if not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return 0.0
    try:
        return torch.cuda.power_draw() / 1000
    except (ModuleNotFoundError, RuntimeError):
        return 0.0
