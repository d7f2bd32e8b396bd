"""Work that several processes share."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from vpopsql.crew import work_in_order, work_on_stream


class Doubling:
    """Doubles numbers."""

    def __call__(self, task: int, /) -> int:
        return 2 * task

    def close(self) -> None:
        pass


class Telling:
    """Tells which process it is."""

    def __call__(self, task: int, /) -> int:
        return task or os.getpid()

    def close(self) -> None:
        pass


def begin_and_be_killed() -> None:
    """Say who works for us, and wait to be killed."""
    work = work_on_stream(Telling, [0, *range(1, 1000)], 2)
    print(next(work), flush=True)  # noqa: T201 - the test reads it
    sys.stdin.read()


def test_nobody_goes_on_for_a_parent_that_was_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", "import tests.test_crew as it; it.begin_and_be_killed()"],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Python's tracker of semaphores tells what was left.
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        # While a pidfd is open, the number is nobody else's.
        handle = os.pidfd_open(worker)
        parent.kill()

    with os.fdopen(handle) as watched:
        assert select.select([watched], [], [], 30)[0]


def test_a_stream_is_worked_on_in_order_and_only_a_little_is_taken_ahead() -> None:
    taken = []

    def tasks() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    work = work_on_stream(Doubling, tasks(), 2)
    first = next(work)

    assert (first, len(taken)) == (0, 200)
    assert list(work) == [2 * number for number in range(1, 1000)]


def test_one_process_takes_nothing_ahead() -> None:
    tasks = iter(range(10))

    assert next(work_on_stream(Doubling, tasks, 1)) == 0
    assert next(tasks) == 1


def test_few_tasks_are_done_here() -> None:
    assert list(work_in_order(Doubling, range(64), 2)) == list(range(0, 128, 2))
