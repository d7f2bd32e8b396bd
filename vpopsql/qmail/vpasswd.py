"""A domain's ``vpasswd`` and ``vpasswd.cdb``: its mailboxes in vpopmail's default back end.

::

    name:hash:uid:gid:comment:directory:quota[:clear password]

``uid`` is no user id (1, or 2 for APOP) and ``gid`` is the bitmap of the mailbox's flags. The
clear password may have colons. In the cdb the name is the key and the rest of the line the data.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from vpopsql.pieces import Pieces
from vpopsql.qmail import cdb
from vpopsql.qmail.lines import (
    Malformed,
    check_field,
    decode,
    encode,
    join_lines,
    split_lines,
    whole_number,
)

_FIELDS = 7
_INT_MIN = -(2**31)
_INT_MAX = 2**32 - 1


@dataclass(frozen=True, slots=True)
class VpasswdLine:
    """One mailbox. ``clear_text`` is None in a line of seven fields, "" in one of eight."""

    number: int
    name: str
    password_hash: str
    apop_uid: int
    flags: int
    comment: str
    directory: str
    quota_text: str
    clear_text: str | None = None


def parse(data: bytes) -> list[VpasswdLine | Malformed]:
    """Return the lines of a vpasswd file, duplicates included."""
    return [_parse_line(number, text) for number, text in split_lines(data)]


def parse_cdb(data: bytes) -> list[VpasswdLine | Malformed]:
    """Return the mailboxes of a vpasswd.cdb, numbered in file order.

    For a domain whose vpasswd is lost. A damaged file is one malformed record without a number:
    half a domain read from it could pass for a whole one.
    """
    try:
        records = cdb.read(data)
    except ValueError as error:
        return [Malformed(0, "", str(error))]
    return [parse_record(number, *record) for number, record in enumerate(records, 1)]


def parse_record(number: int, name: bytes, rest: bytes) -> VpasswdLine | Malformed:
    """Return the mailbox of a cdb's record."""
    return _parse_line(number, decode(name + b":" + rest))


def render_line(line: VpasswdLine) -> str:
    """Return the line of a mailbox, without its newline.

    :raises ValueError: a field other than the clear password has a colon, any has a newline or
        NUL, or the name is empty.
    """
    if not line.name:
        raise ValueError("a mailbox has no name")
    fields = [
        line.name,
        line.password_hash,
        str(line.apop_uid),
        str(line.flags),
        line.comment,
        line.directory,
        line.quota_text,
    ]
    for field in fields:
        check_field(field)
    if line.clear_text is not None:
        fields.append(check_field(line.clear_text, ""))
    return ":".join(fields)


def render(lines: Iterable[str]) -> bytes:
    """Return a vpasswd file of rendered lines, in their order (vpopmail's is by name)."""
    return join_lines(list(lines))


def compile_cdb(lines: Iterable[str]) -> bytes:
    """Return the vpasswd.cdb of rendered lines, in their order."""
    return cdb.make(_record_of(encode(line)) for line in lines)


def compile_text(text: bytes) -> bytes:
    """Return the vpasswd.cdb of a whole vpasswd."""
    return cdb.make(map(_record_of, text.split(b"\n")[:-1]))


def _record_of(line: bytes) -> tuple[bytes, bytes]:
    name, _, rest = line.partition(b":")
    return name, rest


def edit_cdb(compiled: bytes, text: bytes, splices: Iterable[cdb.Splice]) -> Pieces:
    """Return the vpasswd.cdb of a text some of whose lines change.

    :raises ValueError: as `cdb.edit_compiled` does.
    """

    def growth(text: bytes, at: int) -> int:
        return text.count(b"\n", 0, at) * (cdb.RECORD_HEAD_SIZE - len(b":\n"))

    return cdb.edit_compiled(compiled, text, splices, lambda line: _record_of(line[:-1]), growth)


def _parse_line(number: int, text: str) -> VpasswdLine | Malformed:
    fields = text.split(":", _FIELDS)
    if "\0" in text or "\n" in text:  # a newline: only a cdb can have one
        return Malformed(number, text, "it has a NUL or newline")
    if len(fields) < _FIELDS:
        return Malformed(number, text, f"it has fewer than {_FIELDS} fields")
    name, password_hash, uid_text, flags_text, comment, directory, quota_text = fields[:_FIELDS]
    apop_uid = whole_number(uid_text, _INT_MIN, _INT_MAX)
    flags = whole_number(flags_text, _INT_MIN, _INT_MAX)
    if not name:
        return Malformed(number, text, "it has no name")
    if apop_uid is None or flags is None:
        return Malformed(number, text, "its uid or gid is no number")
    clear_text = fields[_FIELDS] if len(fields) > _FIELDS else None
    return VpasswdLine(
        number, name, password_hash, apop_uid, flags, comment, directory, quota_text, clear_text
    )
