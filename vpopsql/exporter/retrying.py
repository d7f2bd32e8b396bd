"""Files that could not be written, of a full disk or without rights, are written later.

Nobody has to ask for it: the daemon tries again until it succeeds, seldom when that takes long. A
daemon that ends before looks at its next start what is behind, see `Projector.catch_up`.
"""

import contextlib
import threading
from collections.abc import Iterator

import structlog

from vpopsql.errors import ExportFailed
from vpopsql.exporter.projector import Projector
from vpopsql.touched import Touched

_FIRST_S, _LONGEST_S = 5.0, 300.0


class Retrying:
    """A `Projector`, with what failed done again in the background, by a thread of its own.

    :param first_s: how long to wait before the first attempt, in seconds; each one that fails
        doubles it, up to ``longest_s``.
    """

    def __init__(
        self, files: Projector, first_s: float = _FIRST_S, longest_s: float = _LONGEST_S
    ) -> None:
        self._files = files
        self._first_s = first_s
        self._longest_s = longest_s
        self._changed = threading.Condition()
        self._behind = Touched()
        self._is_over = False
        self._log = structlog.get_logger("vpopsql.daemon")
        self._thread = threading.Thread(target=self._work, name="files behind", daemon=True)
        self._thread.start()

    def follow(self, touched: Touched) -> None:
        """Do what `Projector.follow` does. :raises ExportFailed: it does; it is tried again."""
        try:
            self._files.follow(touched)
        except ExportFailed:
            self._try_later(touched)
            raise

    def stop(self) -> None:
        """Let it be."""
        with self._changed:
            self._is_over = True
            self._changed.notify()
        self._thread.join()

    def _try_later(self, touched: Touched) -> None:
        with self._changed:
            self._behind.add(touched)
            self._changed.notify()

    def _work(self) -> None:
        pause_s = self._first_s
        while behind := self._next(pause_s):
            try:
                self._files.follow_alone(behind)
            except ExportFailed as error:
                self._log.warning("files still behind", error=str(error))
            except Exception:  # noqa: BLE001 - the next attempt may be better
                self._log.exception("files still behind")
            else:
                self._log.info("files caught up")
                pause_s = self._first_s
                continue
            self._try_later(behind)
            pause_s = min(2 * pause_s, self._longest_s)

    def _next(self, pause_s: float) -> Touched | None:
        """Wait until there is something, and then a while; None: it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._behind or self._is_over)
            if self._changed.wait_for(lambda: self._is_over, pause_s):
                return None
            behind, self._behind = self._behind, Touched()
            return behind


@contextlib.contextmanager
def retrying(files: Projector) -> Iterator[Retrying]:
    """Try again in the background while the block runs."""
    made = Retrying(files)
    try:
        yield made
    finally:
        made.stop()
