"""A client's stream of bytes: it becomes lines for the conversation, whose answers become bytes.

There is no socket here. `Stream` is what the transports drive, and what other layers of a
connection are, too. Contract: what `take` returns is iterated to its end before the next call;
commands are carried out while it is, so a client that does not read its answers is not asked for
more, and costs no more memory than the answer that waits.
"""

import time
from collections.abc import Iterator
from typing import Protocol

from vpopsql.daemon.conversation import Conversation
from vpopsql.protocol import LineReader

_BATCH = 1 << 16
"""Bytes of answers that are sent together at most; a piece of a long reply may go beyond."""

_BATCH_S = 0.05
"""How long an answer waits at most to be sent together with those to the lines behind it."""


class Stream(Protocol):
    """One layer of a connection: bytes in, bytes out."""

    is_over: bool
    """Whether the connection ends once all has been sent."""

    def start(self) -> Iterator[bytes]:
        """Return what is sent first."""

    def take(self, data: bytes) -> Iterator[bytes]:
        """Take what has arrived, and return what is to be sent; no bytes: no more will come."""

    def waits_until(self) -> float:
        """Return by when more has to arrive, on the monotonic clock; begins to wait for it."""


class Dialogue:
    """The stream of one client in the clear.

    Lines that have arrived are carried out even if their answers cannot be sent any more: clients
    of this protocol hang up without reading the last ones.

    :param idle_timeout_s: how long to wait for a line, and for a good login in all; a client that
        sends byte by byte gets no more time.
    """

    def __init__(self, conversation: Conversation, idle_timeout_s: float) -> None:
        self.is_over = False
        self._conversation = conversation
        self._idle_timeout_s = idle_timeout_s
        self._reader = LineReader()
        self._login_by = self._line_by = time.monotonic() + idle_timeout_s

    def start(self) -> Iterator[bytes]:
        """Return the greeting."""
        return self._conversation.greeting().render()

    def take(self, data: bytes) -> Iterator[bytes]:
        """Carry out the lines that ``data`` completes; return the answers, many in one piece."""
        conversation, reader = self._conversation, self._reader
        if not data:
            self.is_over = True
            yield from conversation.timed_out().render()
            return
        held: list[bytes] = []
        size = 0
        send_by = time.monotonic() + _BATCH_S
        for line in reader.feed(data):
            replies = conversation.receive(line)
            reader.limit = conversation.line_max
            for reply in replies:
                for piece in reply.render():
                    held.append(piece)
                    size += len(piece)
                    if size >= _BATCH:
                        yield b"".join(held)
                        held.clear()
                        size = 0
                if reply.close:
                    self.is_over = True
            if self.is_over:
                break
            if held and time.monotonic() > send_by:
                yield b"".join(held)
                held.clear()
                size = 0
                send_by = time.monotonic() + _BATCH_S
        if held:
            yield b"".join(held)

    def waits_until(self) -> float:
        """Return when the client's time for a line or a login is up."""
        if not self._reader.has_begun:
            self._line_by = time.monotonic() + self._idle_timeout_s
        if self._conversation.is_logged_in:
            return self._line_by
        return min(self._line_by, self._login_by)
