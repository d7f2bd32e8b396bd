"""Running an import the way the command does, for tests that look at what comes of it."""

from pathlib import Path

from vpopsql.db import Database
from vpopsql.importer import site
from vpopsql.importer.apply import apply_plan
from vpopsql.importer.evidence import Evidence, Finding
from vpopsql.importer.plan import Plan, make_plan
from vpopsql.importer.scan import Source, scan

ORIGIN = {"imported_at": "2026-11-22T09:00:00+00:00"}


def source(root: Path, *, store_clear_text: bool = True) -> Source:
    return Source(
        vpopmail=root / "home/vpopmail",
        qmail=root / "var/qmail",
        root=str(root),
        store_clear_text=store_clear_text,
    )


def read(root: Path, *, store_clear_text: bool = True) -> tuple[site.Site, Evidence]:
    evidence = Evidence()
    return scan(source(root, store_clear_text=store_clear_text), evidence), evidence


def plan(database: Database, root: Path) -> Plan:
    found, evidence = read(root)
    with database.reader() as session:
        return make_plan(session, found, evidence)


def apply(database: Database, root: Path, *, store_clear_text: bool = True) -> Plan:
    found, evidence = read(root, store_clear_text=store_clear_text)
    with database.writer() as session:
        made = make_plan(session, found, evidence)
        apply_plan(session, made, ORIGIN)
    return made


def findings(root: Path, code: str) -> list[Finding]:
    return [finding for finding in read(root)[1].findings if str(finding.code) == code]
