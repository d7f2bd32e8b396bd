"""Sample sites in a database, imported the way the command does it."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Table, select, text
from sqlalchemy.orm import Session

from vpopsql.bulk import insert_rows
from vpopsql.db import Database
from vpopsql.importer.apply import apply_plan
from vpopsql.importer.backend import Choices
from vpopsql.importer.cdb_build import CdbBuild
from vpopsql.importer.codes import Code
from vpopsql.importer.plan import Plan, make_plan
from vpopsql.importer.scan import Scanned, Source, scan
from vpopsql.model import DERIVED, Base, SchemaGuard

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


def import_sample(database: Database, name: str, root: Path) -> None:
    """Import the sample tree NAME, of which a copy lies below ``root`` that nobody has changed.

    Only the first of these imports is one: the others put the rows that it left into the
    database, which must be new.
    """
    kept = _KEPT.get((name, database.is_sqlite))
    if kept is None:
        import_tree(database, root)
        with database.reader() as session:
            _KEPT[name, database.is_sqlite] = _take_rows(session)
        return
    with database.writer() as session:
        _put_rows(session, kept)


class _Rows(NamedTuple):
    """The rows of all tables, in an order that foreign keys allow, and the next keys."""

    tables: list[tuple[Table, list[tuple[Any, ...]]]]
    sequences: list[tuple[str, int]]


_KEPT: dict[tuple[str, bool], _Rows] = {}


def _take_rows(session: Session) -> _Rows:
    tables = [
        (table, [tuple(row) for row in session.execute(select(table))])
        for table in Base.metadata.sorted_tables
        if table is not SchemaGuard.__table__ and DERIVED not in table.info
    ]
    sequences = []
    if session.connection().dialect.name == "postgresql":
        known = "SELECT sequencename, last_value FROM pg_sequences WHERE last_value IS NOT NULL"
        sequences = [(name, value) for name, value in session.execute(text(known))]
    return _Rows([(table, rows) for table, rows in tables if rows], sequences)


def _put_rows(session: Session, kept: _Rows) -> None:
    for table, rows in kept.tables:
        insert_rows(session, table, table.columns.keys(), rows)
    for name, value in kept.sequences:
        session.execute(text("SELECT setval(:name, :value)"), {"name": name, "value": value})
