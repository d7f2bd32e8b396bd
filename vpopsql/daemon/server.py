"""The transports: TCP with a thread a connection, and standard input for tcpserver and people.

A connection costs one thread and a bounded buffer; a slow or silent client holds up nobody else.
"""

import contextlib
import os
import select
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterable
from typing import Protocol, cast

import structlog

from vpopsql import systemd
from vpopsql.daemon.conversation import (
    TOO_MANY_CONNECTIONS,
    Conversation,
    Peer,
    Service,
)
from vpopsql.errors import CannotListen
from vpopsql.protocol import LineReader, Reply

_READ = 1 << 16
"""Bytes asked for at a time."""


class Channel(Protocol):
    """A two-way stream of bytes."""

    def receive(self, timeout_s: float) -> bytes:
        """Return some bytes; none at the end. :raises TimeoutError: nothing came in time."""

    def send(self, data: bytes) -> None:
        """Send all of ``data``. :raises OSError: the other side is gone, or reads too slowly."""


def converse(conversation: Conversation, channel: Channel, idle_timeout_s: float) -> None:
    """Hold a whole conversation.

    Lines that have arrived are carried out even if their answers cannot be sent any more: clients
    of this protocol hang up without reading the last ones.

    :param idle_timeout_s: how long to wait for a line, and for a good login in all; a client that
        sends byte by byte gets no more time.
    """
    sender = _Sender(channel)
    reader = LineReader()
    sender.send([conversation.greeting()])
    login_by = line_by = time.monotonic() + idle_timeout_s
    while True:
        if not reader.has_begun:
            line_by = time.monotonic() + idle_timeout_s
        deadline = line_by if conversation.is_logged_in else min(line_by, login_by)
        try:
            data = channel.receive(max(deadline - time.monotonic(), 0.001))
        except OSError:
            data = b""
        if not data:
            sender.send([conversation.timed_out()])
            return
        for line in reader.feed(data):
            replies = conversation.receive(line)
            reader.limit = conversation.line_max
            sender.send(replies)
            if any(reply.close for reply in replies):
                return


class _Sender:
    """Sends replies until the client is gone, and then no more."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._gone = False

    def send(self, replies: Iterable[Reply]) -> None:
        for reply in replies:
            for piece in reply.render():
                if self._gone:
                    return
                try:
                    self._channel.send(piece)
                except OSError:
                    self._gone = True


class _SocketChannel:
    def __init__(self, connection: socket.socket, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s

    def receive(self, timeout_s: float) -> bytes:
        self._connection.settimeout(timeout_s)
        return self._connection.recv(_READ)

    def send(self, data: bytes) -> None:
        self._connection.settimeout(self._timeout_s)
        self._connection.sendall(data)


class _FileChannel:
    """Two file descriptors, such as standard input and output."""

    def __init__(self, source: int, target: int, timeout_s: float) -> None:
        self._source = source
        self._target = target
        self._timeout_s = timeout_s

    def receive(self, timeout_s: float) -> bytes:
        self._wait([self._source], [], timeout_s)
        return os.read(self._source, _READ)

    def send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self._wait([], [self._target], self._timeout_s)
            # No more than a pipe surely takes, so that a full one cannot block us for ever.
            rest = rest[os.write(self._target, rest[: select.PIPE_BUF]) :]

    def _wait(self, reading: list[int], writing: list[int], timeout_s: float) -> None:
        if not any(select.select(reading, writing, [], timeout_s)):
            raise TimeoutError


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server = cast("Server", self.server)
        connection = cast("socket.socket", self.request)
        idle_timeout_s = server.service.config.daemon.idle_timeout_s
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Peer(self.client_address[0], connection.getsockname()[0])
        channel = _SocketChannel(connection, idle_timeout_s)
        converse(Conversation(server.service, peer), channel, idle_timeout_s)


class Server(socketserver.ThreadingTCPServer):
    """The TCP daemon: serves until `stop`, which lets running commands finish.

    :param listener: what to accept connections from; None: from the configured address.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, service: Service, listener: socket.socket | None = None) -> None:
        self.service = service
        self._log = structlog.get_logger("vpopsql.daemon")
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        if listener:
            super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
            self.socket.close()
            self.socket = listener
            self.server_address = listener.getsockname()
            return
        address = service.config.daemon.listen
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        try:
            super().__init__((address.host, address.port), _Handler)
        except OSError as error:
            where = f"{address.host}:{address.port}"
            raise CannotListen(f"daemon.listen: cannot listen on {where}: {error}") from error

    @property
    def port(self) -> int:
        """Return the port that is listened on, also when the system chose it."""
        return int(self.server_address[1])

    def process_request(self, request: object, client_address: object) -> None:
        """Start a thread for a connection, or refuse it when there are too many."""
        connection = cast("socket.socket", request)
        with self._changed:
            full = len(self._open) >= self.service.config.daemon.max_connections
            if not full:
                self._open.add(connection)
        self.service.metrics.opened(is_taken=not full)
        if full:
            self._log.warning("too many connections", peer=str(client_address))
            self._refuse(connection)
            return
        super().process_request(connection, client_address)

    def _refuse(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.settimeout(0)
            connection.send(b"".join(TOO_MANY_CONNECTIONS.render()))
        super().shutdown_request(connection)

    def shutdown_request(self, request: object) -> None:
        """Close a connection, and count it out."""
        super().shutdown_request(cast("socket.socket", request))
        with self._changed:
            self._open.discard(cast("socket.socket", request))
            self._changed.notify_all()
        self.service.metrics.closed()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log what a conversation could not handle itself; the others go on."""
        del request
        self._log.exception("connection broke", peer=str(client_address))

    def stop(self) -> None:
        """Stop accepting, let every running command finish, then close what is left."""
        self.shutdown()
        self.server_close()
        with self._changed:
            for connection in self._open:
                # What has arrived is still read; then the conversation sees the end.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)
            deadline = time.monotonic() + self.service.config.daemon.drain_timeout_s
            while self._open and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            if self._open:
                self._log.warning("connections cut off", count=len(self._open))


def serve_tcp(service: Service, listener: socket.socket | None = None) -> None:
    """Serve until SIGTERM or SIGINT, on ``listener`` or else on the configured address."""
    log = structlog.get_logger("vpopsql.daemon")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server = Server(service, listener)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="accept", daemon=True)
    thread.start()
    log.info("listening", address=server.server_address[0], port=server.port)
    systemd.notify("READY=1")
    stop.wait()
    log.info("stopping")
    systemd.notify("STOPPING=1")
    server.stop()
    log.info("stopped")


def serve_stdio(service: Service) -> None:
    """Serve one client on standard input and output, as under ``tcpserver``."""
    peer = Peer(os.environ.get("TCPREMOTEIP", ""), os.environ.get("TCPLOCALIP", ""))
    idle_timeout_s = service.config.daemon.idle_timeout_s
    channel = _FileChannel(sys.stdin.fileno(), sys.stdout.fileno(), idle_timeout_s)
    converse(Conversation(service, peer), channel, idle_timeout_s)
