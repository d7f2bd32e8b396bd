"""Connections to a database that does not answer are cut, so that nobody waits for ever.

A server that is stopped, or behind a network that has gone, keeps its end open and says nothing,
and the driver waits for it without limit. Only a shutdown of the socket ends that.
"""

import contextlib
import os
import socket
import threading
import time
from typing import Any


class Watchdog:
    """Cuts connections that are in use for too long.

    :param patience_s: how long that is.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._deadlines: dict[Any, float] = {}
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="database watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()

    def began(self, connection: Any) -> None:  # noqa: ANN401 - a DBAPI connection
        """Note that a connection is in use from now on."""
        self._deadlines[connection] = time.monotonic() + self._patience_s

    def ended(self, connection: Any) -> None:  # noqa: ANN401
        """Note that it is not in use any more."""
        self._deadlines.pop(connection, None)

    def _watch(self) -> None:
        while not self._stopped.wait(self._patience_s / 10):
            now = time.monotonic()
            for connection, deadline in list(self._deadlines.items()):
                if deadline < now and self._deadlines.pop(connection, 0):
                    self._cut(connection)

    @staticmethod
    def _cut(connection: Any) -> None:  # noqa: ANN401
        # The descriptor stays the driver's; only a copy of it is closed here. Whatever fails, the
        # connection has been closed meanwhile, which is as good.
        with (
            contextlib.suppress(Exception),
            socket.socket(fileno=os.dup(connection.fileno())) as same,
        ):
            same.shutdown(socket.SHUT_RDWR)
