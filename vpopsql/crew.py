"""Several processes that do the same kind of work, with the results in the order of the tasks."""

import gc
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any, Protocol, TypeVar

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

_USUAL = gc.get_threshold()


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


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Let this process look for reference cycles a hundred times less often.

    Records of a site have none and there are millions of them: looking through them again and
    again took a third of the time of writing them.
    """
    _collect_seldom()
    try:
        yield
    finally:
        # Also if another thread is not done yet: what it found may be what this one had set.
        gc.set_threshold(*_USUAL)
        gc.unfreeze()


def _collect_seldom() -> None:
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


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
