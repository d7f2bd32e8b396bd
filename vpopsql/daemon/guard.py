"""At the door: who guesses at passwords waits, and who logs in or fails to is counted.

A conversation, or whoever else checks a password, does so in an attempt of the guard's. The counts
go to the database every few seconds, many at once, by a thread of their own; a login never waits
for them.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Protocol

import structlog

from vpopsql.config import Config
from vpopsql.daemon.guessing import Pacer
from vpopsql.db import Database
from vpopsql.errors import InvalidLogin, VpopsqlError
from vpopsql.names import split_address
from vpopsql.services import login_counts
from vpopsql.services.login_counts import Counted

_EVERY_S = 2.0
"""How often the counts go to the database."""

_KINDS_MAX = 2000
"""Kinds of attempts that are kept apart meanwhile; of more only how many there were is kept."""

_ACCOUNT_MAX = 320
_IP_MAX = 45

_HOUR_S = 3600

_Kind = tuple[int, str, str, str]
"""An hour since 1970, an account, an address, a service."""


@dataclass(slots=True)
class _Count:
    ok: int = 0
    failed: int = 0
    last_at: float = 0.0
    """In seconds since 1970."""


class Door(Protocol):
    """What a login goes through."""

    def attempt(
        self, account: str, remote_ip: str, service: str
    ) -> contextlib.AbstractContextManager[None]:
        """Return a context to look at a password in, which `InvalidLogin` leaves if it is wrong.

        :param account: the address of an account; or of none, as it was typed.
        :param remote_ip: where the attempt comes from; empty when unknown.
        """


class OpenDoor:
    """A door without a guard."""

    def attempt(
        self, account: str, remote_ip: str, service: str
    ) -> contextlib.AbstractContextManager[None]:
        """Let everybody in at once."""
        del account, remote_ip, service
        return contextlib.nullcontext()


class Guard:
    """Looks at attempts to log in; for any number of threads.

    :param sleep: how to wait, in seconds.
    """

    def __init__(
        self,
        database: Database,
        pacer: Pacer,
        history_days: int,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._database = database
        self._pacer = pacer
        self._history = timedelta(days=history_days)
        self._sleep = sleep
        self._log = structlog.get_logger("vpopsql.logins")
        self._lock = threading.Lock()
        self._counts: dict[_Kind, _Count] = {}
        self._forgotten_at: datetime | None = None

    @contextlib.contextmanager
    def attempt(self, account: str, remote_ip: str, service: str) -> Iterator[None]:
        """Wait first, the longer the more attempts have failed; count how this one ends."""
        by_account, by_address = self._pacer.begin(account, remote_ip)
        if by_account > by_address and self._has_been_here(account, remote_ip):
            by_account = 0.0
        if wait_s := max(by_account, by_address):
            self._log.debug("login held up", peer=remote_ip or None, seconds=round(wait_s, 2))
            self._sleep(wait_s)
        try:
            yield
        except InvalidLogin:
            self._count(account, remote_ip, service, is_good=False)
            raise
        self._pacer.succeed(account, remote_ip)
        self._count(account, remote_ip, service, is_good=True)

    def _count(self, account: str, remote_ip: str, service: str, *, is_good: bool) -> None:
        if not self._history:
            return
        now = time.time()
        hour = int(now // _HOUR_S)
        # A word that is no address may be a password.
        shown = account[:_ACCOUNT_MAX] if "@" in account else ""
        kind = (hour, shown, remote_ip[:_IP_MAX], service)
        with self._lock:
            if kind not in self._counts and len(self._counts) >= _KINDS_MAX:
                kind = (hour, "", "", service)
            count = self._counts.get(kind)
            if count is None:
                count = self._counts[kind] = _Count()
            count.last_at = now
            if is_good:
                count.ok += 1
            else:
                count.failed += 1

    def store(self) -> None:
        """Write to the database what was counted; if that fails, it is tried again later."""
        with self._lock:
            counts, self._counts = self._counts, {}
        # In one order everywhere, so that no two processes wait for each other's rows.
        counted = [
            Counted(
                _utc(hour * _HOUR_S),
                account,
                ip,
                service,
                count.ok,
                count.failed,
                _utc(count.last_at),
            )
            for (hour, account, ip, service), count in sorted(counts.items(), key=itemgetter(0))
        ]
        try:
            if counted:
                with self._database.writer() as session:
                    login_counts.add(session, counted)
            self._forget()
        except VpopsqlError as error:
            self._log.error("logins not counted", error=str(error))
            self._keep(counts)

    def _keep(self, counts: dict[_Kind, _Count]) -> None:
        with self._lock:
            for kind, count in counts.items():
                if kind in self._counts or len(self._counts) < _KINDS_MAX:
                    newer = self._counts.setdefault(kind, _Count(last_at=count.last_at))
                    newer.ok += count.ok
                    newer.failed += count.failed

    def _forget(self) -> None:
        now = datetime.now(UTC)
        if self._forgotten_at and now - self._forgotten_at < timedelta(hours=1):
            return
        if self._history:
            with self._database.writer() as session:
                login_counts.forget(session, now - self._history)
        self._forgotten_at = now

    def _has_been_here(self, account: str, remote_ip: str) -> bool:
        name, domain = split_address(account)
        if not remote_ip or not domain:
            return False
        with self._database.reader() as session:
            return login_counts.has_been_here(session, name, domain, remote_ip)


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@contextlib.contextmanager
def guarding(database: Database, config: Config, pacer: Pacer) -> Iterator[Guard]:
    """Give a guard whose counts are stored meanwhile, and at the end."""
    guard = Guard(database, pacer, config.daemon.login_history_days)
    is_over = threading.Event()

    def store() -> None:
        while not is_over.wait(_EVERY_S):
            guard.store()

    thread = threading.Thread(target=store, name="login counts")
    thread.start()
    try:
        yield guard
    finally:
        is_over.set()
        thread.join()
        guard.store()
