"""Changing some lines of a domain's vpasswd, and their records of its cdb, where they are.

A domain may have ten thousand mailboxes, of which one changes. The lines are sorted, so its place
is found in a few steps, and the rest stays what it is. Pure: the old contents in, the new ones
out, the same as `render` would give for all rows. That holds only of contents that `render` or
this gave for the rows before, all of them: see `stamps` for how that is known.
"""

from collections.abc import Mapping

from vpopsql.columns import to_database_text
from vpopsql.pieces import Buffer, Pieces
from vpopsql.qmail import vpasswd
from vpopsql.qmail.cdb import Splice
from vpopsql.qmail.lines import decode, encode, ends_whole

SHORT = 8_192
"""Bytes of a vpasswd up to which it takes less time to make its cdb anew than to change it."""


def changed(
    text: bytes, compiled: bytes | None, changes: Mapping[str, str | None]
) -> tuple[Pieces, Pieces] | None:
    """Return vpasswd and its cdb with other lines for some mailboxes.

    :param text: vpasswd as it is.
    :param compiled: its cdb as it is; None: it is made anew.
    :param changes: each mailbox's line, rendered; None: it has none.
    :returns: None if one of the two is not as it should be.
    """
    if not ends_whole(text):
        return None
    # In the order of the lines, which is the database's.
    found = [_splice(text, name, changes[name]) for name in sorted(changes, key=to_database_text)]
    splices = [(start, stop, new) for start, stop, new in found if text[start:stop] != new]
    view = memoryview(text)
    parts: list[Buffer] = []
    at = 0
    for start, stop, new in splices:
        parts += [view[at:start], new]
        at = stop
    parts.append(view[at:])
    if compiled is None:
        new = b"".join(parts)
        return [new], [vpasswd.compile_text(new)]
    try:
        return parts, vpasswd.edit_cdb(compiled, text, splices)
    except ValueError:
        return None


def _splice(text: bytes, name: str, line: str | None) -> Splice:
    start = _find(text, name)
    stop = _end_of(text, start)
    is_there = _name_of(text[start:stop]) == name
    return start, stop if is_there else start, b"" if line is None else encode(line) + b"\n"


def _find(text: bytes, name: str) -> int:
    """Return where the first line begins that does not stand before one of ``name``."""
    key = to_database_text(name)
    low, high = 0, len(text)
    while low < high:
        middle = (low + high) // 2
        start = max(low, text.rfind(b"\n", low, middle) + 1)
        stop = _end_of(text, start)
        if to_database_text(_name_of(text[start:stop])) < key:
            low = stop
        else:
            high = start
    return low


def _end_of(text: bytes, start: int) -> int:
    """Return where the next line begins."""
    return text.find(b"\n", start) + 1 or len(text)


def _name_of(line: bytes) -> str:
    return decode(line.partition(b":")[0])
