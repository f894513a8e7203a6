"""The journal: the ids of jobs and the estimates of requests, on disk as they come.

A folder of two:
- `results/MARK.npz`: the estimates that one job gave, with the keys of what they answer. Whole or not there.
- `jobs/*.jsonl`: a file for each process, a line for each step of a job: "sending" (with what it holds), "sent" (with its id),
  then "kept" or "failed". A line that was cut off is skipped.
"""

import json
import os
import threading
import time
import uuid
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.jobs.asks import Ask
from qmm.quantum.execution.jobs.packing import Piece, Work
from qmm.quantum.execution.requests import Estimates

Identity = tuple[str, int]
_DAMAGED = (OSError, ValueError, KeyError, IndexError, EOFError, TypeError, zipfile.BadZipFile, zlib.error)
_OPEN_FILES = 8  # whose estimates are kept in memory while a restarted run asks for them


class Span(NamedTuple):
    """Bindings `start` to `stop` of an ask, in a job."""

    key: str
    repetition: int
    start: int
    stop: int


class SentJob(NamedTuple):
    """A job, mostly of an earlier process, of which nobody knows what became of it."""

    mark: str
    job_id: str | None
    """None where the process ended before it was written down."""
    sampler: bool
    pubs: list[list[Span]]


class _Entry(NamedTuple):
    start: int
    stop: int
    where: Estimates | tuple[str, int]
    """The estimates, or a file and the place in it."""


class Journal:
    """What is known of requests before they are sent.

    Args:
        folder: Where it lies; several processes may use one. None: nothing is written, and what a failed submission got back is
            kept in memory until it is asked for again.
        remote: Whether jobs outlive their process: then what they hold is written down, and the disk is waited for.
    """

    def __init__(self, folder: str | Path | None = None, remote: bool = False):
        """Raises CircuitError for a folder that cannot be made."""
        self.folder, self._remote = None if folder is None else Path(folder), remote
        self._lock = threading.RLock()
        self._entries: dict[Identity, list[_Entry]] = {}
        self._files: OrderedDict[str, list[Estimates]] = OrderedDict()
        self._lost: dict[str, SentJob] = {}
        self.spent: list[dict[str, Any]] = []
        """What earlier processes sent from this folder: circuits, shots, seconds."""
        if self.folder is None:
            return
        self._lines = self.folder / "jobs" / f"{int(time.time())}-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"
        try:
            for name in ("jobs", "results"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CircuitError(f"no journal can be kept in {self.folder} ({error.strerror}); give another folder") from error
        self._read()

    def fill(self, ask: Ask) -> None:
        """The ask learns what is known of it."""
        with self._lock:
            for entry in self._entries.get(ask.identity, ()):
                shape = entry.stop - entry.start, ask.estimates.values.shape[1]
                found = entry.where if isinstance(entry.where, Estimates) else self._load(*entry.where)
                if found is not None and found.values.shape == shape and entry.stop <= len(ask.known):
                    ask.learn(slice(entry.start, entry.stop), found)

    def forget(self, asks: Iterable[Ask]) -> None:
        """These were answered, and are not asked for again in this run. They stay on disk."""
        with self._lock:
            for ask in asks:
                self._entries.pop(ask.identity, None)

    def lost(self, asks: Iterable[Ask]) -> list[SentJob]:
        """Jobs of earlier processes that hold something of these."""
        with self._lock:
            wanted = {ask.identity for ask in asks} if self._lost else set()
            jobs = list(self._lost.values())
            return [job for job in jobs if any((s.key, s.repetition) in wanted for pub in job.pubs for s in pub)]

    def sending(self, mark: str, provider: str, sampler: bool, work: Work, takes: dict[str, Any]) -> None:
        """A job is about to be sent. `takes`: circuits, shots, seconds."""
        pubs = [[_span(piece) for piece in pub] for pub in work] if self._remote else []
        self._write(step="sending", mark=mark, provider=provider, sampler=sampler, takes=takes, pubs=pubs)

    def sent(self, mark: str, job_id: str) -> None:
        self._write(step="sent", mark=mark, job=job_id)

    def lose(self, mark: str, job_id: str | None, sampler: bool, work: Work) -> None:
        """A job of this process that may have a result, which could not be had."""
        with self._lock:
            self._lost[mark] = SentJob(mark, job_id, sampler, [[_span(piece) for piece in pub] for pub in work])

    def failed(self, mark: str, why: str, charged: bool) -> None:
        """`charged`: whether what it takes was spent all the same."""
        with self._lock:
            self._lost.pop(mark, None)
        self._write(step="failed", mark=mark, why=why, charged=charged)

    def keep(self, mark: str, found: Sequence[tuple[Piece, Estimates]], whole: bool = True) -> None:
        """What a job gave. `whole`: whether there is nothing more to read of it."""
        with self._lock:
            for piece, estimates in found:
                self._entries.setdefault(piece.ask.identity, []).append(_Entry(piece.start, piece.stop, estimates))
            if whole:
                self._lost.pop(mark, None)
        if self.folder is None:
            return
        try:
            self._save(self.folder / "results" / f"{mark if whole else uuid.uuid4().hex}.npz", found)
        except OSError as error:
            warnings.warn(f"results are not on disk, {self.folder}: {error}", stacklevel=2)
        if whole:
            self._write(step="kept", mark=mark)

    def _save(self, path: Path, found: Sequence[tuple[Piece, Estimates]]) -> None:
        partial = path.with_name(f".{path.name}.partial")
        spans = [_span(piece) for piece, _ in found]
        with partial.open("wb") as file:
            np.savez(
                file,
                keys=np.array([span.key for span in spans], "S64"),
                numbers=np.array([span[1:] for span in spans], np.int64),
                widths=np.array([estimates.values.shape[1] for _, estimates in found], np.int64),
                values=np.concatenate([estimates.values.ravel() for _, estimates in found]),
                variances=np.concatenate([estimates.variances.ravel() for _, estimates in found]),
            )
            if self._remote:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)

    def _write(self, **content: Any) -> None:
        """One line, in one call to the system: a process that is killed leaves whole lines, and at most one that is cut."""
        if self.folder is None:
            return
        line = (json.dumps({**content, "time": round(time.time(), 3)}) + "\n").encode()
        try:
            with self._lock, self._lines.open("ab", buffering=0) as file:
                file.write(line)
                if self._remote:
                    os.fsync(file.fileno())
        except OSError as error:
            warnings.warn(f"a job is not written down, {self.folder}: {error}", stacklevel=2)

    def _read(self) -> None:
        assert self.folder is not None
        read: set[str] = set()
        for path in sorted((self.folder / "results").glob("*.npz")):
            try:
                self._index(path)
            except _DAMAGED:  # its requests are made again
                continue
            read.add(path.stem)
        steps: dict[str, dict[str, dict[str, Any]]] = {}
        for path in sorted((self.folder / "jobs").glob("*.jsonl")):
            for line in _lines(path):
                steps.setdefault(line["mark"], {})[line["step"]] = line
        for mark, known in steps.items():
            sending, failed = known.get("sending", {}), known.get("failed")
            if sending.get("takes") and (failed is None or failed.get("charged")):
                self.spent.append(sending["takes"])
            if failed is None and sending.get("pubs") and mark not in read:
                pubs = [[Span(*span) for span in pub] for pub in sending["pubs"]]
                self._lost[mark] = SentJob(mark, known.get("sent", {}).get("job"), bool(sending["sampler"]), pubs)

    def _index(self, path: Path) -> None:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            keys, numbers = file["keys"].astype(str).tolist(), file["numbers"].tolist()
        for place, (key, (repetition, start, stop)) in enumerate(zip(keys, numbers, strict=True)):
            self._entries.setdefault((key, repetition), []).append(_Entry(start, stop, (path.name, place)))

    def _load(self, name: str, place: int) -> Estimates | None:
        """None where the file is damaged."""
        assert self.folder is not None
        if name not in self._files:
            try:
                self._files[name] = _estimates(self.folder / "results" / name)
            except _DAMAGED:
                self._files[name] = []
            if len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)
        self._files.move_to_end(name)
        found = self._files[name]
        return found[place] if found else None


def _span(piece: Piece) -> Span:
    return Span(*piece.ask.identity, piece.start, piece.stop)


def _estimates(path: Path) -> list[Estimates]:
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        sizes = file["numbers"][:, 2] - file["numbers"][:, 1]
        shapes = np.stack([sizes, file["widths"]], axis=1)
        values, variances = (_split(file[name], shapes) for name in ("values", "variances"))
    return [Estimates(*pair) for pair in zip(values, variances, strict=True)]


def _split(flat: NDArray[np.float64], shapes: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    ends = np.cumsum(shapes.prod(axis=1))
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Those that are whole."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        try:
            content = json.loads(line)
            content["mark"], content["step"]
        except (ValueError, TypeError, KeyError):
            continue
        yield content
