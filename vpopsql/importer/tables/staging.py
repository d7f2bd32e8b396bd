"""The scratch file between a source of rows and those who ask about domains.

It holds every row once, password hashes included, and is readable for its owner only. It is
written without any care for crashes, because after one nobody wants it; the directory that it is
in, and its removal, are the caller's.
"""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from vpopsql import names
from vpopsql.columns import from_database_text, to_database_text
from vpopsql.importer.tables.schema import (
    ACCOUNTS,
    DOMAIN_ACCOUNTS,
    PGSQL,
    TABLES,
    Fields,
    Table,
    unpack,
)
from vpopsql.qmail.lines import decode

_FILE = "rows.db"
_CACHE_KIB = 32 * 1024  # enough to sort a million rows' index keys in a few runs


class Row(NamedTuple):
    """A row of a table; ``line`` is 0 in a live database."""

    line: int
    fields: Fields


class Owner(NamedTuple):
    """A domain, or a name in its place, that a table has rows of."""

    name: str
    rows: int
    first_line: int


@functools.lru_cache(maxsize=65536)
def owner_of(domain: bytes) -> str:
    """Return the name under which a row is filed: lower case, without a CHAR column's blanks.

    It is one that the file can hold; `Owner` has it as it was.
    """
    return to_database_text(names.lower(decode(domain).rstrip(" ")))


def _open(path: Path) -> Connection:
    # Isolation is of no use in a file that one process fills and others then only read.
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
    )
    return engine.connect()


class Staging:
    """Fills a new scratch file in ``directory``; `finish` tells what is in it.

    :raises OSError: the directory cannot be written to.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / _FILE
        os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._connection = _open(self.path)
        for pragma in (
            "journal_mode = OFF",
            "synchronous = OFF",
            "locking_mode = EXCLUSIVE",
            f"cache_size = -{_CACHE_KIB}",
        ):
            self._connection.exec_driver_sql(f"PRAGMA {pragma}")
        self._statements = {}
        for number, table in enumerate(TABLES):
            self._connection.exec_driver_sql(
                f"CREATE TABLE rows_{number} (owner TEXT, line INTEGER, data BLOB)"
            )
            self._statements[table.name] = f"INSERT INTO rows_{number} VALUES (?, ?, ?)"  # noqa: S608 - our own names
        self._connection.exec_driver_sql("BEGIN")
        self._number = 0
        self.watch: Callable[[int], None] | None = None
        """Is told how many rows there are, now and then."""

    def add(self, table: Table, rows: list[tuple[str, int, bytes]]) -> None:
        """Add rows: whose each is (see `owner_of`), its line, and the row itself, packed."""
        if rows:
            self._connection.exec_driver_sql(self._statements[table.name], rows)
            self._number += len(rows)
            if self.watch:
                self.watch(self._number)

    def finish(self) -> None:
        """Make everything quick to find; nothing can be added any more."""
        for number in range(len(TABLES)):
            self._connection.exec_driver_sql(
                f"CREATE INDEX owner_{number} ON rows_{number} (owner)"
            )
        self._connection.exec_driver_sql("COMMIT")
        self.close()

    def close(self) -> None:
        """Let go of the file; what is in it is of use only after `finish`."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(slots=True)
class Staged:
    """The rows of a source. It can be pickled: each process opens the file for itself.

    ``source`` is the path of a dump or the name of a database, ``database`` `MYSQL` or `PGSQL`,
    ``tables`` the names of the source's tables that were read, by kind.
    """

    path: Path
    source: str
    is_dump: bool
    database: str
    tables: dict[str, tuple[str, ...]]
    by_domain: bool
    """Whether each domain has a table of its own for its accounts."""
    _connection: Connection | None = field(default=None, repr=False, compare=False)
    _process: int = field(default=0, repr=False, compare=False)

    @property
    def accounts(self) -> Table:
        """The kind of table that has the accounts."""
        return DOMAIN_ACCOUNTS if self.by_domain else ACCOUNTS

    @property
    def cuts_names(self) -> bool:
        """Whether the database keeps only the beginning of a table's long name."""
        return self.database == PGSQL

    def has(self, table: Table) -> bool:
        """Say whether the source has a table of this kind."""
        return bool(self.tables.get(table.name))

    def place(self, table: Table, owner: str = "") -> str:
        """Return where rows are, for people: ``DATABASE.TABLE``, or the dump."""
        if self.is_dump:
            return self.source
        return f"{self.source}.{owner if table is DOMAIN_ACCOUNTS and owner else table.name}"

    def rows(self, table: Table, owner: str) -> list[Row]:
        """Return the rows that are filed under a name, in the order they were read."""
        found = self._ask(
            f"SELECT line, data FROM rows_{TABLES.index(table)} WHERE owner = ? ORDER BY rowid",  # noqa: S608 - our own names
            (to_database_text(owner),),
        )
        return [Row(line, unpack(data)) for line, data in found]

    def owners(self, table: Table) -> Iterator[Owner]:
        """Give every name that has rows, in name order."""
        found = self._ask(
            "SELECT owner, count(*), min(line) FROM"  # noqa: S608 - our own names
            f" rows_{TABLES.index(table)} GROUP BY owner ORDER BY owner",
            (),
        )
        return (Owner(from_database_text(name), *numbers) for name, *numbers in found)

    def close(self) -> None:
        """Close the file in this process; asking opens it again."""
        if self._connection is not None and self._process == os.getpid():
            self._connection.close()
        self._connection = None

    def _ask(self, statement: str, parameters: tuple[str, ...]) -> Sequence[Any]:
        # A connection must not be used on the other side of a fork.
        if self._connection is None or self._process != os.getpid():
            self._connection, self._process = _open(self.path), os.getpid()
            self._connection.exec_driver_sql("PRAGMA query_only = ON")
        result = self._connection.exec_driver_sql(statement, parameters)
        return result.all()

    def __getstate__(self) -> tuple[object, ...]:
        return (
            self.path,
            self.source,
            self.is_dump,
            self.database,
            self.tables,
            self.by_domain,
        )

    def __setstate__(self, state: tuple[object, ...]) -> None:
        self.__init__(*state)  # type: ignore[misc]
