"""``users/assign`` and its compiled form ``users/cdb``: which address goes to which directory.

::

    =local:user:uid:gid:directory:dash:ext:     exactly this address
    +local:user:uid:gid:directory:dash:ext:     every address that starts so
    .                                           the end

vpopmail keeps its list of domains here: ``+name-:real:uid:gid:directory:-::``, where ``real``
differs from ``name`` for an alias domain. The first of two lines for one address wins.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vpopsql import names
from vpopsql.pieces import Buffer, Pieces, lines_of, whole
from vpopsql.qmail import cdb
from vpopsql.qmail.lines import (
    Malformed,
    check_field,
    decode,
    encode,
    ends_whole,
    split_lines,
    whole_number,
)

END = "."
"""The line that ends the file; qmail-newu refuses a file without it."""

_END = END.encode()
# From those of a line to those of a record; if the second is anywhere else, the slow way is taken.
_SEPARATORS = bytes.maketrans(b":=", b"\0!")
_COLONS = 7
_UID_MAX = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Assignment:
    """One line. ``rest`` is what stands behind the seventh colon, where qmail does not look."""

    number: int
    wildcard: bool
    local: str
    user: str
    uid: int
    gid: int
    directory: str
    dash: str
    ext: str
    rest: str = ""


def parse(data: bytes) -> list[Assignment | Malformed]:
    """Return every line but the final ``.``; a missing one is reported behind the last line.

    Duplicates are all kept. Lines behind the ``.``, which qmail never sees, are malformed.
    """
    records: list[Assignment | Malformed] = []
    lines = split_lines(data)
    end = next((number for number, text in lines if text.startswith(END)), None)
    for number, text in lines:
        if number != end:
            after_end = end is not None and number > end
            record = (
                Malformed(number, text, "it stands behind the final '.'")
                if after_end
                else _parse_line(number, text)
            )
            records.append(record)
        elif text != END:
            records.append(Malformed(number, text, "a line that starts with '.' ends the file"))
    if end is None:
        cut = "" if ends_whole(data) else " and the last line's newline"
        records.append(Malformed(len(lines) + 1, "", f"the final '.'{cut} is missing"))
    return records


def is_domain(assignment: Assignment) -> bool:
    """Say whether this is a domain to vpopmail: its name is ``local`` without the dash."""
    return (
        assignment.wildcard
        and assignment.local.endswith("-")
        and "." in assignment.local
        and "." in assignment.user
        and assignment.dash == "-"
        and not assignment.ext
    )


def exact_lines(records: Iterable[Assignment | Malformed]) -> set[int]:
    """Return the numbers of the lines that let qmail deliver straight into a domain's mailbox.

    Those that vpopsql writes: the address begins with the name of a domain of the file, user, uid
    and gid are those of the domain's line, and the directory is the mailbox's, without an
    extension. Nobody else gives an address to a user with the name of a domain.
    """
    domains: dict[str, Assignment] = {}
    exact: list[Assignment] = []
    for record in records:
        if isinstance(record, Malformed):
            continue
        if is_domain(record):
            domains.setdefault(names.lower(record.local), record)
        elif not (record.wildcard or record.dash or record.ext or record.rest):
            exact.append(record)
    return {record.number for record in exact if _belongs(record, domains)}


def _belongs(record: Assignment, domains: Mapping[str, Assignment]) -> bool:
    local = names.lower(record.local)
    for at, character in enumerate(local, 1):
        domain = domains.get(local[:at]) if character == "-" else None
        if domain and (names.lower(record.user), record.uid, record.gid) == (
            names.lower(domain.user),
            domain.uid,
            domain.gid,
        ):
            return True
    return False


def domain_line(name: str, real: str, uid: int, gid: int, directory: str) -> str:
    """Return the line of a domain, or of an alias domain ``name`` of ``real``.

    :raises ValueError: a name or the directory has a colon, newline or NUL.
    """
    return _checked(f"+{name}-:{real}:{uid}:{gid}:{directory}:-::")


def render_line(assignment: Assignment) -> str:
    """Return the line of any assignment, without its newline.

    :raises ValueError: a field has a colon, or anything has a newline or NUL.
    """
    a = assignment
    sign = "+" if a.wildcard else "="
    line = f"{sign}{a.local}:{a.user}:{a.uid}:{a.gid}:{a.directory}:{a.dash}:{a.ext}:"
    return _checked(line) + check_field(a.rest, "")


def render(lines: Iterable[str]) -> bytes:
    """Return a whole file of rendered lines, the final ``.`` included."""
    return whole(join(map(encode, lines)))


def join(lines: Iterable[Buffer]) -> Pieces:
    """Return a whole file of lines, or of several joined by newlines, as bytes."""
    return lines_of([*lines, _END])


def compile_cdb(lines: Iterable[str]) -> bytes:
    """Return the ``users/cdb`` of these lines (without the final ``.``).

    :raises ValueError: a line is one for which qmail-newu would refuse the whole file.
    Source: qmail-newu.
    """
    return _compile([encode(line) for line in lines])


def compile_text(data: bytes) -> bytes:
    """Return the ``users/cdb`` of a whole file.

    :raises ValueError: the final ``.`` is missing, or as `compile_cdb` does.
    """
    begins = data.startswith(_END)
    end = 0 if begins else data.find(b"\n" + _END) + 1
    if not end and not begins:
        raise ValueError("users/assign has no final '.'")
    text = data[:end]
    return _compile_usual(text) or _compile(text.split(b"\n")[:-1])


def edit_cdb(compiled: bytes, text: bytes, splices: Iterable[cdb.Splice]) -> bytes:
    """Return the ``users/cdb`` of a file some of whose lines change.

    All wildcards end with a dash, as those of domains do, and there are some before and after.

    :raises ValueError: there are other wildcards; or as `cdb.edit_compiled` does.
    """

    def record_of(line: bytes) -> tuple[bytes, bytes]:
        return (b"", b"") if line == _END + b"\n" else _record(line[:-1])

    def growth(text: bytes, at: int) -> int:
        # Of a wildcard's key, the zero byte is missing.
        wildcards = text.count(b"\n+", 0, at) + (at > 0 and text.startswith(b"+"))
        return text.count(b"\n", 0, at) * (cdb.RECORD_HEAD_SIZE - len(b":\n")) - wildcards

    if cdb.get(compiled, b"") != b"-":
        raise ValueError("users/assign has wildcards that do not end with a dash")
    edited = cdb.edit_compiled(compiled, text, splices, record_of, growth, end_key=b"")
    return b"".join(edited)


def _compile(lines: list[bytes]) -> bytes:
    last_characters: dict[bytes, None] = {}

    def records() -> Iterable[tuple[bytes, bytes]]:
        for line in lines:
            yield _record(line)
            end = line.index(b":")
            if line.startswith(b"+") and end > 1:
                # Quirk: not lower-cased, unlike the key.
                last_characters[line[end - 1 : end]] = None
        yield b"", b"".join(last_characters)

    return cdb.make(records())


def _compile_usual(text: bytes) -> bytes | None:
    """Do the same for lines of the usual form, in half the time; None if one is of another.

    A site may have a million. Key and data of an exact line are the line itself with other
    separators, which can be put into all lines in one step.
    """
    if b"\0" in text or text.startswith(b"!") or b"\n!" in text:
        return None
    *records, rest = text.translate(_SEPARATORS).split(b"\0\n")
    last_characters: dict[bytes, None] = {}
    keys = []
    wildcards = 0
    for number, record in enumerate(records):
        if record.count(b"\0") != _COLONS - 1:
            return None
        end = record.index(b"\0")
        if record.startswith(b"!"):
            keys.append(record[: end + 1])
        elif record.startswith(b"+"):
            wildcards += 1
            keys.append(key := b"!" + record[1:end])
            records[number] = key + record[end + 1 :]
            if end > 1:
                last_characters[record[end - 1 : end]] = None
        else:
            return None
    if rest or text.count(b"=") != len(records) - wildcards:
        return None
    all_keys = b"".join(keys)
    if all_keys != all_keys.lower():
        return None
    return cdb.make_of([*keys, b""], [*records, b"".join(last_characters)])


def cdb_record(line: str) -> tuple[bytes, bytes]:
    """Return key and data that a line is compiled to.

    :raises ValueError: it is one for which qmail-newu would refuse the whole file.
    """
    return _record(encode(line))


def parse_cdb_record(key: bytes, data: bytes) -> Assignment | None:
    """Return the line, numbered 0, that a record of ``users/cdb`` says; None if it is none's."""
    local, fields = decode(key[1:]), decode(data).split("\0")
    if not key.startswith(b"!") or len(fields) != _COLONS - 1:
        return None
    sign, local = ("=", local[:-1]) if local.endswith("\0") else ("+", local)
    record = _parse_line(0, f"{sign}{local}:{':'.join(fields)}:")
    return record if isinstance(record, Assignment) else None


def _record(line: bytes) -> tuple[bytes, bytes]:
    local, *fields = line.split(b":", _COLONS)
    if len(fields) < _COLONS or not local or b"\0" in line or line.startswith(b"."):
        raise ValueError(f"no line of users/assign: {line!r}")
    end = b"" if line.startswith(b"+") else b"\0"
    return b"!" + local[1:].lower() + end, b"\0".join(fields[:-1])


def _parse_line(number: int, text: str) -> Assignment | Malformed:
    fields = text[1:].split(":", _COLONS)
    reason = ""
    if "\0" in text:
        reason = "it has a NUL"
    elif text[:1] not in {"=", "+"}:
        reason = "it starts with neither '=' nor '+'"
    elif len(fields) <= _COLONS:
        reason = f"it has fewer than {_COLONS} colons"
    else:
        local, user, uid_text, gid_text, directory, dash, ext, rest = fields
        uid = whole_number(uid_text, high=_UID_MAX)
        gid = whole_number(gid_text, high=_UID_MAX)
        if uid is not None and gid is not None:
            wildcard = text[0] == "+"
            return Assignment(number, wildcard, local, user, uid, gid, directory, dash, ext, rest)
        reason = "its uid or gid is no number"
    return Malformed(number, text, reason)


def _checked(line: str) -> str:
    if "\n" in line or "\0" in line:
        check_field(line, "")
    if line.count(":") != _COLONS:
        raise ValueError(f"a field has a colon: {line!r}")
    return line
