"""On a site of some size the databases look up what they are asked for, and sort little.

A full scan of a large table, or a sort of all rows, is what makes a report slow on a large site.
"""

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler

from scripts.sites.database import fill
from scripts.sites.synthesis import Size
from tests import factories
from vpopsql.db import Database
from vpopsql.model import Domain, DomainName
from vpopsql.reports import parts
from vpopsql.reports.query import Question, rows, selects
from vpopsql.reports.registry import REPORTS
from vpopsql.reports.report import Parts, Source

LARGE = ("mailboxes", "dotqmail_files", "dotqmail_lines", "last_auths", "mailbox_usage")
OF_VIEWS = [each for each in REPORTS.values() if each.source is Source.VIEW]
IN_PARTS = [each for each in OF_VIEWS if each.parts is not Parts.WHOLE]

# It compares all names.
READ_ALL = {"name-clashes"}


class Explain(sa.Executable, sa.ClauseElement):
    inherit_cache = False

    def __init__(self, query: sa.Select[Any]) -> None:
        self.query = query


@compiles(Explain)
def _explain(element: Explain, compiler: SQLCompiler, **options: Any) -> str:
    word = "EXPLAIN" if compiler.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    return f"{word} {compiler.process(element.query, **options)}"


_SOME = (
    sa.select(DomainName.name, Domain)
    .join(Domain, Domain.id == DomainName.domain_id)
    .where(~DomainName.is_alias)
    .limit(25)
)


@pytest.fixture
def large(database: Database) -> Database:
    """A site on which a look-up costs less than a scan."""
    fill(database, Size(300, 6000))
    with database.writer() as session:
        for name, domain in session.execute(_SOME):
            factories.alias(session, domain, "ring-a", f"&ring-b@{name}")
            factories.alias(session, domain, "ring-b", f"&ring-a@{name}")
    with database.writer() as session:
        session.execute(sa.text("ANALYZE"))
        first = sa.text("DELETE FROM sqlite_stat1") if database.is_sqlite else sa.text("SELECT 1")
        # SQLite has to do without statistics on most sites.
        session.execute(first)
    database.forget_connections()
    return database


def plan(session: Session, query: sa.Select[Any]) -> list[str]:
    # As the driver gives it: the columns are not those of the query.
    cursor = session.execute(Explain(query)).cursor  # type: ignore[attr-defined]
    return [str(row[-1]).strip(" ->") for row in cursor.fetchall()]


def full_scans(lines: list[str]) -> list[str]:
    """The steps that read a large table from its beginning to its end."""
    begins = ("SCAN ", "Seq Scan on ", "Parallel Seq Scan on ")
    return [line for line in lines if line.startswith(begins) and _is_large(line)]


# The names that the views give to large tables; whatever is materialised has a longer one.
_SHORT = {"m", "f", "t", "a", "b", "u", "q", "k", "o", "v", "y", "z"}


def _is_large(line: str) -> bool:
    words = line.replace("SCAN ", "").replace("Parallel ", "").replace("Seq Scan on ", "").split()
    is_table = "INDEX ix_" not in line and "VIRTUAL TABLE" not in line
    return words[0] in LARGE or (words[0] in _SHORT and is_table)


def test_a_report_on_one_domain_reads_no_large_table_from_end_to_end(large: Database) -> None:
    with large.survey() as session:
        name = session.scalar(sa.text("SELECT min(name) FROM domain_names WHERE NOT is_alias"))
        scans = {
            report.name: full_scans(plan(session, query))
            for report in OF_VIEWS
            if report.name not in READ_ALL
            for query in selects(session, report, Question(domain=name))
        }

    assert {name: found for name, found in scans.items() if found} == {}


def test_parts_make_the_whole(large: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_FEWEST", 7)
    monkeypatch.setattr(parts, "_FEWEST_TIMES", 5)
    monkeypatch.setattr(parts, "_FEWEST_ENTRIES", 3)

    with large.survey() as session:
        in_parts = {each.name: list(rows(session, each, Question())) for each in IN_PARTS}
        whole = [replace(each, parts=Parts.WHOLE) for each in IN_PARTS]
        as_a_whole = {each.name: list(rows(session, each, Question())) for each in whole}

    assert [name for name, found in in_parts.items() if found != as_a_whole[name]] == []
    assert {name: len(found) for name, found in in_parts.items() if len(found) <= 20} == {}
    assert [row[0] for row in in_parts["alias-loops"]] == list(range(1, 26))


def test_a_part_reads_no_large_table_from_end_to_end(
    large: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first part has the first rows: it must not wait for what the others read."""
    monkeypatch.setattr(parts, "_FEWEST", 1)  # of 300: as few as a part of a large site has
    by_domain = [each for each in IN_PARTS if each.parts is Parts.DOMAINS]

    with large.survey() as session:
        first = {each.name: next(iter(selects(session, each, Question()))) for each in by_domain}
        scans = {name: full_scans(plan(session, query)) for name, query in first.items()}

    assert {name: found for name, found in scans.items() if found} == {}
    assert len(first) > 8
