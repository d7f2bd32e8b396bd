"""What is in a domain's directory and belongs to none of its accounts.

It stays where it is, and all of it is listed. A directory that looks like an account's own may
have mail in it, so it is a finding.
"""

import os
import string
from collections.abc import Iterable

from vpopsql.directory import Directory, relative_to
from vpopsql.importer.account_files import VPASSWD, VPASSWD_CDB
from vpopsql.importer.backend import Head
from vpopsql.importer.codes import Code
from vpopsql.importer.dotqmails import is_dot_qmail
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.files import COUNTER, FREE_BUCKETS, LIMITS, LOCK
from vpopsql.qmail.vpasswd import VpasswdLine

_READ = {VPASSWD, LIMITS, COUNTER, FREE_BUCKETS}
_MARKS_OF_A_HOME = {"Maildir", "lastauth"}
_BUCKETS = set(string.digits + string.ascii_letters)
_BUCKET_LEVELS = 3


def leave_rest(
    head: Head,
    directory: Directory,
    entries: Iterable["os.DirEntry[str]"],
    lines: Iterable[VpasswdLine],
    evidence: Evidence,
) -> None:
    """List what is in a domain's directory and its buckets and belongs to no account.

    :param entries: what is in the directory.
    :param lines: the accounts.
    """
    homes, buckets = _places_of(head, lines)
    for entry in entries:
        name = entry.name
        if name in homes or name in buckets or name in _READ or is_dot_qmail(name):
            continue
        derived = name == VPASSWD_CDB or name.endswith(LOCK)
        what = "made anew by the export" if derived else "in domain directories"
        evidence.leave(what, f"{directory.shown}/{name}")
        _find_orphans(directory, entry, 0, evidence)
    for bucket in sorted(buckets):
        try:
            opened = directory.enter(bucket)
        except OSError:
            continue  # reported with the homes in it
        with opened:
            for entry in opened.entries():
                path = f"{bucket}/{entry.name}"
                if path not in homes and path not in buckets:
                    evidence.leave("in domain directories", f"{directory.shown}/{path}")
                    _find_orphans(opened, entry, path.count("/"), evidence)


def _places_of(head: Head, lines: Iterable[VpasswdLine]) -> tuple[set[str], set[str]]:
    """Return the homes below a domain's directory, and the directories between it and them."""
    homes: set[str] = set()
    buckets: set[str] = set()
    for line in lines:
        home = relative_to(line.directory, head.directory)
        if home is not None:
            homes.add(home)
            bucket = home.rpartition("/")[0]
            while bucket and bucket not in buckets:
                buckets.add(bucket)
                bucket = bucket.rpartition("/")[0]
    return homes, buckets


def _find_orphans(
    parent: Directory, entry: "os.DirEntry[str]", depth: int, evidence: Evidence
) -> None:
    """Report a directory that may be an account's, or those in it if it is a bucket.

    :param depth: of the parent, in buckets.
    """
    if not entry.is_dir(follow_symlinks=False):
        return
    try:
        directory = parent.enter(entry.name)
    except OSError:
        return  # may not be read: it is listed
    with directory:
        inside = directory.entries()
        marks = sorted(_MARKS_OF_A_HOME.intersection(each.name for each in inside))
        if marks:
            reason = f"it has a {' and a '.join(marks)}, and no account that is imported has it"
            evidence.find(Code.ORPHAN_HOME, directory.shown, 0, "", reason)
        elif entry.name in _BUCKETS and depth < _BUCKET_LEVELS:
            for each in inside:
                _find_orphans(directory, each, depth + 1, evidence)
