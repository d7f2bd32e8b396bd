"""The page that Prometheus reads: ``GET /metrics`` and nothing else, over HTTP/1.1.

One thread serves one client after the other. A request has `_REQUEST_MAX` bytes and `_PATIENCE_S`
seconds, counted over all of it, so that a slow client holds up the next for no longer. There is no
login and no encryption: the address is for loopback, or a network of one's own.
"""

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

import structlog

from vpopsql.config import Address
from vpopsql.daemon.metrics import Metrics
from vpopsql.db import Database
from vpopsql.errors import CannotListen, VpopsqlError
from vpopsql.exposition import CONTENT_TYPE, gauge, render
from vpopsql.metrics import export_families

PATH = "/metrics"
_REQUEST_MAX = 8192
_PATIENCE_S = 2.0
_BACKLOG = 16
_END = b"\r\n\r\n"
_PLAIN = "text/plain; charset=utf-8"


def page(metrics: Metrics, database: Database) -> str:
    """Return the daemon's counters, and where the database and its exports stand."""
    families = metrics.families()
    is_up = True
    try:
        with database.reader() as session:
            families += export_families(session)
    except VpopsqlError:
        is_up = False
    families.append(gauge("vpopsql_database_up", "Whether the database answers.", is_up))
    return render(families)


def listening(address: Address) -> socket.socket:
    """Return a socket that listens on ``address``. :raises CannotListen: it cannot be had."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listener = socket.create_server(tuple(address), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise CannotListen(f"--metrics: cannot listen on {address}: {error}") from error
    # Clients may have gone before they are accepted.
    listener.setblocking(False)  # noqa: FBT003 - takes no keyword
    return listener


@contextlib.contextmanager
def served(listener: socket.socket, make: Callable[[], str]) -> Iterator[None]:
    """Serve what ``make`` returns while the block runs."""
    # Shutting the listener down would do so in all processes that have it.
    over = os.eventfd(0, os.EFD_CLOEXEC)
    thread = threading.Thread(
        target=_serve, args=(listener, over, make), name="metrics", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        os.eventfd_write(over, 1)
        # A client that is served has no more than its time.
        thread.join(2 * _PATIENCE_S)
        os.close(over)


def _serve(listener: socket.socket, over: int, make: Callable[[], str]) -> None:
    log = structlog.get_logger("vpopsql.metrics")
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(over, select.POLLIN)
    while over not in [ready for ready, _ in poll.poll()]:
        try:
            client, _ = listener.accept()
        except OSError:
            continue
        with client:
            try:
                _answer(client, make)
            except OSError:
                continue
            except Exception:
                log.exception("metrics failed")


def _answer(client: socket.socket, make: Callable[[], str]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    request = b""
    while _END not in request:
        client.settimeout(max(deadline - time.monotonic(), 0.001))
        data = client.recv(_REQUEST_MAX)
        request += data
        if not data or len(request) > _REQUEST_MAX:
            client.sendall(_response("400 Bad Request", "bad request\n"))
            return
    client.settimeout(_PATIENCE_S)
    client.sendall(_respond(request, make))


def _respond(request: bytes, make: Callable[[], str]) -> bytes:
    words = request.partition(b"\r\n")[0].split(b" ")
    if len(words) != len(("method", "target", "version")) or not words[2].startswith(b"HTTP/1."):
        return _response("400 Bad Request", "bad request\n")
    if words[1].partition(b"?")[0] != PATH.encode():
        return _response("404 Not Found", f"only {PATH} is here\n")
    if words[0] != b"GET":
        return _response("405 Method Not Allowed", "only GET is allowed\n", "Allow: GET\r\n")
    return _response("200 OK", make(), kind=CONTENT_TYPE)


def _response(status: str, text: str, headers: str = "", kind: str = _PLAIN) -> bytes:
    body = text.encode()
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"Connection: close\r\n{headers}\r\n"
    ).encode() + body
