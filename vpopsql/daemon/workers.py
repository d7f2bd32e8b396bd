"""Worker processes: forked, watched and replaced by a parent that serves nobody itself.

The parent holds what is listened on and what the workers share, and has one thread only, so it can
fork at any time. SIGTERM and SIGINT let all workers finish, SIGHUP is passed on. A worker that
ends by itself is replaced, soon at first, then later and later; workers without a parent finish.
"""

import contextlib
import gc
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NoReturn, Protocol

import structlog

from vpopsql import systemd

_SETTLED_S = 10.0
"""A worker that lived for so long has not failed at its start."""

_PAUSE_FIRST_S = 0.25
_PAUSE_LONGEST_S = 15.0

_GRACE_S = 10.0
"""How long workers may take to end, beyond the time that clients and hooks have."""

_STOPS = {signal.SIGTERM, signal.SIGINT}


_USUAL_MOST = 8


def usual_workers() -> int:
    """Return how many workers there are unless that is configured."""
    return min(len(os.sched_getaffinity(0)), _USUAL_MOST)


class Serving(Protocol):
    """What a worker does."""

    def start(self) -> None:
        """Begin, in threads of its own."""

    def reload(self) -> None:
        """Read again what may change while it runs; never raise."""

    def stop(self) -> None:
        """Finish."""


Work = Callable[[int], AbstractContextManager[Serving]]
"""Given a worker's number, from 0, makes what it does, with connections and threads of its own."""


def serve_alone(work: Work, ready: Callable[[], object]) -> None:
    """Do the work of the only worker in this process, until SIGTERM or SIGINT.

    :param ready: called once clients are served.
    """
    with _signals({*_STOPS, signal.SIGHUP}) as signals, work(0) as serving:
        serving.start()
        ready()
        systemd.notify("READY=1")
        _wait_for_end(serving, signals, _STOPS)
        _tell_end()
        serving.stop()


@dataclass(slots=True)
class _Place:
    """Where a worker is, or will be."""

    pid: int | None = None
    began: float = 0.0
    due: float = 0.0
    """When the next one is to be started, on the monotonic clock."""
    pause_s: float = 0.0


class Supervisor:
    """Keeps a number of workers at work until SIGTERM or SIGINT.

    :param ended: told the number of a worker that has ended, before there is a new one.
    :param finish_s: how long workers take to finish at most.
    """

    def __init__(
        self, count: int, work: Work, ended: Callable[[int], object], finish_s: float
    ) -> None:
        self._work = work
        self._ended = ended
        self._finish_s = finish_s
        self._places = [_Place() for _ in range(count)]
        self._log = structlog.get_logger("vpopsql.daemon")
        # Workers see its end when the parent is gone, however it went.
        self._life, self._held = os.pipe2(os.O_CLOEXEC)
        # Each worker says here once that it serves.
        self._begun, self._begins = os.pipe2(os.O_CLOEXEC)

    def run(self, ready: Callable[[], object]) -> None:
        """Serve.

        :param ready: called once all workers serve.
        """
        with _signals({*_STOPS, signal.SIGHUP, signal.SIGCHLD}) as signals:
            self._start_due()
            awaited = len(self._places)
            while True:
                if self._begun in _wait([signals, self._begun], self._pause()):
                    number = len(os.read(self._begun, 1024))
                    if awaited > 0 >= awaited - number:
                        ready()
                        systemd.notify("READY=1")
                    awaited -= number
                came = _read(signals)
                if came & _STOPS:
                    break
                if signal.SIGHUP in came:
                    self._tell(signal.SIGHUP)
                self._replace()
            _tell_end()
            self._finish(signals)

    def _pause(self) -> float | None:
        """Return how long nothing has to be done unless something happens; None: for ever."""
        due = [place.due for place in self._places if place.pid is None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _start_due(self) -> None:
        now = time.monotonic()
        for number, place in enumerate(self._places):
            if place.pid is None and place.due <= now:
                place.pid, place.began = self._fork(number), now

    def _fork(self, number: int) -> int:
        # A signal that is meant for the child must not be taken down in the parent's pipe.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_STOPS, signal.SIGHUP, signal.SIGCHLD})
        pid = os.fork()
        if not pid:
            # What is there by now is no garbage. Looking for cycles in it would write to each page
            # of it, which then is not shared with the others any more: 12 MB for each worker.
            gc.freeze()
            self._be_worker(number, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid

    def _be_worker(self, number: int, mask: Iterable[int]) -> NoReturn:
        status = 1
        try:
            os.close(self._held)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            with _signals({*_STOPS, signal.SIGHUP}) as signals:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                with self._work(number) as serving:
                    serving.start()
                    os.write(self._begins, b"x")
                    # A terminal's SIGINT comes to the parent, too, which tells us.
                    _wait_for_end(serving, signals, {signal.SIGTERM}, self._life)
                    serving.stop()
            status = 0
        except BaseException:  # noqa: BLE001 - the parent's stack must not be unwound here
            self._log.exception("worker broke", worker=number)
        finally:
            # Nothing of the parent's may be ended or written a second time.
            os._exit(status)

    def _replace(self) -> None:
        for number, place in enumerate(self._places):
            if place.pid is None or not (status := _reap(place.pid)):
                continue
            lived_s = time.monotonic() - place.began
            self._log.error("worker ended", worker=number, pid=place.pid, how=status)
            self._ended(number)
            place.pid = None
            place.pause_s = (
                0.0
                if lived_s >= _SETTLED_S
                else min(max(2 * place.pause_s, _PAUSE_FIRST_S), _PAUSE_LONGEST_S)
            )
            place.due = time.monotonic() + place.pause_s
        self._start_due()

    def _finish(self, signals: int) -> None:
        self._tell(signal.SIGTERM)
        deadline = time.monotonic() + self._finish_s + _GRACE_S
        while left := [place for place in self._places if place.pid is not None]:
            for place in left:
                if place.pid is not None and _reap(place.pid):
                    place.pid = None
                    break
            else:
                pause = deadline - time.monotonic()
                if pause <= 0:
                    self._log.error("workers killed", count=len(left))
                    self._tell(signal.SIGKILL)
                    return
                _wait([signals], pause)
                _read(signals)

    def _tell(self, number: signal.Signals) -> None:
        for place in self._places:
            if place.pid is not None:
                # It is ours, and not reaped yet: the number is nobody else's.
                os.kill(place.pid, number)


def _tell_end() -> None:
    structlog.get_logger("vpopsql.daemon").info("stopping")
    systemd.notify("STOPPING=1")


def _reap(pid: int) -> str | None:
    """Return how a process has ended; None: it runs."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        return None
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"status {code}"


def _wait_for_end(
    serving: Serving, signals: int, stops: set[signal.Signals], life: int | None = None
) -> None:
    """Wait until one of ``stops`` comes, or ``life`` ends."""
    watched = [signals] if life is None else [signals, life]
    while life not in _wait(watched):
        came = _read(signals)
        if came & stops:
            return
        if signal.SIGHUP in came:
            serving.reload()


@contextlib.contextmanager
def _signals(numbers: set[signal.Signals]) -> Iterator[int]:
    """Give the descriptor on which these signals are told from now on, a byte each."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield reader
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


def _wait(descriptors: Iterable[int], timeout_s: float | None = None) -> list[int]:
    """Wait until some of them can be read, or have ended; return these."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [ready for ready, _ in poll.poll(None if timeout_s is None else timeout_s * 1000)]


def _read(signals: int) -> set[signal.Signals]:
    """Return the signals that have come."""
    with contextlib.suppress(BlockingIOError):
        return {signal.Signals(number) for number in os.read(signals, 1024)}
    return set()
