"""One job sent, waited for, and read."""

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from qmm.quantum.background import in_background
from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.jobs.asks import Ask
from qmm.quantum.execution.jobs.budget import Budget, Plan
from qmm.quantum.execution.jobs.failures import Failure, UnreachableError, UnusableError, described, lasting, not_found
from qmm.quantum.execution.jobs.gauge import NOTHING, Gauge, Taken
from qmm.quantum.execution.jobs.journal import Identity, Journal, SentJob
from qmm.quantum.execution.jobs.keys import content_key
from qmm.quantum.execution.jobs.ledger import Ledger, job_times
from qmm.quantum.execution.jobs.packing import Piece, Work, primitive_pubs
from qmm.quantum.execution.providers import Provider
from qmm.quantum.execution.requests import Estimates, Request

_T = TypeVar("_T")
Found = list[tuple[Piece, Estimates]]
_CANCELLING = 5.0  # seconds that a hanging job's cancel() may take
_ASKING = 10.0  # seconds that a job's metrics() may take


@dataclass(frozen=True)
class Jobs:
    """How jobs are sent, and what is done when they fail.

    Args:
        attempts: How often a job is sent before it is sent in halves, and a single binding before it has failed.
        wait: Seconds before the second attempt; each time twice as long, give or take a half.
        longest_wait: Seconds.
        timeout: Seconds after which a job hangs, from when it is sent, its time in a queue among them; None: never.
        folder: Where job ids and results are kept, so that a run that is killed finds them again. None: where the run says.
        at_once: How many jobs may be under way together; more than one where they wait in a queue.
        merge: Whether requests that come while a job is under way go into one job with each other. None: where numbers do not
            follow from a seed; where they do, what shares a job would depend on timing, and the numbers with it.
    """

    attempts: int = 5
    wait: float = 1.0
    longest_wait: float = 60.0
    timeout: float | None = None
    folder: str | None = None
    at_once: int = 1
    merge: bool | None = None

    def __post_init__(self) -> None:
        """Raises CircuitError for a number out of its range."""
        for name in ("attempts", "at_once"):
            if isinstance(value := getattr(self, name), bool) or not isinstance(value, int) or value < 1:
                raise CircuitError(f"jobs: {name}={value!r}; give a whole number, 1 or more")
        for name in ("wait", "longest_wait"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise CircuitError(f"jobs: {name}={getattr(self, name)!r}; give seconds, 0 or more")
        if self.timeout is not None and not self.timeout > 0:
            raise CircuitError(f"jobs: timeout={self.timeout!r}; give seconds, or leave it out for none")


class Sender:
    """Sends jobs to a provider and reads what they give; from several threads, if need be."""

    def __init__(self, provider: Provider, seed: int, settings: Jobs, budget: Budget | None):
        self.provider, self.settings, self.budget = provider, settings, budget
        self.ledger, self.gauge = Ledger(), Gauge(provider.device)
        self._rng, self._lock = np.random.default_rng([seed, 0x6A6F6273]), threading.Lock()
        self._spent = Plan()
        self._fetched: dict[str, tuple[Any, set[Identity]]] = {}  # results, and who has had theirs of them
        self.bearable: int | None = None
        """Circuits of a job, where larger ones have failed."""
        self.keep_in(settings.folder)

    @cached_property
    def sampler(self) -> bool:
        """Whether there is a sampler, or an estimator. Raises CircuitError where there is neither."""
        if self.provider.sampler(0) is not None:
            return True
        if self.provider.estimator(0) is None:
            raise CircuitError(f"{self.provider.name} makes neither a sampler nor an estimator")
        return False

    def keep_in(self, folder: str | Path | None) -> None:
        """Raises CircuitError for a folder that cannot be made."""
        self.journal = Journal(folder, self.provider.remote)
        for earlier in self.journal.spent:
            self._spend(self._priced(**earlier), 1)

    def plan(self, requests: Iterable[Request]) -> Plan:
        """What these take, in the instruction set of the device."""
        found = NOTHING
        for request in requests:
            found = found.plus(self.gauge.taken(request))
        return self._plan(found)

    def attempt(self, work: Work, again: bool) -> Failure | None:
        """Sends a job; its asks learn what it gives. None where all went well.

        Raises BudgetError where it is more than the budget has left, before it is sent.
        """
        mark, taken = uuid.uuid4().hex, self._taken(work)
        plan = self._plan(taken)
        self._spend(plan, 1, check=True)
        takes = {"circuits": plan.circuits, "shots": plan.shots, "seconds": plan.seconds}
        self.journal.sending(mark, self.provider.name, self.sampler, work, takes)
        self.ledger.sent(again)
        under_way = _UnderWay()
        try:
            results = self._within_time(lambda: self._result(self._start(work, mark, under_way), under_way), under_way)
            self.ledger.returned(taken, len(work), *_times(under_way.job))
            found = read(work, results, self.sampler)
        except Exception as error:
            if isinstance(error, UnreachableError):  # fetched when the same is asked for again
                self.journal.lose(mark, under_way.job_id, self.sampler, work)
            else:
                charged = isinstance(error, TimeoutError | UnusableError)
                self.journal.failed(mark, described(error), charged)
                self._spend(plan, 0 if charged else -1)
            return Failure(under_way.job_id, error)
        self._learn(mark, found)
        return None

    def fetch(self, lost: SentJob, asks: Mapping[Identity, Ask]) -> None:
        """The asks learn what a job of an earlier process gives, if it gives anything.

        Raises UnreachableError where the provider may have the job and does not hand it over.
        """
        layout = [[(asks.get((s.key, s.repetition)), s.start, s.stop) for s in pub] for pub in lost.pubs]
        try:
            if lost.mark not in self._fetched:
                self._fetched[lost.mark] = self._retrieved(lost), set()
            results, served = self._fetched[lost.mark]
            found = read(layout, results, lost.sampler)
        except UnreachableError:
            raise
        except Exception as error:  # it failed, or it never arrived: its requests are sent again
            self._fetched.pop(lost.mark, None)
            self.journal.failed(lost.mark, described(error), charged=isinstance(error, TimeoutError | UnusableError))
            return
        served |= {piece.ask.identity for piece, _ in found}
        whole = all((span.key, span.repetition) in served for pub in lost.pubs for span in pub)
        if whole:
            del self._fetched[lost.mark]
        self._learn(lost.mark, found, whole)
        for piece, _ in found:
            self.ledger.found(piece.circuits, piece.circuits * piece.ask.request.shots)

    def pause(self, attempt: int) -> None:
        """Before attempt 1, 2, ..."""
        with self._lock:
            jitter = self._rng.uniform(0.5, 1.5)
        time.sleep(min(self.settings.wait * 2 ** (attempt - 1), self.settings.longest_wait) * jitter)

    def _learn(self, mark: str, found: Found, whole: bool = True) -> None:
        self.journal.keep(mark, found, whole)
        for piece, estimates in found:
            piece.ask.learn(slice(piece.start, piece.stop), estimates)

    def _start(self, work: Work, mark: str, under_way: "_UnderWay") -> Any:
        seed = int(content_key([(*p.ask.identity, p.start, p.stop) for pub in work for p in pub])[:8], 16)
        primitive: Any = self.provider.sampler(seed) if self.sampler else self.provider.estimator(seed)
        self.provider.label(primitive, mark)
        job = primitive.run(primitive_pubs(work, self.sampler))
        under_way.job, under_way.job_id = job, _id_of(job)
        if under_way.job_id is not None:
            self.journal.sent(mark, under_way.job_id)
        if under_way.given_up:  # it hung while it was sent
            _cancel(job)
        return job

    def _result(self, job: Any, under_way: "_UnderWay") -> Any:
        """Asks again where the connection fails and not the job."""
        for attempt in range(1, self.settings.attempts + 1):
            try:
                return job.result()
            except Exception as error:
                if _ended(job) or under_way.given_up or isinstance(error, CircuitError):
                    raise
                if attempt == self.settings.attempts:
                    if not self.provider.remote:
                        raise
                    raise UnreachableError(self.provider.name, _id_of(job), error) from error
                self.pause(attempt)
        raise AssertionError("unreachable")

    def _retrieved(self, lost: SentJob) -> Any:
        under_way = _UnderWay()
        for attempt in range(1, self.settings.attempts + 1):
            try:
                find = self.provider.labelled if lost.job_id is None else self.provider.retrieve
                job = under_way.job = find(lost.job_id or lost.mark)
                break
            except Exception as error:
                if not_found(error):
                    raise
                if attempt == self.settings.attempts or lasting(error):
                    raise UnreachableError(self.provider.name, lost.job_id, error) from error
                self.pause(attempt)
        if job is None:
            raise LookupError(f"{self.provider.name} has no such job")
        return self._within_time(lambda: self._result(job, under_way), under_way)

    def _within_time(self, task: Callable[[], _T], under_way: "_UnderWay") -> _T:
        """Raises TimeoutError where it takes longer than jobs may; the job is cancelled, if it can be."""
        if self.settings.timeout is None:
            return task()
        future = in_background(task, "qmm-quantum-job")
        try:
            return future.result(self.settings.timeout)
        except TimeoutError:
            if future.done():
                return future.result()
            under_way.given_up = True
            if under_way.job is not None:
                cancelling = in_background(lambda: _cancel(under_way.job), "qmm-quantum-cancel")
                wait([cancelling], min(_CANCELLING, self.settings.timeout))
            raise TimeoutError(f"no result within {self.settings.timeout:g} s") from None

    def _taken(self, work: Work) -> Taken:
        found = NOTHING
        for pub in work:
            ask, rows = pub[0].ask, sum(piece.stop - piece.start for piece in pub)
            found = found.plus(self.gauge.taken(ask.request, ask.alike, rows))
        return found

    def _plan(self, taken: Taken) -> Plan:
        seconds = None if taken.seconds is None else taken.seconds + taken.shots * self.gauge.delay
        return self._priced(taken.circuits, taken.shots, seconds)

    def _priced(self, circuits: int, shots: int, seconds: float | None) -> Plan:
        return (self.budget or Budget()).priced(circuits, shots, seconds)

    def _spend(self, plan: Plan, times: int, check: bool = False) -> None:
        with self._lock:
            if check and self.budget is not None:
                self.budget.check(plan, self._spent)
            self._spent = self._spent + plan * times


class _UnderWay:
    """What one thread sends and another may give up."""

    job: Any = None
    job_id: str | None = None
    given_up = False


def read(layout: Sequence[Sequence[tuple[Ask | None, int, int]]], results: Any, sampler: bool) -> Found:
    """The estimates in the result of a job, for those of its pieces whose asks are known.

    Raises UnusableError for results that are too few, too short, or not numbers.
    """
    try:
        listed = list(results)
        if len(listed) != len(layout):
            raise UnusableError(f"{len(listed)} results for {len(layout)} PUBs")
        return [part for pub, result in zip(layout, listed, strict=True) for part in _of_pub(pub, result, sampler)]
    except (UnusableError, CircuitError):
        raise
    except Exception as error:  # whatever is missing in it
        raise UnusableError(f"a result that cannot be read, {described(error)}") from error


def _of_pub(pub: Sequence[tuple[Ask | None, int, int]], result: Any, sampler: bool) -> Found:
    rows = sum(stop - start for _, start, stop in pub)
    found: Found = []
    first = 0
    for ask, start, stop in pub:
        last = first + stop - start
        if ask is not None:
            _check_shape(ask, rows, result, sampler)
            estimates = ask.read(slice(start, stop), result, slice(first, last), sampler)
            if ask.request.reader is None and not all(np.isfinite(part).all() for part in estimates):
                raise UnusableError("values that are not finite")
            found.append((Piece(ask, start, stop), estimates))
        first = last
    return found


def _check_shape(ask: Ask, rows: int, result: Any, sampler: bool) -> None:
    if sampler:
        bits = result.data["measured"]
        if bits.shape != (rows,) or bits.num_shots < ask.request.shots:
            raise UnusableError(
                f"bits of shape {bits.shape}, {bits.num_shots} shots; asked for ({rows},), {ask.request.shots} shots"
            )
        return
    shape, wanted = np.shape(result.data["evs"]), (rows, ask.estimates.values.shape[1])
    if shape != wanted:
        raise UnusableError(f"values of shape {shape}; asked for {wanted}")


def _id_of(job: Any) -> str | None:
    try:
        return str(job.job_id())
    except Exception:  # a job without one
        return None


def _times(job: Any) -> tuple[float | None, float | None]:
    """Seconds in the queue and seconds charged, where the job says so before long."""
    if not hasattr(job, "metrics"):
        return None, None
    asked = in_background(lambda: job_times(job), "qmm-quantum-metrics")
    wait([asked], _ASKING)
    return asked.result() if asked.done() else (None, None)


def _ended(job: Any) -> bool:
    """Whether it failed, or was cancelled; False where it may still give a result."""
    try:
        return bool(job.in_final_state() and not job.done())
    except Exception:  # the connection
        return False


def _cancel(job: Any) -> None:
    with suppress(Exception):  # a job that has ended, or cannot be cancelled
        job.cancel()
