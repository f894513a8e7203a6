"""A run that is killed at any line of the execution package, and begun again until it is done: `dying.py FOLDER DEATHS SEED`.

Each attempt is a process of its own, forked from this one. Prints, of a run that is not disturbed and of those that are, on two
kinds of device, what they found, and how many circuits the device ran.
"""

import json
import os
import signal
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.primitives import BaseSamplerV2, BitArray, DataBin, PrimitiveJob, PrimitiveResult, SamplerPubResult
from qiskit.quantum_info import SparsePauliOp

import qmm.quantum.execution as package
from qmm.quantum import Circuit, ExactSampler
from qmm.quantum.execution import Limits, Provider, Request
from qmm.quantum.execution.answers import sampler_pubs
from qmm.quantum.execution.jobs.dispatch import Dispatcher
from qmm.quantum.execution.jobs.keys import content_key
from qmm.quantum.execution.jobs.sending import Jobs
from qmm.quantum.settings import parts

CODE = str(Path(package.__file__).parent)
LINES = 12_000  # of that package; a whole run takes some 20,000, and 14,000 where it finds everything


class Service(Provider):
    """A device far away: what it has received it carries out and keeps, whatever becomes of the process that sent it."""

    limits = Limits(circuits=4)

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def name(self) -> str:
        return "service"

    @property
    def device(self) -> None:
        return None

    def sampler(self, seed: int) -> BaseSamplerV2:
        return _Sampler(self.folder, np.random.default_rng(seed))


class RemoteService(Service):
    def label(self, primitive: Any, label: str) -> None:
        primitive.label = label

    def retrieve(self, job_id: str) -> Any:
        return _job(self.folder / job_id)

    def labelled(self, label: str) -> Any:
        found = [path for path in self.folder.iterdir() if path.name.endswith(label)]
        return _job(found[0]) if found else None


class _Sampler(BaseSamplerV2):
    label = ""

    def __init__(self, folder: Path, rng: np.random.Generator):
        self.folder, self.exact = folder, ExactSampler(seed=rng)

    def run(self, pubs: Any, *, shots: int | None = None) -> PrimitiveJob:
        pubs = list(pubs)
        path = self.folder / f"{uuid.uuid4().hex[:8]}-{sum(len(pub[1]) for pub in pubs)}-{self.label}"
        results = list(self.exact.run(pubs).result())
        bits = {str(i): result.data["measured"].array for i, result in enumerate(results)}
        widths = [result.data["measured"].num_bits for result in results]
        with (self.folder.parent / "received").open("wb") as file:
            np.savez(file, widths=widths, **bits)
        os.replace(self.folder.parent / "received", path)
        return _job(path)


def _job(path: Path) -> PrimitiveJob:
    def result() -> Any:
        with np.load(path) as file:
            widths = file["widths"].tolist()
            bits = [BitArray(file[str(i)], width) for i, width in enumerate(widths)]
        return PrimitiveResult([SamplerPubResult(DataBin(measured=b, shape=b.shape)) for b in bits])

    job = PrimitiveJob(result)
    job._job_id = path.name
    job._submit()
    return job


def requests(turn: int) -> list[Request]:
    found = []
    for depth in (1, 2):
        circuit = QuantumCircuit(2)
        for i, angle in enumerate(ParameterVector("a", depth)):
            circuit.ry(angle, i)
        circuit.cx(0, 1)
        observables = [SparsePauliOp(["XX", "ZZ"]), SparsePauliOp("ZI")]
        measurement = parts(Circuit.of(circuit, [], list(circuit.parameters), observables)).measurement
        angles = np.random.default_rng([turn % 3, depth]).normal(size=(3, depth))  # every third turn asks for the same again
        found.append(Request(circuit, tuple(circuit.parameters), angles, measurement, 30))
    return found


def run(folder: Path, kind: str) -> list[Any]:
    provider = (RemoteService if kind == "remote" else Service)(folder / "service")
    dispatcher = Dispatcher(provider, 3, Jobs(wait=0.0, folder=str(folder / "journal")))
    return [[e.values.tolist() for e in dispatcher.submit(requests(turn)).result(60)] for turn in range(4)]


def die_after(lines: int) -> None:
    """Kills this process when its threads have executed so many lines of the execution package."""
    left = [lines]

    def on_line(frame: Any, event: str, argument: Any) -> Any:
        if event == "line":
            left[0] -= 1
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return on_line

    def on_call(frame: Any, event: str, argument: Any) -> Any:
        return on_line if CODE and frame.f_code.co_filename.startswith(CODE) else None

    threading.settrace(on_call)
    sys.settrace(on_call)


def begin_again_until_done(folder: Path, kind: str, deaths: int, rng: np.random.Generator) -> dict[str, Any]:
    (folder / "service").mkdir(parents=True)
    died = 0
    while True:
        last = int(rng.integers(1, LINES)) if died < deaths else 0
        child = os.fork()
        if not child:
            if last:
                die_after(last)
            (folder / "found").write_text(json.dumps(run(folder, kind)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            break
        if not os.WIFSIGNALED(status):
            raise SystemExit(f"an attempt ended with {status}")
        died += 1
    circuits = [int(path.name.split("-")[1]) for path in (folder / "service").iterdir()]
    return {"died": died, "circuits": sum(circuits), "found": json.loads((folder / "found").read_text())}


def main(folder: Path, deaths: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for request in requests(0):  # what is compiled here is not compiled again in each attempt
        ExactSampler().run(sampler_pubs(request)).result()
    found: dict[str, Any] = {"key": content_key(*keyed())}
    for name, kind, last in (("calm", "remote", 0), ("remote", "remote", deaths), ("local", "local", deaths)):
        found[name] = begin_again_until_done(folder / name, kind, last, rng)
    print(json.dumps(found))


def keyed() -> tuple[Any, ...]:
    """What has equal content keys in every process."""
    circuit = QuantumCircuit(3)
    for i, a in enumerate(ParameterVector("w", 12)):
        circuit.rx(a * a - 0.5 * a + 0.1, i % 3)
        circuit.cx(i % 3, (i + 1) % 3)
    return circuit, {"b", "a", "c"}, {"x": 1.5}, SparsePauliOp(["XX", "ZZ"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
