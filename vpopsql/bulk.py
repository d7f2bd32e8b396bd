"""Many rows at once, with keys of our own choice: COPY on PostgreSQL, executemany elsewhere.

A hundred thousand rows take a second this way; through single statements they take ten, and
asking the database which keys it chose takes as long again.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Table, func, select, text
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from vpopsql.columns import ExactText, SealedText
from vpopsql.errors import DatabaseUnavailable

Row = Sequence[Any]


def take_ids(session: Session, table: Table, number: int) -> Iterator[int]:
    """Return primary keys that nobody else will use, for ``number`` rows of this transaction."""
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        take = text(
            "SELECT nextval(pg_get_serial_sequence(:name, 'id')) FROM generate_series(1, :n)"
        )
        return iter(connection.scalars(take, {"name": table.name, "n": number}).all())
    # A writer of SQLite is alone.
    last = connection.scalar(select(func.max(table.c.id))) or 0
    return iter(range(last + 1, last + 1 + number))


def continue_ids(session: Session, table: Table) -> None:
    """Let the database choose keys above those that the table has; they were not its choice."""
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        last = connection.scalar(select(func.max(table.c.id)))
        set_ = text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :last)")
        connection.execute(set_, {"name": table.name, "last": last})


def insert_rows(
    session: Session, table: Table, columns: Sequence[str], rows: Iterable[Row]
) -> None:
    """Insert rows; no default of the model is filled in.

    :param columns: names of the columns that the rows have, in their order.
    :raises DatabaseUnavailable: the connection broke.
    """
    connection = session.connection()
    dialect = connection.dialect
    bound = _bound(rows, [table.c[name].type for name in columns], dialect)
    if dialect.name == "postgresql":
        _copy(connection, table, columns, bound)
        return
    if values := list(bound):
        quoted = dialect.identifier_preparer
        names = ", ".join(map(quoted.quote, columns))
        marks = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {quoted.format_table(table)} ({names}) VALUES ({marks})"  # noqa: S608
        connection.exec_driver_sql(statement, values)


def _bound(
    rows: Iterable[Row], types: Sequence[TypeEngine[Any]], dialect: Dialect
) -> Iterable[tuple[Any, ...]]:
    """Return the rows as the driver takes them, column by column.

    Most text needs no translation, and a whole column is asked as quickly as one value.
    """
    values = list(zip(*rows, strict=True))
    for place, type_ in enumerate(types if values else ()):
        column = values[place]
        bind = type_.dialect_impl(dialect).bind_processor(dialect)
        is_null = column.count(None) == len(column)
        is_text = isinstance(type_, ExactText) and not isinstance(type_, SealedText)
        if bind and not is_null and not (is_text and _is_plain(column)):
            values[place] = tuple(map(bind, column))
    return zip(*values, strict=True)


def _is_plain(column: Sequence[str | None]) -> bool:
    text = "".join(filter(None, column))
    return text.isascii() and "\0" not in text


def _copy(
    connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    from vpopsql.libpq import settle  # noqa: PLC0415 - not where the database is SQLite

    settle(connection)
    dialect = connection.dialect
    quoted = dialect.identifier_preparer
    names = ", ".join(map(quoted.quote, columns))
    statement = f"COPY {quoted.format_table(table)} ({names}) FROM STDIN"
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except dialect.loaded_dbapi.OperationalError as error:
        raise DatabaseUnavailable(f"the database does not answer: {error}") from error
