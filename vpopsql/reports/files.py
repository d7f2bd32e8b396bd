"""Reports on what only the files of this host can tell; see `vpopsql.exporter.drift`."""

import os
import pwd
import shlex
import stat
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from vpopsql.config import Config
from vpopsql.db import Database
from vpopsql.exporter.drift.codes import Code
from vpopsql.exporter.drift.finding import Finding
from vpopsql.exporter.drift.survey import Progress, verify
from vpopsql.reports.report import DOMAIN, Report, Source, text, time

Row = tuple[object, ...]

_ORPHANS = frozenset({Code.ORPHAN_DOMAIN, Code.ORPHAN_HOME, Code.UNKNOWN_DIR})
_MISSING = frozenset({Code.DIR_MISSING, Code.HOME_MISSING, Code.MAILDIR_MISSING})

_PATH = text("path", "the directory")
_CODE = text("code", "what is the case, see docs/verify-codes.md")

DRIFT = Report(
    "drift",
    "Where do the files of this host differ from the database?",
    (
        text("path", "the file or directory"),
        DOMAIN,
        text("severity", "harm (mail is lost, refused or let through), warning or note"),
        _CODE,
        text("details", "what differs", "the code says it all"),
        text("fix", "the command that mends it", "there is none"),
    ),
    ("severity", "code", "path"),
    source=Source.FILES,
    notes="As `vpopsql verify` finds it. `vpopsql hosts` says how far the other hosts are.",
)
ORPHANS = Report(
    "orphan-dirs",
    "Which directories belong to nobody in the database?",
    (
        _PATH,
        DOMAIN,
        _CODE,
        time("mtime", "when something in it was last made, renamed or removed"),
        text("owner", "the user of the system who has it"),
    ),
    ("path",),
    source=Source.FILES,
    notes="A directory counts once it is a minute old. How much is in it, `du` says.",
)
MISSING = Report(
    "missing-dirs",
    "Which directories should be there, and are not?",
    (_PATH, DOMAIN, _CODE),
    ("path",),
    source=Source.FILES,
)

REPORTS = (DRIFT, ORPHANS, MISSING)


def find(
    report: Report,
    database: Database,
    config: Config,
    domain: str | None,
    progress: Progress | None = None,
) -> Iterator[Row]:
    """Give the rows of one of `REPORTS`, in its order, as Python values.

    :param domain: of this one only.
    :raises NoSuchDomain: there is none of this name.
    :raises ExportFailed: somebody had the site's lock all the time.
    """
    findings = verify(database, config, domain=domain, progress=progress).findings
    yield from _ROWS[report.name](config, findings)


def _drift(_: Config, findings: Sequence[Finding]) -> Iterator[Row]:
    for each in findings:
        command = each.code.command(each.domain or None)
        fix = shlex.join(["vpopsql", *command]) if command else None
        severity = each.code.severity.name.lower()
        domain = each.domain or None
        yield each.path, domain, severity, str(each.code), each.reason or None, fix


def _orphans(config: Config, findings: Sequence[Finding]) -> Iterator[Row]:
    for each in sorted(_of(_ORPHANS, findings), key=_path_of):
        try:
            status = os.lstat(config.paths.real(each.path))
        except OSError:
            status = None
        made = owner = None
        if status is not None and stat.S_ISDIR(status.st_mode):
            made = datetime.fromtimestamp(status.st_mtime, UTC)
            owner = _user(status.st_uid)
        yield each.path, each.domain or None, str(each.code), made, owner


def _missing(_: Config, findings: Sequence[Finding]) -> Iterator[Row]:
    for each in sorted(_of(_MISSING, findings), key=_path_of):
        yield each.path, each.domain or None, str(each.code)


def _of(codes: frozenset[Code], findings: Sequence[Finding]) -> Iterator[Finding]:
    return (each for each in findings if each.code in codes)


def _path_of(finding: Finding) -> str:
    return finding.path


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


_ROWS: dict[str, Callable[..., Iterator[Row]]] = {
    DRIFT.name: _drift,
    ORPHANS.name: _orphans,
    MISSING.name: _missing,
}
