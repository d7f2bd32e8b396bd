"""How far something is that takes long: one line on a terminal, nothing elsewhere."""

import sys
import time
from typing import TextIO

_WIDTH = 24
_EVERY_S = 0.2
_MINUTE = 60


class Progress:
    """Draws a bar with the rate and the time left, on standard error if that is a terminal."""

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        self._what = what
        self._stream = stream or sys.stderr
        self._begin = time.monotonic()
        self._next = 0.0
        self._drawn = False

    def show(self, done: int, total: int, items: int, unit: str) -> None:
        """Draw.

        :param done: steps of ``total`` that are done: tell the time left.
        :param items: what people count, in ``unit``: tells the rate.
        """
        now = time.monotonic()
        if not self._stream.isatty() or (now < self._next and done < total):
            return
        self._next = now + _EVERY_S
        self._drawn = True
        passed = now - self._begin
        left = passed * (total - done) / done if done else 0
        filled = _WIDTH * done // total if total else _WIDTH
        bar = "#" * filled + "." * (_WIDTH - filled)
        rate = items / passed if passed else 0
        minutes, seconds = divmod(round(left), _MINUTE)
        line = f"{self._what} [{bar}] {items:,} {unit}, {rate:,.0f}/s, {minutes}:{seconds:02} left"
        self._stream.write(f"\r{line}\x1b[K")
        self._stream.flush()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
