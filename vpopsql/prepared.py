"""Statements that are carried out so often that most of their time would be SQLAlchemy's.

Such a statement is written with SQLAlchemy like any other, once, as a constant of its module, and
is compiled once for each kind of database, and each set of keys to its passwords. On a connection
that `vpopsql.kept` keeps, and in the transaction of `Database.writer`, it goes straight to the
driver and its row comes back as a tuple; on any other session it is an ordinary statement.

What that buys, measured for ``user_info`` on SQLite: 15 µs of a processor for its two selects,
where a session for each command took 312. Of a statement in a transaction that changes something
it is about 100 µs.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVarTuple, cast

from sqlalchemy import (
    BigInteger,
    CursorResult,
    Delete,
    Executable,
    Insert,
    Select,
    Update,
    bindparam,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.sql.dml import ReturningInsert

from vpopsql.columns import keyring_of, unescaped
from vpopsql.sealed import Keyring

Ts = TypeVarTuple("Ts")

_KEY = "vpopsql.prepared"

_LONGEST = 64
"""Values of a list (``IN``) up to which it goes to the driver, unless that takes any number."""

ARRAY = 0
"""The shape of a list that is one parameter."""

_Shape = tuple[object, ...]


class _Forms:
    """A statement in the words of each kind of database that it met."""

    __slots__ = ("_forms", "_is_apart", "_is_select", "_lists", "_statement")

    def __init__(
        self,
        statement: Any,  # noqa: ANN401 - any
        lists: Sequence[str] = (),
        *,
        is_apart: bool = False,
    ) -> None:
        self._statement = statement
        self._is_select = bool(statement.is_select)
        self._is_apart = is_apart
        self._lists = lists
        self._forms: dict[tuple[str, Keyring | None, _Shape], _Form] = {}

    def ready(self, session: Session, values: Mapping[str, Any]) -> "tuple[Driver, _Form] | None":
        """Return what carries it out; None: the session has to."""
        driver: Driver | None = session.info.get(_KEY)
        if driver is None:
            return None
        shape: _Shape = ()
        if not self._is_select:
            if not self._is_apart:
                driver.unexpect()
            # Of an insert or update, the values that are named are part of the statement.
            shape = tuple(values)
        if self._lists:
            shape = tuple(driver.shape(len(values[name])) for name in self._lists)
            if None in shape:
                return None
        # What objects of the session have become by now, it writes before it asks; so do we.
        session.flush()
        if session.in_nested_transaction():
            session.connection()  # only now it sets the savepoint
        kind = driver.dialect.name, keyring_of(driver.dialect), shape
        form = self._forms.get(kind)
        if form is None:
            # Two threads may both make it: they make the same.
            lists = dict(zip(self._lists, cast("tuple[int, ...]", shape), strict=False))
            form = self._forms[kind] = _compile(self._statement, driver.dialect, values, lists)
        return driver, form


class Prepared(Generic[*Ts]):
    """A statement that gives rows, whose parameters all have names.

    An insert or update takes the values of its columns by their names.

    :param lists: the parameters that are lists, for ``IN`` and nothing else. Long ones are the
        session's matter.
    """

    __slots__ = ("_forms", "statement")

    def __init__(
        self,
        statement: Select[*Ts] | ReturningInsert[*Ts],
        lists: Sequence[str] = (),
    ) -> None:
        self.statement = cast("Select[*Ts]", statement)
        self._forms = _Forms(statement, lists)

    def first(self, session: Session, **values: object) -> tuple[*Ts] | None:
        """Return the first row, or None when there is none."""
        ready = self._forms.ready(session, values)
        if ready is None:
            return _execute(session, self.statement, values).first()
        driver, form = ready
        row = driver.first(form.sql, form.arguments(values))
        return None if row is None else cast("tuple[*Ts]", form.made(row))

    def ahead(self, session: Session, **values: object) -> Callable[[], tuple[*Ts] | None]:
        """Ask for the first row before it is needed; return what gives it, or None.

        On PostgreSQL the question goes to the server together with the next one, before it.
        """
        ready = self._forms.ready(session, values)
        if ready is None:
            found = self.first(session, **values)
            return lambda: found
        driver, form = ready
        take = driver.ahead(form.sql, form.arguments(values))

        def taken() -> tuple[*Ts] | None:
            row = take()
            return None if row is None else cast("tuple[*Ts]", form.made(row))

        return taken

    def expect(self, session: Session, **values: object) -> None:
        """Say that this will be asked, with these values.

        On PostgreSQL the question goes to the server together with the next one. What it says is
        given to whoever asks it first, unless a change, or a statement that is not prepared, has
        come before: then it is asked again.
        """
        if is_far(session) and (ready := self._forms.ready(session, values)):
            driver, form = ready
            driver.expect(form.sql, form.arguments(values))

    def all(self, session: Session, **values: object) -> Sequence[tuple[*Ts]]:
        """Return all rows."""
        ready = self._forms.ready(session, values)
        if ready is None:
            return cast("Sequence[tuple[*Ts]]", _execute(session, self.statement, values).all())
        driver, form = ready
        rows = driver.all(form.sql, form.arguments(values))
        return cast("Sequence[tuple[*Ts]]", form.made_all(rows))

    def value(self, session: Session, **values: object) -> Any:  # noqa: ANN401 - as Session.scalar
        """Return the first column of the first row, or None when there is none."""
        row = cast("tuple[Any, ...] | None", self.first(session, **values))
        return None if row is None else row[0]


class Change:
    """A statement that gives no rows; otherwise like `Prepared`.

    :param is_apart: nothing that may be expected hangs on what it changes.
    """

    __slots__ = ("_forms", "statement")

    def __init__(self, statement: Insert | Update | Delete, *, is_apart: bool = False) -> None:
        self.statement = statement
        self._forms = _Forms(statement, is_apart=is_apart)

    def run(self, session: Session, **values: object) -> None:
        """Carry it out."""
        ready = self._forms.ready(session, values)
        if ready is None:
            _execute(session, self.statement, values)
        else:
            driver, form = ready
            driver.run(form.sql, form.arguments(values))


def is_far(session: Session) -> bool:
    """Tell whether it is worth saying what is expected, see `Prepared.expect`."""
    driver: Driver | None = session.info.get(_KEY)
    return driver is not None and driver.is_far


def start(session: Session) -> None:
    """Begin to carry out what a session was given: for who does something else meanwhile."""
    session.flush()
    driver: Driver | None = session.info.get(_KEY)
    if driver:
        driver.start()


def commit(session: Session) -> None:
    """Have all carried out that a session was given; it is to be committed with nothing more."""
    session.flush()
    driver: Driver | None = session.info.get(_KEY)
    if driver:
        driver.commit()


def settle(session: Session) -> None:
    """Have all carried out that a session was given: for who waits for something else now."""
    session.flush()
    driver: Driver | None = session.info.get(_KEY)
    if driver:
        driver.settle()


def _execute(
    session: Session, statement: Executable, values: Mapping[str, object]
) -> CursorResult[*tuple[Any, ...]]:
    """Carry out a statement by SQLAlchemy, which makes no objects of its rows either."""
    session.flush()
    return session.connection().execute(statement, values)


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

    is_far = False
    """Whether a question costs a way to the database and back."""

    def __init__(self, dialect: Dialect, connection: Any) -> None:  # noqa: ANN401 - DBAPI
        self.dialect = dialect
        self.connection = connection

    @classmethod
    def of(cls, dialect: Dialect, connection: PoolProxiedConnection) -> Self:
        """Return that of a connection; nothing waits in it."""
        return cls(dialect, connection.driver_connection)

    def is_open(self) -> bool:
        """Tell whether the other side has not closed it, as far as can be seen without asking."""
        return True

    def shape(self, length: int) -> int | None:
        """Return of how many parameters a list of so many values is made; None: of none."""
        return padded(length) if length <= _LONGEST else None

    def attach(self, session: Session) -> None:
        """Let prepared statements of ``session`` go straight to the driver."""
        session.info[_KEY] = self

    def begin(self, sql: str) -> None:
        """Begin a transaction."""
        self.run(sql)

    def commit(self) -> None:
        """Carry out what has not been yet, and see that a commit has little left to do."""
        self.settle()

    def finish(self) -> None:
        """Commit what `commit` has left, if there is anything."""
        try:
            self.connection.commit()
        except self.dialect.loaded_dbapi.Error as error:
            raise self._wrapped(error, "COMMIT") from None

    def end(self) -> None:
        """End a transaction, if there still is one, that is not to change anything."""
        self.connection.rollback()

    def run(self, sql: str, arguments: object = ()) -> None:
        """Carry out what gives no rows, now or before anything else is asked."""
        try:
            self.connection.execute(sql, arguments).close()
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

    def expect(self, sql: str, arguments: object) -> None:
        """Ask what will be asked for later, where that saves a way."""

    def unexpect(self) -> None:
        """Forget the answers to what was expected: something changes."""

    def start(self) -> None:
        """Begin to carry out what has not been yet; nothing is waited for."""

    def settle(self) -> None:
        """Carry out what has not been yet."""

    def forget(self) -> None:
        """Forget what was asked ahead and not taken, or not carried out."""

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
    """A statement in the words of one kind of database."""

    sql: str
    names: tuple[str, ...]
    """Its parameters, in their order."""
    is_positional: bool
    before: Mapping[str, _Process]
    """What makes values fit for the driver, by name of the parameter."""
    constants: Mapping[str, object]
    """Values that stand in the statement itself, fit for the driver."""
    lists: Mapping[str, Sequence[str]]
    """The parameters that each list has become."""
    arrays: Collection[str]
    """The lists that are one parameter."""
    after: tuple[tuple[int, _Process], ...]
    """What makes the driver's values ours, by column."""

    def arguments(self, values: Mapping[str, object]) -> object:
        """Return what the driver is given. :raises KeyError: a value is missing."""
        fit = dict(self.constants)
        for name, value in values.items():
            process = self.before.get(name)
            if name in self.lists:
                fit |= _spread(cast("Sequence[object]", value), self.lists[name], process)
            elif name in self.arrays:
                each = cast("Sequence[object]", value)
                fit[name] = [*map(process, each)] if process else [*each]
            else:
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


def padded(length: int) -> int:
    """Return for how many values a list of so many is compiled, lest each length be compiled."""
    return 1 << max(0, length - 1).bit_length()


def _spread(
    values: Sequence[object], names: Sequence[str], process: "_Process | None"
) -> dict[str, object]:
    """Return the values of a list by name; names that are left over have the last value.

    Without any value they have NULL, which matches nothing.
    """
    fit = [*map(process, values)] if process else [*values]
    fit += [fit[-1] if fit else None] * (len(names) - len(fit))
    return dict(zip(names, fit, strict=True))


def _compile(
    statement: Any,  # noqa: ANN401 - whatever `Prepared` and `Change` take
    dialect: Dialect,
    named: Iterable[str],
    lists: Mapping[str, int],
) -> _Form:
    """Return a statement in the words of a kind of database.

    :param named: the values that it is given.
    :param lists: the shape of each list.
    """
    compiled = statement.compile(dialect=dialect, column_keys=[*named])
    bound = {compiled.bind_names[parameter]: parameter for parameter in compiled.bind_names}
    before = {
        name: process
        for name, parameter in bound.items()
        if (process := parameter.type.dialect_impl(dialect).bind_processor(dialect))
    }
    constants = {name: bound[name].value for name in bound if not bound[name].required}
    for column in compiled.insert_prefetch:
        # What has to be made anew each time must be named.
        if column.default.is_scalar:
            constants[column.key] = column.default.arg
    sql, names, expanded = str(compiled), compiled.positiontup or bound, {}
    arrays = frozenset(name for name, shape in lists.items() if shape == ARRAY)
    if lists:
        state = compiled.construct_expanded_state(
            {name: [None] * max(1, lists[name]) if name in lists else None for name in named}
        )
        sql, names, expanded = state.statement, state.positiontup or (), state.parameter_expansion
    for name in arrays:
        sql = re.sub(rf"IN \(%\({name}_1\)s[^)]*\)", f"= ANY (%({name})s)", sql)
    after = (
        column.type.dialect_impl(dialect).result_processor(dialect, None)
        for column in statement.exported_columns
    )
    return _Form(
        sql=sql,
        names=tuple(names),
        is_positional=compiled.positional,
        before=before,
        constants={
            name: before[name](value) if name in before else value
            for name, value in constants.items()
        },
        lists={name: each for name, each in expanded.items() if name not in arrays},
        arrays=arrays,
        after=tuple((number, process) for number, process in enumerate(after) if process),
    )
