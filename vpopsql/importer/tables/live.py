"""Reading a running MySQL, MariaDB or PostgreSQL: all tables as they are at one moment.

Nothing is written and nothing locked. Every value comes as the bytes that the server stores,
whatever it believes them to be: a comment in latin1 is the same comment afterwards. The server
packs each row into one value, because it is the driver's work for each value that takes the time:
9 columns of a million rows, 5.5 s; packed, 3.4 s and the staging half as long.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator

from sqlalchemy import create_engine, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from vpopsql.errors import ImportFailed
from vpopsql.importer.tables.schema import (
    DOMAIN_ACCOUNTS,
    MYSQL,
    NULL,
    PGSQL,
    TABLES,
    Table,
)
from vpopsql.importer.tables.staging import Staging, owner_of

_BATCH = 5000  # rows; more is no quicker
_READ_ONLY_SINCE = (5, 6)  # of MySQL; MariaDB, too, counted like that then
_TIMEOUT_S = 10
_NAMES = {
    "mysql": MYSQL,
    "mariadb": MYSQL,
    "postgresql": PGSQL,
    "postgres": PGSQL,
    "pgsql": PGSQL,
}
_DRIVERS = {MYSQL: "mysql+pymysql", PGSQL: "postgresql+psycopg"}
_EXTRAS = {MYSQL: "pip install 'vpopsql[mysql]'", PGSQL: "pip install 'psycopg[binary]'"}


_CONNECT = "is the server there, and are user, database and password (--password-file) right?"
_GRANT = "let the user of the URL read the whole database: GRANT SELECT"
_DENIED = {1142, 1143}  # a table, a column


class LiveDatabase:
    """One snapshot of a database.

    :param url: ``mysql://user:password@host/database`` or the same with ``postgresql``; what
        follows a ``?`` goes to the driver (``unix_socket``, ``ssl_ca``, …).
    :param database: `MYSQL` or `PGSQL`, what the user said it is.
    :raises ImportFailed: it cannot be reached, refuses the login or does not exist.
    """

    def __init__(self, url: str, database: str) -> None:
        parsed = _parse_url(url, database)
        # Parameters behind the question mark may be secret, too.
        self._shown = parsed.set(drivername=database, query={}).render_as_string()
        self.name = parsed.database or ""
        self._is_mysql = database == MYSQL
        self._null = f"CAST({_literal(NULL)} AS {'BINARY' if self._is_mysql else 'bytea'})"
        options = {"charset": "utf8"} if self._is_mysql else {"client_encoding": "utf8"}
        try:
            engine = create_engine(
                parsed,
                poolclass=NullPool,
                hide_parameters=True,
                connect_args={"connect_timeout": _TIMEOUT_S, **options},
            )
        except ModuleNotFoundError as error:
            raise ImportFailed(
                f"{self._shown}: the driver {error.name} is missing: {_EXTRAS[database]}"
            ) from None
        try:
            self._connection = engine.connect()
        except (SQLAlchemyError, RuntimeError, TypeError, ValueError) as error:
            # The driver raises the latter three for kinds of passwords and options it lacks.
            raise ImportFailed(f"{self._shown}: {_plain(error)} ({_CONNECT})") from None
        try:
            self._encoding = self._begin()
            self.tables = self._columns()
            self._require_sight()
        except SQLAlchemyError as error:
            self.close()
            raise ImportFailed(f"{self._shown}: {_plain(error)}") from None
        except ImportFailed:
            self.close()
            raise

    def close(self) -> None:
        """End the snapshot."""
        self._connection.close()

    def copy(self, name: str, table: Table, staging: Staging) -> None:
        """Copy all rows of the table ``name``, which is one of the kind ``table``.

        :raises ImportFailed: the user may not read it, or the connection broke.
        """
        statement = self._select(name, table)
        try:
            for rows in self._stream(statement):
                staging.add(table, [(owner_of(owner), 0, data) for owner, data in rows])
        except SQLAlchemyError as error:
            raise ImportFailed(f"{self._shown}: {name}: {_plain(error)} ({_GRANT})") from None

    def without_snapshots(self) -> set[str]:
        """Return the tables whose rows may change while they are read."""
        if not self._is_mysql:
            return set()
        found = self._connection.exec_driver_sql(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
            " AND table_type = 'BASE TABLE' AND engine <> 'InnoDB'"
        )
        return {str(row[0]) for row in found}

    def estimate(self, tables: Collection[str]) -> int:
        """Return about how many rows some tables have, as the server believes without looking."""
        statement = (
            "SELECT table_name, table_rows FROM information_schema.tables"
            " WHERE table_schema = DATABASE()"
            if self._is_mysql
            else "SELECT c.relname, c.reltuples FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema()"
        )
        found = self._connection.exec_driver_sql(statement)
        return sum(max(0, int(rows or 0)) for name, rows in found if str(name) in tables)

    def _begin(self) -> str:
        """Begin the one transaction of this object; return the encoding of the server's text."""
        connection = self._connection
        if not self._is_mysql:
            connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            return str(connection.exec_driver_sql("SHOW server_encoding").scalar())
        connection.execution_options(isolation_level="AUTOCOMMIT")  # no BEGIN before ours
        for statement in (
            # Quirk: one mode keeps the blanks that a CHAR column is filled up with.
            "SET SESSION sql_mode = ''",
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        ):
            connection.exec_driver_sql(statement)
        version = connection.dialect.server_version_info or ()
        read_only = ", READ ONLY" if version >= _READ_ONLY_SINCE else ""
        connection.exec_driver_sql(f"START TRANSACTION WITH CONSISTENT SNAPSHOT{read_only}")
        return ""

    def _columns(self) -> dict[str, list[str]]:
        """Return the columns of every table, in one question: a site can have 5,000 tables."""
        found = self._connection.exec_driver_sql(
            "SELECT c.table_name, c.column_name FROM information_schema.columns c"
            " JOIN information_schema.tables t"
            " ON t.table_schema = c.table_schema AND t.table_name = c.table_name"
            " WHERE c.table_schema = DATABASE() AND t.table_type = 'BASE TABLE'"
            " ORDER BY c.table_name, c.ordinal_position"
            if self._is_mysql
            # The standard's own views hide what the user has no rights on.
            else "SELECT c.relname, a.attname FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " JOIN pg_attribute a ON a.attrelid = c.oid"
            " WHERE n.nspname = current_schema()"
            " AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"
            " ORDER BY c.relname, a.attnum"
        )
        tables: defaultdict[str, list[str]] = defaultdict(list)
        for table, column in found:
            tables[str(table)].append(str(column))
        return dict(tables)

    def _require_sight(self) -> None:
        """Make sure that a table that is not seen is not there.

        Quirk: MySQL hides tables that a user may not read; asked for one, it tells them from
        those that do not exist.

        :raises ImportFailed: there may be a table that the user may not read.
        """
        if not self._is_mysql:
            return
        seen = {name.lower() for name in self.tables}
        quote = self._connection.dialect.identifier_preparer.quote_identifier
        for table in TABLES:
            if table is DOMAIN_ACCOUNTS or table.name in seen:
                continue
            try:
                self._connection.exec_driver_sql(f"SELECT 1 FROM {quote(table.name)} LIMIT 0")  # noqa: S608 - our own names
            except SQLAlchemyError as error:
                if _number(error) in _DENIED:
                    raise ImportFailed(
                        f"{self._shown}: {table.name}: {_plain(error)} ({_GRANT})"
                    ) from None

    def _select(self, name: str, table: Table) -> str:
        """Return the statement whose rows are the domain and the packed rest."""
        quote = self._connection.dialect.identifier_preparer.quote_identifier
        own = table.find(self.tables[name])
        columns = {column: self._bytes(quote(spelling)) for column, spelling in own.items()}
        fields = [
            self._packed(columns[column]) if column in columns else self._null
            for column in table.columns
        ]
        domain = columns[table.domain] if table.domain else self._bytes(_literal(name.encode()))
        joined = f"CONCAT({', '.join(fields)})" if self._is_mysql else " || ".join(fields)
        order = f" ORDER BY {quote(own['id'])}" if "id" in own else ""
        return f"SELECT {domain}, {joined} FROM {quote(name)}{order}"  # noqa: S608 - all quoted

    def _bytes(self, expression: str) -> str:
        """Return the SQL for the bytes of a value as the server stores them."""
        if self._is_mysql:
            return f"CAST({expression} AS BINARY)"
        return f"convert_to(CAST({expression} AS text), '{self._encoding}')"

    def _packed(self, value: str) -> str:
        """Return the SQL for one field as `schema.pack` writes it."""
        if self._is_mysql:
            return f"COALESCE(CONCAT(LENGTH({value}), ':', {value}), {self._null})"
        length = f"convert_to(octet_length({value}) || ':', 'UTF8')"
        return f"COALESCE({length} || {value}, {self._null})"

    def _stream(self, statement: str) -> Iterator[list[tuple[bytes, bytes]]]:
        result = self._connection.execution_options(
            stream_results=True, max_row_buffer=_BATCH
        ).exec_driver_sql(statement)
        for rows in result.partitions(_BATCH):
            # What has no domain is filed under none.
            yield [(owner or b"", data) for owner, data in rows]


def _literal(value: bytes) -> str:
    return "'" + value.decode().replace("'", "''") + "'"


def _parse_url(url: str, database: str) -> URL:
    try:
        parsed = make_url(url)
        name = _NAMES.get(parsed.get_backend_name())
    except (ArgumentError, ValueError):
        # Its own text may hold the URL, password and all.
        raise ImportFailed(
            f"this is no URL of a database, such as {database}://USER:PASSWORD@HOST/DATABASE"
        ) from None
    if name != database:
        raise ImportFailed(f"the URL is one of {parsed.drivername}, not of {database}")
    if not parsed.database:
        raise ImportFailed(f"the URL names no database: {database}://USER:PASSWORD@HOST/DATABASE")
    return parsed.set(drivername=_DRIVERS[database])


def _number(error: SQLAlchemyError) -> object:
    """Return MySQL's number of an error."""
    original = error.orig if isinstance(error, DBAPIError) else None
    return original.args[0] if original is not None and original.args else None


def _plain(error: Exception) -> str:
    """Return what the server or driver complains of, on one line."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if original is not None and len(original.args) > 1:  # MySQL: number and text
        return str(original.args[1])
    return re.sub(r"\s+", " ", str(original)).strip()
