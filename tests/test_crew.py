"""Work that several processes share."""

import gc
import json
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vpopsql.crew import Pair, collecting_seldom, work_in_order, work_on_stream


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


class Pid:
    """Tells which process does a task; each takes a while, so that both get some."""

    def __call__(self, task: int, /) -> bytes:
        time.sleep(0.02)
        return json.dumps([task, os.getpid()]).encode()

    def close(self) -> None:
        pass


class Dying(Pid):
    """Is killed by its first task."""

    def __call__(self, task: int, /) -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(task)


def refused(_: str) -> Pid:
    raise ConnectionError


PARENT = os.getpid()
COPIES: dict[str, Callable[[str], Pid]] = {
    "helps": lambda _: Pid(),
    "is killed": lambda _: Dying(),
    "fails": refused,
}


def be_two(kind: str, *, may_help: bool = True) -> None:
    """Do tasks in two processes, and say which did which."""
    with Pair(COPIES[kind], range(20)) as pair:
        pair.start("a word", lambda: may_help)
        time.sleep(0.1)
        done = [json.loads(bytes(each)) for each in pair.do(Pid(), bytes)]
    print(json.dumps([PARENT, sorted(done)]))  # noqa: T201 - the test reads it


def told(call: str) -> tuple[list[int], set[bool]]:
    """Return which tasks were done in a process of its own, and whether by itself."""
    done = subprocess.run(
        [sys.executable, "-c", f"import tests.test_crew as it; it.{call}"],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    parent, found = json.loads(done.stdout)
    return [task for task, _ in found], {pid == parent for _, pid in found}


def test_a_pair_shares_the_tasks() -> None:
    assert told("be_two('helps')") == ([*range(20)], {True, False})


@pytest.mark.parametrize(
    "call",
    [
        "be_two('helps', may_help=False)",
        "be_two('is killed')",
        "be_two('fails')",
    ],
)
def test_what_a_copy_has_not_done_is_done_here(call: str) -> None:
    assert told(call) == ([*range(20)], {True})


class Cycle:
    """What only the collector of garbage can free."""

    def __init__(self) -> None:
        self.me = self


def test_what_is_garbage_by_then_is_not_kept_for_ever() -> None:
    gc.collect()  # what other tests left may hold the last of what was frozen
    gone = [weakref.ref(Cycle()) for _ in range(100)]
    frozen = gc.get_freeze_count()  # by the end of a command line in this process

    with collecting_seldom():
        pass
    # Not the oldest generation, which a daemon never gets to.
    gc.collect(1)

    assert [each() for each in gone] == [None] * 100
    assert gc.get_freeze_count() == frozen
