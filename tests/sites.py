"""Sample sites in a database, imported the way the command does it."""

from collections.abc import Collection
from pathlib import Path

from vpopsql.db import Database
from vpopsql.importer.apply import apply_plan
from vpopsql.importer.backend import Choices
from vpopsql.importer.cdb_build import CdbBuild
from vpopsql.importer.codes import Code
from vpopsql.importer.plan import Plan, make_plan
from vpopsql.importer.scan import Scanned, Source, scan

ORIGIN = {"imported_at": "2026-11-22T09:00:00+00:00"}
SOURCE = "tree /somewhere"


def scan_tree(root: Path, choices: Choices | None = None, *, jobs: int = 1) -> Scanned:
    """Read the tree below ``root``."""
    choices = choices or Choices(store_clear_text=True)
    source = Source(
        vpopmail=root / "home/vpopmail", qmail=root / "var/qmail", root=str(root), choices=choices
    )
    return scan(source, lambda _: CdbBuild(choices.prefer), jobs=jobs)


def import_tree(
    database: Database,
    root: Path,
    choices: Choices | None = None,
    *,
    source: str = SOURCE,
    update: bool = False,
    accepted: Collection[Code] = (),
) -> Plan:
    """Import the tree below ``root``; what is rejected must be accepted.

    :param source: what the tree is remembered by.
    """
    scanned = scan_tree(root, choices)
    with database.reader() as session:
        plan = make_plan(session, scanned, source, update=update, accepted=accepted)
    apply_plan(database, plan, ORIGIN)
    return plan
