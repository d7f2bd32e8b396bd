"""How databases are opened, and what becomes of their errors.

SQLite runs in WAL mode with transactions that begin when we say so: ``BEGIN IMMEDIATE`` for
writers, so that two read-modify-writes never both start from the same state; readers are refused
every write by the connection itself.
"""

import contextlib
import logging
import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from vpopsql.errors import Conflict, DatabaseRefused, DatabaseUnavailable

SECRET_PARAMETERS = True
"""Errors must not show what a statement was given."""

# What they have to say beside an error that a command tells of would be a traceback, which may
# quote rows; a daemon has a log for it, see `vpopsql.logs`.
for _library in ("sqlalchemy", "psycopg"):
    logging.getLogger(_library).addHandler(logging.NullHandler())

_BUSY_POLL_S = (0.0005, 0.002)
_BEGIN_IMMEDIATE = "BEGIN IMMEDIATE"
_PRIMARY_CODE = 0xFF  # of an extended result code of SQLite's


def sqlite_engine(
    url: URL, busy_timeout_s: float, options: dict[str, Any], *, writer: bool
) -> Engine:
    """Return an engine whose connections write, or one whose connections cannot.

    :param busy_timeout_s: how long to wait for another writer, in seconds.
    :param options: for `create_engine`.
    """
    engine = create_engine(
        url, connect_args={"timeout": busy_timeout_s, "check_same_thread": False}, **options
    )
    open_existing_only(engine)

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
        if driver.in_transaction:
            return  # the driver's, which has begun already, see `vpopsql.kept`
        if writer:
            begin_immediate(connection, busy_timeout_s)
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


def begin_immediate(connection: Connection, patience_s: float) -> None:
    """Begin to write once no other process does.

    SQLite itself looks only ten times a second, and may find other processes writing each time. It
    is the driver that begins: SQLAlchemy would do so once more by itself.

    :param patience_s: how long it waits for them, in seconds.
    :raises sqlalchemy.exc.DBAPIError: they went on writing, or something else is wrong.
    """
    driver: Any = connection.connection.driver_connection
    deadline = time.monotonic() + patience_s
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while not _has_begun(driver, connection.dialect, deadline):
            time.sleep(random.uniform(*_BUSY_POLL_S))  # noqa: S311 - so that nobody is always late
    finally:
        driver.execute(f"PRAGMA busy_timeout = {round(patience_s * 1000)}")


def _has_begun(driver: sqlite3.Connection, dialect: Dialect, deadline: float) -> bool:
    """Try to begin; tell whether that was possible, unless it is of no use to try again."""
    try:
        driver.execute(_BEGIN_IMMEDIATE)
    except sqlite3.Error as error:
        is_busy = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE == sqlite3.SQLITE_BUSY
        if is_busy and time.monotonic() < deadline:
            return False
        raise DBAPIError.instance(
            _BEGIN_IMMEDIATE,
            None,
            error,
            sqlite3.Error,
            hide_parameters=SECRET_PARAMETERS,
            dialect=dialect,
        ) from None
    return True


def open_existing_only(engine: Engine) -> None:
    """Refuse to open a file that does not exist; SQLite would make an empty database of it."""
    path = sqlite_path(engine.url)
    if not path:
        return

    @event.listens_for(engine, "do_connect")
    def _connecting(*_: object) -> None:
        if not path.exists():
            raise DatabaseUnavailable(
                f"{path}: no such database file: check the path, or run `vpopsql db upgrade`"
            )


def sqlite_path(url: URL) -> Path | None:
    """Return the file of a SQLite database; None: another database, or one without a file."""
    name = url.database
    if url.get_backend_name() != "sqlite" or not name or name.startswith((":memory:", "file:")):
        return None
    return Path(name)


@contextlib.contextmanager
def outages(url: URL) -> Iterator[None]:
    """Turn what SQLAlchemy raises into our own errors."""
    try:
        yield
    except SQLAlchemyError as error:
        raise told(url, error) from None
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"{url}: {error}") from None


def told(url: URL, error: SQLAlchemyError) -> Exception:
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
