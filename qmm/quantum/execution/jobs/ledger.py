"""The ledger: what was measured of everything that ran."""

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from qmm.quantum.execution.jobs.gauge import Taken


@dataclass(frozen=True)
class Figures:
    """What ran up to some moment, or, as a difference, between two of them.

    Circuits, shots, gates and times are those of jobs that returned; of a job that failed, only that it was sent.
    """

    wall_seconds: float = 0.0
    """While at least one job was under way, or waited for its next attempt."""
    jobs: int = 0
    """Sent, those that failed among them."""
    retries: int = 0
    """Jobs sent in place of others that had failed, whole or in parts."""
    pubs: int = 0
    circuits: int = 0
    """Bindings times bases."""
    shots: int = 0
    qin: int = 0
    """Quantum instruction number, the gates executed: for each PUB instructions x shots x bindings. Barriers, delays,
    measurements and resets are not counted; the gates that turn a basis are, and so are gates that take no time, as RZ on many
    devices. Of estimators, which choose their bases themselves: as if they took those of the request."""
    qct_seconds: float | None = 0.0
    """Quantum calculation time: shots x duration of the scheduled circuit with its measurements, by the durations that the
    device states; None where it states none. Without what lies between two shots."""
    qpu_seconds: float | None = None
    """What providers say that they charge, as far as they say it."""
    queue_seconds: float | None = None
    """From a job's creation to its start, as far as providers say it."""
    found_circuits: int = 0
    """From the journal, without cost."""
    found_shots: int = 0

    def __sub__(self, earlier: Self) -> Self:
        """What ran since `earlier`."""
        names = [field.name for field in dataclasses.fields(self)]
        return type(self)(**{name: _difference(getattr(self, name), getattr(earlier, name)) for name in names})

    def to_dict(self) -> dict[str, float | int | None]:
        return dataclasses.asdict(self)


def _difference(later: Any, earlier: Any) -> Any:
    return later if later is None or earlier is None else later - earlier


class Ledger:
    """Counts what runs; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._figures = Figures()
        self._active, self._since = 0, 0.0

    def snapshot(self) -> Figures:
        with self._lock:
            running = time.monotonic() - self._since if self._active else 0.0
            return dataclasses.replace(self._figures, wall_seconds=self._figures.wall_seconds + running)

    def to_dict(self) -> dict[str, float | int | None]:
        return self.snapshot().to_dict()

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """The time in here is wall time; once, where several jobs are under way at once."""
        with self._lock:
            self._active += 1
            if self._active == 1:
                self._since = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1
                if not self._active:
                    self._add(wall_seconds=time.monotonic() - self._since)

    def sent(self, again: bool) -> None:
        """A job; `again`: after one that failed."""
        with self._lock:
            self._add(jobs=1, retries=int(again))

    def returned(self, taken: Taken, pubs: int, queue: float | None, charged: float | None) -> None:
        """A job that gave a result, good or not; its seconds in the queue, and those charged, where they are known."""
        with self._lock:
            self._add(pubs=pubs, circuits=taken.circuits, shots=taken.shots, qin=taken.instructions)
            known = self._figures.qct_seconds
            total = None if known is None or taken.seconds is None else known + taken.seconds
            self._figures = dataclasses.replace(self._figures, qct_seconds=total)
            self._add(**{k: v for k, v in (("queue_seconds", queue), ("qpu_seconds", charged)) if v is not None})

    def found(self, circuits: int, shots: int) -> None:
        """In the journal, or in a job of an earlier process."""
        with self._lock:
            self._add(found_circuits=circuits, found_shots=shots)

    def _add(self, **more: float) -> None:
        old = self._figures
        new: dict[str, Any] = {name: (getattr(old, name) or 0) + value for name, value in more.items()}
        self._figures = dataclasses.replace(old, **new)


def job_times(job: Any) -> tuple[float | None, float | None]:
    """Seconds in the queue and seconds charged, by the job's own `metrics()`, as IBM's have them; None where it has none."""
    try:
        metrics = job.metrics()
        stamps = metrics.get("timestamps") or {}
        created, running = (datetime.fromisoformat(stamps[k].replace("Z", "+00:00")) for k in ("created", "running"))
        usage = metrics.get("usage") or {}
        charged = next((usage[k] for k in ("quantum_seconds", "qpu_charge_time_seconds", "seconds") if k in usage), None)
        return (running - created).total_seconds(), None if charged is None else float(charged)
    except Exception:  # jobs without metrics, a connection that fails: figures are not worth a result
        return None, None
