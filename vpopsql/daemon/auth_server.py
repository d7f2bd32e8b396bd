"""The UNIX socket on which checkpassword programs ask: one question, one answer a connection."""

import contextlib
import os
import socket
import socketserver
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import structlog

from vpopsql.checkpassword import QUESTION_MAX
from vpopsql.daemon.authentication import Authenticator
from vpopsql.errors import CannotListen

_BACKLOG = 128

_PATIENCE_S = 10.0
"""How long a question may take to come, or an answer to go."""


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        connection = cast("socket.socket", self.request)
        authenticator = cast("_Server", self.server).authenticator
        try:
            answer, granted = authenticator.answer(_read_question(connection))
            connection.sendall(answer)
            # Whoever asks need not wait for what follows.
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            # He has gone, or says nothing: he does not log in.
            return
        if granted:
            authenticator.remember(granted)


def _read_question(connection: socket.socket) -> bytes:
    """Return all that is said, or a little more than a question may be.

    :raises OSError: it is not said in time.
    """
    said = b""
    deadline = time.monotonic() + _PATIENCE_S
    while len(said) <= QUESTION_MAX:
        # Whoever sends byte by byte gets no more time.
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        data = connection.recv(QUESTION_MAX)
        if not data:
            break
        said += data
    connection.settimeout(_PATIENCE_S)
    return said


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, authenticator: Authenticator, most: int) -> None:
        self.authenticator = authenticator
        self._log = structlog.get_logger("vpopsql.logins")
        self._room = threading.BoundedSemaphore(most)
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener

    def process_request(self, request: object, client_address: object) -> None:
        """Start a thread for a question, once there is room; the kernel keeps others waiting."""
        self._room.acquire()
        super().process_request(cast("socket.socket", request), client_address)

    def shutdown_request(self, request: object) -> None:
        """Close a connection, and make room."""
        super().shutdown_request(cast("socket.socket", request))
        self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log what went wrong with one question; the others go on."""
        del request, client_address
        self._log.exception("internal error")


@contextlib.contextmanager
def listening(path: str, mode: int) -> Iterator[socket.socket]:
    """Give a socket that listens at ``path``, and take it away at the end.

    :param mode: its permission bits.
    :raises CannotListen: the socket cannot be made, or another daemon answers there.
    """
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX)
    # For those who may use it from the first moment on: nobody else makes files yet.
    before = os.umask(0o777 & ~mode)
    try:
        listener.bind(path)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        why = error.strerror or error
        raise CannotListen(f"daemon.auth_socket: cannot make {path}: {why}") from error
    finally:
        os.umask(before)
    # Another worker may be quicker to accept.
    listener.setblocking(False)  # noqa: FBT003 - takes no keyword
    made = Path(path).lstat()
    try:
        yield listener
    finally:
        listener.close()
        with contextlib.suppress(OSError):
            # Another daemon may have made its own there by now.
            if os.path.samestat(Path(path).lstat(), made):
                Path(path).unlink()


@contextlib.contextmanager
def answering(listener: socket.socket, authenticator: Authenticator, most: int) -> Iterator[None]:
    """Answer questions that come to ``listener`` meanwhile.

    :param most: how many are answered at once.
    """
    server = _Server(listener, authenticator, most)
    thread = threading.Thread(
        target=server.serve_forever, args=(0.1,), name="authentication", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        server.shutdown()


def _remove_stale(path: str) -> None:
    """Remove the socket of a daemon that was killed.

    :raises CannotListen: a daemon listens there, or it is no socket.
    """
    try:
        is_socket = stat.S_ISSOCK(Path(path).lstat().st_mode)
    except OSError:
        return
    if not is_socket:
        raise CannotListen(f"daemon.auth_socket: {path} is there, and is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.settimeout(_PATIENCE_S)
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()
            return
        except OSError as error:
            why = error.strerror or error
            raise CannotListen(f"daemon.auth_socket: {path}: {why}") from error
    raise CannotListen(f"daemon.auth_socket: another daemon answers on {path}")
