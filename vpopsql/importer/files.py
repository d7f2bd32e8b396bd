"""Reading one file and saying why not; the small files that site and domains both have."""

import stat

from vpopsql.directory import Directory, SymbolicLink
from vpopsql.importer import site
from vpopsql.importer.codes import Code
from vpopsql.importer.evidence import Evidence
from vpopsql.qmail import dircontrol, limits
from vpopsql.qmail.lines import Comment, Malformed, decode, split_lines

LIMITS = ".qmailadmin-limits"
COUNTER = ".dir-control"
FREE_BUCKETS = ".dir_control_free"
_LIMIT_CODES = {
    limits.Doubt.UNKNOWN_KEY: Code.UNKNOWN_SETTING,
    limits.Doubt.NO_VALUE: Code.LIMIT_WITHOUT_VALUE,
    limits.Doubt.ODD_VALUE: Code.ODD_LIMIT,
    limits.Doubt.PACKED: Code.PACKED_PERMISSIONS,
    limits.Doubt.REPEATED: Code.DUPLICATE,
    limits.Doubt.UNREAD: Code.UNREAD_LIMITS,
}

LOCK = ".lock"
"""What the names of lock files end with."""


def read_file(evidence: Evidence, directory: Directory, name: str) -> bytes | None:
    """Return the content of a file that is there; None when it cannot be read, a finding."""
    try:
        return directory.read(name)
    except OSError as error:
        report_unreadable(evidence, error, name)
        return None


def enter_if_there(evidence: Evidence, base: Directory, path: str) -> Directory | None:
    """Open a directory; None when it is missing or, which is a finding, cannot be opened."""
    try:
        return base.enter(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        report_unreadable(evidence, error, path)
        return None


def report_unreadable(evidence: Evidence, error: OSError, what: str) -> None:
    """Record why something that is needed could not be read."""
    shown = str(error.filename)
    if isinstance(error, SymbolicLink):
        text = f"-> {error.target}" if error.target else ""
        evidence.find(Code.LINKED, shown, 0, text, f"{what} is a symbolic link")
    elif isinstance(error, FileNotFoundError | NotADirectoryError):
        evidence.find(Code.MISSING, shown, 0, "", f"{what} is missing")
    else:
        evidence.find(Code.UNREADABLE, shown, 0, "", f"{what}: {error.strerror}")


def find_unsafe(evidence: Evidence, directory: Directory) -> None:
    """Report a directory that qmail does not deliver from."""
    mode = directory.mode()
    if mode & (stat.S_IWOTH | stat.S_ISVTX):
        sticky = "sticky" if mode & stat.S_ISVTX else ""
        writable = "writable for everybody" if mode & stat.S_IWOTH else ""
        reason = f"it is {' and '.join(filter(None, (sticky, writable)))}"
        evidence.find(Code.UNSAFE_HOME, directory.shown, 0, f"{mode:04o}", reason)


def read_limits(evidence: Evidence, directory: Directory, name: str) -> site.Limits | None:
    """Return a limits file; None when it cannot be read."""
    data = read_file(evidence, directory, name)
    if data is None:
        return None
    shown = f"{directory.shown}/{name}"
    values, doubts = limits.parse(data)
    tally = evidence.tally(name, shown)
    lines = split_lines(data)
    tally.files = 1
    tally.lines = len(lines)
    merged = {number for number, text in lines if text.startswith("#") or not text.strip(" \t")}
    for each in doubts:
        evidence.find(_LIMIT_CODES[each.doubt], shown, each.number, each.text, each.reason)
        if each.doubt in {limits.Doubt.NO_VALUE, limits.Doubt.REPEATED}:
            merged.add(each.number)
        elif each.doubt is limits.Doubt.UNKNOWN_KEY:
            tally.foreign += 1
        elif each.doubt is limits.Doubt.UNREAD:
            merged.update(range(each.number + 1, len(lines) + 1))
    tally.merged = len(merged)
    tally.imported = tally.lines - tally.merged - tally.foreign
    return site.Limits(values, decode(data))


def read_counter(
    evidence: Evidence, directory: Directory, present: set[str]
) -> site.Counter | None:
    """Return the directory counter with its list of freed buckets; None when neither is there."""
    control = dircontrol.DirControl()
    free = None
    if COUNTER in present:
        data = read_file(evidence, directory, COUNTER)
        if data is None:
            return None
        tally = evidence.tally(COUNTER, f"{directory.shown}/{COUNTER}")
        tally.files = 1
        tally.lines = len(split_lines(data))
        parsed = dircontrol.parse(data)
        if isinstance(parsed, Malformed):
            where = f"line {parsed.number}: " if parsed.text else ""
            reason = f"{where}{parsed.reason}; a new one takes its place"
            evidence.find(Code.DAMAGED_COUNTER, tally.place, 0, parsed.text, reason)
            tally.merged = tally.lines
        else:
            control = parsed
            tally.imported = tally.lines
    if FREE_BUCKETS in present:
        data = read_file(evidence, directory, FREE_BUCKETS)
        if data is None:
            return None
        tally = evidence.tally(FREE_BUCKETS, f"{directory.shown}/{FREE_BUCKETS}")
        tally.files = 1
        for line in dircontrol.parse_free(data):
            tally.lines += 1
            if isinstance(line, Malformed):
                evidence.malformed(tally, tally.place, line)
            elif isinstance(line, Comment):
                tally.merged += 1
            else:
                tally.imported += 1
        free = decode(data)
    present_at_all = COUNTER in present or FREE_BUCKETS in present
    return site.Counter(control, free) if present_at_all else None
