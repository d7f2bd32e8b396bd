"""The difference between what a file is and what it is to be, for people.

Text is shown as a unified diff, compiled files by the keys whose data differ. Passwords and hashes
of vpasswd are never shown, only whether they differ.
"""

import difflib
from collections.abc import Iterator, Sequence

from vpopsql.exporter.plan import Change, Content
from vpopsql.exporter.render import Link
from vpopsql.qmail import cdb
from vpopsql.qmail.lines import decode

_CONTEXT = 3
_LARGE = 4_000
"""Lines on both sides together from which on the differing part is shown as it is: the search for
the shortest difference takes the square of them."""
_FIELDS = 7  # of a line of vpasswd, before the clear text, which may have colons of its own
_SECRETS = (1, _FIELDS)  # hash, clear text

_LINK = "symbolic link to "


def unified(change: Change) -> Iterator[str]:
    """Return the lines of the difference, without newlines at their ends."""
    yield f"--- {_side(change.before, change.path)}"
    yield f"+++ {_side(change.after, change.path)}"
    name = change.path.rpartition("/")[2]
    before, after = _plain(change.before), _plain(change.after)
    if name.endswith("cdb"):
        yield from _of_records(before, after)
        return
    if change.owner is not None and change.was is not None:
        yield "owner {}:{} -> {}:{}".format(*change.was.owner, *change.owner)
    old, new = _lines(before), _lines(after)
    if name == "vpasswd":
        old, new = _masked(old, new)
    yield from _of_lines(old, new)


def _side(content: Content | None, path: str) -> str:
    return "/dev/null" if content is None else path


def _plain(content: Content | None) -> bytes:
    if isinstance(content, Link):
        return f"{_LINK}{content.target}\n".encode("utf-8", "surrogateescape")
    return content or b""


def _lines(data: bytes) -> list[str]:
    lines = decode(data).split("\n")
    if lines[-1]:
        lines[-1] += " (no newline at the end)"
    else:
        lines.pop()
    return lines


def _masked(old: Sequence[str], new: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return lines of vpasswd without their secrets; one that is changed says so."""
    known = {line.partition(":")[0]: _fields(line) for line in old}
    masked = []
    for line in new:
        fields = _fields(line)
        if len(fields) < _FIELDS:
            masked.append(_mask(line))
            continue
        was = known.get(fields[0], [])
        for place in _SECRETS:
            if place < len(fields) and fields[place]:
                same = place < len(was) and was[place] == fields[place]
                fields[place] = "*" if same or not was else "* (another one)"
        masked.append(":".join(fields))
    return [_mask(line) for line in old], masked


def _fields(line: str) -> list[str]:
    return line.split(":", _FIELDS)


def _mask(line: str) -> str:
    fields = _fields(line)
    if len(fields) < _FIELDS:
        return line if line.startswith(_LINK) else "(no line of an account)"
    for place in _SECRETS:
        if place < len(fields) and fields[place]:
            fields[place] = "*"
    return ":".join(fields)


def _of_lines(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    begin = max(0, start - _CONTEXT)
    after = max(0, end - _CONTEXT)
    old, new = old[begin : len(old) - after], new[begin : len(new) - after]
    if len(old) + len(new) > _LARGE:
        yield f"@@ -{begin + 1},{len(old)} +{begin + 1},{len(new)} @@"
        yield from _of_many(old, new)
        return
    lines = difflib.unified_diff(old, new, lineterm="", n=_CONTEXT)
    for line in list(lines)[2:]:
        yield _moved(line, begin) if line.startswith("@@ ") else line


def _of_many(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    """Return what only one side has, line by line; lines that merely moved are not shown."""
    olds, news = set(old), set(new)
    yield from (f"-{line}" for line in old if line not in news)
    yield from (f"+{line}" for line in new if line not in olds)


def _moved(header: str, by: int) -> str:
    """Return the header of a hunk with its line numbers counted from the file's beginning."""
    shown = []
    for part in header.split():
        number, comma, size = part[1:].partition(",")
        moved = part[0] in "-+" and number.isdigit() and by
        shown.append(f"{part[0]}{int(number) + by}{comma}{size}" if moved else part)
    return " ".join(shown)


def _of_records(before: bytes, after: bytes) -> Iterator[str]:
    try:
        old, new = (dict(cdb.read(data)) if data else {} for data in (before, after))
    except ValueError as error:
        yield f"what is there cannot be read: {error}"
        return
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            sign = "+" if key not in old else "-" if key not in new else "~"
            yield f"{sign}{decode(key)!r}"
    if old == new:
        yield "the same records, written otherwise"
