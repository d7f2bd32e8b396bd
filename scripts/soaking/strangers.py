"""Clients that are no use to anybody: silent, slow, deaf, guessing, or gone in the middle."""

import contextlib
import selectors
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

from scripts.soaking import Wrong
from scripts.soaking.crowd import PATIENCE_S, Crowd, Member
from scripts.soaking.ours import AWAY, PASSWORD, SYSTEM, USERS, expect
from vpopsql.client import Refused, connect

HOME = SYSTEM.partition("@")[2]
"""The system administrator's domain."""

MAPPED = "10.88.0.1"
"""An address that is mapped to it for good."""

LONG = ("long", [f"{number:06} {'x' * 120}" for number in range(2000)])
"""A file of that domain: its name, and its lines."""

VANISHED = "vanished"
"""A file of that domain that somebody writes who never hears of it."""

IDLE_S = 60.0
"""How long the daemon waits for a line: `daemon.idle_timeout_s` unless it is configured."""

_GREETING = b"+OK \r\n"
_LOGIN = f"slogin {SYSTEM} {PASSWORD}\n".encode()
_LOGGED_IN = b"+OK \r\n"
_AWAY = f"-ERR {AWAY}".encode()
_TICK_S = 0.1
_READ = 1 << 16


def _open(crowd: Crowd) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", crowd.port), PATIENCE_S)
    connection.setblocking(False)  # noqa: FBT003 - takes no keyword
    return connection


def _read(connection: socket.socket, size: int = _READ) -> bytes | None:
    """Return what has arrived; None: nothing yet; empty: it has ended."""
    try:
        return connection.recv(size)
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return b""


@dataclass(slots=True)
class _Silent:
    connection: socket.socket
    wanted: bytes
    said: bytes = b""


class Idlers(Member):
    """Connections that say nothing, or nothing after a login, until they are let go.

    :param many: how many there are at once.
    """

    def __init__(self, crowd: Crowd, many: int) -> None:
        super().__init__(crowd, "idle connections")
        self._many = many
        self._opened = 0
        self._selector = selectors.DefaultSelector()
        self.have_come = threading.Event()
        """Set once all are there."""

    def work(self) -> None:
        """Take note of what is said, and let others come in the place of those that are gone."""
        missing = self._many - len(self._selector.get_map())
        # Some at a time, as clients come.
        for _ in range(min(missing, self._many // 50 + 5)):
            self._come()
        if len(self._selector.get_map()) >= self._many:
            self.have_come.set()
        for key, _ in self._selector.select(_TICK_S):
            self._hear(key.data)
        self._crowd.wait(_TICK_S)

    def _come(self) -> None:
        self._opened += 1
        connection = _open(self._crowd)
        if self._opened % 2:
            connection.sendall(_LOGIN)
            wanted = _GREETING + _LOGGED_IN + b"-ERR 3.106 Read Timeout\r\n"
        else:
            wanted = _GREETING + b"-ERR 3.103 Read Timeout\r\n"
        self._selector.register(connection, selectors.EVENT_READ, _Silent(connection, wanted))

    def _hear(self, silent: _Silent) -> None:
        data = _read(silent.connection)
        if data:
            silent.said += data
        elif data is not None:
            if f"-ERR {AWAY} ".encode() in silent.said:
                self._crowd.count("put off")
            else:
                expect(silent.said, silent.wanted, "an idle connection")
            self._selector.unregister(silent.connection)
            silent.connection.close()
            self._crowd.count("idle connections let go")

    def leave(self) -> None:
        """Hang up without a word."""
        for key in list(self._selector.get_map().values()):
            key.data.connection.close()
        self._selector.close()


class SlowWriter(Member):
    """Writes a byte a second, and gets its answer."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        super().__init__(crowd, f"slow writer {number}")
        self._client: socket.socket | None = None

    def work(self) -> None:
        """Send a line byte by byte, and wait for its answer."""
        client = self._client
        if client is None:
            self._client = socket.create_connection(("127.0.0.1", self._crowd.port), PATIENCE_S)
            self._client.sendall(_LOGIN)
            self._expect(_GREETING + _LOGGED_IN)
            return
        for byte in f"get_ip_map {MAPPED}\n".encode():
            self._crowd.wait(1)
            if self._crowd.is_over:
                return
            client.sendall(bytes([byte]))
        self._expect(f"+OK+\r\n{MAPPED} {HOME}\r\n.\r\n".encode())
        self._crowd.count("lines of a byte a second")

    def _expect(self, wanted: bytes) -> None:
        """Read an answer; that the database is away ends the session, to be begun anew."""
        said = b""
        while self._client and len(said) < len(wanted):
            data = self._client.recv(_READ)
            if not data:
                break
            said += data
            if _AWAY in said:
                self._crowd.count("put off")
                self.leave()
                return
        expect(said, wanted, self.name)

    def leave(self) -> None:
        """Hang up."""
        if self._client:
            self._client.close()
        self._client = None


@dataclass(slots=True)
class _Asked:
    """A connection that has asked for a long file, or for many."""

    connection: socket.socket
    wanted: bytes
    since: float = field(default_factory=time.monotonic)
    said: bytearray = field(default_factory=bytearray)


def _ask_for_files(crowd: Crowd, many: int) -> _Asked:
    name, lines = LONG
    connection = socket.socket()
    # So that the daemon has to wait, and not the kernel.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE_S)
    connection.connect(("127.0.0.1", crowd.port))
    connection.sendall(_LOGIN + f"read_file {HOME}/{name}\n".encode() * many)
    connection.setblocking(False)  # noqa: FBT003 - takes no keyword
    text = "".join(f"{line}\n" for line in lines)
    answer = f"+OK+\r\n{text}.\r\n".encode()
    return _Asked(connection, _GREETING + _LOGGED_IN + answer * many)


class SlowReader(Member):
    """Asks for a long file, and reads 8 KiB of it a second."""

    _PART = 2048

    def __init__(self, crowd: Crowd, number: int) -> None:
        super().__init__(crowd, f"slow reader {number}")
        self._asked: _Asked | None = None

    def work(self) -> None:
        """Read a little."""
        asked = self._asked = self._asked or _ask_for_files(self._crowd, 1)
        self._crowd.wait(0.25)
        data = _read(asked.connection, self._PART)
        if data == b"":
            raise Wrong(f"{self.name} is let go after {len(asked.said)} bytes")
        asked.said += data or b""
        expect(asked.wanted.startswith(asked.said), True, self.name)  # noqa: FBT003
        if len(asked.said) == len(asked.wanted):
            self.leave()
            self._asked = None
            self._crowd.count("files read slowly")

    def leave(self) -> None:
        """Hang up."""
        if self._asked:
            self._asked.connection.close()


class Deaf(Member):
    """Asks for many files and reads nothing, until it is let go."""

    _FILES = 40

    def __init__(self, crowd: Crowd, number: int) -> None:
        super().__init__(crowd, f"deaf client {number}")
        self._asked: _Asked | None = None

    def work(self) -> None:
        """Do nothing; when it must have been let go, see whether it has."""
        asked = self._asked = self._asked or _ask_for_files(self._crowd, self._FILES)
        self._crowd.wait(1)
        if time.monotonic() < asked.since + 1.5 * IDLE_S:
            return
        # What the kernels still have comes first; what matters is that there will be no more.
        asked.connection.settimeout(PATIENCE_S)
        while data := _read(asked.connection):
            asked.said += data
        expect(len(asked.said) < len(asked.wanted), True, f"{self.name} is let go")  # noqa: FBT003
        expect(asked.wanted.startswith(asked.said), True, self.name)  # noqa: FBT003
        self.leave()
        self._asked = None
        self._crowd.count("deaf clients let go")

    def leave(self) -> None:
        """Hang up."""
        if self._asked:
            self._asked.connection.close()


class Guesser(Member):
    """Fails to log in, again and again."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        super().__init__(crowd, f"guesser {number}")
        self._number = number

    def work(self) -> None:
        """Guess until the connection is ended."""
        names = (f"nobody{self._number}", USERS[2], "postmaster")
        with connect(port=self._crowd.port, timeout_s=PATIENCE_S) as client:
            for _ in range(self._rng.randrange(1, 4)):
                self._crowd.wait(self._rng.uniform(0.5, 2))
                if self._crowd.is_over:
                    return
                name = f"{self._rng.choice(names)}@guessed.example"
                try:
                    client.login(name, f"wrong {self._rng.random()}", verb="slogin")
                except Refused as refused:
                    is_put_off = refused.code == AWAY
                    expect(refused.code, AWAY if is_put_off else "8.207", self.name)
                    self._crowd.count("put off" if is_put_off else "failed logins")
                else:
                    raise Wrong(f"{self.name} is let in")


class Vanisher(Member):
    """Hangs up, or breaks the connection, in the middle of something."""

    def work(self) -> None:
        """Connect, and vanish."""
        self._crowd.wait(self._rng.uniform(0.2, 2))
        if self._crowd.is_over:
            return
        with socket.create_connection(("127.0.0.1", self._crowd.port), PATIENCE_S) as connection:
            if self._rng.random() < 0.5:  # noqa: PLR2004 - every other time
                # RST instead of FIN: whatever was said is lost.
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            for piece in self._rng.choice(_LAST_WORDS):
                connection.sendall(piece)
                self._crowd.wait(self._rng.choice((0, 0, 0.05)))
        self._crowd.count("connections that vanish")


_LAST_WORDS: tuple[tuple[bytes, ...], ...] = (
    (),
    (b"slog",),
    (_LOGIN,),
    (_LOGIN, b"list_do"),
    (_LOGIN, b"list_domains\n"),
    (_LOGIN, b"list_domains\n" * 50),
    (_LOGIN, f"write_file {HOME}/{VANISHED}\nhalf\n".encode()),
    (_LOGIN, f"write_file {HOME}/{VANISHED}\nall\n.\n".encode()),
    (_LOGIN, f"mod_user {SYSTEM}\ncomment half\n".encode()),
    (_LOGIN, f"read_file {HOME}/{LONG[0]}\n".encode() * 3),
)


def require_untouched(port: int) -> None:
    """Look whether those who vanish have done nothing by halves. :raises Wrong: they have."""
    with connect(port=port, timeout_s=PATIENCE_S) as client:
        client.login(SYSTEM, PASSWORD, verb="slogin")
        with contextlib.suppress(Refused):
            # Nobody may have got as far as that.
            expect(client.read_file(f"{HOME}/{VANISHED}"), ["all"], VANISHED)
        expect(client.user_info(SYSTEM).comment, "postmaster", SYSTEM)
