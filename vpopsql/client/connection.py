"""A connection to a daemon: sends commands, reads their answers, blocks meanwhile."""

import contextlib
import functools
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

from vpopsql.client import commands
from vpopsql.client.commands import Command
from vpopsql.client.failures import ClientError, Disconnected, Refused, TimedOut
from vpopsql.client.replies import Reply, ReplyReader

if TYPE_CHECKING:
    import ssl

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_PORT = 89

_READ = 1 << 16
"""Bytes asked for at a time."""

_VPOPMAIL_LINE_MAX = 1023
"""Bytes of a line with its end; what is beyond is the next command to the C daemon."""

_WINDOW = 16 * 1024
"""Bytes of commands that may be under way without an answer.

Every kernel takes as many without the daemon reading them, so that the two never wait for each
other, each to be read.
"""


def connect(
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    *,
    path: str | None = None,
    tls: "ssl.SSLContext | None" = None,
    timeout_s: float = 30.0,
    is_vpopmail: bool = False,
) -> "Client":
    """Return a connection to a daemon, which has greeted.

    :param path: a UNIX socket, instead of ``host`` and ``port``.
    :param tls: speak TLS from the first byte, and check that the certificate is ``host``'s if the
        context says so.
    :param timeout_s: how long to wait for the connection, and then each time for bytes to go or
        to come.
    :param is_vpopmail: it is vpopmail's own daemon, which stalls if commands come before it has
        answered the last one, and cuts long lines into commands: neither is sent to it.
    :raises Disconnected: there is no connection, or it broke; `TimedOut` if nothing happened.
    :raises Refused: the daemon is full.
    :raises ProtocolError: what listens there is no daemon of this protocol.
    """
    where = path or f"{host} port {port}"
    with _outages(where):
        if path is None:
            connection = socket.create_connection((host, port), timeout=timeout_s)
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            connection = _unix_connection(path, timeout_s)
        if tls is not None:
            try:
                connection = tls.wrap_socket(connection, server_hostname=host)
            except BaseException:
                connection.close()
                raise
    return Client(connection, where, is_vpopmail=is_vpopmail)


def _unix_connection(path: str, timeout_s: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout_s)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _method(make: Callable[P, Command[T]]) -> Callable[Concatenate["Client", P], T]:
    """Return the method that runs the command that ``make`` makes."""

    @functools.wraps(make)
    def run(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client.run(make(*args, **kwargs))

    return run


class Client:
    """A connection to a daemon; made by `connect`, closed by ``with`` or `close`.

    Not for use by two threads at once. After `Disconnected`, `TimedOut` and `ProtocolError` it is
    closed, and of use no more.

    :param connection: a connected socket with a time limit, on which the daemon greets.
    :param where: what to call it in messages.
    """

    def __init__(
        self, connection: socket.socket, where: str, *, is_vpopmail: bool = False
    ) -> None:
        self._connection = connection
        self._where = where
        self._is_vpopmail = is_vpopmail
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._is_open = True
        self._is_busy = False
        with self._closed_by_failure():
            try:
                self._next_reply().plain()
            except Refused:
                self.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        """Show where to it is."""
        return f"<Client {self._where}{'' if self._is_open else ', closed'}>"

    def close(self) -> None:
        """Say good-bye and hang up, if that has not happened yet."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(OSError):
                self._connection.sendall(commands.quit().line)
            self._connection.close()

    def run(self, command: Command[T]) -> T:
        """Carry out one command and return what it tells.

        :raises Refused: the daemon said no.
        :raises Disconnected: the connection broke; `TimedOut` if no answer came in time.
        :raises ProtocolError: the answer is none to this command.
        :raises ValueError: it has a line that vpopmail's own daemon would cut.
        """
        if self._is_busy:
            raise RuntimeError("run_all has answers that nobody has taken yet")
        if self._is_vpopmail:
            _require_short_lines(command)
        with self._closed_by_failure():
            self._send(command.line)
            if not command.is_asked:
                self._send(command.body)
            elif (first := self._next_reply()).is_good:
                first.plain()
                self._send(command.body)
            else:
                # A daemon drops no body of a command that it has refused, if none comes.
                return command.read(first)
            return command.read(self._next_reply())

    def run_all(self, many: Iterable[Command[T]]) -> Iterator[T | Refused]:
        """Carry out commands, without waiting for the answer to one to send the next.

        :returns: for each command in its order what it tells, or the refusal, which is not
            raised. Nothing else can be run until all are taken; the connection is closed if
            they are not.
        :raises Disconnected: the connection broke; `TimedOut` if no answer came in time.
        :raises ProtocolError: an answer is none to its command.
        """
        if self._is_vpopmail:
            for command in many:
                yield self._result(functools.partial(self.run, command))
            return
        self._is_busy = True
        try:
            with self._closed_by_failure():
                yield from self._pipelined(many)
        finally:
            self._is_busy = False

    def _pipelined(self, many: Iterable[Command[T]]) -> Iterator[T | Refused]:
        under_way: deque[tuple[Command[T], int]] = deque()
        size = 0
        for command in many:
            data = command.line + command.body
            while under_way and size + len(data) > _WINDOW:
                size -= under_way[0][1]
                yield self._result(functools.partial(self._answer, under_way.popleft()[0]))
            self._send(data)
            under_way.append((command, len(data)))
            size += len(data)
        while under_way:
            yield self._result(functools.partial(self._answer, under_way.popleft()[0]))

    def _answer(self, command: Command[T]) -> T:
        if command.is_asked:
            first = self._next_reply()
            if not first.is_good:
                return command.read(first)
            first.plain()
        return command.read(self._next_reply())

    @staticmethod
    def _result(work: Callable[[], T]) -> T | Refused:
        try:
            return work()
        except Refused as error:
            return error

    # --- one method a command -------------------------------------------------------------------

    login = _method(commands.login)
    help = _method(commands.help)
    list_domains = _method(commands.list_domains)
    find_domain = _method(commands.find_domain)
    domain_count = _method(commands.domain_count)
    dom_info = _method(commands.dom_info)
    add_domain = _method(commands.add_domain)
    add_alias_domain = _method(commands.add_alias_domain)
    del_domain = _method(commands.del_domain)
    get_domain_size = _method(commands.get_domain_size)
    get_limits = _method(commands.get_limits)
    set_limits = _method(commands.set_limits)
    del_limits = _method(commands.del_limits)
    user_info = _method(commands.user_info)
    list_users = _method(commands.list_users)
    user_count = _method(commands.user_count)
    add_user = _method(commands.add_user)
    del_user = _method(commands.del_user)
    mod_user = _method(commands.mod_user)
    get_lastauth = _method(commands.get_lastauth)
    get_user_size = _method(commands.get_user_size)
    list_alias = _method(commands.list_alias)
    add_alias = _method(commands.add_alias)
    remove_alias = _method(commands.remove_alias)
    delete_alias = _method(commands.delete_alias)
    list_lists = _method(commands.list_lists)
    add_list = _method(commands.add_list)
    mod_list = _method(commands.mod_list)
    del_list = _method(commands.del_list)
    get_ip_map = _method(commands.get_ip_map)
    show_ip_map = _method(commands.show_ip_map)
    add_ip_map = _method(commands.add_ip_map)
    del_ip_map = _method(commands.del_ip_map)
    list_dir = _method(commands.list_dir)
    mk_dir = _method(commands.mk_dir)
    rm_dir = _method(commands.rm_dir)
    read_file = _method(commands.read_file)
    write_file = _method(commands.write_file)
    rename_file = _method(commands.rename_file)
    rm_file = _method(commands.rm_file)
    stat_file = _method(commands.stat_file)

    # --- the connection -------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        if not self._is_open:
            raise Disconnected(f"{self._where}: the connection is closed")
        if data:
            with _outages(self._where):
                self._connection.sendall(data)

    def _next_reply(self) -> Reply:
        while not self._replies:
            with _outages(self._where):
                data = self._connection.recv(_READ)
            if not data:
                raise Disconnected(f"{self._where}: the daemon has hung up")
            self._replies.extend(self._reader.feed(data))
        return self._replies.popleft()

    @contextlib.contextmanager
    def _closed_by_failure(self) -> Iterator[None]:
        """Hang up if what comes next could not be told from what was to come before."""
        is_whole = False
        try:
            yield
            is_whole = True
        except Refused:
            is_whole = True
            raise
        finally:
            if not is_whole and self._is_open:
                self._is_open = False
                self._connection.close()


def _require_short_lines(command: Command[T]) -> None:
    lines = [
        command.line,
        *(() if command.body_is_file else command.body.splitlines(keepends=True)),
    ]
    if max(map(len, lines)) > _VPOPMAIL_LINE_MAX:
        raise ValueError(f"{command.verb}: a line has more than {_VPOPMAIL_LINE_MAX} bytes")


@contextlib.contextmanager
def _outages(where: str) -> Iterator[None]:
    """Turn what a socket raises into our own errors."""
    try:
        yield
    except ClientError:
        raise
    except TimeoutError as error:
        raise TimedOut(f"{where}: no answer in time") from error
    except (OSError, UnicodeError) as error:
        raise Disconnected(f"{where}: {error}") from error
