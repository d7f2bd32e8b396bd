"""What files had before they got new contents, and when the system takes that back.

It does so when the last one who has such a file open closes it, which takes 0.02 to 0.1 ms, and
more for a file of megabytes. A daemon's client need not wait for that, so the daemon keeps them
open until it has answered.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from vpopsql.tree.openat import open_in

_MOST = 64
"""Files that are kept open; what is replaced beyond goes at once."""

_kept = threading.local()


class Replaced:
    """Files that were replaced, and are still open."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: list[int] = []

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep what this thread replaces in the block."""
        _kept.by = self._open
        try:
            yield
        finally:
            _kept.by = None

    def let_go(self) -> None:
        """Let the system take it all back."""
        while self._open:
            os.close(self._open.pop())

    def __del__(self) -> None:
        """Let go of what nobody can let go of any more."""
        self.let_go()


def keep(name: bytes, parent: int) -> None:
    """Keep a file that is about to be replaced, if anybody wants it kept."""
    kept: list[int] | None = getattr(_kept, "by", None)
    if kept is not None and len(kept) < _MOST:
        with contextlib.suppress(OSError, ValueError):  # it is not there, or is a link
            kept.append(open_in(name, os.O_PATH, parent))
