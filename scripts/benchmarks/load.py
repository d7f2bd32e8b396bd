"""The driver: workers in a closed loop, each waiting for its answer before it asks again.

Workers are threads spread over as many processes as there are cores, so that one interpreter's
lock is not what limits them. What the driver can do by itself is measured against `stub`.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from multiprocessing.synchronize import Barrier

from scripts.benchmarks import BenchFailed

Step = Callable[[], object]
Job = Callable[[int], AbstractContextManager[Step]]
"""Given a worker's number, sets up and gives what the worker does again and again."""

_FORK = multiprocessing.get_context("fork")
_START_TIMEOUT_S = 120


@dataclass(slots=True)
class Load:
    """What workers did, with times on the system-wide monotonic clock."""

    latencies_s: list[float] = field(default_factory=list)
    begin: float = float("inf")
    end: float = 0.0

    @property
    def per_second(self) -> float:
        """Return how many steps were done a second by all workers."""
        return len(self.latencies_s) / (self.end - self.begin)

    def add(self, other: "Load") -> None:
        """Add what other workers did at the same time."""
        self.latencies_s += other.latencies_s
        self.begin = min(self.begin, other.begin)
        self.end = max(self.end, other.end)


def drive(job: Job, workers: int, seconds: float) -> Load:
    """Let ``workers`` do ``job`` at once for ``seconds``, each at least one step.

    Every worker does one step before the clock starts, so connections and caches are warm.

    :raises BenchFailed: a step failed.
    """
    barrier = _FORK.Barrier(workers)
    processes: list[tuple[ForkProcess, Connection]] = []
    count = min(workers, os.cpu_count() or 1)
    try:
        for first in range(count):
            receiver, sender = _FORK.Pipe(duplex=False)
            numbers = range(first, workers, count)
            process = _FORK.Process(
                target=_work, args=(job, numbers, seconds, barrier, sender), daemon=True
            )
            process.start()
            sender.close()
            processes.append((process, receiver))
        total = Load()
        for _, receiver in processes:
            total.add(_result(receiver))
        return total
    finally:
        for process, receiver in processes:
            receiver.close()
            # Whoever has sent his result has nothing left to do.
            process.kill()
            process.join()


def _result(receiver: Connection) -> Load:
    try:
        result = receiver.recv()
    except EOFError:
        raise BenchFailed("a process of the driver ended early") from None
    if isinstance(result, Load):
        return result
    raise BenchFailed(str(result))


def _work(job: Job, numbers: range, seconds: float, barrier: Barrier, sender: Connection) -> None:
    """Run in a process of its own: start a thread for each worker, send what they did."""
    # Only the parent ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loads: list[Load] = []
    failures: list[str] = []

    def work(number: int) -> None:
        try:
            with job(number) as step:
                step()
                barrier.wait(_START_TIMEOUT_S)
                loads.append(_repeat(step, seconds))
        except threading.BrokenBarrierError:
            # Another worker has failed, and tells why.
            pass
        except (BenchFailed, OSError) as error:
            failures.append(str(error))
            barrier.abort()

    threads = [threading.Thread(target=work, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    total = Load()
    for thread in threads:
        thread.join()
    for load in loads:
        total.add(load)
    sender.send(failures[0] if failures else total)


def _repeat(step: Step, seconds: float) -> Load:
    clock = time.monotonic
    latencies: list[float] = []
    begin = now = clock()
    deadline = begin + seconds
    while now < deadline:
        before = now
        step()
        now = clock()
        latencies.append(now - before)
    return Load(latencies, begin, now)
