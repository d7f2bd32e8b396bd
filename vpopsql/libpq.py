"""Connections to PostgreSQL for statements that are carried out often: libpq, without cursors.

Each is prepared on the server, once for a connection. What was asked ahead or is expected goes
there together with the next question, in one pipeline, so it costs no time on the way of its own;
and so does what gives no rows, a transaction's begin for one. `LibpqDriver.start` sends it now and
takes the answers later. Who goes to the same connection by another way has to `LibpqDriver.settle`
first: engines for it are `watched`.
"""

import hashlib
import select
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self, cast

from psycopg import Connection, DatabaseError, Error, OperationalError, errors, pq
from psycopg.adapt import PyFormat, Transformer
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine, event
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.pool import PoolProxiedConnection

from vpopsql.prepared import ARRAY, Driver, padded
from vpopsql.watchdog import Watchdog

Row = tuple[Any, ...]

_GOOD = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)
_OF_LIBPQ = (DatabaseError, OperationalError)


@dataclass(frozen=True, slots=True)
class _Statement:
    """What the server has prepared."""

    sql: str
    name: bytes
    """Empty: it is not prepared."""
    parameters: tuple[str, ...]
    """What ``$1``, ``$2`` and so on stand for."""


_FEW = 8
"""Values of a list up to which each is a parameter: such a statement is planned once for all."""

_SETTINGS = "SELECT set_config('random_page_cost', '0.1', false), set_config('jit', 'off', false)"

_DRIVER = "vpopsql.driver"
_NO_NAME = b""
_BEGIN, _COMMIT, _ROLLBACK = (
    _Statement(sql, _NO_NAME, ()) for sql in ("BEGIN", "COMMIT", "ROLLBACK")
)


class _Numbers(dict[str, str]):
    """The parameters of a statement, in the order in which libpq numbers them."""

    def __missing__(self, name: str) -> str:
        self[name] = f"${len(self) + 1}"
        return self[name]


class _Asked:
    """A question, and its answer once there is a good one."""

    __slots__ = ("answer", "statement", "values")

    def __init__(self, statement: _Statement, values: Sequence[Any]) -> None:
        self.statement = statement
        self.values = values
        self.answer: pq.abc.PGresult | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What is the same of the same question."""
        # The values of most types come as what has no hash.
        return self.statement.name, *(
            value if value is None else bytes(value) for value in self.values
        )


class LibpqDriver(Driver):
    """A connection of psycopg's, which may be used by both in turns."""

    __slots__ = (
        "_adapter",
        "_ahead",
        "_begins",
        "_expected",
        "_libpq",
        "_poll",
        "_sent",
        "_statements",
    )

    is_far = True

    def __init__(self, dialect: Dialect, connection: Connection) -> None:
        super().__init__(dialect, connection)
        # Otherwise it commits each statement by itself.
        self._begins = not connection.autocommit
        self._libpq = connection.pgconn
        self._adapter = Transformer(connection)
        self._statements: dict[str, _Statement] = {}
        self._ahead: list[_Asked] = []
        self._expected: dict[tuple[object, ...], _Asked] = {}
        self._sent: list[_Asked] = []
        """What the server works on, in a pipeline that is open as long as there is any."""
        self._poll = select.poll()
        self._poll.register(self._libpq.socket, select.POLLIN)

    @classmethod
    def of(cls, dialect: Dialect, connection: PoolProxiedConnection) -> Self:
        """Return that of a connection, made if it has none yet; nothing waits in it."""
        driver: Self | None = connection.info.get(_DRIVER)
        if driver is None:
            driver = connection.info[_DRIVER] = super().of(dialect, connection)
        driver.forget()
        return driver

    def is_open(self) -> bool:
        """Tell whether the server has said nothing since the last answer, as when it ended."""
        try:
            self._receive()
        except DBAPIError:
            return False
        return not self._poll.poll(0)

    def shape(self, length: int) -> int:
        """Return of how many parameters a list is made: of many values, one array.

        Its plan depends on how many they are, so it is made anew each time; one with as many
        parameters takes longer still.
        """
        return padded(length) if length <= _FEW else ARRAY

    def begin(self, sql: str) -> None:
        """Begin a transaction together with the first question in it."""
        self._ahead.append(_Asked(_Statement(sql, _NO_NAME, ()), ()))

    def commit(self) -> None:
        """Commit, together with all that waits; psycopg finds that nothing is left to commit."""
        self._receive()
        if self._libpq.transaction_status == pq.TransactionStatus.INERROR:
            # The server would undo all of it, and say that this went well.
            failed = errors.InFailedSqlTransaction("a statement has failed")
            raise self._wrapped(failed, _COMMIT.sql)
        if self._ahead or self._libpq.transaction_status == pq.TransactionStatus.INTRANS:
            self._answer(_Asked(_COMMIT, ()))

    def finish(self) -> None:
        """Commit, unless that was done."""
        self.commit()
        if self._libpq.transaction_status != pq.TransactionStatus.IDLE:
            raise self._wrapped(OperationalError("the connection broke"), _COMMIT.sql)

    def end(self) -> None:
        """End a transaction, if there still is one; this is not waited for."""
        if self._libpq.transaction_status != pq.TransactionStatus.IDLE:
            self._send([_Asked(_ROLLBACK, ())])

    def run(self, sql: str, arguments: object = ()) -> None:
        """Carry out what gives no rows together with the next question, or once it is settled."""
        if arguments:
            self._ahead.append(self._question(sql, arguments))
        else:
            self.settle()
            super().run(sql)

    def start(self) -> None:
        """Let the server begin with what waits; its answers are taken with the next question."""
        if self._ahead:
            self._receive()
            self._send(self._waiting())

    def settle(self) -> None:
        """Carry out what has not been yet."""
        self._receive()
        if self._ahead:
            self._answer(self._ahead.pop())

    def first(self, sql: str, arguments: object) -> Row | None:
        """Return the first row as it is, or None when there is none."""
        return self._first(self._result(sql, arguments))

    def all(self, sql: str, arguments: object) -> list[Row]:
        """Return all rows as they are."""
        result = self._result(sql, arguments)
        self._adapter.set_pgresult(result)
        return self._adapter.load_rows(0, result.ntuples, tuple)

    def ahead(self, sql: str, arguments: object) -> Callable[[], Row | None]:
        """Ask for the first row together with the next question, or once it is taken."""
        asked = self._question(sql, arguments)
        self._ahead.append(asked)
        return lambda: self._first(asked.answer or self._answer(asked))

    def expect(self, sql: str, arguments: object) -> None:
        """Ask together with the next question what will be asked for later."""
        asked = self._question(sql, arguments)
        if asked.key not in self._expected:
            self._ahead.append(asked)
            self._expected[asked.key] = asked

    def unexpect(self) -> None:
        """Forget the answers to what was expected: something changes."""
        self._expected.clear()

    def forget(self) -> None:
        """Forget what was asked ahead and not taken, or not carried out."""
        self._ahead.clear()
        self._expected.clear()
        # What fails now, nobody has waited for; whoever goes on finds out by himself.
        with suppress(DBAPIError):
            self._receive()

    def _wrapped(self, error: Exception, sql: str) -> BaseException:
        """Return what SQLAlchemy would have raised."""
        # Without a code it is libpq's own word, not the server's: the connection broke, even if
        # libpq does not say so of the connection yet. What cannot be sent is of other classes.
        if type(error) in _OF_LIBPQ and cast("Error", error).sqlstate is None:
            self.connection.close()
        return super()._wrapped(error, sql)

    def _first(self, result: pq.abc.PGresult) -> Row | None:
        if not result.ntuples:
            return None
        self._adapter.set_pgresult(result)
        return self._adapter.load_row(0, tuple)

    # --- asking ---------------------------------------------------------------------------------

    def _question(self, sql: str, arguments: object) -> _Asked:
        given = cast("Mapping[str, object]", arguments)
        try:
            statement = self._statements.get(sql) or self._prepare(sql)
            values = self._adapter.dump_sequence(
                [given[name] for name in statement.parameters],
                [PyFormat.TEXT] * len(statement.parameters),
            )
        except Error as error:
            raise self._wrapped(error, sql) from None
        return _Asked(statement, values)

    def _result(self, sql: str, arguments: object) -> pq.abc.PGresult:
        """Return the answer to a question, which may have been expected."""
        asked = self._question(sql, arguments)
        if self._expected:
            asked = self._expected.pop(asked.key, asked)
        return asked.answer or self._answer(asked)

    def _prepare(self, sql: str) -> _Statement:
        self._receive()
        numbers = _Numbers()
        data = (sql % numbers).encode()
        # By what it says: a pooler may give a connection on to others, who have names, too.
        name = b"vpopsql_" + hashlib.blake2b(data, digest_size=12).hexdigest().encode()
        # Those that differ in the names of parameters only are one for the server.
        if all(each.name != name for each in self._statements.values()):
            _required(self._libpq.prepare(name, data))
        made = self._statements[sql] = _Statement(sql, name, tuple(numbers))
        return made

    def _answer(self, asked: _Asked) -> pq.abc.PGresult:
        """Return the answer to a question; those that were asked ahead get theirs, too."""
        self._receive()
        if asked.answer is None:
            together = self._waiting(asked)
            if len(together) > 1:
                self._send(together)
                self._receive()
            else:
                try:
                    asked.answer = _required(self._ask(asked))
                except BaseException as error:  # noqa: BLE001 - it is raised
                    raise self._failure(error, asked.statement.sql) from None
        return cast("pq.abc.PGresult", asked.answer)

    def _waiting(self, *asked: _Asked) -> list[_Asked]:
        """Return what goes to the server next: all that waits, and some behind it."""
        waiting = [*self._ahead]
        waiting += [one for one in asked if not any(one is each for each in waiting)]
        self._ahead.clear()
        if self._begins and self._libpq.transaction_status == pq.TransactionStatus.IDLE:
            waiting.insert(0, _Asked(_BEGIN, ()))
        return waiting

    def _ask(self, asked: _Asked) -> pq.abc.PGresult:
        if not asked.statement.name:
            return self._libpq.exec_(asked.statement.sql.encode())
        return self._libpq.exec_prepared(
            asked.statement.name, asked.values, result_format=pq.Format.BINARY
        )

    def _send(self, asked: list[_Asked]) -> None:
        """Send questions to the server, in a pipeline."""
        libpq = self._libpq
        try:
            libpq.enter_pipeline_mode()
            for each in asked:
                if each.statement.name:
                    libpq.send_query_prepared(
                        each.statement.name, each.values, result_format=pq.Format.BINARY
                    )
                else:
                    libpq.send_query_params(each.statement.sql.encode(), None)
            libpq.pipeline_sync()
            self._send_rest()
        except BaseException as error:  # noqa: BLE001 - it is raised
            raise self._failure(error, asked[0].statement.sql) from None
        self._sent = asked

    def _receive(self) -> None:
        """Take the answers to what was sent, if anything was."""
        if not self._sent:
            return
        sent, self._sent = self._sent, []
        sql = sent[0].statement.sql
        try:
            results = []
            for _ in sent:
                results.append(self._next_result())
                # What ends its answer.
                self._next_result()
            # What ends the pipeline.
            self._next_result()
            self._libpq.exit_pipeline_mode()
            # Behind one that fails, no other is answered.
            for one, result in zip(sent, results, strict=True):
                sql = one.statement.sql
                one.answer = _required(result)
        except BaseException as error:  # noqa: BLE001 - it is raised
            raise self._failure(error, sql) from None

    def _failure(self, error: BaseException, sql: str) -> BaseException:
        """Return what is raised instead of an error; close a connection that is of no use."""
        if isinstance(error, Error):
            return self._wrapped(error, sql)
        # Interrupted in the middle of it: what comes next would not be the answer to the next.
        self.connection.close()
        return error

    def _send_rest(self) -> None:
        """Send what did not fit into the socket at once, as most questions do."""
        while self._libpq.flush():
            ready = select.poll()
            ready.register(self._libpq.socket, select.POLLIN | select.POLLOUT)
            ready.poll()
            self._libpq.consume_input()

    def _next_result(self) -> pq.abc.PGresult | None:
        libpq = self._libpq
        while libpq.is_busy():
            # Not within libpq, which would hold on to the interpreter's lock meanwhile.
            self._poll.poll()
            libpq.consume_input()
        return libpq.get_result()


def watched(engine: Engine) -> Engine:
    """Return an engine that carries out what waits in a driver before anything else."""

    def forget(connection: SqlConnection) -> None:
        if driver := _driver_on(connection):
            driver.forget()

    def settle_first(connection: SqlConnection, *_: object) -> None:
        if driver := _driver_on(connection):
            driver.settle()
            driver.unexpect()

    event.listen(engine, "before_cursor_execute", settle_first)
    event.listen(engine, "commit", settle)
    event.listen(engine, "rollback", forget)
    event.listen(engine, "rollback_savepoint", lambda connection, *_: forget(connection))
    return engine


def looking_up(engine: Engine, watch: Watchdog | None = None) -> Engine:
    """Return an engine whose server finds a few rows by an index wherever there is one for them.

    What is prepared keeps its plan until the server analyzes the table. One that was made while
    the table had a few rows reads all of them, however many there are by then. So a page that an
    index leads to is said to take a tenth of what one takes that is read in turn, which is enough
    for an index to be taken from the first row on. Nothing that is asked here takes as long as to
    compile it would.

    :param watch: told of each connection while it is set up.
    """

    def connected(connection: Connection, _record: object) -> None:
        if watch:
            watch.began(connection)
        commits = connection.autocommit
        try:
            # In no transaction, which might take it back with the rest.
            connection.autocommit = True
            connection.execute(_SETTINGS)
        finally:
            if watch:
                watch.ended(connection)
        connection.autocommit = commits

    event.listen(engine, "connect", connected)
    return engine


def checked(engine: Engine) -> Engine:
    """Return an engine whose pool gives out no connection that the server has closed."""

    def checkout(connection: Connection, _record: object, _proxy: object) -> None:
        ready = select.poll()
        ready.register(connection.pgconn.socket, select.POLLIN)
        if ready.poll(0):
            raise DisconnectionError

    event.listen(engine, "checkout", checkout)
    return engine


def settle(connection: SqlConnection) -> None:
    """Carry out what waits in the driver of a connection, if it has one."""
    if driver := _driver_on(connection):
        driver.settle()


def _driver_on(connection: SqlConnection) -> Driver | None:
    # One that is not open any more would be opened again.
    return None if connection.invalidated else connection.info.get(_DRIVER)


def _required(result: pq.abc.PGresult | None) -> pq.abc.PGresult:
    """Return a good result. :raises Error: it is none."""
    if result is None:
        raise OperationalError("the server gave no answer")
    if result.status not in _GOOD:
        raise errors.error_from_result(result)
    return result
