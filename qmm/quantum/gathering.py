"""Tasks that do not need each other, and whose circuits therefore travel together: in one job, not in one after the other."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial
from typing import Any, NamedTuple, TypeVar

from qmm.quantum.background import in_background

_T = TypeVar("_T")
_HERE = threading.local()  # `task`: the one that this thread carries out


class _Task(NamedTuple):
    gathering: "Gathering"
    place: tuple[int, ...]
    """Among all tasks, those of tasks included: what they ask for is submitted in this order, whichever is the quickest."""


class _Asked(NamedTuple):
    place: tuple[int, ...]
    wanted: list[Any]
    jobs: "Future[list[Any]]"


class Gathering:
    """Runs tasks in threads of their own, and holds back what they ask for until each of them waits or has ended.

    Then all of it is submitted at once: so late, and in so large pieces, as the data allow. Tasks may have tasks of their own.

    Args:
        submit: Begins everything in a list, and gives a job for each.
    """

    def __init__(self, submit: Callable[[list[Any]], Sequence[Any]]):
        self._submit = submit
        self._lock = threading.Lock()
        self._running, self._waiting = 0, 0  # tasks: of those that wait, for jobs
        self._asked: list[_Asked] = []

    def run(self, tasks: Sequence[Callable[[], _T]]) -> list[_T]:
        """The results of the tasks; called in one of its own tasks, these stand in its place. When all have ended, raises what
        the first of them that failed did."""
        place, inside = _place_in(self)
        with self._lock:
            self._running += len(tasks) - inside
        left = [len(tasks)]
        futures = [in_background(partial(self._carry_out, task, (*place, i), left, inside)) for i, task in enumerate(tasks)]
        wait(futures)
        return [future.result() for future in futures]

    def ask(self, wanted: Sequence[Any]) -> Callable[[], list[Any]]:
        """Called in a task. What it gives waits until all is submitted, then returns a job for each."""
        jobs: Future[list[Any]] = Future()
        with self._lock:
            self._asked.append(_Asked(_place_in(self)[0], list(wanted), jobs))
        return partial(self._wait, jobs)

    def _carry_out(self, task: Callable[[], _T], place: tuple[int, ...], left: list[int], inside: bool) -> _T:
        _HERE.task = _Task(self, place)
        try:
            return task()
        finally:
            with self._lock:
                left[0] -= 1
                if left[0] or not inside:  # else the task that these stood for goes on
                    self._running -= 1
                self._submit_when_all_wait()

    def _wait(self, jobs: "Future[list[Any]]") -> list[Any]:
        with self._lock:
            if not jobs.done():
                self._running, self._waiting = self._running - 1, self._waiting + 1
                self._submit_when_all_wait()
        return jobs.result()

    def _submit_when_all_wait(self) -> None:
        if self._running or not self._asked:
            return
        asked, self._asked = sorted(self._asked, key=lambda one: one.place), []
        self._running, self._waiting = self._waiting, 0  # they go on together, since their jobs end together
        try:
            jobs = iter(self._submit([one for a in asked for one in a.wanted]))
            for a in asked:
                a.jobs.set_result([next(jobs) for _ in a.wanted])
        except Exception as error:  # of whichever: none of them was begun
            for a in asked:
                a.jobs.set_exception(error)


def gathering_of(submit: Callable[[list[Any]], Sequence[Any]]) -> Gathering | None:
    """The one whose task this thread carries out, if it submits by the same function; else None."""
    task: _Task | None = getattr(_HERE, "task", None)
    return task.gathering if task is not None and task.gathering._submit == submit else None


def _place_in(gathering: Gathering) -> tuple[tuple[int, ...], bool]:
    task: _Task | None = getattr(_HERE, "task", None)
    inside = task is not None and task.gathering is gathering
    return (task.place if inside else ()), inside  # type: ignore[union-attr]
