"""Who is connected, over all worker processes: one table in memory that they share.

A row is taken for every connection and freed at its end; what a killed worker left behind is freed
by whoever replaces it. Whatever has to be looked at and changed in one go is done under a lock of
the kernel's, which ends with the process that holds it.
"""

import contextlib
import fcntl
import mmap
import os
import threading
from collections.abc import Iterator


class Roster:
    """The connections of a daemon.

    Made before the workers are forked, which number from 0.

    :param most: connections at once, over all workers.
    :param workers: how many there are, up to 255.
    """

    def __init__(self, most: int, workers: int = 1) -> None:
        self._most = most
        self._workers = range(workers)
        self._owners = mmap.mmap(-1, most)
        """For each row the number of its worker and one more; 0: it is free."""
        self._thread_lock = threading.Lock()
        self._lock = os.memfd_create("vpopsql-roster") if workers > 1 else -1

    def enter(self, worker: int) -> int | None:
        """Take a row for a connection of ``worker``; return its number, None: all are taken."""
        with self._locked():
            row = self._owners.find(b"\0")
            if row < 0 or row >= self._most:
                return None
            self._owners[row] = worker + 1
            return row

    def leave(self, row: int) -> None:
        """Free a row."""
        self._owners[row] = 0

    def forget(self, worker: int) -> None:
        """Free the rows of a worker that has ended."""
        with self._locked():
            for row, owner in enumerate(self._owners[:]):
                if owner == worker + 1:
                    self._owners[row] = 0

    def lighter_than(self, worker: int) -> int | None:
        """Return the worker with the fewest connections, if it has fewer than ``worker``."""
        owners = self._owners[:]
        counts = [owners.count(number + 1) for number in self._workers]
        least = min(counts)
        return counts.index(least) if least < counts[worker] else None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # The kernel's lock is the process's: threads exclude each other by one of their own.
        with self._thread_lock:
            if self._lock < 0:
                yield
                return
            fcntl.lockf(self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._lock, fcntl.LOCK_UN)
