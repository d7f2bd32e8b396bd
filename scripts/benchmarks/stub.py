"""A server that only answers: against it, the driver shows what it can do by itself.

Some processes share one listening socket, each serving one client at a time with ready-made
replies. It is Python too, so the true limit of the driver is higher than what is seen here.
"""

import contextlib
import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator, Mapping

_FORK = multiprocessing.get_context("fork")


@contextlib.contextmanager
def stub(replies: Mapping[bytes, bytes]) -> Iterator[int]:
    """Give the port of a server that answers verbs with ``replies``, any other with +OK."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        processes = [
            _FORK.Process(target=_serve, args=(listener, replies), daemon=True)
            for _ in range(os.cpu_count() or 1)
        ]
        for process in processes:
            process.start()
        try:
            yield listener.getsockname()[1]
        finally:
            for process in processes:
                process.kill()
                process.join()


def _serve(listener: socket.socket, replies: Mapping[bytes, bytes]) -> None:
    # Only the parent ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(b"+OK \r\n")
            # The driver sends one whole line and waits, so a line comes in one piece.
            while line := connection.recv(8192):
                verb = line.split(None, 1)[0]
                connection.sendall(replies.get(verb, b"+OK \r\n"))
                if verb == b"quit":
                    break
