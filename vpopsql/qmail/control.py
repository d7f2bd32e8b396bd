"""qmail's control files: lists of host names, virtualdomains, one-line files.

qmail strips blanks and tabs from the end of every line; so do the parsers. Comments start with
``#`` in the first column.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from vpopsql import names
from vpopsql.qmail import cdb
from vpopsql.qmail.lines import (
    Comment,
    Malformed,
    check_field,
    decode,
    encode,
    join_lines,
    split_lines,
)

_BLANKS = " \t"


@dataclass(frozen=True, slots=True)
class Host:
    """A line of rcpthosts, morercpthosts or locals.

    ``comment`` marks a line that names no host, blank or ``#``; ``name`` is then its text.
    """

    number: int
    name: str
    comment: bool = False


@dataclass(frozen=True, slots=True)
class VirtualDomain:
    """A line ``name:prepend``.

    ``name`` is a domain, ``user@domain``, a ``.suffix`` or, empty, every domain; an empty
    ``prepend`` makes an exception: the name is not virtual.
    """

    number: int
    name: str
    prepend: str


def parse_hosts(data: bytes) -> list[Host | Malformed]:
    """Return the lines of rcpthosts, morercpthosts or locals, comments included."""
    return [
        Malformed(number, text, "it has a NUL")
        if "\0" in text
        else Host(number, text.rstrip(_BLANKS), comment=_is_comment(text))
        for number, text in split_lines(data)
    ]


def render_hosts(records: Iterable[str | Host]) -> bytes:
    """Return a file of host names, or of lines as `parse_hosts` gave them, in that order.

    :raises ValueError: a name is one that `parse_hosts` would not give back.
    """
    lines = []
    for record in records:
        name = record if isinstance(record, str) else record.name
        may_be_comment = isinstance(record, Host) and record.comment
        if _is_comment(name) != may_be_comment or name != name.rstrip(_BLANKS):
            raise ValueError(f"not a line of host names: {name!r}")
        lines.append(name)
    return join_lines(lines)


def parse_virtualdomains(data: bytes) -> list[VirtualDomain | Comment | Malformed]:
    """Return the lines of virtualdomains, comments and blank lines included."""
    return [_parse_virtualdomain(number, text) for number, text in split_lines(data)]


def render_virtualdomains(records: Iterable[VirtualDomain | Comment]) -> bytes:
    """Return a virtualdomains file of ``records`` in their order.

    :raises ValueError: a record is one that `parse_virtualdomains` would not give back.
    """
    lines = []
    for record in records:
        line = (
            record.text
            if isinstance(record, Comment)
            else f"{check_field(record.name)}:{record.prepend}"
        )
        if _is_comment(line) != isinstance(record, Comment) or line != line.rstrip(_BLANKS):
            raise ValueError(f"not a line of virtualdomains: {line!r}")
        lines.append(line)
    return join_lines(lines)


def parse_single(data: bytes) -> str:
    """Return the value of a one-line file (me, defaultdomain); lines after the first are none."""
    return decode(data).partition("\n")[0].rstrip(_BLANKS)


def compile_morercpthosts(hosts: Iterable[str]) -> bytes:
    """Return the ``morercpthosts.cdb`` of these names, in their order.

    Source: qmail-newmrh.
    """
    keys = encode(names.lower("\n".join(hosts))).split(b"\n")
    return cdb.make_of(keys, keys) if keys != [b""] else cdb.make(())


def morercpthosts_record(host: str) -> tuple[bytes, bytes]:
    """Return key and data that a host is compiled to."""
    return encode(names.lower(host)), b""


def edit_morercpthosts(compiled: bytes, text: bytes, splices: Iterable[cdb.Splice]) -> bytes:
    """Return the ``morercpthosts.cdb`` of a file without comments some of whose lines change.

    :raises ValueError: as `cdb.edit_compiled` does.
    """

    def record_of(line: bytes) -> tuple[bytes, bytes]:
        return morercpthosts_record(decode(line[:-1]))

    def growth(text: bytes, at: int) -> int:
        return text.count(b"\n", 0, at) * (cdb.RECORD_HEAD_SIZE - len(b"\n"))

    return b"".join(cdb.edit_compiled(compiled, text, splices, record_of, growth))


def _parse_virtualdomain(number: int, text: str) -> VirtualDomain | Comment | Malformed:
    stripped = text.rstrip(_BLANKS)
    if "\0" in text:
        return Malformed(number, text, "it has a NUL")
    if _is_comment(text):
        return Comment(number, stripped)
    name, colon, prepend = stripped.partition(":")
    if not colon:
        return Malformed(number, text, "it has no colon")
    return VirtualDomain(number, name, prepend)


def _is_comment(text: str) -> bool:
    return text.startswith("#") or not text.strip(_BLANKS)
