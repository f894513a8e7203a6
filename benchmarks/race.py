"""Workers, one process a peer, and the race between them: checked against each other first, then one step each in turn."""

import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from families import describe
from peers.environments import interpreter, why_missing

from qmm.quantum import Circuit

PEERS = Path(__file__).parent / "peers"
ENVIRONMENTS = {  # of each peer's module; None: our own
    "ours": None,
    "qulacs_backprop": "qulacs",
    "mindquantum_grad": "mindquantum",
    "pennylane_backprop": "pennylane",
    "lightning_adjoint": "pennylane",
    "deepquantum_vmap": "deepquantum",
    "torchquantum_bmm": "torchquantum",
    "tensorcircuit_torch": "tensorcircuit",
    "tensorcircuit_jax": "tensorcircuit",
    "qiskit_ml_connector": "qiskit_ml",
    "aer_statevector": None,
}
TOLERANCE = {"complex64": 2e-4, "complex128": 1e-5}
"""Greatest difference allowed, over the greatest magnitude (at least 1) of what is compared. DeepQuantum and TensorCircuit
hold some constants in float32 whatever is asked, so that 1e-6 is theirs in complex128; the table shows what each reaches."""


class PeerError(Exception):
    """What a peer could not do, in one line for the table."""


class TooSlowError(PeerError):
    """The peer was ended after the time it may take for one answer."""


class Worker:
    """A peer's process. Every request has a limit in seconds; a worker beyond it is killed."""

    def __init__(self, name: str, threads: int):
        environment = ENVIRONMENTS[name]
        python = Path(sys.executable) if environment is None else interpreter(environment)
        if not python.exists():
            raise PeerError(why_missing(environment))
        count = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "NUMBA", "OPENBLAS")}
        quiet = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
        self.name = name
        self.process = subprocess.Popen(
            [str(python), str(PEERS / "worker.py"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | count | quiet,
        )
        try:
            self.about = self.ask("hello", 300)
        except PeerError:
            self.close()
            raise

    def ask(self, what: str, limit: float, **fields: Any) -> dict[str, Any]:
        """Raises PeerError with the peer's own words, TooSlowError after `limit` seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": what, **fields}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise PeerError(self.ended()) from None
        line, end = b"", time.monotonic() + limit
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                self.close()
                raise TooSlowError(f"over {limit:.0f} s")
            chunk = os.read(self.process.stdout.fileno(), 1 << 20)
            if not chunk:
                raise PeerError(self.ended())
            line += chunk
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def ended(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.close()
        return f"its process ended with status {self.process.returncode} (out of memory, or a crash)"

    def alive(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def ready(self, circuit: Circuit, data: "Data", dtype: str, device: str, limit: float) -> str:
        """Builds the circuit, hands over the data; returns the dtype that the peer computes in."""
        about = self.about
        if about["largest"] is not None and circuit.quantum_circuit.num_qubits > about["largest"]:
            raise PeerError(f"only tried up to {about['largest']} qubits")
        if device.partition(":")[0] not in about["devices"]:
            raise PeerError(f"does not run on {device}")
        runs_in = dtype if dtype in about["dtypes"] else about["dtypes"][0]
        fields = describe(circuit, about["gates"])
        self.ask("build", limit, circuit=fields, dtype=runs_in, batch=len(data.inputs), device=device)
        self.ask("data_of", limit, **{name: array.tolist() for name, array in data._asdict().items()})
        return runs_in

    def run(self, what: str, limit: float) -> tuple[float, list[Any]]:
        """Seconds, and what came out, as float64 arrays."""
        answer = self.ask("run", limit, method=what, answer=True)
        return answer["seconds"], [np.array(result) for result in answer["results"]]


class Data(NamedTuple):
    inputs: Any
    """(B, n_inputs) radians."""
    weights: Any
    """(W,)"""
    mixture: Any
    """(B, n_observables): the gradient that comes in from behind."""

    @classmethod
    def drawn(cls, circuit: Circuit, batch: int) -> "Data":
        rng = np.random.default_rng(0)
        inputs, weights = (
            rng.uniform(-np.pi, np.pi, (batch, len(circuit.inputs))),
            rng.uniform(-np.pi, np.pi, len(circuit.weights)),
        )
        return cls(inputs, weights, rng.normal(size=(batch, circuit.n_outputs)))


class Entry(NamedTuple):
    """A line of the table."""

    peer: str
    runs_in: str
    milliseconds: float | None
    repeats: int
    first: float | None
    """Seconds of the first run, compilation included."""
    difference: float | None
    """From the reference, over the greatest magnitude."""
    remark: str
    """Why there is no time, or what to know about it."""
    megabytes: float | None = None
    """What a step added to the memory of the process, where that was measured."""

    @classmethod
    def failed(cls, peer: str, dtype: str, why: str) -> "Entry":
        return cls(peer, dtype, None, 0, None, None, why)


def difference(found: list[Any], expected: list[Any]) -> float:
    """The greatest difference of any value or gradient, over the greatest magnitude (at least 1) of its array."""
    if [a.shape for a in found] != [a.shape for a in expected]:
        raise PeerError(f"answers of shapes {[a.shape for a in found]}, expected {[a.shape for a in expected]}")
    gaps = [float(abs(a - b).max(initial=0) / max(1.0, abs(b).max(initial=0))) for a, b in zip(found, expected, strict=True)]
    return max(gap if np.isfinite(gap) else np.inf for gap in gaps)


def prepare(
    worker: Worker, circuit: Circuit, data: Data, expected: list[Any], dtype: str, device: str, what: str, limit: float
) -> Entry:
    """Builds, runs once, compares: a line without a time. Raises PeerError, and that too where the answer is wrong."""
    try:
        runs_in = worker.ready(circuit, data, dtype, device, limit)
        first, found = worker.run(what, limit)
    except TooSlowError:
        raise TooSlowError(f"over {limit:.0f} s to build or to run once, compilation included") from None
    gap = difference(found, expected)
    if gap > TOLERANCE[runs_in]:
        raise PeerError(f"wrong: differs by {gap:.1e}, {TOLERANCE[runs_in]:.0e} is allowed")
    return Entry(worker.name, runs_in, None, 0, first, gap, "")


def interleaved(workers: Mapping[str, Worker], what: str, repeats: int, budget: float) -> dict[str, list[float]]:
    """Seconds of up to `repeats` runs of each, in turn, until a worker's runs have taken `budget` seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    going = list(workers)
    while going:
        for name in list(going):
            taken = seconds[name]
            try:
                taken.append(workers[name].ask("turn", 10 * budget, method=what)["seconds"])
            except PeerError as error:
                print(f"  {name}: {error}", flush=True)
                going.remove(name)
                continue
            if len(taken) >= repeats or sum(taken) + statistics.median(taken) > budget:
                going.remove(name)
    return seconds


def race(
    workers: Mapping[str, Worker],
    circuit: Circuit,
    data: Data,
    expected: list[Any],
    dtype: str,
    device: str = "cpu",
    what: str = "step",
    repeats: int = 20,
    budget: float = 10.0,
    first: float = 60.0,
) -> list[Entry]:
    """A line for each worker: who fails, is wrong, or needs over `first` seconds to build and run once says so, untimed."""
    entries: dict[str, Entry] = {}
    for name, worker in workers.items():
        try:
            entries[name] = prepare(worker, circuit, data, expected, dtype, device, what, first)
        except PeerError as error:
            entries[name] = Entry.failed(name, dtype, str(error))
        print(f"  {name}: {entries[name].remark or f'checked, {entries[name].difference:.1e} from the reference'}", flush=True)
    timed = interleaved({n: workers[n] for n, e in entries.items() if not e.remark}, what, repeats, budget)
    for name, seconds in timed.items():
        if not seconds:
            entries[name] = entries[name]._replace(remark="failed when timed")
            continue
        median = statistics.median(seconds)
        remark = "one run" if len(seconds) == 1 else ""
        entries[name] = entries[name]._replace(milliseconds=1e3 * median, repeats=len(seconds), remark=remark)
    return list(entries.values())
