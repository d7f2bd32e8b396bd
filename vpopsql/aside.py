"""Short computations that threads of their own make, on other processors than those who asked.

They are for what computes without the interpreter's lock, so that whoever asked can go on. That
alone does not help: a system may well have both threads share a processor while another one is
idle, and so may a process that whoever asked is waiting for. Linux 6.18 as a virtual machine's
does so in two of three cases. While a SHA512 hash of 1.9 ms was computed, PostgreSQL's answer then
took 1.4 ms instead of 0.1, and what was asked for began 0.3 ms late.

So the thread that computes is kept off the processor that the asking one is on, and that one stays
there until the computation is over. It goes on when the other one has begun, for which that needs
the lock. All this is 0.1 ms, after which both take as long as they would alone.
"""

import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_PATIENCE_S = 0.0005
"""How long to wait for a thread to begin; others may have the interpreter's lock."""

_current_processor: Any = getattr(ctypes.PyDLL(None), "sched_getcpu", None)


class _Helper(threading.Thread):
    """A thread that computes one thing at a time."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.tasks: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def run(self) -> None:
        """Compute what comes, and keep nothing of it."""
        while True:
            self.tasks.get()()


class Helpers(Generic[T]):
    """The threads that compute aside.

    :param number: how many there are; fewer, perhaps none, where the system allows no more.
    :param name: what they are called.
    """

    def __init__(self, number: int, name: str) -> None:
        self._processors = _usable_processors()
        self._free: deque[_Helper] = deque()
        with suppress(RuntimeError):
            for _ in range(number):
                helper = _Helper(name)
                helper.start()
                self._free.append(helper)

    def begin(self, work: Callable[[], T]) -> Future[T] | None:
        """Have a thread begin with a computation of milliseconds; None: none is free."""
        try:
            helper = self._free.pop()
        except IndexError:
            return None
        made: Future[T] = Future()
        has_begun = threading.Lock()
        has_begun.acquire()
        asker = self._part(helper)

        def task() -> None:
            has_begun.release()
            self._carry_out(helper, work, made)
            if asker is not None:
                _keep_on(asker, self._processors)

        helper.tasks.put(task)
        has_begun.acquire(timeout=_PATIENCE_S)
        return made

    def _part(self, helper: _Helper) -> int | None:
        """Keep a helper off our processor, and us on it; return who we are if that was done."""
        if not self._processors:
            return None
        here = {_current_processor()}
        others = self._processors - here
        if not others or not here <= self._processors:
            return None
        asker = threading.get_native_id()
        _keep_on(helper.native_id or 0, others)
        _keep_on(asker, here)
        return asker

    def _carry_out(self, helper: _Helper, work: Callable[[], T], made: Future[T]) -> None:
        try:
            tell = partial(made.set_result, work())
        except BaseException as error:  # noqa: BLE001 - it is for whoever asked
            tell = partial(made.set_exception, error)
        # Whoever hears of it may have something else to compute.
        self._free.append(helper)
        tell()


def _usable_processors() -> frozenset[int]:
    """Return the processors that this process may use; none where it has no choice of them."""
    if _current_processor is None or not hasattr(os, "sched_setaffinity"):
        return frozenset()
    processors = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, processors)
    except OSError:  # forbidden
        return frozenset()
    return frozenset(processors)


def _keep_on(thread: int, processors: set[int] | frozenset[int]) -> None:
    with suppress(OSError):  # the thread has ended, or the processors were taken from us
        os.sched_setaffinity(thread, processors)
