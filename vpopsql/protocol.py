"""The grammar of the vpopmaild protocol, without sockets and without meaning.

Contract: text is ``str``, decoded as UTF-8 with ``surrogateescape``, so that every byte a client
sends comes back unchanged. How the bytes of a stream are cut into pieces makes no difference.
Lines end with LF; carriage returns around it are dropped, because clients send CR LF, LF or LF CR.

Source: vpopmaild 5.6.13 on the wire.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

COMMAND_LINE_MAX = 8192
"""Bytes of a command line without its end; the C daemon cuts lines at 1,023 and runs the rest."""

_CHUNK = 1 << 16
"""Bytes of a long reply that are handed over at a time."""


_START = 64
"""Bytes of a line that is too long that are kept: enough for a verb."""


@dataclass(frozen=True, slots=True)
class Overlong:
    """What `LineReader` gives instead of a line that was too long."""

    start: bytes
    """Its first bytes, as many as a verb may have; the rest is dropped."""


class LineReader:
    """Cut a byte stream into lines, with bounded memory.

    :param limit: bytes of a line, without its LF, that are kept; a longer one becomes `Overlong`.
    """

    def __init__(self, limit: int = COMMAND_LINE_MAX) -> None:
        self.limit = limit
        self._parts = bytearray()
        self._dropping = False

    @property
    def has_begun(self) -> bool:
        """Tell whether there is a line without its end so far."""
        return bool(self._parts) or self._dropping

    def feed(self, data: bytes) -> Iterator[bytes | Overlong]:
        """Give every line that ``data`` completes, raw: without LF, carriage returns kept."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            yield self._finish(data[start:end])
            start = end + 1
        self._take(data[start:])

    def _take(self, piece: bytes) -> None:
        if self._dropping:
            return
        self._parts += piece
        if len(self._parts) > self.limit:
            self._dropping = True
            # No more than is there for sure, however the bytes were cut.
            del self._parts[min(_START, self.limit) :]

    def _finish(self, tail: bytes) -> bytes | Overlong:
        self._take(tail)
        line = bytes(self._parts)
        self._parts.clear()
        if self._dropping:
            self._dropping = False
            return Overlong(line)
        return line


def decode(raw: bytes) -> str:
    """Return the text of a raw line, without the carriage returns around it."""
    return raw.strip(b"\r").decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """Return the bytes that `decode` was given."""
    return text.encode("utf-8", "surrogateescape")


@dataclass(slots=True)
class Words:
    """The parameters of a command, taken one after the other."""

    text: str

    def next(self) -> str:
        """Take and return the next word; empty when there is none."""
        word, _, self.text = self.text.lstrip(" \t").partition(" ")
        return word

    def copy(self) -> "Words":
        """Return the same parameters, to be taken once more."""
        return Words(self.text)

    def rest(self) -> str:
        """Return all that is left, blanks included: one blank ended the word before."""
        return self.text

    def numbers(self) -> tuple[int, int]:
        """Take two words as ``page per_page``; (0, 0), that is everything, unless both are > 0.

        Source: vpopmaild, which takes words that are no numbers as 0.
        """
        page, per_page = self.number(), self.number()
        return (page, per_page) if page > 0 and per_page > 0 else (0, 0)

    def number(self) -> int:
        """Take a word as a number; 0 when it is none."""
        match = _NUMBER.match(self.next())
        return int(match[0]) if match else 0


_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")


def parse_command(line: str) -> tuple[str, Words]:
    """Return the verb in lower case and its parameters."""
    verb, _, rest = line.lstrip(" \t").partition(" ")
    return verb.lower(), Words(rest)


HTTP_VERBS = frozenset({"get", "post", "put", "head", "options", "connect", "trace", "delete"})
"""First words that only a browser sends: somebody makes it talk to us."""


@dataclass(slots=True)
class Reply:
    """What a command answers: a status line, for lists also lines and a final dot."""

    status: str
    lines: Iterable[str] | None = None
    """None: no list follows; line texts are without their ends."""
    ends: str = "\r\n"
    """What ends a line of the list."""
    close: bool = field(default=False, kw_only=True)
    """Whether the server hangs up after it."""
    warnings: tuple[str, ...] = field(default=(), kw_only=True)
    """Lines that are sent before the status line."""

    def render(self) -> Iterator[bytes]:
        """Give the bytes to send, in pieces of bounded size and never cut inside a line."""
        head = "".join(f"{line}\r\n" for line in (*self.warnings, self.status))
        if self.lines is None:
            yield encode(head)
            return
        buffer = [head]
        size = 0
        for line in self.lines:
            # A value with a line end in it could pose as a line of its own.
            buffer.append((line if "\n" not in line else line.replace("\n", " ")) + self.ends)
            size += len(line)
            if size >= _CHUNK:
                yield encode("".join(buffer))
                buffer.clear()
                size = 0
        buffer.append(".\r\n")
        yield encode("".join(buffer))


END = "."
"""The line that ends a list, the options of a command, or a file."""

OK = "+OK "
OK_LIST = "+OK+"


def ok(*, close: bool = False) -> Reply:
    """Return plain success."""
    return Reply(OK, close=close)


def listing(lines: Iterable[str], *, ends: str = "\r\n") -> Reply:
    """Return success with a list."""
    return Reply(OK_LIST, lines, ends)


def failure(code: str, text: str, *, close: bool = False) -> Reply:
    """Return ``-ERR code text``."""
    return Reply(f"-ERR {code} {text}", close=close)


_DOTS = re.compile(r"\.+\r?\Z")


def stuff(line: str) -> str:
    """Return a line of a file as read_file sends it: a line of dots only gains one."""
    return "." + line if _DOTS.match(line) else line


def unstuff(line: str) -> str:
    """Return a line of write_file's body as it goes into the file; a single dot ends the body."""
    return line[1:] if line.startswith("..") and _DOTS.match(line) else line
