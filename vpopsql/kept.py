"""Connections that are kept for the next session, with what hands statements to their driver.

SQLAlchemy gives a session a connection of its pool for each transaction, and has both set up and
put back to how they were: more work than looking up a row, and a fifth of a millisecond of a
change. Here prepared statements go straight to the driver, and SQLAlchemy has a transaction of its
own only for a session that has something else carried out.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlalchemy.orm import Session

from vpopsql.prepared import Driver
from vpopsql.watchdog import Watchdog

T = TypeVar("T")

_IDLE_S = 60.0
"""Seconds after which a connection that was not needed is closed: it has megabytes of cache."""


class _Kept:
    """A connection with what hands statements to its driver."""

    __slots__ = ("connection", "driver", "session", "used_at")

    def __init__(self, engine: Engine, driver: type[Driver]) -> None:
        self.connection = engine.connect()
        self.driver = driver.of(engine.dialect, self.connection.connection)
        self.session: Session | None = None
        """One that is kept as well."""
        self.used_at = time.monotonic()

    def close(self) -> None:
        # Perhaps broken: nothing of it is used any more.
        self.connection.invalidate()
        self.connection.close()


class _Connections:
    """Connections for the threads of a process, each used by one at a time.

    :param engine: without a pool.
    :param driver: what prepared statements are handed to.
    :param kept: connections that stay open while nobody uses them, for a minute after there was
        need of so many; twice as many may be open.
    :param patience_s: how long to wait for one, when that many are in use.
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
        watch: Watchdog | None = None,
    ) -> None:
        self._engine = engine
        self._driver = driver
        self._patience_s = patience_s
        self._kept = kept
        self._broke = broke
        self._watch = watch
        self._room = threading.Semaphore(2 * kept)
        # The one used last is used next: it is the warmest, and fewer are open.
        self._idle: deque[_Kept] = deque()
        self._used: set[_Kept] = set()

    @property
    def are_used(self) -> bool:
        """Whether somebody uses one at the moment."""
        return bool(self._used)

    def forget(self) -> None:
        """Close the connections that nobody uses at the moment."""
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def _take(self) -> _Kept:
        if not self._room.acquire(timeout=self._patience_s):
            raise NoneFree("all connections are in use")
        try:
            return self._idle_one() or self._begun(_Kept(self._engine, self._driver))
        except BaseException:
            self._room.release()
            raise

    def _idle_one(self) -> _Kept | None:
        with suppress(IndexError):
            while True:
                one = self._begun(self._idle.pop())
                # What it was sent last may have no answer yet.
                if one.driver.is_open():
                    return one
                self._ended(one)
                one.close()
        return None

    def _begun(self, one: _Kept) -> _Kept:
        self._used.add(one)
        if self._watch:
            self._watch.began(one.driver.connection)
        return one

    def _ended(self, one: _Kept) -> None:
        if self._watch:
            self._watch.ended(one.driver.connection)
        self._used.discard(one)

    def _put_back(self, one: _Kept, *, is_good: bool) -> None:
        """Keep a connection, or close it; close another one that was not needed for long."""
        try:
            self._ended(one)
            if not is_good or len(self._idle) >= self._kept:
                one.close()
                return
            one.used_at = time.monotonic()
            self._idle.append(one)
            with suppress(IndexError):  # others take them meanwhile
                if one.used_at - self._idle[0].used_at > _IDLE_S:
                    self._idle.popleft().close()
        finally:
            self._room.release()

    def _found(self, error: DBAPIError) -> None:
        """Hear of an error of a connection that is in use."""
        if error.connection_invalidated:
            # Most likely so are the others, which nobody has used meanwhile.
            self._broke()


class KeptSessions(_Connections):
    """Sessions that read: each costs a transaction only where there should be one.

    :param options: those of `_Connections`; connections of the engine commit by themselves.
    :param on_connect: a statement for each new connection, if there is to be one.
    :param begin: what begins a transaction, where there should be one.
    """

    def __init__(
        self,
        engine: Engine,
        driver: type[Driver],
        *,
        on_connect: str = "",
        begin: str = "",
        **options: Any,  # noqa: ANN401 - of several types
    ) -> None:
        super().__init__(engine, driver, **options)
        self._on_connect = on_connect
        self._begin = begin

    def run(self, work: Callable[[Session], T], begin: str | None = None) -> T:
        """Return what ``work`` returns, given a session.

        :param begin: what begins a transaction this time; None: what always does.
        :raises sqlalchemy.exc.SQLAlchemyError: as a session does; what broke is not used again.
        """
        if begin is None:
            begin = self._begin
        one = self._take()
        is_good = False
        try:
            session = one.session or self._begin_with(one)
            if begin:
                one.driver.begin(begin)
            result = work(session)
            is_good = True
        except DBAPIError as error:
            self._found(error)
            raise
        except Exception:
            is_good = True
            raise
        finally:
            self._put_back(one, is_good=is_good and self._is_over(one, ends=bool(begin)))
        return result

    def _begin_with(self, one: _Kept) -> Session:
        """Return the session of a new connection."""
        session = Session(one.connection, expire_on_commit=False)
        one.driver.attach(session)
        if self._on_connect:
            one.driver.run(self._on_connect)
        one.session = session
        return session

    @staticmethod
    def _is_over(one: _Kept, *, ends: bool) -> bool:
        """End what was begun, by the driver if ``ends``; tell whether that went well."""
        one.driver.forget()
        try:
            if one.session and one.session.in_transaction():
                one.session.rollback()
            if ends:
                one.driver.end()
        except Exception:  # noqa: BLE001 - nobody needs this connection
            return False
        return True


class _Writing(Session):
    """A session for one transaction, which is not its own."""

    def _leave(self) -> None:
        raise RuntimeError("a transaction is committed or undone by who began it")

    commit = rollback = _leave


class KeptWriters(_Connections):
    """Sessions that write, each in one transaction.

    :param options: those of `_Connections`.
    :param begin: begins a transaction, where none begins with the first statement.
    """

    def __init__(
        self,
        engine: Engine,
        driver: type[Driver],
        *,
        begin: Callable[[Connection], object] | None = None,
        **options: Any,  # noqa: ANN401 - of several types
    ) -> None:
        super().__init__(engine, driver, **options)
        self._begin = begin

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Give a session, and commit when the block ends well.

        :raises sqlalchemy.exc.SQLAlchemyError: as a session does; what broke is not used again.
        """
        one = self._take()
        is_good = False
        session = _Writing(one.connection, expire_on_commit=False)
        try:
            one.driver.attach(session)
            if self._begin:
                self._begin(one.connection)
            yield session
            session.flush()
            if session.in_transaction():
                Session.commit(session)
            one.driver.finish()
            is_good = True
        except DBAPIError as error:
            self._found(error)
            is_good = not error.connection_invalidated
            raise
        except Exception:
            is_good = True
            raise
        finally:
            self._put_back(one, is_good=is_good and self._is_over(one, session))

    @staticmethod
    def _is_over(one: _Kept, session: Session) -> bool:
        """End what was begun and not committed; tell whether that went well."""
        one.driver.forget()
        try:
            if session.in_transaction():
                Session.rollback(session)
            # So that nobody who still has one of its objects begins another transaction.
            session.close()
            one.driver.end()
        except Exception:  # noqa: BLE001 - nobody needs this connection
            return False
        return True
