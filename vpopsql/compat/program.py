"""What a command is: its declaration, what it is called with, and what it may print."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vpopsql.compat.options import Given, Option, WrongUsage, usage
from vpopsql.shown import printable

if TYPE_CHECKING:
    from vpopsql.compat.site import Site

DONE = 0
REFUSED = 1
"""What was asked for cannot be: there is no such account, the name is taken, a value is wrong."""
WRONG_USAGE = 2
COULD_NOT_RUN = 3
"""Configuration, database or files are out of order; or saved, but not in all files."""


@dataclass(frozen=True, slots=True)
class Program:
    """A command."""

    name: str
    synopsis: str
    purpose: str
    run: "Callable[[Site, Given], int | None]"
    """Does it; returns the exit status, or nothing for `DONE`."""
    options: tuple[Option, ...] = ()
    words: tuple[int, int] = (1, 1)
    """How many other words it takes at least and at most."""
    check: Callable[[Given], object] = field(default=lambda _: None)
    """Refuses, with `WrongUsage`, what no database is needed to refuse."""

    def require_usage(self, given: Given) -> None:
        """Refuse a command line. :raises WrongUsage: why."""
        least, most = self.words
        if len(given.words) < least:
            raise WrongUsage("something is missing")
        if len(given.words) > most:
            raise WrongUsage(f"too many words: {' '.join(given.words[most:])}")
        self.check(given)

    def usage(self) -> str:
        """Return its usage text."""
        return usage(self.name, self.synopsis, self.purpose, self.options)


def say(text: str) -> None:
    """Print a line: the exact bytes to a file or program, nothing that a terminal obeys to one."""
    if sys.stdout.isatty():
        sys.stdout.write(f"{printable(text)}\n")
        return
    # What was printed as text before stays before it.
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape") + b"\n")


def warn(name: str, text: str) -> None:
    """Print to standard error what is no answer."""
    for line in text.split("\n"):
        sys.stderr.write(f"{name}: {printable(line)}\n")
