"""The bare bulk load: the rows of a database into another one, as fast as its driver takes them.

The rows are read out beforehand into files, and only what is between the driver and the database
is timed: COPY of text that PostgreSQL has written itself, executemany on SQLite. Schema, indexes
and pragmas are those that an import meets; all is one transaction.
"""

import pickle
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL, Composed, Identifier
from sqlalchemy import make_url

from vpopsql.db import Database
from vpopsql.model import DERIVED, Base

_MADE_BY_MIGRATIONS = {"schema_guard"}
_AT_ONCE = 50_000  # rows; more is no quicker
_PIECE = 1 << 18

TABLES = {
    table.name: ", ".join(f'"{column.name}"' for column in table.columns)
    for table in Base.metadata.sorted_tables
    if table.name not in _MADE_BY_MIGRATIONS and DERIVED not in table.info
}
"""Those that have rows of their own, referenced ones first, with their columns."""


class Rows(ABC):
    """All rows of a database, in files below ``directory``."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self.number = 0

    @abstractmethod
    def read(self, url: str) -> None:
        """Read them out of a database."""

    @abstractmethod
    def load(self, url: str) -> float:
        """Load them into a database without any; return how many seconds that took."""

    def _file(self, table: str) -> Path:
        return self._directory / table


class SQLiteRows(Rows):
    """Through sqlite3, with the connection that vpopsql opens."""

    def read(self, url: str) -> None:
        """Read them out of a database."""
        database = Database(url)
        with database.reader() as session:
            for table, columns in TABLES.items():
                query = f"SELECT {columns} FROM {table}"  # noqa: S608 - our own names
                result = session.connection().exec_driver_sql(query)
                with self._file(table).open("wb") as file:
                    for rows in result.partitions(_AT_ONCE):
                        self.number += len(rows)
                        pickle.dump([tuple(row) for row in rows], file)
        database.close()

    def load(self, url: str) -> float:
        """Load them into a database without any; return how many seconds that took."""
        seconds = 0.0
        database = Database(url)
        with database.writer() as session:
            connection: Any = session.connection().connection.driver_connection
            for table, columns in TABLES.items():
                for rows in self._chunks(table):
                    marks = ", ".join("?" * len(rows[0]))
                    insert = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 - our own names
                    begin = time.perf_counter()
                    connection.executemany(insert, rows)
                    seconds += time.perf_counter() - begin
            begin = time.perf_counter()
        seconds += time.perf_counter() - begin
        database.close()
        return seconds

    def _chunks(self, table: str) -> Iterator[list[tuple[object, ...]]]:
        with self._file(table).open("rb") as file:
            while True:
                try:
                    yield pickle.load(file)  # noqa: S301 - written a moment ago
                except EOFError:
                    return


class PostgreSQLRows(Rows):
    """Through psycopg, in the text that COPY itself gives."""

    def read(self, url: str) -> None:
        """Read them out of a database."""
        with psycopg.connect(_plain(url)) as connection:
            for table in TABLES:
                with (
                    self._file(table).open("wb") as file,
                    connection.cursor() as cursor,
                    cursor.copy(_copy("COPY {} TO STDOUT", table)) as copy,
                ):
                    for data in copy:
                        self.number += bytes(data).count(b"\n")
                        file.write(data)

    def load(self, url: str) -> float:
        """Load them into a database without any; return how many seconds that took."""
        begin = time.perf_counter()
        with psycopg.connect(_plain(url)) as connection:
            for table in TABLES:
                with (
                    self._file(table).open("rb") as file,
                    connection.cursor() as cursor,
                    cursor.copy(_copy("COPY {} FROM STDIN", table)) as copy,
                ):
                    while data := file.read(_PIECE):
                        copy.write(data)
        return time.perf_counter() - begin


def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _copy(statement: str, table: str) -> Composed:
    before, after = statement.split("{}")
    return SQL(before) + Identifier(table) + SQL(after)


ROWS: dict[str, type[Rows]] = {"sqlite": SQLiteRows, "postgresql": PostgreSQLRows}
