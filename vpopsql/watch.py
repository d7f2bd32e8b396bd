"""Waiting for new revisions, in the way of each database. Made by `Database.watch` alone."""

import contextlib
import select
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy.engine import URL

from vpopsql.errors import DatabaseUnavailable

_CHANNEL = "vpopsql_revisions"
"""Where PostgreSQL tells of new revisions; a trigger of migration 0005 does."""


class Watch(Protocol):
    """Waits for new revisions; see `Database.watch`."""

    def wait(self, timeout_s: float) -> bool:
        """Return once there may be a new revision: True; or after ``timeout_s``: False.

        Returns early, with either, when the descriptor becomes readable that the watch was made
        with.

        :raises DatabaseUnavailable: the database is gone; the watch is of no more use.
        """


class Listener:
    """Waits for word of PostgreSQL."""

    def __init__(self, connection: Any, url: URL, interrupt: int) -> None:  # noqa: ANN401 - DBAPI
        self._connection = connection
        self._url = url
        self._interrupt = interrupt
        with self._outages():
            connection.autocommit = True
            connection.execute(f"LISTEN {_CHANNEL}")

    def wait(self, timeout_s: float) -> bool:
        """See `Watch.wait`."""
        deadline = time.monotonic() + timeout_s
        with self._outages():
            # Looked for first: what came with an answer is not to be seen at the socket any more.
            while not list(self._connection.notifies(timeout=0)):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                ready, _, _ = select.select([self._connection, self._interrupt], [], [], left)
                if self._interrupt in ready:
                    return False
            return True

    @contextlib.contextmanager
    def _outages(self) -> Iterator[None]:
        from psycopg import Error  # noqa: PLC0415 - not where the database is SQLite

        try:
            yield
        except Error as error:
            reason = str(error).partition("\n")[0]
            raise DatabaseUnavailable(f"{self._url}: {reason}") from None


class FileWatch:
    """Looks at a SQLite database again and again."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path | None,
        interrupt: int,
        poll_s: float,
    ) -> None:
        self._connection = connection
        self._path = path
        self._interrupt = interrupt
        self._poll_s = poll_s
        self._version = self._look()
        self._file = self._identity()

    def wait(self, timeout_s: float) -> bool:
        """See `Watch.wait`."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._interrupt], [], [], min(left, self._poll_s))[0]:
                return False
            if self._identity() != self._file:
                raise DatabaseUnavailable(f"{self._path}: it is another file now, or none")
            if (version := self._look()) != self._version:
                self._version = version
                return True
        return False

    def _look(self) -> int:
        try:
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error as error:
            raise DatabaseUnavailable(f"{self._path}: {error}") from None
        return int(version)

    def _identity(self) -> tuple[int, int] | None:
        """Return which file it is: a connection stays with the one that it has opened."""
        try:
            status = self._path.stat() if self._path else None
        except OSError:
            return None
        return (status.st_dev, status.st_ino) if status else (0, 0)
