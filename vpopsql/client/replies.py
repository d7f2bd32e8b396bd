"""Replies of a daemon, cut out of a byte stream; there is no socket here.

How the bytes of the stream are cut into pieces makes no difference. The C daemon's stray text
before a status line, and its list without one, are understood as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from vpopsql.client.failures import ProtocolError, Refused
from vpopsql.protocol import END, OK_LIST, LineReader, Overlong, decode

LINE_MAX = 1 << 30
"""Bytes of a line; a file's may be as long as the daemon's ``max_file_bytes``, 1 GiB at most."""

_STRAY_MAX = 1000
"""Lines before a status line; a warning for each option of set_limits is far less."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a daemon answered to one command."""

    status: str
    """``+OK ``, ``+OK+`` or ``-ERR CODE TEXT``; empty for the C daemon's list without status."""
    lines: tuple[bytes, ...] | None = field(repr=False)
    """The lines of a list, raw and without their LF; None: there is none."""
    before: tuple[str, ...] = field(default=(), repr=False)
    """What came before the status: warnings, and what the C daemon lets slip."""

    @property
    def is_good(self) -> bool:
        """Tell whether the command was carried out."""
        return not self.status.startswith("-ERR")

    def require_good(self) -> None:
        """Raise unless `is_good`. :raises Refused: with code and text."""
        if not self.is_good:
            _, code, text = (f"{self.status}  ").split(" ", 2)
            raise Refused(code, text.strip())

    def listed(self) -> tuple[bytes, ...]:
        """Return the lines of the list, raw.

        :raises Refused: the daemon said no.
        :raises ProtocolError: there is no list.
        """
        self.require_good()
        if self.lines is None:
            raise ProtocolError("the daemon sent one line where a list was due")
        return self.lines

    def texts(self) -> list[str]:
        """Return the lines of the list, as `listed`, as text."""
        return [decode(line) for line in self.listed()]

    def plain(self) -> None:
        """Check for success without a list.

        :raises Refused: the daemon said no.
        :raises ProtocolError: there is a list.
        """
        self.require_good()
        if self.lines is not None:
            raise ProtocolError("the daemon sent a list where one line was due")


class ReplyReader:
    """Makes replies of the bytes that come."""

    def __init__(self) -> None:
        self._lines = LineReader(LINE_MAX)
        self._before: list[str] = []
        self._list: list[bytes] | None = None

    @property
    def has_begun(self) -> bool:
        """Tell whether a reply has begun that is not whole yet."""
        return self._lines.has_begun or self._list is not None or bool(self._before)

    def feed(self, data: bytes) -> Iterator[Reply]:
        """Give every reply that ``data`` completes.

        :raises ProtocolError: this is no such protocol.
        """
        for line in self._lines.feed(data):
            if isinstance(line, Overlong):
                raise ProtocolError("the daemon sent a line that is too long")
            if reply := self._take(line):
                yield reply

    def _take(self, line: bytes) -> Reply | None:
        is_end = decode(line) == END
        if self._list is not None:
            if not is_end:
                self._list.append(line)
                return None
            return self._finish(OK_LIST, tuple(self._list))
        text = decode(line)
        if text == OK_LIST:
            self._list = []
            return None
        if is_end:
            # Quirk: the C daemon's list_alias of an address without aliases.
            return self._finish("", ())
        if text.startswith(("+OK", "-ERR")):
            return self._finish(text, None)
        self._before.append(text)
        if len(self._before) > _STRAY_MAX:
            raise ProtocolError("this is no daemon of the vpopmaild protocol")
        return None

    def _finish(self, status: str, lines: tuple[bytes, ...] | None) -> Reply:
        reply = Reply(status, lines, tuple(self._before))
        self._before, self._list = [], None
        return reply
