"""Changing a file of the whole site where a change is, instead of rendering it anew.

The files are sorted, so the place of a name is found in a few steps, and what is copied is copied
as bytes; nothing but the names concerned is asked of the database. Pure: the old content in, the
new one out, the same as `render` would give for the same rows.

That holds only while the old content is what `render` gave for the rows before. What is looked at
on the way is checked, and the number of names in the end; None is returned when something is not
as it should be, and the file has to be rendered. What somebody else changed elsewhere in the file
stays until the next export.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from vpopsql import names
from vpopsql.exporter.snapshot import Foreign
from vpopsql.qmail.cdb import Splice
from vpopsql.qmail.lines import decode, encode


class Grammar(Enum):
    """How a line of ours has its name."""

    HOSTS = "hosts"
    """rcpthosts, morercpthosts: the line is the name."""
    VIRTUALDOMAINS = "virtualdomains"
    """``name:name``"""
    ASSIGN = "assign"
    """``+name-:…``, exact lines ``=name-…`` behind it, and a last line ``.``"""


Changes = Mapping[str, str | None]
"""The lines that names shall have, joined by newlines; None: none."""


@dataclass(frozen=True, slots=True)
class Patched:
    """A file that was changed."""

    old: bytes
    new: bytes
    splices: Sequence[Splice]
    """What leads from one to the other."""


def patch(
    old: bytes, changes: Changes, foreign: Sequence[Foreign], grammar: Grammar, number: int
) -> Patched | None:
    """Return what ``old`` becomes by ``changes``; None if it is not as it should be.

    :param foreign: the lines of others in the file, in its order.
    :param number: how many names the file has in the end.
    """
    end = b".\n" if grammar is Grammar.ASSIGN else b""
    if not old.endswith(end) or (old != end and not old.removesuffix(end).endswith(b"\n")):
        return None
    body = _Body(old, len(old) - len(end), foreign, grammar)
    try:
        found = [body.edit(name, changes[name]) for name in sorted(changes, key=names.sort_key)]
    except _UnexpectedError:
        return None
    splices = []
    parts = []
    at = seen = 0
    for start, stop, text in filter(None, found):
        if start < seen:
            return None
        seen = stop
        if old[start:stop] != text:
            parts += [old[at:start], text]
            splices.append((start, stop, text))
            at = stop
    new = b"".join([*parts, old[at:]])
    return Patched(old, new, splices) if body.count_names(new) == number else None


class _UnexpectedError(Exception):
    """The file is not as it should be."""


@dataclass(frozen=True, slots=True)
class _Line:
    """Where a line of ours is, without its newline."""

    start: int
    stop: int
    name: str


class _Body:
    """A file that is looked into; positions are those of its bytes."""

    def __init__(
        self, data: bytes, size: int, foreign: Sequence[Foreign], grammar: Grammar
    ) -> None:
        self._data = data
        self._size = size
        self._grammar = grammar
        self._lines = [encode(line.line) for line in foreign]
        self._keys = [line.sort_key for line in foreign]
        self._foreign = frozenset(self._lines)

    def edit(self, name: str, text: str | None) -> Splice | None:
        """Return which bytes of the file to replace by which; None: nothing is to be done."""
        key = names.sort_key(name)
        found = self._next(self._find(key))
        if found and found.name == name:
            new = b"" if text is None else encode(text) + b"\n"
            return found.start, self._end_of(found), new
        if text is None:
            return None
        start = self._before(key, found)
        return start, start, encode(text) + b"\n"

    def count_names(self, new: bytes) -> int:
        """Return how many names a content has, if the foreign lines are in it as well."""
        if self._grammar is Grammar.ASSIGN:
            lines = new.count(b"\n+") + new.startswith(b"+")
            return lines - sum(line.startswith(b"+") for line in self._lines)
        return new.count(b"\n") - len(self._lines)

    def _find(self, key: str) -> int:
        """Return where to look for the first line of ours whose key is not less than ``key``."""
        low, high = 0, self._size
        while low < high:
            middle = (low + high) // 2
            start = max(low, self._data.rfind(b"\n", low, middle) + 1)
            found = self._next(start)
            if found and found.start < high and names.sort_key(found.name) < key:
                low = found.stop + 1
            else:
                high = start
        return low

    def _next(self, place: int) -> _Line | None:
        """Return the first line of ours that begins at ``place``, a line's begin, or behind it."""
        while place < self._size:
            if self._grammar is Grammar.ASSIGN and self._data[place : place + 1] != b"+":
                place = self._data.find(b"\n+", place, self._size) + 1
                if not place:
                    return None
            stop = self._data.index(b"\n", place)
            line = self._data[place:stop]
            if line not in self._foreign:
                return _Line(place, stop, self._name(line))
            place = stop + 1
        return None

    def _name(self, line: bytes) -> str:
        text = decode(line)
        match self._grammar:
            case Grammar.HOSTS:
                return text
            case Grammar.VIRTUALDOMAINS:
                return text.partition(":")[0]
            case Grammar.ASSIGN:
                return text[1:].partition(":")[0].removesuffix("-")

    def _end_of(self, line: _Line) -> int:
        """Return where the lines of a name end, its exact lines included."""
        stop = line.stop + 1
        if self._grammar is Grammar.ASSIGN:
            begin = encode(f"={line.name}-")
            while self._data.startswith(begin, stop):
                end = self._data.index(b"\n", stop) + 1
                if self._data[stop : end - 1] in self._foreign:
                    break
                stop = end
        return stop

    def _before(self, key: str, found: _Line | None) -> int:
        """Return where a new name goes: before the foreign lines between it and the next one."""
        first = bisect_right(self._keys, key)
        last = bisect_right(self._keys, names.sort_key(found.name)) if found else len(self._keys)
        between = b"".join([line + b"\n" for line in self._lines[first:last]])
        stop = found.start if found else self._size
        start = stop - len(between)
        if start < 0 or self._data[start:stop] != between:
            raise _UnexpectedError
        return start
