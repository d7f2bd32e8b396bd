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
        made.set_running_or_notify_cancel()
        has_begun = threading.Lock()
        has_begun.acquire()
        end = partial(self._end, helper, self._part(helper))
        helper.tasks.put(partial(_carry_out, has_begun.release, work, made, end))
        has_begun.acquire(timeout=_PATIENCE_S)
        return made

    def _part(self, helper: _Helper) -> int | None:
        """Keep a helper off our processor, and us on it; return who we are if that was done."""
        if not self._processors or os.sched_getaffinity(0) != self._processors:
            return None  # by the system, or by the administrator
        here = {_current_processor()}
        if not here < self._processors:
            return None
        asker = threading.get_native_id()
        _keep_on(helper.native_id or 0, self._processors - here)
        _keep_on(asker, here)
        return asker

    def _end(self, helper: _Helper, asker: int | None) -> None:
        """Let whoever has asked go anywhere, and have something else computed."""
        if asker is not None:
            _keep_on(asker, self._processors)
        self._free.append(helper)


def _carry_out(
    begin: Callable[[], object], work: Callable[[], T], made: Future[T], end: Callable[[], object]
) -> None:
    """Compute something, and tell it when all else is over."""
    begin()
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - it is for whoever asked
        end()
        made.set_exception(error)
        # The error knows of this call, which must not know of it in turn.
        del work, made
    else:
        end()
        made.set_result(result)


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
