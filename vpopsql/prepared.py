"""Selects that are asked so often that most of their time would be SQLAlchemy's.

Such a select is written with SQLAlchemy like any other, once, as a constant of its module, and is
compiled once for each kind of database, and each set of keys to its passwords. On a connection
that `vpopsql.kept` keeps, it goes straight to the driver and its row comes back as a tuple; on any
other session it is an ordinary select.

What that buys, measured for ``user_info`` on SQLite: 15 µs of a processor for its two selects,
where a session for each command took 312.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVarTuple, cast

from sqlalchemy import BigInteger, Select, bindparam
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from vpopsql.model import keyring_of, unescaped
from vpopsql.sealed import Keyring

Ts = TypeVarTuple("Ts")

_KEY = "vpopsql.prepared"


class Prepared(Generic[*Ts]):
    """A select of a module, whose parameters all have names.

    :param statement: without parameters that become lists (``IN``).
    """

    __slots__ = ("_forms", "statement")

    def __init__(self, statement: Select[*Ts]) -> None:
        self.statement = statement
        self._forms: dict[tuple[str, Keyring | None], _Form] = {}

    def first(self, session: Session, **values: object) -> tuple[*Ts] | None:
        """Return the first row, or None when there is none."""
        driver: Driver | None = session.info.get(_KEY)
        if driver is None:
            return session.execute(self.statement, values).first()
        form = self._form(driver.dialect)
        row = driver.first(form.sql, form.arguments(values))
        return None if row is None else cast("tuple[*Ts]", form.made(row))

    def ahead(self, session: Session, **values: object) -> Callable[[], tuple[*Ts] | None]:
        """Ask for the first row before it is needed; return what gives it, or None.

        On PostgreSQL the question goes to the server together with the next one, before it.
        """
        driver: Driver | None = session.info.get(_KEY)
        if driver is None:
            found = self.first(session, **values)
            return lambda: found
        form = self._form(driver.dialect)
        take = driver.ahead(form.sql, form.arguments(values))

        def taken() -> tuple[*Ts] | None:
            row = take()
            return None if row is None else cast("tuple[*Ts]", form.made(row))

        return taken

    def all(self, session: Session, **values: object) -> Sequence[tuple[*Ts]]:
        """Return all rows."""
        driver: Driver | None = session.info.get(_KEY)
        if driver is None:
            return session.execute(self.statement, values).all()
        form = self._form(driver.dialect)
        rows = driver.all(form.sql, form.arguments(values))
        return cast("Sequence[tuple[*Ts]]", form.made_all(rows))

    def value(self, session: Session, **values: object) -> Any:  # noqa: ANN401 - as Session.scalar
        """Return the first column of the first row, or None when there is none."""
        row = cast("tuple[Any, ...] | None", self.first(session, **values))
        return None if row is None else row[0]

    def _form(self, dialect: Dialect) -> "_Form":
        kind = dialect.name, keyring_of(dialect)
        form = self._forms.get(kind)
        if form is None:
            # Two threads may both make it: they make the same.
            form = self._forms[kind] = _compile(self.statement, dialect)
        return form


class Paged(Generic[*Ts]):
    """A select in a fixed order, of which one page may be asked for."""

    __slots__ = ("_page", "_whole")

    def __init__(self, statement: Select[*Ts]) -> None:
        self._whole = Prepared(statement)
        self._page = Prepared(
            statement.limit(bindparam("page_limit", type_=BigInteger)).offset(
                bindparam("page_offset", type_=BigInteger)
            )
        )

    def page(
        self, session: Session, page: int, per_page: int, **values: object
    ) -> Sequence[tuple[*Ts]]:
        """Return the rows of a page; all of them when either number is 0.

        :param page: 1-based; pages beyond the last are empty.
        """
        if not (page and per_page):
            return self._whole.all(session, **values)
        values |= {"page_limit": per_page, "page_offset": (page - 1) * per_page}
        return self._page.all(session, **values)


class Driver:
    """A connection of a database driver, ready for prepared selects.

    :param connection: of sqlite3 or psycopg, whose ways are the same here.
    """

    __slots__ = ("connection", "dialect")

    def __init__(self, dialect: Dialect, connection: Any) -> None:  # noqa: ANN401 - DBAPI
        self.dialect = dialect
        self.connection = connection

    def attach(self, session: Session) -> None:
        """Let prepared selects of ``session`` go straight to the driver."""
        session.info[_KEY] = self

    def run(self, sql: str) -> None:
        """Carry out what gives no rows."""
        try:
            self.connection.execute(sql).close()
        except self.dialect.loaded_dbapi.Error as error:
            raise self._wrapped(error, sql) from None

    def first(self, sql: str, arguments: object) -> tuple[Any, ...] | None:
        """Return the first row as it is, or None when there is none."""
        try:
            cursor = self.connection.execute(sql, arguments)
            row: tuple[Any, ...] | None = cursor.fetchone()
            # On SQLite a select that is not over holds on to the state that it reads.
            cursor.close()
        except self.dialect.loaded_dbapi.Error as error:
            raise self._wrapped(error, sql) from None
        return row

    def all(self, sql: str, arguments: object) -> list[tuple[Any, ...]]:
        """Return all rows as they are."""
        try:
            cursor = self.connection.execute(sql, arguments)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            cursor.close()
        except self.dialect.loaded_dbapi.Error as error:
            raise self._wrapped(error, sql) from None
        return rows

    def ahead(self, sql: str, arguments: object) -> Callable[[], tuple[Any, ...] | None]:
        """Ask for the first row, and return what gives it."""
        row = self.first(sql, arguments)
        return lambda: row

    def forget(self) -> None:
        """Forget what was asked ahead and not taken."""

    def _wrapped(self, error: Exception, sql: str) -> BaseException:
        """Return what SQLAlchemy would have raised; no value of a row or parameter is in it."""
        return DBAPIError.instance(
            sql,
            None,
            error,
            self.dialect.loaded_dbapi.Error,
            hide_parameters=True,
            connection_invalidated=self.dialect.is_disconnect(
                cast("Any", error), self.connection, None
            ),
            dialect=self.dialect,
        )


_Process = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Form:
    """A select in the words of one kind of database."""

    sql: str
    names: tuple[str, ...]
    """Its parameters, in their order."""
    is_positional: bool
    before: Mapping[str, _Process]
    """What makes values fit for the driver, by name of the parameter."""
    constants: Mapping[str, object]
    """Values that stand in the select itself, fit for the driver."""
    after: tuple[tuple[int, _Process], ...]
    """What makes the driver's values ours, by column."""

    def arguments(self, values: Mapping[str, object]) -> object:
        """Return what the driver is given. :raises KeyError: a value is missing."""
        fit = dict(self.constants)
        for name, value in values.items():
            process = self.before.get(name)
            fit[name] = value if process is None else process(value)
        if self.is_positional:
            return [fit[name] for name in self.names]
        return fit

    def made(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a row as our types have it."""
        if not self.after:
            return row
        values = list(row)
        for column, process in self.after:
            values[column] = process(values[column])
        return tuple(values)

    def made_all(self, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Return rows as our types have them."""
        # Most columns are plain text from end to end, which stays as it is.
        changed: dict[int, list[Any]] = {}
        for column, process in self.after:
            values = [row[column] for row in rows]
            if process is not unescaped or not _is_plain(values):
                changed[column] = list(map(process, values))
        if not changed or not rows:
            return rows
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        for column, values in changed.items():
            columns[column] = values
        return list(zip(*columns, strict=True))


def _is_plain(texts: Sequence[str | None]) -> bool:
    """Tell whether there is nothing but ASCII in a column."""
    return "".join(filter(None, texts)).isascii()


def _compile(statement: Select[*tuple[Any, ...]], dialect: Dialect) -> _Form:
    compiled = statement.compile(dialect=dialect)
    bound = {compiled.bind_names[parameter]: parameter for parameter in compiled.bind_names}
    before = {
        name: process
        for name, parameter in bound.items()
        if (process := parameter.type.dialect_impl(dialect).bind_processor(dialect))
    }
    constants = {
        name: before[name](parameter.value) if name in before else parameter.value
        for name, parameter in bound.items()
        if not parameter.required
    }
    after = (
        column.type.dialect_impl(dialect).result_processor(dialect, None)
        for column in statement.selected_columns
    )
    return _Form(
        sql=str(compiled),
        names=tuple(compiled.positiontup or bound),
        is_positional=compiled.positional,
        before=before,
        constants=constants,
        after=tuple((number, process) for number, process in enumerate(after) if process),
    )
