"""Who is connected, over all worker processes: one table in memory that they share.

A row is taken for every connection and freed at its end; what a killed worker left behind is freed
by whoever replaces it. Whatever has to be looked at and changed in one go is done under a lock of
the kernel's, which ends with the process that holds it.
"""

import contextlib
import fcntl
import functools
import hashlib
import ipaddress
import mmap
import os
import secrets
import threading
from collections.abc import Iterator
from typing import NamedTuple

from vpopsql.errors import TooManyConnections

_CELL = 8  # bytes


@functools.lru_cache(1024)
def host_of(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an IP address; an IPv4 one also where IPv6 sockets show it as one of theirs.

    :raises ValueError: the text is none.
    """
    host = ipaddress.ip_address(address)
    return (host.ipv4_mapped or host) if isinstance(host, ipaddress.IPv6Address) else host


@functools.lru_cache(1024)
def usual_form(address: str) -> str:
    """Return an IP address as it is usually written; an IPv4 one as such.

    :raises ValueError: the text is none.
    """
    return str(host_of(address))


class Place(NamedTuple):
    """A row that was taken."""

    row: int
    worker: int
    """The one that it was taken for."""
    life: int
    """The number of its life: of those that follow each other as this worker."""


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
        self._lives = _column(workers)
        """For each worker a number that grows when it comes, to an odd one, and when it ends."""
        # What is counted is there as a keyed digest: short, and not to be chosen by anybody.
        self._secret = secrets.token_bytes(16)
        self._networks = _column(most)
        self._accounts = _column(most)
        self._thread_lock = threading.Lock()
        self._lock = os.memfd_create("vpopsql-roster") if workers > 1 else -1
        self._locked_by = os.getpid()

    def join(self, worker: int) -> None:
        """Let others take rows for a worker, from now on until it is forgotten."""
        with self._locked():
            self._lives[worker] |= 1

    def enter(self, worker: int, *, spread: bool = False) -> Place:
        """Take a row for a connection of ``worker``.

        :param spread: take it for another worker if that has fewer connections.
        :raises TooManyConnections: all are taken.
        """
        with self._locked():
            row = self._owners.find(b"\0")
            if row < 0 or row >= self._most:
                raise TooManyConnections(f"there are {self._most} connections")
            if spread:
                owners = self._owners[:]
                counts = {
                    number: owners.count(number + 1)
                    for number in self._workers
                    if number == worker or self._lives[number] & 1
                }
                lightest = min(counts, key=counts.__getitem__)
                if counts[lightest] < counts[worker]:
                    worker = lightest
            self._owners[row] = worker + 1
            return Place(row, worker, self._lives[worker])

    def is_held(self, place: Place) -> bool:
        """Tell whether the worker that a row was taken for has not been replaced since."""
        return self._lives[place.worker] == place.life

    def move(self, place: Place, worker: int) -> None:
        """Give a row to another worker."""
        with self._locked():
            if self.is_held(place):
                self._owners[place.row] = worker + 1

    def place(self, row: int, address: str, most: int) -> None:
        """Write down where the connection of a row comes from.

        :param address: an IP address.
        :param most: connections from there, this one included; 0: any number.
        :raises TooManyConnections: there are as many already.
        """
        host = host_of(address)
        if not most or host.is_loopback:
            return
        # Whoever has one IPv6 address has all of a network.
        network = host.packed if host.version == 4 else host.packed[:8]  # noqa: PLR2004
        self._write_down(self._networks, row, network, most, f"from {address}")

    def name(self, row: int, account: str, most: int) -> None:
        """Write down who has logged in on the connection of a row; otherwise like `place`."""
        if most:
            self._write_down(self._accounts, row, account.encode(), most, f"of {account}")

    def leave(self, row: int) -> None:
        """Free a row."""
        self._networks[row] = self._accounts[row] = 0
        self._owners[row] = 0

    def _write_down(self, column: memoryview, row: int, what: bytes, most: int, who: str) -> None:
        digest = hashlib.blake2b(what, digest_size=_CELL, key=self._secret).digest()
        mark = int.from_bytes(digest) or 1
        with self._locked():
            if column.tolist().count(mark) >= most:
                raise TooManyConnections(f"there are {most} connections {who}")
            column[row] = mark

    def forget(self, worker: int) -> None:
        """Free the rows of a worker that has ended."""
        with self._locked():
            self._lives[worker] = (self._lives[worker] | 1) + 1
            for row, owner in enumerate(self._owners[:]):
                if owner == worker + 1:
                    self.leave(row)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # The kernel's lock is the process's: threads exclude each other by one of their own.
        with self._thread_lock:
            if self._lock < 0:
                yield
                return
            if self._locked_by != os.getpid():
                # What a fork has copied is the same lock. (Those of fcntl are not, but the kernel
                # takes it for a deadlock when threads of two processes wait for two of them.)
                self._lock = os.open(f"/proc/self/fd/{self._lock}", os.O_RDWR | os.O_CLOEXEC)
                self._locked_by = os.getpid()
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)


def _column(rows: int) -> memoryview:
    """Return a number for each row, in memory that is shared with processes forked later."""
    return memoryview(mmap.mmap(-1, rows * _CELL)).cast("Q")
