"""The database: engines, transactions, migrations and the schema guard.

The only module that knows which database it is. SQLite runs in WAL mode with transactions that
begin when we say so: ``BEGIN IMMEDIATE`` for writers, so that two read-modify-writes never both
start from the same state; readers are refused every write by the connection itself.
"""

import contextlib
import random
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool, QueuePool

from vpopsql import audit_chain, schema_check, watch
from vpopsql.columns import ExactText, set_keyring
from vpopsql.errors import Conflict, DatabaseRefused, DatabaseUnavailable, SchemaError
from vpopsql.kept import KeptSessions
from vpopsql.model import SCHEMA_VERSION, AuditEntry, Base, Revision, SchemaGuard
from vpopsql.prepared import Driver
from vpopsql.sealed import Keyring
from vpopsql.turns import Turns
from vpopsql.watchdog import Watchdog

T = TypeVar("T")

_PACKAGE = Path(__file__).resolve().parent
_CONNECTION = {
    "connect_timeout": 4,
    # Whoever waits for hours must notice that the other side is gone without a word.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_POOL_TIMEOUT_S = 30.0
_SETTLING_POLL_S = 0.01
_BUSY_POLL_S = (0.0005, 0.002)
_PRIMARY_CODE = 0xFF  # of an extended result code of SQLite's
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

_MIGRATION_LOCK = 0x76706F7073716C
"""The advisory lock of a migration: "vpopsql" in ASCII."""

_MIGRATION_PATIENCE_S = 3600
"""How long a migration waits for another one, which may take minutes."""

_SECRET_PARAMETERS = True
"""Errors must not show what a statement was given."""


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
        self._turns = Turns()
        options: dict[str, Any] = {
            "pool_size": pool_size,
            "max_overflow": pool_size,
            "hide_parameters": _SECRET_PARAMETERS,
        }
        if patience_s is not None:
            busy_timeout_s = min(busy_timeout_s, patience_s)
            options["pool_timeout"] = patience_s
        self._busy_timeout_s = busy_timeout_s
        if self.url.get_backend_name() == "sqlite":
            # Two pools, because whether a SQLite connection may write is a property of the
            # connection, not of the transaction.
            self._write_engine = _sqlite_engine(self.url, busy_timeout_s, options, writer=True)
            self._read_engine = _sqlite_engine(self.url, busy_timeout_s, options, writer=False)
        else:
            self._write_engine = create_engine(self.url, connect_args=_CONNECTION, **options)
            if patience_s is not None:
                self._watchdog = _watchdog(self._write_engine, patience_s)
            self._read_engine = self._write_engine.execution_options(postgresql_readonly=True)
        self._keyring = Keyring.load(key_file) if key_file else None
        self._give_keys(self._write_engine, self._read_engine)
        self._writers = sessionmaker(self._write_engine, expire_on_commit=False)
        self._readers = sessionmaker(self._read_engine, expire_on_commit=False)
        self._kept = self._keep(pool_size, busy_timeout_s, patience_s)

    def _keep(
        self, pool_size: int, busy_timeout_s: float, patience_s: float | None
    ) -> KeptSessions:
        options: dict[str, Any] = {"poolclass": NullPool, "hide_parameters": _SECRET_PARAMETERS}
        if self.is_sqlite:
            engine = _sqlite_engine(self.url, busy_timeout_s, options, writer=False)
            # One state for all of a command, and locked once. The cache is the usual one of 2 MB,
            # as a daemon has many connections, and the system has the file's pages anyway.
            settings = {"begin": "BEGIN"}
            driver = Driver
        else:
            from vpopsql.libpq import LibpqDriver  # noqa: PLC0415 - not where it is SQLite

            # A statement is a transaction: no BEGIN and no ROLLBACK to wait for.
            engine = create_engine(
                self.url, connect_args=_CONNECTION, isolation_level="AUTOCOMMIT", **options
            )
            settings = {"on_connect": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"}
            driver = LibpqDriver
        self._give_keys(engine)
        return KeptSessions(
            engine,
            driver,
            kept=pool_size,
            broke=self.forget_connections,
            patience_s=_POOL_TIMEOUT_S if patience_s is None else patience_s,
            watch=self._watchdog,
            **settings,
        )

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
        with _outages(self.url), self._readers() as session:
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
            raise _told(self.url, error) from None

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

        :param chains: whether new rows of the audit log are chained, as `audit_chain` tells;
            False for a database of an older schema, which has no chains yet.
        :raises DatabaseUnavailable: the connection failed or broke; nothing was changed, unless
            it broke during the commit itself.
        :raises Conflict: another session was quicker.
        """
        with self._turn(), _outages(self.url), self._writers.begin() as session:
            connection: Any = session.connection().connection.driver_connection
            Driver(self._write_engine.dialect, connection).attach(session)
            yield session
            if chains and self.is_sqlite:
                session.flush()
                audit_chain.chain_new(connection)

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
        with _outages(self.url), self._read_engine.connect() as connection:
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
        with _outages(self.url):
            held = self._read_engine.connect()
        connection: Any = held.connection.driver_connection
        try:
            yield (
                watch.FileWatch(connection, _sqlite_path(self.url), interrupt, poll_s)
                if self.is_sqlite
                else watch.Listener(connection, self.url, interrupt)
            )
        finally:
            # Never to be used for anything else, and perhaps broken.
            held.invalidate()
            held.close()

    def forget_connections(self) -> bool:
        """Close the pooled connections; new ones are made when they are needed.

        :returns: whether no connection is open any more, as none was in use.
        """
        pools = [engine.pool for engine in (self._read_engine, self._write_engine)]
        are_at_rest = all(isinstance(pool, QueuePool) and not pool.checkedout() for pool in pools)
        self._kept.forget()
        self._read_engine.dispose()
        self._write_engine.dispose()
        return are_at_rest

    def require_schema(self) -> None:
        """Refuse a database that this code must not open.

        :raises SchemaError: it has no schema, an older one, or one that is too new; the text says
            what to do.
        """
        with self.reader() as session:
            _require_schema(session.connection())

    def close(self) -> None:
        """Close every pooled connection; the object must not be used any more."""
        if self._watchdog:
            self._watchdog.stop()
        self._kept.forget()
        self._read_engine.dispose()
        self._write_engine.dispose()


def _for_all_rows(session: Session) -> Session:
    for setting in _FOR_ALL_ROWS[session.connection().dialect.name]:
        session.execute(text(setting))
    return session


def _sqlite_engine(
    url: URL, busy_timeout_s: float, options: dict[str, Any], *, writer: bool
) -> Engine:
    engine = create_engine(
        url, connect_args={"timeout": busy_timeout_s, "check_same_thread": False}, **options
    )
    _open_existing_only(engine)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI connection
        # The driver would begin transactions by itself, late and never IMMEDIATE.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        if not writer:
            connection.execute("PRAGMA query_only = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        if writer:
            _begin_immediate(connection, busy_timeout_s)
        # A reader may have begun already, see `KeptSessions`.
        elif not driver.in_transaction:
            connection.exec_driver_sql("BEGIN")

    return engine


def _begin_immediate(connection: Connection, patience_s: float) -> None:
    """Begin to write once no other process does.

    SQLite itself looks only ten times a second, and may find other processes writing each time.
    """
    driver: Any = connection.connection.driver_connection
    deadline = time.monotonic() + patience_s
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while time.monotonic() < deadline:
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY:
                    break
                time.sleep(random.uniform(*_BUSY_POLL_S))  # noqa: S311 - so that nobody is always late
            else:
                return
        # Once more, for what SQLAlchemy makes of the error.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        driver.execute(f"PRAGMA busy_timeout = {round(patience_s * 1000)}")


def _open_existing_only(engine: Engine) -> None:
    """Refuse to open a file that does not exist; SQLite would make an empty database of it."""
    path = _sqlite_path(engine.url)
    if not path:
        return

    @event.listens_for(engine, "do_connect")
    def _connecting(*_: object) -> None:
        if not path.exists():
            raise DatabaseUnavailable(
                f"{path}: no such database file: check the path, or run `vpopsql db upgrade`"
            )


def _sqlite_path(url: URL) -> Path | None:
    """Return the file of a SQLite database; None: another database, or one without a file."""
    name = url.database
    if url.get_backend_name() != "sqlite" or not name or name.startswith((":memory:", "file:")):
        return None
    return Path(name)


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


@contextlib.contextmanager
def _outages(url: URL) -> Iterator[None]:
    """Turn what SQLAlchemy raises into our own errors."""
    try:
        yield
    except SQLAlchemyError as error:
        raise _told(url, error) from None
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"{url}: {error}") from None


def _told(url: URL, error: SQLAlchemyError) -> Exception:
    """Return what is raised instead, which holds no value of any row; defects stay as they are.

    The driver's messages may quote whole rows, hashes and passwords included, so neither they nor
    the exceptions they came in go any further.
    """
    if isinstance(error, PoolTimeout):
        return DatabaseUnavailable(f"{url}: no connection became free")
    if not isinstance(error, DBAPIError):
        return error
    if isinstance(error, OperationalError):
        return DatabaseUnavailable(f"{url}: {_plain(error)}")
    if isinstance(error, IntegrityError):
        return Conflict(f"{url}: {_plain(error)}")
    if error.connection_invalidated:
        return DatabaseUnavailable(f"{url}: the connection broke: {_plain(error)}")
    return DatabaseRefused(f"{url}: {_plain(error)}")


def _plain(error: DBAPIError) -> str:
    """Return what the database complains of, without the values that it quotes."""
    diagnosis = getattr(error.orig, "diag", None)
    said = (diagnosis and diagnosis.message_primary) or str(error.orig).splitlines()[0]
    statement = " ".join((error.statement or "").split())
    return f"{said} (in {statement[:200]})" if statement else said


# --- migrations -------------------------------------------------------------------------------


def migrations_directory() -> Path:
    """Return where the migrations are: inside the wheel, or beside the package in a checkout."""
    packaged = _PACKAGE / "_migrations"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "migrations"


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the schema up to ``revision``; a SQLite file and its directory are made if missing.

    :raises SchemaError: newer code has changed the database so that this one must not touch it,
        or the database cannot hold every text.
    """
    path = _sqlite_path(make_url(url))
    if path:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        # It holds every hash; SQLite gives its other files the same mode.
        path.touch(mode=0o600)
    _migrate(url, "upgrade", revision)


def downgrade(url: str, revision: str) -> None:
    """Take the schema back to ``revision`` (``base``: no schema at all)."""
    _migrate(url, "downgrade", revision)


def current(url: str) -> str | None:
    """Return the revision that the database is at; None when it has no schema."""
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415 - slow import

    with _connection(url, "BEGIN") as connection:
        return MigrationContext.configure(connection).get_current_revision()


def exists(url: str) -> bool:
    """Say whether there is something to connect to: False for a SQLite file that is missing."""
    path = _sqlite_path(make_url(url))
    return path is None or path.exists()


def check(url: str) -> list[str]:
    """Say how the database's schema differs from what this code expects; empty: not at all."""
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415 - slow import
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415

    with _connection(url, "BEGIN") as connection:
        try:
            _require_schema(connection)
        except SchemaError as error:
            return [str(error)]
        options = {"compare_type": type_differs, "include_object": schema_check.is_compared}
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, Base.metadata)
        return [
            *schema_check.describe(differences),
            *schema_check.missing(connection),
            *schema_check.missing_computed(connection),
            *schema_check.miscounted(connection),
        ]


def type_differs(
    context: Any,  # noqa: ANN401 - Alembic's signature
    _inspected_column: object,
    _model_column: object,
    inspected: object,
    wanted: object,
) -> bool | None:
    """Tell Alembic whether a column's type is another than the model's; None: it decides."""
    if not isinstance(wanted, ExactText):
        return None
    meant = wanted.load_dialect_impl(context.dialect)
    return (
        not isinstance(inspected, type(meant))
        or inspected.collation != meant.collation
        or inspected.length != meant.length
    )


def revisions() -> list[str]:
    """Return all revisions of the schema that this code knows, the newest last."""
    # Read from the files' names, as importing Alembic is slow.
    names = (path.name for path in (migrations_directory() / "versions").glob("[0-9]*_*.py"))
    return sorted(match[1] for name in names if (match := re.match(r"(\d{4})_", name)))


def _migrate(url: str, direction: str, revision: str) -> None:
    from alembic import command  # noqa: PLC0415 - slow import
    from alembic.config import Config  # noqa: PLC0415
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(migrations_directory()))
    with _migration_connection(url) as connection:
        _refuse_newer(connection)
        if direction == "upgrade":
            _refuse_encoding(connection)
        _refuse_unknown(MigrationContext.configure(connection).get_current_revision())
        config.attributes["connection"] = connection
        try:
            getattr(command, direction)(config, revision)
        except CommandError as error:
            raise SchemaError(f"{direction} to {revision}: {error}") from None


@contextlib.contextmanager
def _migration_connection(url: str) -> Iterator[Connection]:
    """Give a connection in one transaction; on SQLite with foreign keys off, and checked last.

    A batch migration rebuilds a table under a temporary name; with foreign keys on, dropping the
    old one would delete every row that refers to it.
    """
    with _connection(url, "BEGIN IMMEDIATE", patience_s=_MIGRATION_PATIENCE_S) as connection:
        if connection.dialect.name == "postgresql":
            # Until the end of the transaction; on SQLite it is the only one that writes, anyway.
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        yield connection
        if connection.dialect.name == "sqlite":
            broken = connection.execute(text("PRAGMA foreign_key_check")).all()
            if broken:
                raise SchemaError(f"the migration broke foreign keys: {broken[:5]}")


@contextlib.contextmanager
def _connection(url: str, begin: str, *, patience_s: float = 5) -> Iterator[Connection]:
    """Give a connection in one transaction, which begins with ``begin`` on SQLite.

    :param patience_s: how long to wait for another writer, on SQLite.
    """
    engine = create_engine(url, poolclass=NullPool, hide_parameters=_SECRET_PARAMETERS)
    if engine.dialect.name == "sqlite":
        _open_existing_only(engine)

        @event.listens_for(engine, "connect")
        def _connected(connection: Any, _record: object) -> None:  # noqa: ANN401 - DBAPI
            connection.isolation_level = None
            connection.execute(f"PRAGMA busy_timeout = {round(patience_s * 1000)}")
            connection.execute("PRAGMA foreign_keys = OFF")
            # A new database has no write-ahead log yet: a power cut that brings back the journal
            # which a commit has removed would undo it.
            connection.execute("PRAGMA synchronous = EXTRA")
            # A rebuilt table is renamed while views still name the old one.
            connection.execute("PRAGMA legacy_alter_table = ON")

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

    with _outages(engine.url):
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()


def _oldest_code(connection: Connection) -> int | None:
    """Return the guard's number; None when there is no schema."""
    if not connection.dialect.has_table(connection, SchemaGuard.__tablename__):
        return None
    return connection.execute(select(SchemaGuard.oldest_code)).scalar()


def _refuse_newer(connection: Connection) -> None:
    oldest = _oldest_code(connection)
    if oldest is not None and oldest > SCHEMA_VERSION:
        raise SchemaError(
            f"the database needs code of schema version {oldest} or newer, this is"
            f" {SCHEMA_VERSION}: install a newer vpopsql"
        )


def _refuse_unknown(revision: str | None) -> None:
    if revision is not None and revision not in revisions():
        raise SchemaError(
            f"the database's schema is at {revision}, which this vpopsql does not know, its own"
            f" is {revisions()[-1]}: install the vpopsql that upgraded it"
        )


def _refuse_encoding(connection: Connection) -> None:
    if connection.dialect.name != "postgresql":
        return
    encoding = connection.execute(text("SHOW server_encoding")).scalar()
    if encoding != "UTF8":
        raise SchemaError(
            f"the database's encoding is {encoding}, which cannot hold every text: make another"
            " with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )


def _require_schema(connection: Connection) -> None:
    _refuse_encoding(connection)
    _refuse_newer(connection)
    if not connection.dialect.has_table(connection, "alembic_version"):
        raise SchemaError("the database has no vpopsql schema: run `vpopsql db upgrade`")
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    _refuse_unknown(found)
    head = revisions()[-1]
    if found != head:
        raise SchemaError(
            f"the database's schema is at {found or 'nothing'}, this code needs {head}:"
            " run `vpopsql db upgrade`"
        )
