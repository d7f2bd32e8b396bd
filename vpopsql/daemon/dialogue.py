"""A client's stream of bytes: it becomes lines for the conversation, whose answers become bytes.

There is no socket here. `Stream` is what the transports drive, and what other layers of a
connection are, too. Contract: what `take` returns is iterated to its end before the next call;
commands are carried out while it is, so a client that does not read its answers is not asked for
more, and costs no more memory than the answer that waits.
"""

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from vpopsql.daemon.commands import LOGIN_VERBS
from vpopsql.daemon.conversation import Conversation
from vpopsql.protocol import LineReader, Overlong, Reply, decode, failure, ok, parse_command

CLEAR_TEXT_LOGIN = failure("3.115", "Logins are not taken here without TLS")

_STLS = "stls stls - go on encrypted, as TLS"

_BATCH = 1 << 16
"""Bytes of answers that are sent together at most; a piece of a long reply may go beyond."""

_BATCH_S = 0.05
"""How long an answer waits at most to be sent together with those to the lines behind it."""


class Stream(Protocol):
    """One layer of a connection: bytes in, bytes out."""

    @property
    def is_over(self) -> bool:
        """Tell whether the connection ends once all has been sent."""

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
    :param admit: told who has just logged in; returns a refusal, if that one has to go.
    :param offers_tls: whether the client may ask for TLS before it logs in.
    :param takes_logins: whether the client may log in in the clear.
    """

    def __init__(
        self,
        conversation: Conversation,
        idle_timeout_s: float,
        admit: Callable[[str], Reply | None] = lambda _: None,
        *,
        offers_tls: bool = False,
        takes_logins: bool = True,
    ) -> None:
        self.is_over = False
        self.wants_tls = False
        """Whether all that comes from now on is TLS."""
        self._offers_tls = offers_tls
        self._takes_logins = takes_logins
        self._admit = admit
        self._conversation = conversation
        self._idle_timeout_s = idle_timeout_s
        self._reader = LineReader()
        self._login_by = self._line_by = time.monotonic() + idle_timeout_s

    def start(self) -> Iterator[bytes]:
        """Return the greeting."""
        return self._conversation.greeting().render()

    def take(self, data: bytes) -> Iterator[bytes]:
        """Carry out the lines that ``data`` completes; return the answers, many in one piece."""
        conversation = self._conversation
        if not data:
            self.is_over = True
            yield from conversation.timed_out().render()
            return
        try:
            yield from self._carry_out(data)
        finally:
            conversation.after_answers()

    def _carry_out(self, data: bytes) -> Iterator[bytes]:
        held: list[bytes] = []
        size = 0
        send_by = time.monotonic() + _BATCH_S
        for line in self._reader.feed(data):
            for reply in self._answer(line):
                for piece in reply.render():
                    held.append(piece)
                    size += len(piece)
                    if size >= _BATCH:
                        yield b"".join(held)
                        held.clear()
                        size = 0
                if reply.close:
                    self.is_over = True
            if self.is_over or self.wants_tls:
                # What came behind it was said by anybody on the way.
                break
            if held and time.monotonic() > send_by:
                yield b"".join(held)
                held.clear()
                size = 0
                send_by = time.monotonic() + _BATCH_S
        if held:
            yield b"".join(held)

    def encrypted(self) -> None:
        """Go on as said within TLS."""
        self.wants_tls = self._offers_tls = False
        self._takes_logins = True
        self._reader = LineReader()

    def _answer(self, line: bytes | Overlong) -> list[Reply]:
        conversation = self._conversation
        if conversation.is_logged_in:
            replies = conversation.receive(line)
        else:
            replies = self._answer_stranger(line)
        self._reader.limit = conversation.line_max
        return replies

    def _answer_stranger(self, line: bytes | Overlong) -> list[Reply]:
        verb = ""
        if not isinstance(line, Overlong) and (self._offers_tls or not self._takes_logins):
            verb = parse_command(decode(line))[0]
        if verb == "stls" and self._offers_tls:
            self.wants_tls = True
            return [ok()]
        if verb in LOGIN_VERBS and not self._takes_logins:
            # The budget of lines goes on as if it had been refused there.
            return [CLEAR_TEXT_LOGIN, *self._conversation.receive(b"")]
        replies = self._conversation.receive(line)
        if verb == "help" and self._offers_tls and replies[0].lines:
            lines = list(replies[0].lines)
            lines.insert(lines.index("", 1), _STLS)
            replies[0].lines = lines
        if self._conversation.is_logged_in and (
            refusal := self._admit(self._conversation.account)
        ):
            return [refusal]
        return replies

    def waits_until(self) -> float:
        """Return when the client's time for a line or a login is up."""
        if not self._reader.has_begun:
            self._line_by = time.monotonic() + self._idle_timeout_s
        if self._conversation.is_logged_in:
            return self._line_by
        return min(self._line_by, self._login_by)
