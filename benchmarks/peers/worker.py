"""Serves one peer to engine.py, in the peer's own interpreter: requests and answers are JSON lines on the pipes.

python benchmarks/peers/worker.py <peer>
"""

import importlib
import json
import os
import statistics
import sys
import time
import traceback
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from interface import Description, Peer

SHORT = 0.2  # seconds


class Worker:
    def __init__(self, name: str):
        self.kind: type[Peer] = importlib.import_module(name).Peer
        self.peer: Peer | None = None
        self.data: tuple[Any, Any, Any] = (None, None, None)

    def hello(self) -> dict[str, Any]:
        kind = self.kind
        versions = {package: version(package) for package in kind.PACKAGES}
        named = {"gates": kind.GATES, "dtypes": kind.DTYPES, "devices": kind.DEVICES, "largest": kind.LARGEST}
        return {"versions": versions, **named}

    def build(self, circuit: dict[str, Any], dtype: str, batch: int, device: str) -> dict[str, Any]:
        began = time.perf_counter()
        self.peer = None  # the last one's memory is free before the next one is made
        self.peer = self.kind(Description.read(circuit), dtype, batch, device)
        return {"seconds": time.perf_counter() - began}

    def data_of(self, inputs: Any, weights: Any, mixture: Any) -> dict[str, Any]:
        arrays = (np.array(values, dtype=np.float64) for values in (inputs, weights, mixture))
        self.data = self.peer.prepare(*arrays)
        return {}

    def turn(self, method: str) -> dict[str, Any]:
        """Seconds of one "step" or "forward". A short one is the median of a few that follow one which is not counted: as in
        a training loop, the caches hold its own data and not those of the peer whose turn was before."""
        first, _ = self._once(method)
        if first > SHORT:
            return {"seconds": first}
        return {"seconds": statistics.median(self._once(method)[0] for _ in range(min(5, 1 + int(SHORT / first))))}

    def _once(self, method: str) -> tuple[float, Any]:
        arguments = self.data if method == "step" else self.data[:2]
        began = time.perf_counter()
        out = getattr(self.peer, method)(*arguments)
        return time.perf_counter() - began, out

    def run(self, method: str, answer: bool = False) -> dict[str, Any]:
        """Seconds of one "step" or "forward", and on demand what came out."""
        seconds, out = self._once(method)
        arrays = out if method == "step" else (out,)
        results = [np.asarray(array).tolist() for array in arrays] if answer else []
        return {"seconds": seconds, "results": results}

    def memory(self) -> dict[str, Any]:
        """Bytes by which the process grew at most while it made one step (Linux: its peak is set back first)."""
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        self.peer.step(*self.data)
        return {"bytes": resident("VmHWM") - before}


def resident(field: str) -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)]
    return 1024 * int(line.split()[1])


def serve(name: str) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a framework prints is no answer
    worker: Worker | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if worker is None:
                worker = Worker(name)
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:  # whatever a peer raises is a line of the table, not the end of the run
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    serve(sys.argv[1])
