"""What an explanation costs: queries, and what they read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from tests import factories
from tests.explain.conftest import Sample
from vpopsql.db import Database
from vpopsql.explain import explanation, rows
from vpopsql.explain.result import Explanation
from vpopsql.model import CatchAll


@contextmanager
def statements(session: Session) -> Iterator[list[tuple[str, Any]]]:
    """Note what a session sends."""
    sent: list[tuple[str, Any]] = []

    def note(
        connection: object, cursor: object, statement: str, parameters: object, *_: object
    ) -> None:
        if statement.startswith("SELECT"):
            sent.append((statement, parameters))

    engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


def explain(session: Session, address: str) -> Explanation:
    site = rows.read_site(session, "/home/vpopmail", "/var/qmail", rows.Build(qmail_ext=True))
    return explanation.explain(session, address, site)


def test_many_destinations_cost_as_many_queries_as_one(database: Database) -> None:
    with database.writer() as session:
        domain = factories.domain(session)
        names = [f"user{number}" for number in range(60)]
        factories.alias(session, domain, "one", "&user0@example.com")
        factories.alias(session, domain, "all", *(f"&{name}@example.com" for name in names))
        for name in names:
            factories.mailbox(session, domain, name)

    with database.snapshot() as session:
        with statements(session) as of_one:
            explain(session, "one@example.com")
        with statements(session) as of_all:
            found = explain(session, "all@example.com")

    assert len(found.deliveries) == 60
    assert len(of_all) == len(of_one) < 25


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "address", ["alice-x@example.com", "nobody@directory.example", "team@example.org"]
)
def test_every_table_that_grows_with_the_site_is_asked_by_an_index(
    crossed: Sample, address: str
) -> None:
    with crossed.database.snapshot() as session:
        with statements(session) as sent:
            explain(session, address)
        plans = [
            row.detail
            for statement, parameters in sent
            for row in session.connection().exec_driver_sql(
                f"EXPLAIN QUERY PLAN {statement}", parameters
            )
        ]

    scanned = {plan.split()[1] for plan in plans if plan.startswith("SCAN")}
    asked = {plan for plan in plans if plan.startswith(("SEARCH mailboxes", "SEARCH dotqmail_f"))}
    assert scanned <= {"foreign_lines", "default_limits"}
    assert {plan.partition(" (")[2] for plan in asked} <= {
        "domain_id=? AND name=?)",
        "mailbox_id=? AND name=?)",
    }


def test_what_is_not_followed_any_further_is_said(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explanation, "MAX_HOPS", 3)
    with database.writer() as session:
        domain = factories.domain(session)
        factories.mailbox(session, domain, "end")
        factories.alias(session, domain, "one", "&two@example.com")
        factories.alias(session, domain, "two", "&three@example.com")
        factories.alias(session, domain, "three", "&end@example.com")

    with database.snapshot() as session:
        whole = explain(session, "two@example.com")
        cut = explain(session, "one@example.com")

    assert whole.exit_code == 0
    assert [(defect.code.value, defect.what) for defect in cut.defects] == [
        ("too-many", "end@example.com and what comes after it is not followed")
    ]


def test_no_more_addresses_are_followed_than_can_be_shown(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explanation, "MAX_ADDRESSES", 3)
    with database.writer() as session:
        domain = factories.domain(session)
        factories.alias(session, domain, "all", *(f"&{name}@far.example" for name in "abc"))

    with database.snapshot() as session:
        found = explain(session, "all@example.com")

    assert [delivery.target for delivery in found.deliveries] == ["a@far.example", "b@far.example"]
    assert [defect.what for defect in found.defects] == [
        "c@far.example and what comes after it is not followed"
    ]


def test_an_import_that_was_cut_off_is_a_defect(database: Database) -> None:
    with database.writer() as session:
        factories.mailbox(session, factories.domain(session))
        factories.setting(session, "unfinished_import", "1")

    with database.snapshot() as session:
        found = explain(session, "alice@example.com")

    assert [defect.code.value for defect in found.defects] == ["unfinished-import"]


def test_names_of_any_bytes_are_asked_for(database: Database) -> None:
    with database.writer() as session:
        domain = factories.domain(session)
        factories.alias(session, domain, "caf\udce9", "&alice@example.com")

    with database.snapshot() as session:
        found = explain(session, "Caf\udce9@example.com")
        other = explain(session, "'; DROP TABLE domains; --%_@example.com")

    assert next(step.result for step in found.steps if step.kind == "line") == (
        "forwarded to alice@example.com"
    )
    assert [delivery.kind.value for delivery in other.deliveries] == ["bounce"]


@pytest.mark.parametrize(
    "columns, what",
    [
        (
            {"directory": "/srv/0:1"},
            "/var/qmail/users/assign cannot be written: example.com has a colon",
        ),
        (
            {"catchall": CatchAll.ADDRESS, "catchall_target": "nobody"},
            (
                "/home/vpopmail/domains/example.com/.qmail-default cannot be written:"
                " the catch-all is no address"
            ),
        ),
    ],
)
def test_what_no_file_can_hold_is_a_defect(
    database: Database, columns: dict[str, Any], what: str
) -> None:
    with database.writer() as session:
        factories.domain(session, **columns)

    with database.snapshot() as session:
        found = explain(session, "nobody@example.com")

    assert [(each.code.value, each.what) for each in found.defects] == [("unwritable", what)]


def test_a_line_with_a_newline_is_a_defect(database: Database) -> None:
    with database.writer() as session:
        domain = factories.domain(session)
        factories.alias(session, domain, "odd", "&a@far.example\n&b@far.example")

    with database.snapshot() as session:
        found = explain(session, "odd@example.com")

    assert [each.what for each in found.defects] == [
        (
            "/home/vpopmail/domains/example.com/.qmail-odd cannot be written:"
            " a line has a newline in it"
        )
    ]
