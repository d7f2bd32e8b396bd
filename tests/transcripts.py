"""Recorded conversations with a real vpopmaild: reading them, and holding them again.

A recording is lines: ``C:`` bytes the client sent, ``S:`` bytes the server sent, ``*:`` what the
recorder saw or did, ``#`` a header. Bytes are escaped.
"""

import contextlib
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

RECORDINGS = Path(__file__).parent / "transcripts"

ANSWER_TIMEOUT_S = 10
"""How long an answer may take before the replay gives up on it."""

_ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}


@dataclass(frozen=True)
class Step:
    """One line of a recording."""

    kind: str
    """``C``, ``S``, ``*`` or ``X`` for a command that ran on the server's machine."""
    data: bytes
    """What was sent, or the remark's text."""

    def __str__(self) -> str:
        """Show the step as a recording does."""
        return f"{self.kind}: {escape(self.data)}"


def unescape(text: str) -> bytes:
    """Return the bytes that a recording's line stands for."""
    return re.sub(
        rb"\\(?:x([0-9a-f]{2})|(.))",
        lambda match: bytes.fromhex(match[1].decode()) if match[1] else _ESCAPES[match[2]],
        text.encode(),
    )


def escape(data: bytes) -> str:
    """Return bytes as a recording writes them."""
    return "".join(
        {9: "\\t", 10: "\\n", 13: "\\r", 92: "\\\\"}.get(byte)
        or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}")
        for byte in data
    )


def read(path: Path) -> list[Step]:
    """Return the steps of a recording."""
    steps = []
    for line in path.read_text("ascii").splitlines():
        kind, _, rest = line.partition(": ")
        if kind in {"C", "S"}:
            steps.append(Step(kind, unescape(rest)))
        elif kind == "*" or (kind == "X" and rest.startswith("$ ")):
            steps.append(Step(kind, rest.encode()))
    return steps


@dataclass
class Deviation:
    """A reply that differs from the recording on purpose.

    ``point`` is the number in docs/compatibility.md. ``theirs`` are the recorded lines that are
    replaced by ``ours``, wherever they follow one another in the reply to a command that starts
    with ``command``. Line ends are left out of both.
    """

    point: int
    theirs: tuple[str, ...] | None
    """None: the whole reply."""
    ours: tuple[str, ...]
    command: str = ""
    nth: int = 0
    """Which of the replies to such a command, from 1; 0: each."""
    seen: int = field(default=0, compare=False)
    """How many replies to such a command there were."""
    then: bytes = b""
    """What is sent afterwards by a client that knows of the difference."""

    def apply(self, command: bytes, lines: list[bytes]) -> list[bytes] | None:
        """Return the lines as ours; None when this deviation has nothing to do with them."""
        if not command.startswith(self.command.encode()):
            return None
        self.seen += 1
        if self.nth not in (0, self.seen):
            return None
        if self.theirs is None:
            return [line.encode() + b"\r\n" for line in self.ours]
        theirs = [line.encode() for line in self.theirs]
        bare = [line.rstrip(b"\r\n") for line in lines]
        for start in range(len(bare) - len(theirs) + 1):
            if bare[start : start + len(theirs)] == theirs:
                end = b"\r\n" if start == len(lines) or lines[start].endswith(b"\r\n") else b"\n"
                ours = [line.encode() + end for line in self.ours]
                return lines[:start] + ours + lines[start + len(theirs) :]
        return None


class Client:
    """A connection to the daemon that knows lines."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, timeout=ANSWER_TIMEOUT_S)
        self._buffer = b""

    def send(self, data: bytes) -> None:
        """Send bytes; a server that has hung up is no error, as it was none for the recorder."""
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data)

    def line(self) -> bytes:
        """Return the next line with its end, or what there is when the server hangs up."""
        while b"\n" not in self._buffer:
            try:
                data = self._socket.recv(65536)
            except ConnectionError:
                data = b""
            except TimeoutError:
                return b"(nothing came)"
            if not data:
                break
            self._buffer += data
        line, end, self._buffer = self._buffer.partition(b"\n")
        return line + end

    def more_within(self, seconds: float) -> bytes:
        """Return what arrives within a time in which nothing should."""
        self._socket.settimeout(seconds)
        try:
            return self._buffer or self._socket.recv(65536)
        except (TimeoutError, ConnectionError):
            return b""
        finally:
            self._socket.settimeout(ANSWER_TIMEOUT_S)

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


@dataclass
class Exchange:
    """What was sent last, what should come back, and what did."""

    command: bytes
    expected: list[bytes]
    received: list[bytes]


def replay(
    steps: Iterable[Step],
    address: tuple[str, int],
    expect: Callable[[bytes, list[bytes]], tuple[list[bytes], bytes]],
    act: Callable[[str], object],
) -> Iterator[Exchange]:
    """Hold a recorded conversation again; give each exchange with what came back this time.

    :param expect: what to expect now, given the command and its recorded answer, and what to send
        after it.
    :param act: does what a command did on the server's machine.
    """
    waiting = list(steps)
    command = b""
    with contextlib.closing(_Clients(address)) as clients:
        while waiting:
            step = waiting.pop(0)
            if step.kind == "C":
                command = step.data
                clients.current.send(command)
            elif step.kind == "S":
                recorded = [step.data]
                while waiting and waiting[0].kind == "S":
                    recorded.append(waiting.pop(0).data)
                expected, then = expect(command, recorded)
                yield Exchange(command, expected, _answer(clients.current, expected))
                clients.current.send(then)
            elif step.kind == "X":
                act(step.data.decode())
            elif step.data.startswith(b"connection closed by server"):
                yield Exchange(command, [b""], [clients.current.line()])
            elif step.data.startswith(b"no reply within"):
                expected, then = expect(command, [b""])
                answer = _answer(clients.current, expected) if expected != [b""] else []
                yield Exchange(command, expected, answer or [clients.current.more_within(0.2)])
                clients.current.send(then)
            elif step.data.startswith(b"nothing more within"):
                yield Exchange(command, [b""], [clients.current.more_within(0.2)])
            elif clients.obey(step.data):
                command = b""


class _Clients:
    """The connections of a recording, of which one is talking."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._named = {b"": Client(address)}
        self.current = self._named[b""]

    def obey(self, remark: bytes) -> bool:
        """Do what the recorder did; tell whether there is a new connection."""
        if remark.startswith(b"--- new connection"):
            name = remark.removeprefix(b"--- new connection").strip()
            if name in self._named:
                self._named[name].close()
            self.current = self._named[name] = Client(self._address)
            return True
        if remark.startswith(b"--- now on connection"):
            self.current = self._named[remark.removeprefix(b"--- now on connection").strip()]
        elif remark.startswith(b"client closes its sending side"):
            self.current.half_close()
        return False

    def close(self) -> None:
        for client in self._named.values():
            client.close()


def _answer(client: Client, recorded: list[bytes]) -> list[bytes]:
    """Read one reply a recorded reply: as many status lines, lists to their ends."""
    received = []
    for status in _statuses(recorded):
        line = client.line()
        received.append(line)
        if status and line.startswith(b"+OK+"):
            while line not in {b".\r\n", b""}:
                line = client.line()
                received.append(line)
    return received


def _statuses(recorded: list[bytes]) -> Iterator[bool]:
    """Tell for each recorded reply that it is one."""
    in_list = False
    for line in recorded:
        if in_list:
            in_list = line != b".\r\n"
            continue
        # Stray text that the C daemon prints before a reply is no reply.
        if line.startswith((b"+OK", b"-ERR")) or line == b".\r\n":
            in_list = line.startswith(b"+OK+")
            yield True
