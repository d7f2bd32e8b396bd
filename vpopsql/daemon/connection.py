"""One accepted connection: moves bytes between a socket that never blocks and a `Stream`."""

import contextlib
import select
import socket
import time
from collections.abc import Iterator

from vpopsql.daemon.dialogue import Stream

READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT
OVER = 0

_READ = 1 << 16
"""Bytes asked for at a time."""


class Connection:
    """A client's socket and what is said on it; in the hands of one thread at a time.

    :param patience_s: how long a piece of an answer may take to be sent, in seconds.
    :param row: its row in the roster.
    """

    __slots__ = (
        "_answers",
        "_is_gone",
        "_patience_s",
        "_stream",
        "_unsent",
        "deadline",
        "is_ending",
        "row",
        "socket",
        "waits_for",
    )

    def __init__(self, sock: socket.socket, stream: Stream, patience_s: float, row: int) -> None:
        self.socket = sock
        self.row = row
        self.deadline = 0.0
        """When it has waited long enough, on the monotonic clock."""
        self.waits_for = OVER
        """What it waits for: `READABLE`, `WRITABLE`, or nothing any more."""
        self._stream = stream
        self._patience_s = patience_s
        self._answers: Iterator[bytes] = stream.start()
        self._unsent: memoryview | None = None
        self.is_ending = False
        """Whether nothing is waited for any more."""
        self._is_gone = False
        """Whether nothing can be sent any more."""

    def begin(self) -> int:
        """Say what is said first, and read nothing yet; return what to wait for."""
        self.waits_for = self._proceed(may_read=False)
        return self.waits_for

    def proceed(self) -> int:
        """Go on as far as that goes without waiting; return what to wait for."""
        self.waits_for = self._proceed(may_read=True)
        return self.waits_for

    def hurry(self) -> None:
        """Let it end when what has arrived by now is carried out, and the answers are sent."""
        self.is_ending = True

    def give_up(self) -> None:
        """Let it end: its time is up. A client that does not read is told no more."""
        self.is_ending = True
        if self.waits_for == WRITABLE:
            self._is_gone = True
            with contextlib.suppress(OSError):
                # Makes it ready.
                self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            # Other processes may still hold it for a moment.
            self.socket.shutdown(socket.SHUT_WR)
        self.socket.close()

    def _proceed(self, *, may_read: bool) -> int:
        if not self._send_rest():
            return WRITABLE
        may_wait = not may_read
        while True:
            for piece in self._answers:
                self._unsent = memoryview(piece)
                if not self._send_rest():
                    self.deadline = time.monotonic() + self._patience_s
                    return WRITABLE
            if self._stream.is_over:
                return OVER
            if may_wait and not self.is_ending:
                self.deadline = self._stream.waits_until()
                return READABLE
            try:
                data = self.socket.recv(_READ)
                # Others first: what else has come is read when it is this one's turn again.
                may_wait = True
            except BlockingIOError:
                if not self.is_ending:
                    self.deadline = self._stream.waits_until()
                    return READABLE
                data = b""
            except OSError:
                data = b""
            self._answers = self._stream.take(data)

    def _send_rest(self) -> bool:
        """Send what waits to be sent; return whether that was all."""
        if not self._unsent:
            return True
        try:
            sent = 0 if self._is_gone else self.socket.send(self._unsent)
        except BlockingIOError:
            return False
        except OSError:
            self._is_gone = True
        if self._is_gone or sent == len(self._unsent):
            self._unsent = None
            return True
        self._unsent = self._unsent[sent:]
        return False
