"""Comparing qmail's cdb files, which qmail reads, with the texts that they are compiled from.

The text decides, because the next change compiles the cdb anew from it. But as long as a site has
not been switched, what the cdb says is what happens to its mail, so each difference is said.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from vpopsql.directory import Directory
from vpopsql.importer.codes import Code, Severity
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.files import enter_if_there, read_file
from vpopsql.qmail import assign, cdb, control
from vpopsql.qmail.lines import decode

_USERS_CDBS = ("cdb", "assign.cdb")  # the latter is s/qmail's

Lines = Iterable[tuple[int, str]]
"""Number and text of lines that can be compiled."""


def compare_users(
    qmail: Directory, lines: Lines, evidence: Evidence, has_directory: Callable[[str], bool]
) -> None:
    """Compare ``users/cdb`` with the lines of ``users/assign``.

    :param has_directory: tells whether a domain's directory is there.
    """
    with_records = ((number, *assign.cdb_record(line)) for number, line in lines)

    def only_in_cdb(key: bytes, data: bytes) -> tuple[Code, str, str]:
        found = assign.parse_cdb_record(key, data)
        if found is None or not assign.is_domain(found):
            return Code.IN_CDB_ONLY, _shown(key), "qmail delivers to it, the text has no such line"
        line, name = assign.render_line(found), found.local[:-1]
        if has_directory(found.directory):
            return Code.UNASSIGNED, line, f"qmail delivers to the domain {name}, which has no line"
        return Code.IN_CDB_ONLY, line, f"the domain {name} has no line, nor its directory"

    _compare(qmail, "users/assign", _USERS_CDBS, with_records, evidence, only_in_cdb)


def compare_hosts(qmail: Directory, lines: Lines, evidence: Evidence) -> None:
    """Compare ``control/morercpthosts.cdb`` with the hosts of ``control/morercpthosts``."""
    with_records = ((number, *control.morercpthosts_record(host)) for number, host in lines)

    def only_in_cdb(key: bytes, data: bytes) -> tuple[Code, str, str]:
        del data
        return (
            Code.IN_CDB_ONLY,
            _shown(key),
            "qmail accepts mail for it, the text has no such line",
        )

    cdbs = ("morercpthosts.cdb",)
    _compare(qmail, "control/morercpthosts", cdbs, with_records, evidence, only_in_cdb)


@dataclass(frozen=True, slots=True)
class _Cdb:
    """A cdb that was read."""

    shown: str
    records: Sequence[tuple[bytes, bytes]]
    age: str
    """How old it is beside its text."""


def _compare(
    qmail: Directory,
    text: str,
    cdbs: Sequence[str],
    lines: Iterable[tuple[int, bytes, bytes]],
    evidence: Evidence,
    only_in_cdb: Callable[[bytes, bytes], tuple[Code, str, str]],
) -> None:
    """Report what the two do not have in common; of a key that comes twice the first counts.

    :param cdbs: the names that the cdb can have.
    :param lines: number, key and data of each line that can be compiled.
    :param only_in_cdb: code, text and reason for a record without a line.
    """
    wanted: dict[bytes, tuple[int, bytes]] = {}
    for number, key, data in lines:
        wanted.setdefault(key, (number, data))
    found = _read(qmail, text, cdbs, evidence, is_wanted=bool(wanted))
    if found is None:
        return
    tally = evidence.tally("/".join(found.shown.rsplit("/", 2)[1:]), found.shown)
    tally.files = 1
    tally.lines = tally.merged = len(found.records)
    seen: set[bytes] = set()
    for key, data in found.records:
        if not key or key in seen:  # the empty one lists how wildcards end
            continue
        seen.add(key)
        if key not in wanted:
            code, shown, reason = only_in_cdb(key, data)
            evidence.find(code, found.shown, 0, shown, f"{reason}; {found.age}")
            if code.severity is Severity.REJECT:
                tally.merged -= 1
                tally.rejected += 1
        elif data != wanted[key][1]:
            reason = f"it says something else than line {wanted[key][0]} of the text; {found.age}"
            evidence.find(Code.CDB_DIFFERS, found.shown, 0, _shown(key), reason)
    place = f"{qmail.shown}/{text}"
    for key in sorted(wanted.keys() - seen, key=lambda key: wanted[key][0]):
        reason = f"{found.shown} has no such record; {found.age}"
        evidence.find(Code.NOT_IN_CDB, place, wanted[key][0], _shown(key), reason)


def _read(
    qmail: Directory, text: str, cdbs: Sequence[str], evidence: Evidence, *, is_wanted: bool
) -> _Cdb | None:
    """Return the cdb of a text, None if there is none or none that can be read: a finding."""
    folder, _, text_name = text.rpartition("/")
    directory = enter_if_there(evidence, qmail, folder)
    if directory is None:
        return None
    with directory:
        present = directory.names()
        name = next((name for name in cdbs if name in present), None)
        shown = f"{directory.shown}/{name or cdbs[0]}"
        if name is None:
            if is_wanted:
                reason = f"qmail reads it in place of {text_name}: no line of that is in force"
                evidence.find(Code.CDB_MISSING, shown, 0, "", reason)
            return None
        data = read_file(evidence, directory, name)
        if data is None:
            return None
        age = "there is no text"
        if text_name in present:
            late = directory.modified_at(text_name) > directory.modified_at(name)
            age = f"it is {'older' if late else 'not older'} than {text_name}"
    try:
        return _Cdb(shown, cdb.read(data), age)
    except ValueError as error:
        reason = str(error) if data else "it is empty"
        evidence.find(Code.CDB_DAMAGED, shown, 0, "", reason)
        return None


def _shown(key: bytes) -> str:
    """Return a key without what tells records from each other."""
    return decode(key.removeprefix(b"!").removesuffix(b"\0"))
