"""What an import reads and plans, for tests that look at what comes of it."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests import sites
from vpopsql.config import Config, Passwords, Paths
from vpopsql.db import Database
from vpopsql.importer import site
from vpopsql.importer.backend import Choices
from vpopsql.importer.codes import Code, Severity
from vpopsql.importer.evidence import Evidence, Finding, Tally
from vpopsql.importer.origin import Origin, Store
from vpopsql.importer.plan import Plan, make_plan
from vpopsql.importer.scan import Scanned
from vpopsql.qmail import assign, vpasswd
from vpopsql.qmail.lines import decode


def read(root: Path, choices: Choices | None = None) -> tuple[site.Site, Evidence]:
    scanned = sites.scan_tree(root, choices)
    return replace(scanned.found, domains=tuple(scanned.spool)), together(scanned)


def together(scanned: Scanned, *others: Evidence) -> Evidence:
    """Return all that was found as one."""
    evidence = Evidence()
    for each in (*scanned.evidence(), *others):
        evidence.add(each)
    return evidence


def plan(
    database: Database, root: Path, *, update: bool = False, accepted: Collection[Code] = ()
) -> Plan:
    scanned = sites.scan_tree(root)
    with database.reader() as session:
        return make_plan(session, scanned, sites.SOURCE, update=update, accepted=accepted)


def found(plan: Plan) -> list[Finding]:
    return together(plan.scanned, plan.evidence).findings


def findings(root: Path, code: str) -> list[Finding]:
    return [finding for finding in read(root)[1].findings if str(finding.code) == code]


def compile_cdbs(root: Path) -> None:
    """Make the cdbs of a tree anew, as vpopmail does after each change of a text."""
    users = root / "var/qmail/users"
    lines = decode((users / "assign").read_bytes()).removesuffix(".\n").splitlines()
    (users / "cdb").write_bytes(assign.compile_cdb(lines))
    for path in (root / "home").glob("*/domains/**/vpasswd"):
        text = decode(path.read_bytes())
        path.with_suffix(".cdb").write_bytes(vpasswd.compile_cdb(text.splitlines()))


def read_tables(
    store: Store,
    tables: str,
    root: Path,
    *,
    with_tree: bool = True,
    jobs: int = 1,
    **settings: Any,
) -> tuple[site.Site, Evidence]:
    """Read a site whose rows are in a database or a dump, as the command does."""
    origin = Origin(
        store=store,
        qmail=root / "var/qmail",
        vpopmail=root / "home/vpopmail" if with_tree else None,
        tables=tables,
        **settings,
    )
    config = Config(paths=Paths(root=str(root)), passwords=Passwords(store_clear_text=True))
    scanned = origin.read(config, jobs=jobs)
    return replace(scanned.found, domains=tuple(scanned.spool)), together(scanned)


def codes(evidence: Evidence) -> list[str]:
    """Return the codes of what was found, but for notes, sorted."""
    found = [finding.code for finding in evidence.findings]
    return sorted(str(code) for code in found if code.severity is not Severity.NOTE)


def totals(evidence: Evidence) -> dict[str, tuple[int, ...]]:
    """Return files, lines, imported, merged, foreign and rejected of each kind."""
    kinds: dict[str, Tally] = {}
    for tally in evidence.tallies:
        kinds.setdefault(tally.kind, Tally(tally.kind, "")).add(tally)
    return {
        kind: (each.files, each.lines, each.imported, each.merged, each.foreign, each.rejected)
        for kind, each in kinds.items()
    }
