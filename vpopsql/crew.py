"""Several processes that do the same kind of work, with the results in the order of the tasks.

`work_in_order` and `work_on_stream` have a crew of new processes do all of it, wherever they are
called. A `Pair` is this process and a copy of it, which is there at once: starting a new one takes
as long as importing all anew, a third of a second. It is for those who want a second's work done
in half of one, and only where a copy has nothing that should not be there twice.
"""

import gc
import mmap
import multiprocessing
import os
import signal
import struct
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any, Generic, NoReturn, Protocol, Self, TypeVar

from vpopsql.errors import ProcessKilled

T = TypeVar("T")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

_FEW = 64  # tasks that are done before another process has started
_TASKS_AT_ONCE = 8
# Parcels of tasks that each process may be ahead of who takes the results: a hundred domains of
# the usual size take as long as one of the largest, which nobody should wait for idly.
_AHEAD = 12

_HEAD = struct.Struct("=BQ")  # before what comes of a task: its number, and how many bytes

_USUAL = gc.get_threshold()
_SELDOM = 50_000, 50, 100


class Worker(Protocol[T_contra, R_co]):
    """Does tasks, one after the other."""

    def __call__(self, task: T_contra, /) -> R_co:
        """Do one."""

    def close(self) -> None:
        """Let go of what it takes to do them."""


_work: Worker[Any, Any]  # of this process, once it is one of a crew


def processes(tasks: int, jobs: int) -> int:
    """Return how many of ``jobs`` processes so many tasks are worth: 1, if they are few."""
    return 1 if tasks <= _FEW else jobs


def work_in_order(
    make: Callable[[], Worker[T, R]], tasks: Sequence[T], jobs: int
) -> Generator[R, None, None]:
    """Return what comes of each task.

    :param make: makes a worker, one in each process; it and the tasks can be pickled.
    :param jobs: processes, from 1: this one alone. Few tasks are done here in any case.
    :raises ProcessKilled: one was.
    """
    yield from work_on_stream(make, tasks, processes(len(tasks), jobs))


def work_on_stream(
    make: Callable[[], Worker[T, R]], tasks: Iterable[T], jobs: int
) -> Generator[R, None, None]:
    """Return what comes of each task, of which only a few are taken ahead.

    Arguments and errors as of `work_in_order`, but few tasks are worth processes here, too.
    """
    if jobs == 1:
        with closing(make()) as work:
            yield from map(work, tasks)
        return
    # A fork would take over locks that other threads hold, and a connection of the parent.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(make,))
    waiting: deque[Future[list[R]]] = deque()
    try:
        coming = iter(tasks)
        while parcel := list(islice(coming, _TASKS_AT_ONCE)):
            waiting.append(pool.submit(_do, parcel))
            if len(waiting) > jobs * _AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ProcessKilled(
            "a process that shared the work was killed: there may be too little memory for"
            f" {jobs} at once, see --jobs"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


class Pair(Generic[T]):
    """Two processes, a copy of this one beside it; each does the next task when it is free.

    The copy is a help and no more: what it has not done in the end, for whatever reason, is done
    here. It ends with the block, or when this process is killed.

    What comes of the copy's tasks is bytes, which the two share: they are not copied from one to
    the other.

    :param begin: makes the copy's worker, of what `start` is told to say to it.
    :param tasks: 255 at most.
    """

    def __init__(self, begin: Callable[[str], Worker[T, bytes]], tasks: Sequence[T]) -> None:
        self._tasks = tasks
        self._results = os.memfd_create("vpopsql results")
        self._word, self._say = os.pipe()
        self._ready, self._tell = os.pipe()
        # What both take the numbers of their next tasks from.
        self._numbers, self._give = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            self._be_the_copy(begin)
        os.close(self._word)
        os.close(self._tell)

    @staticmethod
    def is_possible() -> bool:
        """Tell whether there is a processor for it, and no thread whose locks it would take over.

        Nor must it take over a connection to a SQLite database, which cannot be seen from here.
        """
        return len(os.sched_getaffinity(0)) > 1 and threading.active_count() == 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        for descriptor in (self._results, self._say, self._ready, self._numbers, self._give):
            if descriptor >= 0:
                os.close(descriptor)

    def start(self, word: str, may_help: Callable[[], bool]) -> None:
        """Let the copy make its worker and begin.

        :param word: a line to say to it.
        :param may_help: asked once its worker is made.
        """
        os.write(self._say, f"{word}\n".encode())
        if not (os.read(self._ready, 1) and may_help()):
            self._end()
        os.write(self._give, bytes(range(len(self._tasks))))
        os.close(self._give)
        self._give = -1

    def do(self, work: Callable[[T], R], received: Callable[[memoryview], R]) -> list[R]:
        """Return what comes of each task, in any order.

        :param work: does those that this process takes.
        :param received: makes the same of what the copy's worker gave; the bytes may be used after
            the block, too.
        """
        done: dict[int, R] = {}
        while number := os.read(self._numbers, 1):
            done[number[0]] = work(self._tasks[number[0]])
        if self._pid:
            os.waitpid(self._pid, 0)
            self._pid = 0
        done |= {number: received(found) for number, found in self._found()}
        for missing in {*range(len(self._tasks))} - done.keys():
            done[missing] = work(self._tasks[missing])
        return [*done.values()]

    def _found(self) -> Iterator[tuple[int, memoryview]]:
        size = os.fstat(self._results).st_size
        if not size:
            return
        results = memoryview(mmap.mmap(self._results, size, prot=mmap.PROT_READ))
        at = 0
        while size - at >= _HEAD.size:
            number, length = _HEAD.unpack_from(results, at)
            at += _HEAD.size + length
            if at <= size:  # otherwise it was killed
                yield number, results[at - length : at]

    def _end(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0

    def _be_the_copy(self, begin: Callable[[str], Worker[T, bytes]]) -> NoReturn:
        try:
            os.close(self._say)
            os.close(self._give)
            with os.fdopen(self._word) as said:
                word = said.readline().rstrip("\n")
            _collect_seldom()
            with closing(begin(word)) as work, os.fdopen(self._results, "wb") as results:
                os.write(self._tell, b".")
                while number := os.read(self._numbers, 1):
                    done = work(self._tasks[number[0]])
                    results.write(_HEAD.pack(number[0], len(done)))
                    results.write(done)
        finally:
            # Nothing of what the other one has begun is to be ended here, too.
            os._exit(0)


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Let this process look for reference cycles a hundred times less often.

    Records of a site have none and there are millions of them: looking through them again and
    again took a third of the time of writing them.

    Nothing is frozen: a daemon does this for every change, and what has been frozen is among the
    oldest afterwards, where next to nobody ever looks for garbage again.
    """
    gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        # Also if another thread is not done yet: what it found may be what this one had set.
        gc.set_threshold(*_USUAL)


def _collect_seldom() -> None:
    """Do so for the rest of this process, which ends when its work is done."""
    gc.freeze()
    gc.set_threshold(*_SELDOM)


def _begin(make: Callable[[], Worker[Any, Any]]) -> None:
    global _work  # noqa: PLW0603 - a pool has no other place for what a process keeps
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _collect_seldom()
    _work = make()


def _end_with_parent() -> None:
    """End this process when its parent was killed: nobody else would end it, ever."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _do(tasks: Sequence[Any]) -> list[Any]:
    return [_work(task) for task in tasks]
