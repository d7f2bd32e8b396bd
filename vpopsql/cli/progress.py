"""How far something is that takes long: one line on a terminal, nothing elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

_WIDTH = 24
_EVERY_S = 0.2
_MINUTE = 60


class Progress:
    """Draws a bar with the rate and the time left, on standard error if that is a terminal.

    One after the other, several things may be shown; each has a rate and a time of its own.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._what = ""
        self._begin = self._seen = time.monotonic()
        self._next = 0.0
        self._drawn = False

    def show(self, what: str, done: int, total: int, items: int, unit: str) -> None:
        """Draw.

        :param what: is being done; it began when the thing before it was shown last.
        :param done: steps of ``total`` that are done: tell the time left.
        :param items: what people count, in ``unit``: tells the rate.
        """
        if not self._stream.isatty():
            return
        now = time.monotonic()
        if what != self._what:
            self._what, self._begin, self._next = what, self._seen, 0.0
        self._seen = now
        if now < self._next:
            return
        self._next = now + _EVERY_S
        self._drawn = True
        passed = now - self._begin
        left = passed * (total - done) / done if done else 0
        filled = _WIDTH * done // total if total else _WIDTH
        bar = "#" * filled + "." * (_WIDTH - filled)
        rate = items / passed if passed else 0
        minutes, seconds = divmod(round(left), _MINUTE)
        line = f"{what} [{bar}] {items:,} {unit}, {rate:,.0f}/s, {minutes}:{seconds:02} left"
        self._stream.write(f"\r{line}\x1b[K")
        self._stream.flush()

    def of(self, what: str, unit: str = "mailboxes") -> Callable[[int, int, int], None]:
        """Return what shows one thing: steps done, steps in all, and what people count."""
        return lambda done, total, items: self.show(what, done, total, items, unit)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
