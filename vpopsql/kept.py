"""Sessions that read, each on a connection that is kept for the next one.

SQLAlchemy gives a session a connection of its pool for each transaction, and has both set up and
put back to how they were: more work than looking up a row. Here session and connection stay
together, `prepared` selects go straight to the driver, and a command costs a transaction of the
database only where statements would otherwise see different states.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlalchemy.orm import Session

from vpopsql.prepared import Driver

T = TypeVar("T")

_IDLE_S = 60.0
"""Seconds after which a connection that was not needed is closed: it has megabytes of cache."""


class Watch(Protocol):
    """Who cuts connections that are in use for too long."""

    def began(self, connection: object) -> None:
        """Note that a connection is in use from now on."""

    def ended(self, connection: object) -> None:
        """Note that it is not in use any more."""


class _Kept:
    """A connection with its session."""

    __slots__ = ("connection", "driver", "is_new", "session", "used_at")

    def __init__(self, engine: Engine, driver: type[Driver]) -> None:
        self.connection = engine.connect()
        self.driver = driver.of(engine.dialect, self.connection.connection)
        self.session = Session(self.connection, expire_on_commit=False)
        self.driver.attach(self.session)
        self.is_new = True
        self.used_at = time.monotonic()

    def close(self) -> None:
        # Perhaps broken: nothing of it is used any more.
        self.connection.invalidate()
        self.connection.close()


class KeptSessions:
    """Sessions for the threads of a process, each used by one at a time.

    :param engine: without a pool; its connections commit by themselves.
    :param driver: what prepared selects are handed to.
    :param kept: connections that stay open while nobody uses them, for a minute after there was
        need of so many; twice as many may be open.
    :param patience_s: how long to wait for one, when that many are in use.
    :param on_connect: a statement for each new connection, if there is to be one.
    :param begin: what begins a transaction, where there should be one.
    :param broke: called when a connection broke while it was in use.
    :param watch: told of every use.
    """

    def __init__(
        self,
        engine: Engine,
        driver: type[Driver],
        *,
        kept: int,
        patience_s: float,
        broke: Callable[[], object],
        on_connect: str = "",
        begin: str = "",
        watch: Watch | None = None,
    ) -> None:
        self._engine = engine
        self._driver = driver
        self._patience_s = patience_s
        self._kept = kept
        self._on_connect = on_connect
        self._begin = begin
        self._broke = broke
        self._watch = watch
        self._room = threading.Semaphore(2 * kept)
        # The one used last is used next: it is the warmest, and fewer are open.
        self._idle: deque[_Kept] = deque()

    def run(self, work: Callable[[Session], T], begin: str | None = None) -> T:
        """Return what ``work`` returns, given a session.

        :param begin: what begins a transaction this time; None: what always does.
        :raises sqlalchemy.exc.SQLAlchemyError: as a session does; what broke is not used again.
        """
        if not self._room.acquire(timeout=self._patience_s):
            raise NoneFree("all connections are in use")
        try:
            try:
                one = self._idle.pop()
            except IndexError:
                one = _Kept(self._engine, self._driver)
            return self._use(one, work, self._begin if begin is None else begin)
        finally:
            self._room.release()

    def _use(self, one: _Kept, work: Callable[[Session], T], begin: str) -> T:
        is_good = False
        if self._watch:
            self._watch.began(one.driver.connection)
        try:
            if one.is_new and self._on_connect:
                one.driver.run(self._on_connect)
            one.is_new = False
            if begin:
                one.driver.begin(begin)
            result = work(one.session)
            is_good = True
        except DBAPIError as error:
            if error.connection_invalidated:
                # Most likely so are the others, which nobody has used meanwhile.
                self._broke()
            raise
        except Exception:
            is_good = True
            raise
        finally:
            is_good = is_good and self._is_over(one, begin)
            if self._watch:
                self._watch.ended(one.driver.connection)
            if is_good and len(self._idle) < self._kept:
                self._keep(one)
            else:
                one.close()
        return result

    def _keep(self, one: _Kept) -> None:
        """Keep a connection for the next one; close one that was not needed for long."""
        one.used_at = time.monotonic()
        self._idle.append(one)
        with suppress(IndexError):  # others take them meanwhile
            if one.used_at - self._idle[0].used_at > _IDLE_S:
                self._idle.popleft().close()

    @staticmethod
    def _is_over(one: _Kept, begin: str) -> bool:
        """End what `_use` or the session began; tell whether that went well."""
        one.driver.forget()
        try:
            if one.session.in_transaction():
                one.session.rollback()
            if begin:
                one.driver.end()
        except Exception:  # noqa: BLE001 - nobody needs this connection
            return False
        return True

    def forget(self) -> None:
        """Close the connections that nobody uses at the moment."""
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                return
