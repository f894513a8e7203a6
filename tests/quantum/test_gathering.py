"""Tasks side by side: all that they ask for is submitted at once, when each of them waits."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from qmm.quantum.gathering import Gathering, gathering_of


class Desk:
    """Squares numbers. Remembers what came together."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gathering = Gathering(self.submit)

    def submit(self, numbers: list[int]) -> list[int]:
        self.batches.append(list(numbers))
        if 666 in numbers:
            raise ArithmeticError("not that one")
        return [number**2 for number in numbers]

    def ask(self, *numbers: int) -> list[int]:
        return self.gathering.ask(numbers)()


@pytest.fixture
def desk() -> Desk:
    return Desk()


def after(seconds: float, task: Callable[[], Any]) -> Any:
    time.sleep(seconds)
    return task()


def test_all_tasks_ask_at_once_in_their_order_whichever_is_the_quickest(desk: Desk) -> None:
    found = desk.gathering.run([partial(after, 0.03 - 0.01 * i, partial(desk.ask, i, 10 + i)) for i in range(3)])
    assert found == [[0, 100], [1, 121], [4, 144]]
    assert desk.batches == [[0, 10, 1, 11, 2, 12]]


def test_rounds_are_as_many_as_what_follows_from_what(desk: Desk) -> None:
    def chain(start: int, length: int) -> int:
        for _ in range(length):
            (start,) = desk.ask(start)
        return start

    tasks: list[Any] = [partial(chain, 2, 3), partial(chain, 3, 1), lambda: 5]
    assert desk.gathering.run(tasks) == [256, 9, 5]
    assert desk.batches == [[2, 3], [4], [16]]


def test_several_questions_are_asked_before_the_first_answer_is_awaited(desk: Desk) -> None:
    def both() -> list[int]:
        first, second = desk.gathering.ask([2]), desk.gathering.ask([3])
        return [*second(), *first(), *first()]

    tasks: list[Any] = [both, partial(desk.ask, 4)]
    assert desk.gathering.run(tasks) == [[9, 4, 4], [16]]
    assert desk.batches == [[2, 3, 4]]


def test_tasks_of_tasks_stand_in_their_place(desk: Desk) -> None:
    def two(start: int) -> list[int]:
        ((a,), (b,)) = desk.gathering.run([partial(desk.ask, start), partial(after, 0.01, partial(desk.ask, start + 1))])
        return desk.ask(a + b)

    assert desk.gathering.run([partial(two, 1), partial(desk.ask, 7), partial(two, 2)]) == [[25], [49], [169]]
    assert desk.batches == [[1, 2, 7, 2, 3], [5, 13]]


def test_what_nobody_waits_for_is_submitted_all_the_same(desk: Desk) -> None:
    (wait, nothing) = desk.gathering.run([lambda: desk.gathering.ask([3]), lambda: None])
    assert nothing is None
    assert wait() == [9]  # type: ignore[misc]


def test_a_task_that_fails_holds_up_nobody(desk: Desk) -> None:
    def fail() -> None:
        raise KeyError("gone")

    seen: list[Any] = []
    with pytest.raises(KeyError, match="gone"):
        desk.gathering.run([lambda: seen.append(desk.ask(2)), fail, lambda: seen.append(desk.ask(3))])
    assert sorted(seen) == [[4], [9]]


def test_what_cannot_be_submitted_fails_for_all_that_wait(desk: Desk) -> None:
    def asking(number: int) -> str:
        with pytest.raises(ArithmeticError, match="not that one"):
            desk.ask(number)
        return "told"

    assert desk.gathering.run([partial(asking, 666), partial(asking, 4)]) == ["told", "told"]


def test_a_thread_knows_whose_task_it_carries_out(desk: Desk) -> None:
    other = Desk()
    assert gathering_of(desk.submit) is None
    (own, others) = desk.gathering.run([lambda: gathering_of(desk.submit), lambda: gathering_of(other.submit)])
    assert own is desk.gathering
    assert others is None


def test_many_tasks_in_many_runs_end(desk: Desk) -> None:
    def nested(depth: int, width: int) -> int:
        if not depth:
            return desk.ask(1)[0]
        return sum(desk.gathering.run([partial(nested, depth - 1, width)] * width))

    for _ in range(5):
        assert nested_root(desk, nested) == 27
    assert desk.batches == [[1] * 27] * 5
    assert not [thread for thread in threading.enumerate() if thread.name == "qmm-background"]


def nested_root(desk: Desk, nested: Callable[[int, int], int]) -> int:
    return sum(desk.gathering.run([partial(nested, 2, 3)] * 3))
