"""A client of the vpopmaild protocol that costs as little as Python can."""

import socket
from types import TracebackType
from typing import Self

from scripts.benchmarks import BenchFailed

_TIMEOUT_S = 120
_READ = 1 << 18


class Client:
    """One connection, blocking, without Nagle's delay; greeted when it is made."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._receive("the greeting")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def ask(self, line: bytes) -> bytes:
        """Send a command line, without its end, and return the whole reply.

        :raises BenchFailed: it is refused, or the connection ends.
        """
        self._socket.sendall(line + b"\r\n")
        return self._receive(line.split(b" ")[0].decode())

    def change(self, line: bytes, *body: bytes) -> bytes:
        """Send a command whose lines follow once it was answered, and return the last reply.

        :raises BenchFailed: it is refused, or the connection ends.
        """
        self.ask(line)
        self._socket.sendall(b"".join(each + b"\r\n" for each in (*body, b".")))
        return self._receive(line.split(b" ")[0].decode())

    def _receive(self, what: str) -> bytes:
        reply = self._socket.recv(_READ)
        if not reply.startswith(b"+OK"):
            raise BenchFailed(f"{what} was answered with {reply[:200]!r}")
        end = b"\r\n.\r\n" if reply.startswith(b"+OK+") else b"\r\n"
        if reply.endswith(end):
            return reply
        buffer = bytearray(reply)
        while not buffer.endswith(end):
            piece = self._socket.recv(_READ)
            if not piece:
                raise BenchFailed(f"the connection ended within the reply to {what}")
            buffer += piece
        return bytes(buffer)
