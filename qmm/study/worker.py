"""Runs `qmm fit` again and again without starting Python again: a process that has all imported and forks for every cell.

`serve` reads one request a line (JSON: args, log, imports) and answers each with the exit status. A cell has a process of its
own, as if typed: it shares nothing with the next one but what was imported before, and may be killed alone.
"""

import contextlib
import ctypes
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NoReturn, cast

_ALWAYS = ("qmm.training.cli.TrainingCLI", "qmm.quantum.kernels.execute.simulate")
CAN_FORK = sys.platform == "linux"  # elsewhere libraries under torch do not survive a fork


class Worker:
    """The process, seen from the study. `environment` replaces the study's own."""

    def __init__(self, environment: dict[str, str] | None = None):
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from qmm.study.worker import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=die_with_parent,
        )
        self._requests, self._answers = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)

    def run(self, args: Sequence[str], log: Path, imports: Sequence[str] = ()) -> int | None:
        """The exit status of `qmm *args`, output appended to `log`; negative for a signal, None if the worker is gone, too."""
        request = {"args": list(args), "log": str(log), "imports": list(imports)}
        try:
            self._requests.write(json.dumps(request) + "\n")
            self._requests.flush()
            answer = self._answers.readline()
        except BrokenPipeError:
            answer = ""
        return int(answer) if answer else None

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()
        self._process.wait()
        self._answers.close()


def die_with_parent() -> None:
    """A study that is killed must not leave a cell running that its successor starts again (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def serve() -> None:
    """Until standard input ends. Answers go where standard output went; whatever else is printed goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the cell is interrupted, and the study decides
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(f"{_forked(request) if CAN_FORK else _spawned(request)}\n")
        answers.flush()


def _forked(request: dict[str, Any]) -> int:
    for name in (*_ALWAYS, *request["imports"]):
        _import(name)
    gc.freeze()  # the collector of the child leaves pages alone that it shares with us
    child = os.fork()
    if not child:
        _become(request)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _import(path: str) -> None:
    module, _, name = path.rpartition(".")
    with contextlib.suppress(Exception):  # the cell will fail for the same reason, and say so in its log
        getattr(import_module(module), name)


def _become(request: dict[str, Any]) -> NoReturn:
    """`python -m qmm *args`, down to what processes that it starts itself find in sys.argv."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for place, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(source, place)
    sys.argv[1:] = request["args"]
    runpy.run_module("qmm", run_name="__main__", alter_sys=True)
    sys.exit()


def _spawned(request: dict[str, Any]) -> int:
    with open(request["log"], "a") as log:
        command = [sys.executable, "-m", "qmm", *request["args"]]
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT).returncode
