"""Failed logins make the next ones slow: per account, and per address that they come from.

Each attempt counts as failed until it turns out to be good, so that many at once are slowed down
like many in a row. What is counted fades: half of it is gone after `HALF_LIFE_S`.

Nobody is locked out. The owner of an account that others guess at waits for `Pacer.longest_s` at
most, and not at all where he has logged in from before. Loopback is no address to blame: behind it
is a webmail program that brings everybody's logins.

The counters are in memory that all processes of a daemon share, or in a file that daemons under
``tcpserver``, of one client each, have in common. They are of a fixed size, whoever attacks: where
two keys meet, the one that counts less is forgotten. Only keyed hashes of names are in there. Rows
in the database instead would cost a transaction for each wrong password, and a second look-up for
each right one.
"""

import fcntl
import functools
import hashlib
import ipaddress
import mmap
import os
import secrets
import stat
import struct
import threading
import time
from collections.abc import Callable
from typing import Self

from vpopsql.errors import VpopsqlError

HALF_LIFE_S = 300.0
"""After so long a failure counts half."""

ACCOUNT_FREE, ADDRESS_FREE = 4.0, 20.0
"""Failures that cost nothing; an office, or a family, has one address for many people."""

_FIRST_S = 0.25
"""How long the first attempt waits that is too many; each further one twice as long."""

_MOST = 64.0
"""More is not counted, so that it fades within the hour."""

_SLOT = struct.Struct("<Qdd")
"""Whose it is, how much is counted, and when that was, in seconds since 1970."""

_NEIGHBOURS = 4
"""Slots that a key may be in."""

_SLOTS = 1 << 14
_KEY_BYTES = 32
_SIZE = _KEY_BYTES + _SLOTS * _SLOT.size


class CannotShare(VpopsqlError):
    """The file for the counters cannot be used."""


class Pacer:
    """Counts attempts to log in, for all threads and for all processes that are forked later.

    :param longest_s: how long an attempt is held up at most; 0: nothing is counted.
    :param clock: the time in seconds since 1970; when it jumps, counters fade too late or early.
    """

    def __init__(
        self,
        longest_s: float,
        descriptor: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.longest_s = longest_s
        self._clock = clock
        self._descriptor = (
            os.memfd_create("vpopsql-guessing") if descriptor is None else descriptor
        )
        os.ftruncate(self._descriptor, _SIZE)
        self._memory = mmap.mmap(self._descriptor, _SIZE)
        # Threads exclude each other by this, processes by a lock that ends with its holder.
        self._mine = threading.Lock()
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        if not any(self._memory[:_KEY_BYTES]):
            self._memory[:_KEY_BYTES] = secrets.token_bytes(_KEY_BYTES)
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        self._key = self._memory[:_KEY_BYTES]

    @classmethod
    def on_file(cls, path: str, longest_s: float) -> Self:
        """Return one whose counters are in a file, which is made for its owner alone.

        :raises CannotShare: it cannot be used, or is not this user's own.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            why = error.strerror or error
            raise CannotShare(f"daemon.guessing_file: cannot use {path}: {why}") from error
        found = os.fstat(descriptor)
        is_mine = found.st_uid == os.geteuid() and not found.st_mode & 0o077
        if not (is_mine and stat.S_ISREG(found.st_mode)):
            os.close(descriptor)
            raise CannotShare(
                f"daemon.guessing_file: {path} is no file of this user's alone; remove it, or"
                " choose another place"
            )
        return cls(longest_s, descriptor)

    def close(self) -> None:
        """Let the memory go."""
        self._memory.close()
        os.close(self._descriptor)

    def begin(self, account: str, remote_ip: str) -> tuple[float, float]:
        """Count an attempt.

        :param account: as it was typed; may be of nobody.
        :param remote_ip: where it comes from; empty when unknown.
        :return: for how many seconds it has to wait, because of its account and of its address.
        """
        return self._count(account, remote_ip, 1.0)

    def succeed(self, account: str, remote_ip: str) -> None:
        """Take an attempt back that was good."""
        self._count(account, remote_ip, -1.0)

    def _count(self, account: str, remote_ip: str, amount: float) -> tuple[float, float]:
        if not self.longest_s:
            return 0.0, 0.0
        by_address = 0.0
        network = _network(remote_ip)
        of_account = self._id(b"account", account)
        of_address = self._id(b"address", network) if network else 0
        now = self._clock()
        with self._mine:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            try:
                by_account = self._add(of_account, amount, now)
                if of_address:
                    by_address = self._add(of_address, amount, now)
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        return self._delay_s(by_account - ACCOUNT_FREE), self._delay_s(by_address - ADDRESS_FREE)

    def _delay_s(self, too_many: float) -> float:
        return min(_FIRST_S * 2.0 ** (too_many - 1.0), self.longest_s) if too_many > 0 else 0.0

    def _id(self, kind: bytes, name: str) -> int:
        data = name.encode("utf-8", "surrogateescape")
        digest = hashlib.blake2b(data, digest_size=8, key=self._key, person=kind).digest()
        return int.from_bytes(digest, "little") or 1

    def _add(self, key: int, amount: float, now: float) -> float:
        """Add to what is counted for a key; return how much that is by now."""
        least, where = float("inf"), _KEY_BYTES + key % _SLOTS * _SLOT.size
        for neighbour in range(_NEIGHBOURS):
            offset = _KEY_BYTES + (key + neighbour) % _SLOTS * _SLOT.size
            owner, counted, at = _SLOT.unpack_from(self._memory, offset)
            faded = counted * 0.5 ** (max(now - at, 0.0) / HALF_LIFE_S) if counted else 0.0
            if owner == key:
                least, where = faded, offset
                break
            if faded < least:
                least, where = faded, offset
        else:
            least = 0.0
        counted = min(max(least + amount, 0.0), _MOST)
        _SLOT.pack_into(self._memory, where, key if counted else 0, counted, now)
        return counted


@functools.lru_cache(4096)
def _network(remote_ip: str) -> str:
    """Return whom an address stands for: itself, or its /64 in IPv6; empty: nobody to blame."""
    try:
        address = ipaddress.ip_address(remote_ip.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            network = ipaddress.ip_network((address, 64), strict=False)
            return "" if address.is_loopback else str(network)
        address = address.ipv4_mapped
    return "" if address.is_loopback else str(address)
