"""The dispatcher: sends requests to a provider's primitives as few and as large jobs, and brings their estimates back."""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qmm.quantum.background import in_background
from qmm.quantum.execution.jobs.asks import Ask, Recipe, Separator
from qmm.quantum.execution.jobs.budget import Budget, Plan
from qmm.quantum.execution.jobs.efforts import Effort
from qmm.quantum.execution.jobs.failures import UnreachableError
from qmm.quantum.execution.jobs.keys import Repetitions, content_key
from qmm.quantum.execution.jobs.ledger import Ledger
from qmm.quantum.execution.jobs.packing import packed
from qmm.quantum.execution.jobs.sending import Jobs, Sender
from qmm.quantum.execution.providers import Provider
from qmm.quantum.execution.requests import Estimates, Request


class Draws(NamedTuple):
    """The random numbers of one request: the same in every run that makes it, however it came to it."""

    rng: np.random.Generator
    undo: Callable[[], None]
    """After a failure, so that the same request draws the same again."""


NO_DRAWS = Draws(np.random.default_rng(0), lambda: None)
"""Where nothing is drawn."""


class _Submission:
    """The requests of one call of `submit`."""

    def __init__(self, requests: Sequence[Request]):
        self.requests, self.future = list(requests), Future[list[Estimates]]()
        self.asks: list[Ask] = []
        self.recipes: list[Recipe] = []
        self.error: Exception | None = None
        self.settled = False

    def fail(self, error: Exception) -> None:
        """What of it is not known yet is not sent any more."""
        for ask in self.asks:
            if not ask.settled:
                ask.error = error
                self.error = self.error or error


class Dispatcher:
    """Runs requests as jobs, in a thread of its own that lives as long as there are any.

    Requests that come while a job is under way wait, and then go together (`Jobs.merge`). Requests of equal circuit, basis and
    shots share a PUB. A job that fails is sent again, then in halves, down to single bindings; what fails in the end is
    raised by the futures of those requests alone, and all that was returned is kept, on disk where there is a folder.

    Seeds follow from what is asked, and from how often the same was asked before: not from timing, nor from what ran before.
    """

    def __init__(self, provider: Provider, seed: int = 0, jobs: Jobs | None = None, budget: Budget | None = None):
        """Raises CircuitError for a folder of `jobs` that cannot be made."""
        self.provider, self.seed, self.settings = provider, seed, jobs or Jobs()
        self._sender = Sender(provider, seed, self.settings, budget)
        self._lock = threading.Lock()
        self._waiting: list[_Submission] = []
        self._thread: threading.Thread | None = None
        self._repetitions, self._drawn = Repetitions(), Repetitions()

    @property
    def ledger(self) -> Ledger:
        return self._sender.ledger

    @property
    def budget(self) -> Budget | None:
        return self._sender.budget

    @property
    def folder(self) -> Path | None:
        """Where the journal lies."""
        return self._sender.journal.folder

    def keep_in(self, folder: str | Path) -> None:
        """Keeps the journal there, where the user named no folder. Raises CircuitError for one that cannot be made."""
        if self.settings.folder is None and self.folder != Path(folder):
            self._sender.keep_in(folder)

    def plan(self, requests: Iterable[Request]) -> Plan:
        """What these requests take, as they would be submitted."""
        return self._sender.plan(requests)

    def draws(self, request: Request) -> Draws:
        """Random numbers for what is made of a request."""
        key = content_key(self.seed, request.circuit, request.bindings, request.measurement, request.shots)
        number = self._drawn.take(key)
        rng = np.random.default_rng([int(key[:32], 16), number])
        return Draws(rng, lambda: self._drawn.give_back(key, number))

    def submit(self, requests: Sequence[Request]) -> "Future[list[Estimates]]":
        """Begins to run requests, in the instruction set of the device.

        The future raises JobError where jobs failed for good, BudgetError where they are more than the budget has left, and
        CircuitError for what cannot be run.
        """
        submission = _Submission(requests)
        with self._lock:
            self._waiting.append(submission)
            if self._thread is None or not self._thread.is_alive():  # a forked process has none
                self._thread = threading.Thread(target=self._serve, name="qmm-quantum", daemon=True)
                self._thread.start()
        return submission.future

    def _serve(self) -> None:
        merge = not self.provider.seeded if self.settings.merge is None else self.settings.merge
        while True:
            with self._lock:
                count = len(self._waiting) if merge else 1
                together, self._waiting = self._waiting[:count], self._waiting[count:]
                if not together:
                    self._thread = None
                    return
            together = [s for s in together if s.future.set_running_or_notify_cancel()]
            try:
                with self.ledger.under_way():
                    self._run(together)
            except Exception as error:  # whatever it is, nobody waits for ever
                for submission in together:
                    submission.fail(error)
            for submission in together:
                self._settle(submission)

    def _run(self, together: Sequence[_Submission]) -> None:
        for submission in together:
            self._begin(submission)
        asks = [ask for submission in together for ask in submission.asks]
        jobs = packed(asks, self.provider.limits, self._sender.bearable)  # whole, before what is known: seeds follow from that
        self._look_up(asks)
        left = iter(jobs)

        def work() -> None:
            while True:
                with self._lock:
                    job = next(left, None)
                if job is None:
                    return
                Effort(self._sender).carry(job)
                for submission in together:
                    self._settle(submission)

        others = [in_background(work, "qmm-quantum-more") for _ in range(min(self.settings.at_once, len(jobs)) - 1)]
        work()
        for other in others:
            other.result()

    def _begin(self, submission: _Submission) -> None:
        try:
            separate = Separator((self.provider.name, self.seed), self._sender.sampler, self.provider.limits.shots)
            submission.asks, submission.recipes = separate(submission.requests)
        except Exception as error:
            submission.error = error
            return
        for ask in submission.asks:
            ask.owner, ask.repetition = submission, self._repetitions.take(ask.key)

    def _look_up(self, asks: Sequence[Ask]) -> None:
        """In the journal, and in jobs that an earlier process sent."""
        journal, everyone = self._sender.journal, {ask.identity: ask for ask in asks}
        for ask in asks:
            journal.fill(ask)
            circuits = int(ask.known.sum()) * ask.circuits
            if circuits:
                self.ledger.found(circuits, circuits * ask.request.shots)
        for job in journal.lost(ask for ask in asks if not ask.settled):
            try:
                self._sender.fetch(job, everyone)
            except UnreachableError as error:
                for span in (span for pub in job.pubs for span in pub):
                    if (span.key, span.repetition) in everyone:
                        everyone[span.key, span.repetition].owner.fail(error)

    def _settle(self, submission: _Submission) -> None:
        with self._lock:
            if submission.settled or not (submission.error or all(ask.settled for ask in submission.asks)):
                return
            submission.settled = True
        error = submission.error or next((ask.error for ask in submission.asks if ask.error), None)
        if error is None:
            found = [recipe.estimates() for recipe in submission.recipes]
            self._sender.journal.forget(submission.asks)
            submission.future.set_result(found)
            return
        for ask in submission.asks:  # what came back of it is found when it is asked for again
            self._repetitions.give_back(ask.key, ask.repetition)
        submission.future.set_exception(error)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Dispatcher":
        """Itself: copies of a model share the device, its budget and its ledger."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Dispatcher, (self.provider, self.seed, self.settings, self.budget)
