"""Reading a domain's vpasswd, and comparing it with the vpasswd.cdb beside it.

vpopmail looks accounts up in the cdb and lists them from the text. The text counts here, because
the next change of an account makes the cdb anew from it, unless the administrator prefers the
cdb. Each account that they do not agree about is said, whichever counts.
"""

from collections.abc import Collection, Container, Sequence
from typing import NamedTuple

from vpopsql.directory import Directory
from vpopsql.importer.backend import Listing, Prefer
from vpopsql.importer.codes import Code
from vpopsql.importer.evidence import Evidence, Tally, without_secrets
from vpopsql.importer.files import read_file
from vpopsql.qmail import cdb, vpasswd
from vpopsql.qmail.lines import Malformed, decode, ends_whole
from vpopsql.qmail.vpasswd import VpasswdLine

VPASSWD = "vpasswd"
VPASSWD_CDB = "vpasswd.cdb"

_LINE_MAX = 299
"""Bytes of a line, newline included, that vpopmail's listing tools read.  Source: vpopmail."""

_FIELDS = {
    "password_hash": "hash",
    "apop_uid": "uid",
    "flags": "gid",
    "comment": "comment",
    "directory": "directory",
    "quota_text": "quota",
    "clear_text": "clear password",
}

_Record = VpasswdLine | Malformed


def read_accounts(directory: Directory, prefer: Prefer, evidence: Evidence) -> Listing | None:
    """Return the accounts that a domain's files list; None when none can be read, a finding."""
    shown = f"{directory.shown}/{VPASSWD}"
    present = directory.names() & {VPASSWD, VPASSWD_CDB}
    if not present:
        reason = "the domain has neither vpasswd nor vpasswd.cdb"
        evidence.find(Code.MISSING, shown, 0, "", reason)
        return None
    text, compiled = (
        read_file(evidence, directory, name) if name in present else None
        for name in (VPASSWD, VPASSWD_CDB)
    )
    if text is None and (VPASSWD in present or compiled is None):
        return None
    if compiled is not None and (text is None or (not text and _has_records(compiled))):
        # Where all accounts were removed, one by one, the cdb is without records as well.
        return _from_cdb(compiled, text, shown, evidence)
    text = text or b""
    records = vpasswd.parse(text)
    if records and VPASSWD_CDB not in present:
        reason = "vpopmail looks accounts up in it: no line of vpasswd is in force"
        evidence.find(Code.CDB_MISSING, f"{shown}.cdb", 0, "", reason)
    pairs = None if compiled is None else _read_cdb(compiled, records, shown, evidence)
    if pairs is None:
        return _listing(text, records, shown, evidence)
    tally = evidence.tally(VPASSWD_CDB, f"{shown}.cdb")
    tally.files = 1
    tally.lines = len(pairs)
    if not _is_equal(text, pairs):
        late = directory.modified_at(VPASSWD) > directory.modified_at(VPASSWD_CDB)
        age = f"is {'older' if late else 'not older'} than vpasswd"
        return _Comparison(text, records, pairs, age, tally, shown, evidence).listing(prefer)
    tally.merged = tally.lines
    return _listing(text, records, shown, evidence)


def _read_cdb(
    compiled: bytes, records: Sequence[_Record], shown: str, evidence: Evidence
) -> list[tuple[bytes, bytes]] | None:
    """Return the records of a cdb; None, a finding, if there are none to compare with."""
    try:
        pairs = cdb.read(compiled)
    except ValueError as error:
        reason = str(error) if compiled else "it is empty"
    else:
        if pairs or not records:
            return pairs
        reason = "it has no record"
    reason += "; the accounts are those of vpasswd"
    evidence.find(Code.CDB_DAMAGED, f"{shown}.cdb", 0, "", reason)
    return None


def _has_records(compiled: bytes) -> bool:
    try:
        return bool(cdb.read(compiled))
    except ValueError:
        return False


def _is_equal(text: bytes, pairs: Sequence[tuple[bytes, bytes]]) -> bool:
    """Say whether a text is what a cdb was made from: the usual case, and quick to tell."""
    return b"".join([b"%b:%b\n" % pair for pair in pairs]) == text


def _from_cdb(compiled: bytes, text: bytes | None, shown: str, evidence: Evidence) -> Listing:
    """Return the accounts of a domain that has a cdb, and no text or an empty one.

    :param shown: the text.
    """
    what = "missing" if text is None else "empty"
    place = shown if text is not None else f"{shown}.cdb"
    shown = f"{shown}.cdb"
    reason = f"vpasswd is {what}; the accounts are from its cdb"
    evidence.find(Code.CDB_ONLY, place, 0, "", reason)
    records = vpasswd.parse_cdb(compiled)
    tally = evidence.tally(VPASSWD_CDB, shown)
    tally.files = 1
    tally.lines = len(records)
    firsts: dict[str, _Record] = {}
    for record in records:
        name = record.text.partition(":")[0] if isinstance(record, Malformed) else record.name
        if firsts.setdefault(name, record) is not record:
            tally.merged += 1
            _find_duplicate(name, shown, evidence)
    return Listing(tally, list(firsts.values()))


def _find_duplicate(name: str, shown: str, evidence: Evidence) -> None:
    reason = "an earlier record has this name, and is the one that is found"
    evidence.find(Code.DUPLICATE, shown, 0, _shown_name(name), reason)


# --- the text by itself -----------------------------------------------------------------------


def _listing(
    text: bytes,
    records: list[_Record],
    shown: str,
    evidence: Evidence,
    left_out: Collection[int] = (),
) -> Listing:
    """Return what is on the lines of a text, with what is odd about them as lines reported.

    :param records: one for each line.
    :param left_out: numbers of lines that do not count, which has been said.
    """
    tally = evidence.tally(VPASSWD, shown)
    tally.files = 1
    tally.lines = len(records)
    tally.merged = len(left_out)
    _find_long(text, shown, evidence)
    _find_unsorted(records, shown, evidence)
    if not ends_whole(text) and len(records) not in left_out:
        records = _without_cut_line(records, tally, evidence)
    if left_out:
        records = [record for record in records if record.number not in left_out]
    return Listing(tally, records)


def _without_cut_line(records: list[_Record], tally: Tally, evidence: Evidence) -> list[_Record]:
    """Report the last line, which has no newline; leave it out if it is no account."""
    last = records[-1]
    if isinstance(last, VpasswdLine):
        reason = "the file ends without a newline: the end of this line may be missing"
        name = _shown_name(last.name)
        evidence.find(Code.NO_FINAL_NEWLINE, tally.place, last.number, name, reason)
        return records
    tally.rejected += 1
    text = without_secrets(last.text)
    reason = f"the file ends within this line: {last.reason}"
    evidence.find(Code.CUT_OFF, tally.place, last.number, text, reason)
    return records[:-1]


def _find_long(text: bytes, shown: str, evidence: Evidence) -> None:
    lines = text.split(b"\n")
    if max(map(len, lines)) < _LINE_MAX:
        return
    for number, line in enumerate(lines, 1):
        if len(line) >= _LINE_MAX:
            reason = f"it has {len(line) + 1} bytes with its newline, more than {_LINE_MAX}"
            name = without_secrets(decode(line))
            evidence.find(Code.LONG_LINE, shown, number, name, reason)


def _find_unsorted(records: Sequence[_Record], shown: str, evidence: Evidence) -> None:
    lines = [record for record in records if isinstance(record, VpasswdLine)]
    names = [line.name for line in lines]
    if names == sorted(names):
        return
    at = next(at for at in range(1, len(names)) if names[at] < names[at - 1])
    reason = f"its name sorts before that of line {lines[at - 1].number}"
    evidence.find(Code.UNSORTED, shown, lines[at].number, _shown_name(names[at]), reason)


def _shown_name(name: str) -> str:
    """Return as much of a name as may be shown: in a file in disorder it can be a hash."""
    return without_secrets(f"{name}:…")


# --- both -------------------------------------------------------------------------------------


class _InCdb(NamedTuple):
    """The first record of a name, which is the one that readers find."""

    number: int
    data: bytes


class _Comparison:
    """Two lists of accounts that are not the same.

    :param records: one for each line of ``text``.
    :param pairs: the records of the cdb.
    :param age: how old the cdb is beside its text.
    :param tally: that of the cdb.
    :param shown: the text.
    """

    def __init__(
        self,
        text: bytes,
        records: list[_Record],
        pairs: Sequence[tuple[bytes, bytes]],
        age: str,
        tally: Tally,
        shown: str,
        evidence: Evidence,
    ) -> None:
        self._text = text
        self._records = records
        self._pairs = pairs
        self._age = age
        self._tally = tally
        self._shown = shown
        self._evidence = evidence
        self._lines = text.split(b"\n")[: len(records)]
        self._in_text: dict[bytes, int] = {}
        """The number of the first line of each name."""
        for number, line in enumerate(self._lines, 1):
            name, colon, _ = line.partition(b":")
            if colon:
                self._in_text.setdefault(name, number)

    def listing(self, prefer: Prefer) -> Listing:
        """Return the accounts, with every difference reported."""
        by_cdb = prefer is Prefer.CDB
        in_cdb = self._first_records()
        taken: dict[bytes, _InCdb] = {}
        for name, record in in_cdb.items():
            number = self._in_text.get(name)
            if number is None:
                self._find_only_in_cdb(name, by_cdb=by_cdb)
                taken[name] = record
            elif not self._is_same(number, name, record.data):
                theirs = vpasswd.parse_record(record.number, name, record.data)
                self._find_differing(self._records[number - 1], theirs, name, by_cdb=by_cdb)
                if isinstance(theirs, VpasswdLine):
                    taken[name] = record
        missing = self._find_missing(in_cdb, by_cdb=by_cdb)
        self._tally.merged = self._tally.lines
        if not by_cdb:
            return _listing(self._text, self._records, self._shown, self._evidence)
        self._tally.merged -= len(taken)
        left_out = self._left_out({*taken, *missing})
        listing = _listing(self._text, self._records, self._shown, self._evidence, left_out)
        records = [vpasswd.parse_record(each.number, n, each.data) for n, each in taken.items()]
        listing.also = Listing(self._tally, records)
        return listing

    def _first_records(self) -> dict[bytes, _InCdb]:
        firsts: dict[bytes, _InCdb] = {}
        for number, (name, data) in enumerate(self._pairs, 1):
            if firsts.setdefault(name, each := _InCdb(number, data)) is not each:
                _find_duplicate(decode(name), self._tally.place, self._evidence)
        return firsts

    def _is_same(self, number: int, name: bytes, data: bytes) -> bool:
        """Say whether a line is that of a record, but for the end of line of other systems."""
        return self._lines[number - 1].rstrip(b"\r") == (b"%b:%b" % (name, data)).rstrip(b"\r")

    def _find_only_in_cdb(self, name: bytes, *, by_cdb: bool) -> None:
        shown = self._shown if by_cdb else self._tally.place
        what = "imported from vpasswd.cdb" if by_cdb else "left out"
        reason = f"vpasswd has no line for it; the cdb {self._age}; {what}"
        self._evidence.find(Code.IN_CDB_ONLY, shown, 0, _shown_name(decode(name)), reason)

    def _find_differing(
        self, mine: _Record, theirs: _Record, name: bytes, *, by_cdb: bool
    ) -> None:
        winner = "vpasswd.cdb" if by_cdb else "vpasswd"
        if isinstance(theirs, Malformed):
            reason = f"the record in vpasswd.cdb is no account: {theirs.reason}"
        elif isinstance(mine, Malformed):
            reason = f"the line is no account, the record in vpasswd.cdb is one, and {self._age}"
            reason += "; imported from there" if by_cdb else "; --prefer cdb imports that"
        else:
            differ = (field for field in _FIELDS if getattr(mine, field) != getattr(theirs, field))
            what = ", ".join(_FIELDS[field] for field in differ) or "spelling"
            reason = f"vpasswd.cdb has another {what}, and {self._age}; {winner} counts"
        self._find(Code.CDB_DIFFERS, mine.number, name, reason)

    def _find_missing(self, in_cdb: Container[bytes], *, by_cdb: bool) -> list[bytes]:
        """Report the accounts that only the text has; return their names."""
        missing = []
        what = "left out" if by_cdb else "imported"
        for name, number in self._in_text.items():
            if name not in in_cdb and isinstance(self._records[number - 1], VpasswdLine):
                missing.append(name)
                reason = f"vpasswd.cdb has no record of it, and {self._age}; {what}"
                self._find(Code.NOT_IN_CDB, number, name, reason)
        return missing

    def _left_out(self, decided: Container[bytes]) -> set[int]:
        """Return the numbers of the lines that do not count when the cdb does.

        :param decided: the names that the cdb and the text do not agree about.
        """
        left_out = set()
        for number, line in enumerate(self._lines, 1):
            name, colon, _ = line.partition(b":")
            if colon and name in decided:
                left_out.add(number)
                if number != self._in_text[name]:
                    reason = f"line {self._in_text[name]} has it already; vpasswd.cdb decides"
                    self._find(Code.DUPLICATE, number, name, reason)
        last = len(self._records)
        if not ends_whole(self._text) and isinstance(self._records[-1], Malformed):
            if last not in left_out:
                reason = "the file ends within this line; the accounts are those of vpasswd.cdb"
                self._find(Code.CDB_DIFFERS, last, b"", reason)
            left_out.add(last)
        return left_out

    def _find(self, code: Code, number: int, name: bytes, reason: str) -> None:
        text = _shown_name(decode(name)) if name else ""
        self._evidence.find(code, self._shown, number, text, reason)
