"""One client on standard input and output, as under ``tcpserver``."""

import os
import select
import sys
import time
from collections.abc import Iterable

from vpopsql.daemon.conversation import Conversation, Peer, Service
from vpopsql.daemon.dialogue import Dialogue

_READ = 1 << 16
"""Bytes asked for at a time."""


def serve_stdio(service: Service) -> None:
    """Serve one client on standard input and output, until it is gone or its time is up."""
    peer = Peer(os.environ.get("TCPREMOTEIP", ""), os.environ.get("TCPLOCALIP", ""))
    idle_timeout_s = service.config.daemon.idle_timeout_s
    dialogue = Dialogue(Conversation(service, peer), idle_timeout_s)
    output = _Output(sys.stdout.fileno(), idle_timeout_s)
    output.send(dialogue.start())
    while not dialogue.is_over:
        left_s = max(dialogue.waits_until() - time.monotonic(), 0.001)
        output.send(dialogue.take(_receive(sys.stdin.fileno(), left_s)))


def _receive(source: int, timeout_s: float) -> bytes:
    """Return some bytes; none at the end, or when nothing came in time."""
    try:
        return os.read(source, _READ) if any(select.select([source], [], [], timeout_s)) else b""
    except OSError:
        return b""


class _Output:
    """Sends until the client is gone, or has not read for too long, and then no more."""

    def __init__(self, target: int, timeout_s: float) -> None:
        self._target = target
        self._timeout_s = timeout_s
        self._is_gone = False

    def send(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            if not self._is_gone:
                self._is_gone = not self._sends(piece)

    def _sends(self, piece: bytes) -> bool:
        rest = memoryview(piece)
        while rest:
            try:
                if not any(select.select([], [self._target], [], self._timeout_s)):
                    return False
                # No more than a pipe surely takes, so that a full one cannot block us for ever.
                rest = rest[os.write(self._target, rest[: select.PIPE_BUF]) :]
            except OSError:
                return False
        return True
