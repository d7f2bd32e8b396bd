"""The connections and transactions of a database."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool, QueuePool

from vpopsql import audit_chain, watch
from vpopsql.columns import set_keyring
from vpopsql.db import schema
from vpopsql.db.engines import (
    SECRET_PARAMETERS,
    begin_immediate,
    outages,
    sqlite_engine,
    sqlite_path,
    told,
)
from vpopsql.errors import DatabaseUnavailable
from vpopsql.kept import KeptSessions, KeptWriters
from vpopsql.model import AuditEntry, Revision
from vpopsql.prepared import Driver, commit
from vpopsql.sealed import Keyring
from vpopsql.turns import Turns
from vpopsql.watchdog import Watchdog

T = TypeVar("T")

_CONNECTION = {
    "connect_timeout": 4,
    # Whoever waits for hours must notice that the other side is gone without a word.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    # What is carried out often is prepared by `libpq`. With statements of its own psycopg would
    # have the server forget all that are prepared whenever a transaction is rolled back.
    "prepare_threshold": None,
}
_POOL_TIMEOUT_S = 30.0
_SETTLING_POLL_S = 0.01
_MOMENTS = 50
"""So often a moment is sought that several SQLite connections see."""

_MAPPED = "PRAGMA mmap_size = 4294967296"
"""A file in the page cache is read an eighth quicker by way of it than by copies of its pages."""

_FOR_ALL_ROWS = {
    "sqlite": ("PRAGMA cache_size = -65536", _MAPPED),
    "postgresql": (
        "SET LOCAL work_mem = '64MB'",
        "SET LOCAL jit = off",  # compiling takes longer than what it saves
        "SET LOCAL cursor_tuple_fraction = 1",  # instead of a tenth
    ),
}

_MOMENT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

_FIRST_READ = "SELECT 1 FROM sqlite_schema"

_FOR_SURVEYS = {
    "sqlite": ("PRAGMA cache_size = -131072", "PRAGMA temp_store = MEMORY", _MAPPED),
    # Compiling takes longer than what it saves; the first rows are wanted before the last.
    "postgresql": (
        "SET LOCAL work_mem = '64MB'",
        "SET LOCAL jit = off",
        "SET LOCAL random_page_cost = 1.1",
        "SET LOCAL cursor_tuple_fraction = 0.01",
    ),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a database has come: the newest revision and entry of the audit log."""

    revision: int
    audit: int
    is_settled: bool
    """Whether any later transaction sees all that has a number up to here.

    PostgreSQL gives out numbers before the commit: a lower one may come to light after a higher.
    """


@dataclass(frozen=True, slots=True)
class Moment:
    """A session that sees the database of one moment, and how others, processes too, join it."""

    session: Session
    name: str
    """For `Database.joined`."""
    is_shared: Callable[[], bool]
    """Tells whether who has joined by now sees the same."""


class Database:
    """The engines of one database, shared by all threads of a process.

    :param url: ``sqlite:///path`` or ``postgresql://...``.
    :param pool_size: connections kept open, 1..200; twice as many may be open at once.
    :param busy_timeout_s: how long a SQLite writer waits for another one, in seconds.
    :param key_file: the keys that readable passwords are sealed with; None or empty: they are not.
    :param patience_s: how long a transaction may take, for those whose client waits; None: for
        ever. One that takes longer is given up as an outage, whatever the database is doing.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        pool_size: int = 10,
        busy_timeout_s: float = 30,
        patience_s: float | None = None,
        key_file: str | None = None,
    ) -> None:
        self.url = make_url(url)
        self._watchdog: Watchdog | None = None
        self._driver: type[Driver]
        self._turns = Turns()
        wait_s = _POOL_TIMEOUT_S if patience_s is None else patience_s
        options: dict[str, Any] = {
            "pool_size": pool_size,
            "max_overflow": pool_size,
            "pool_timeout": wait_s,
            "hide_parameters": SECRET_PARAMETERS,
        }
        if patience_s is not None:
            busy_timeout_s = min(busy_timeout_s, patience_s)
        self._busy_timeout_s = busy_timeout_s
        if self.url.get_backend_name() == "sqlite":
            self._driver = _ChainingDriver
            self._read_engine = sqlite_engine(self.url, busy_timeout_s, options, writer=False)
        else:
            from vpopsql.libpq import LibpqDriver, checked  # noqa: PLC0415 - not where it is SQLite

            self._driver = LibpqDriver
            engine = checked(create_engine(self.url, connect_args=_CONNECTION, **options))
            if patience_s is not None:
                self._watchdog = _watchdog(engine, patience_s)
            self._read_engine = engine.execution_options(postgresql_readonly=True)
        self._keyring = Keyring.load(key_file) if key_file else None
        self._give_keys(self._read_engine)
        self._readers = sessionmaker(self._read_engine, expire_on_commit=False)
        keeping: dict[str, Any] = {
            "kept": pool_size,
            "broke": self.forget_connections,
            "patience_s": wait_s,
            "watch": self._watchdog,
        }
        self._kept = self._keep_readers(keeping)
        self._writers = self._keep_writers(keeping, is_hurried=patience_s is not None)

    def _keep_readers(self, keeping: dict[str, Any]) -> KeptSessions:
        if self.is_sqlite:
            # One state for all of a command, and locked once. The cache is the usual one of 2 MB,
            # as a daemon has many connections, and the system has the file's pages anyway.
            engine = self._unpooled(writer=False)
            return KeptSessions(engine, self._driver, begin="BEGIN", **keeping)
        # A statement is a transaction: no BEGIN and no ROLLBACK to wait for.
        engine = self._unpooled(writer=False, isolation_level="AUTOCOMMIT")
        only = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"
        return KeptSessions(engine, self._driver, on_connect=only, **keeping)

    def _keep_writers(self, keeping: dict[str, Any], *, is_hurried: bool) -> KeptWriters:
        begin = None
        if self.is_sqlite:
            begin = partial(begin_immediate, patience_s=self._busy_timeout_s)
        # Others may change all rows there are.
        engine = self._unpooled(writer=True, by_index=is_hurried)
        return KeptWriters(engine, self._driver, begin=begin, **keeping)

    def _unpooled(
        self,
        *,
        writer: bool,
        by_index: bool = True,
        **more: Any,  # noqa: ANN401 - of several types
    ) -> Engine:
        """Return an engine for connections that are kept.

        Whether a SQLite connection may write is a property of the connection, not of the
        transaction.

        :param by_index: whether it is for what is about a few rows; see `libpq.looking_up`.
        """
        options = more | {"poolclass": NullPool, "hide_parameters": SECRET_PARAMETERS}
        if self.is_sqlite:
            engine = sqlite_engine(self.url, self._busy_timeout_s, options, writer=writer)
        else:
            from vpopsql.libpq import looking_up, watched  # noqa: PLC0415 - not where it is SQLite

            engine = watched(create_engine(self.url, connect_args=_CONNECTION, **options))
            if by_index:
                looking_up(engine, self._watchdog)
        self._give_keys(engine)
        return engine

    def _give_keys(self, *engines: Engine) -> None:
        if self._keyring:
            for engine in engines:
                set_keyring(engine.dialect, self._keyring)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self.url.get_backend_name() == "sqlite"

    @contextlib.contextmanager
    def reader(self) -> Iterator[Session]:
        """Give a session in one read-only transaction.

        :raises DatabaseUnavailable: the connection failed or broke.
        """
        with outages(self.url), self._readers() as session:
            yield session

    def read(self, work: Callable[[Session], T], *, one_moment: bool = False) -> T:
        """Return what ``work`` returns, given a session that reads; for many short questions.

        What `work` returns must not depend on the session.

        :param one_moment: whether all of its statements see the database of one moment, as in
            `snapshot`. Otherwise each sees a state of its own on PostgreSQL, as in `reader`.
        :raises DatabaseUnavailable: the connection failed or broke.
        """
        begin = _MOMENT if one_moment and not self.is_sqlite else None
        try:
            return self._kept.run(work, begin)
        except SQLAlchemyError as error:
            raise told(self.url, error) from None

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Give a session in which all statements see the database of one moment.

        :raises DatabaseUnavailable: the connection failed or broke.
        """
        with self.reader() as session:
            if not self.is_sqlite:
                # By default each statement would see a moment of its own.
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    @contextlib.contextmanager
    def survey(self) -> Iterator[Session]:
        """Give a session like `snapshot` for questions that read much of a large site.

        Its connection may use more memory, a quarter of a gigabyte at most.

        :raises DatabaseUnavailable: the connection failed or broke.
        """
        with self.snapshot() as session:
            for setting in _FOR_SURVEYS["sqlite" if self.is_sqlite else "postgresql"]:
                session.execute(text(setting))
            yield session

    @contextlib.contextmanager
    def writer(self, *, chains: bool = True) -> Iterator[Session]:
        """Give a session in one write transaction; commit it when the block ends well.

        The block itself neither commits it nor rolls it back: it ends it by an exception.

        :param chains: whether new rows of the audit log are chained, as `audit_chain` tells;
            False for a database of an older schema, which has no chains yet.
        :raises DatabaseUnavailable: the connection failed or broke; nothing was changed, unless
            it broke during the commit itself, or after `prepared.commit` in the block.
        :raises Conflict: another session was quicker.
        """
        with self._turn(), outages(self.url), self._writers.transaction() as session:
            yield session
            if chains:
                commit(session)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Let the threads that write to SQLite wait in line, instead of asking it in turns."""
        if not self.is_sqlite:
            yield
            return
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._turns.turn(self._busy_timeout_s))
            except TimeoutError as error:
                raise DatabaseUnavailable(f"{self.url}: locked: {error}") from None
            yield

    @contextlib.contextmanager
    def snapshots(self, wanted: int) -> Iterator[list[Session]]:
        """Give sessions that all see the database of one moment, to read all of it.

        Their connections may use more memory, some 100 MB each.

        :param wanted: so many, from 1; only one on SQLite if others write all the time.
        :raises DatabaseUnavailable: a connection failed or broke.
        """
        for _ in range(_MOMENTS if wanted > 1 else 0):
            with self.moment() as moment, contextlib.ExitStack() as others:
                more = [others.enter_context(self.joined(moment.name)) for _ in range(wanted - 1)]
                if moment.is_shared():
                    yield [moment.session, *more]
                    return
        with self.moment() as moment:
            yield [moment.session]

    @contextlib.contextmanager
    def moment(self) -> Iterator["Moment"]:
        """Give a session like those of `snapshots`, at a moment that others can join.

        :raises DatabaseUnavailable: a connection failed or broke.
        """
        if not self.is_sqlite:
            with self.snapshot() as session:
                name = str(session.scalar(text("SELECT pg_export_snapshot()")))
                yield Moment(_for_all_rows(session), name, lambda: True)
            return
        with outages(self.url), self._read_engine.connect() as connection:
            watch: Any = connection.connection.driver_connection

            def version() -> object:
                return watch.execute("PRAGMA data_version").fetchone()

            before = version()
            with self.joined("") as session:
                yield Moment(session, "", lambda: version() == before)

    @contextlib.contextmanager
    def joined(self, moment: str) -> Iterator[Session]:
        """Give a session at the moment of that name, whose session is still open.

        On SQLite it is at that moment only if `Moment.is_shared` says so once the block has begun.

        :raises DatabaseUnavailable: a connection failed or broke.
        """
        with self.snapshot() as session:
            # A transaction begins with what it reads first.
            join = f"SET TRANSACTION SNAPSHOT '{moment}'" if moment else _FIRST_READ
            session.execute(text(join)).close()
            yield _for_all_rows(session)

    def mark(self, patience_s: float = 0.5) -> Mark:
        """Return how far the database has come.

        :param patience_s: how long to wait for transactions that may still bring to light what
            has a lower number.
        :raises DatabaseUnavailable: the connection failed or broke.
        """
        deadline = time.monotonic() + patience_s
        with self.reader() as session:
            revision = session.scalar(select(func.max(Revision.id))) or 0
            audit = session.scalar(select(func.max(AuditEntry.id))) or 0
            # They are looked at after the numbers: each has its lock before it gets a number.
            open_ = set() if self.is_sqlite else set(session.scalars(_WRITERS))
        while open_ and time.monotonic() < deadline:
            time.sleep(_SETTLING_POLL_S)
            with self.reader() as session:
                open_ &= set(session.scalars(_WRITERS))
        return Mark(revision, audit, is_settled=not open_)

    @contextlib.contextmanager
    def watch(self, interrupt: int, poll_s: float) -> Iterator[watch.Watch]:
        """Give what waits for new revisions, from now on.

        :param interrupt: a descriptor; once it is readable nobody waits any more.
        :param poll_s: how often to look, where the database does not tell.
        :raises DatabaseUnavailable: the connection failed.
        """
        with outages(self.url):
            held = self._read_engine.connect()
        connection: Any = held.connection.driver_connection
        try:
            yield (
                watch.FileWatch(connection, sqlite_path(self.url), interrupt, poll_s)
                if self.is_sqlite
                else watch.Listener(connection, self.url, interrupt)
            )
        finally:
            # Never to be used for anything else, and perhaps broken.
            held.invalidate()
            held.close()

    def forget_connections(self) -> bool:
        """Close the connections that are not in use; new ones are made when they are needed.

        :returns: whether no connection is open any more, as none was in use.
        """
        pool = self._read_engine.pool
        is_pool_at_rest = isinstance(pool, QueuePool) and not pool.checkedout()
        are_used = self._kept.are_used or self._writers.are_used
        self._forget()
        return is_pool_at_rest and not are_used

    def require_schema(self) -> None:
        """Refuse a database that this code must not open.

        :raises SchemaError: as of `schema.require`.
        """
        with self.reader() as session:
            schema.require(session.connection())

    def close(self) -> None:
        """Close every connection that is not in use; the object must not be used any more."""
        if self._watchdog:
            self._watchdog.stop()
        self._forget()

    def _forget(self) -> None:
        self._kept.forget()
        self._writers.forget()
        self._read_engine.dispose()


class _ChainingDriver(Driver):
    """A connection of SQLite's, which knows no SHA-256."""

    __slots__ = ()

    def settle(self) -> None:
        """Chain the new rows of the audit log."""
        audit_chain.chain_new(self.connection)


def _for_all_rows(session: Session) -> Session:
    for setting in _FOR_ALL_ROWS[session.connection().dialect.name]:
        session.execute(text(setting))
    return session


_WRITERS = text("""
    SELECT DISTINCT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND relation IN ('revisions'::regclass, 'audit_log'::regclass)
        AND mode = 'RowExclusiveLock'
        AND pid IS DISTINCT FROM pg_backend_pid()
    """)
"""The transactions that have written revisions or the audit log and are not over."""


def _watchdog(engine: Engine, patience_s: float) -> Watchdog:
    """Return what cuts the connections of an engine, and others that it is told of."""
    watchdog = Watchdog(patience_s)
    event.listen(
        engine, "checkout", lambda connection, _record, _proxy: watchdog.began(connection)
    )
    event.listen(engine, "checkin", lambda connection, _record: watchdog.ended(connection))
    return watchdog
