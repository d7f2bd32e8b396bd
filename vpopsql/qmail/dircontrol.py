"""``.dir-control``: the counter by which vpopmail spreads directories over buckets.

Eight lines: entries, level, deepest level, then first, last, step and current index of each of
three levels, then the current bucket. Beside it ``.dir_control_free`` lists buckets that became
free, one path a line. The counter drifts, so neither says where an existing mailbox is.
"""

from dataclasses import dataclass

from vpopsql.qmail.lines import (
    Comment,
    Malformed,
    check_field,
    join_lines,
    split_lines,
    whole_number,
)

Levels = tuple[int, int, int]

_LINES = 8
_LEVELS = 3
_INT_MIN = -(2**31)
_INT_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class DirControl:
    """The counter; as built, that of a domain whose file is missing."""

    cur_users: int = 0
    level_cur: int = 0
    level_max: int = 3
    starts: Levels = (0, 0, 0)
    ends: Levels = (61, 61, 61)
    mods: Levels = (0, 2, 4)
    indexes: Levels = (0, 0, 0)
    the_dir: str = ""


@dataclass(frozen=True, slots=True)
class FreeBucket:
    """A bucket that the next mailbox may use; ``path`` is relative to the domain's directory."""

    number: int
    path: str


def parse(data: bytes) -> DirControl | Malformed:
    """Return the counter, or the first line that is not as it should be."""
    lines = split_lines(data)
    last = len(lines)
    if last not in {_LINES, _LINES + 1}:
        return Malformed(last, "", f"the file has {last} lines instead of {_LINES}")
    numbers = []
    for number, text in lines[: _LINES - 1]:
        values = [whole_number(word, _INT_MIN, _INT_MAX) for word in text.split(" ") if word]
        wanted = 1 if number <= _LEVELS else _LEVELS
        integers = [value for value in values if value is not None]
        if len(integers) != len(values) or len(values) != wanted:
            return Malformed(number, text, f"it is not {wanted} number(s)")
        numbers.append(integers)
    # Quirk: vpopmail reads a ninth line if there is one, and believes it.
    number, the_dir = lines[-1]
    if "\0" in the_dir:
        return Malformed(number, the_dir, "it has a NUL")
    (users,), (level,), (deepest,), starts, ends, mods, indexes = numbers
    return DirControl(
        cur_users=users,
        level_cur=level,
        level_max=deepest,
        starts=_levels(starts),
        ends=_levels(ends),
        mods=_levels(mods),
        indexes=_levels(indexes),
        the_dir=the_dir,
    )


def render(control: DirControl) -> bytes:
    """Return the eight lines.

    :raises ValueError: the bucket has a newline or NUL.
    """
    lines = [str(control.cur_users), str(control.level_cur), str(control.level_max)]
    levels = (control.starts, control.ends, control.mods, control.indexes)
    lines.extend(" ".join(map(str, numbers)) for numbers in levels)
    return join_lines([*lines, check_field(control.the_dir, "")])


def parse_free(data: bytes) -> list[FreeBucket | Comment | Malformed]:
    """Return the lines of ``.dir_control_free``, comments and blank lines included."""
    return [_parse_free(number, text) for number, text in split_lines(data)]


def render_free(records: list[FreeBucket | Comment]) -> bytes:
    """Return a ``.dir_control_free`` of ``records`` in their order.

    :raises ValueError: a line has a newline or NUL.
    """
    return join_lines([r.text if isinstance(r, Comment) else r.path for r in records])


def _parse_free(number: int, text: str) -> FreeBucket | Comment | Malformed:
    if "\0" in text:
        return Malformed(number, text, "it has a NUL")
    if text.startswith("#") or not text.strip():
        return Comment(number, text)
    return FreeBucket(number, text)


def _levels(numbers: list[int]) -> Levels:
    first, second, third = numbers
    return first, second, third
