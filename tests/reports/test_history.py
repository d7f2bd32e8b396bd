"""What the reports on the past answer, and what they show of secrets."""

from datetime import date

import pytest

from tests import factories
from tests.reports.conftest import Ask, entry
from vpopsql.db import Database
from vpopsql.model import DomainUsage
from vpopsql.reports import past
from vpopsql.reports.query import CannotAsk

BOSS, IP, JOE, ONE = "boss@example.com", "192.0.2.1", "joe@example.com", "example.com"
MONDAY, TUESDAY, FRIDAY = (factories.at(2026, 3, day, 10, 30) for day in (2, 3, 6))


def measured(when: int, hour: int, size: int, *, known: int = 2) -> DomainUsage:
    return DomainUsage(
        domain="example.com",
        measured_at=factories.at(2026, 3, when, hour),
        mailboxes=2,
        measured=known,
        bytes=size,
        messages=1,
        aliases=4,
    )


@pytest.fixture(autouse=True)
def happened(database: Database) -> Database:
    with database.writer() as session:
        session.add_all(
            [
                entry("add_domain", "domain", "example.com", MONDAY),
                entry(
                    "add_user",
                    "user",
                    "joe@example.com",
                    MONDAY,
                    quota=(None, "10S"),
                    password=(None, "never to be seen"),
                ),
                entry(
                    "mod_user", "user", "joe@example.com", TUESDAY, flags=(0, 2), odd=(False, True)
                ),
                entry("del_user", "user", "joe@example.com", FRIDAY),
                measured(2, 1, 100),
                measured(2, 23, 150),
                measured(5, 1, 120),
                measured(6, 1, 0, known=0),
            ]
        )
    return database


def test_growth_is_told_day_by_day(ask: Ask) -> None:
    assert ask("growth") == [
        ("2026-03-06", "example.com", 2, 0, 1, 4, None, None),
        ("2026-03-05", "example.com", 2, 0, 0, 4, 120, -30),
        ("2026-03-02", "example.com", 2, 1, 0, 4, 150, None),
    ]


def test_growth_as_of_a_day_ends_with_it(ask: Ask) -> None:
    assert [row[0] for row in ask("growth", as_of=date(2026, 3, 5))] == [
        "2026-03-05",
        "2026-03-02",
    ]


def test_changes_are_told_field_by_field_with_secrets_masked(ask: Ask) -> None:
    assert ask("changes") == [
        (4, FRIDAY, BOSS, IP, "daemon", "user", JOE, ONE,
         "del_user", None, None, None),
        (3, TUESDAY, BOSS, IP, "daemon", "user", JOE, ONE,
         "mod_user", "flags", "0", "2"),
        (3, TUESDAY, BOSS, IP, "daemon", "user", JOE, ONE,
         "mod_user", "odd", "false", "true"),
        (2, MONDAY, BOSS, IP, "daemon", "user", JOE, ONE,
         "add_user", "password", None, "(masked)"),
        (2, MONDAY, BOSS, IP, "daemon", "user", JOE, ONE,
         "add_user", "quota", None, "10S"),
        (1, MONDAY, BOSS, IP, "daemon", "domain", ONE, ONE,
         "add_domain", None, None, None),
    ]  # fmt: skip


def test_changes_as_of_a_day_are_those_until_its_end(ask: Ask) -> None:
    found = ask("changes", as_of=date(2026, 3, 3), domain="example.com", sort=("at", False))

    assert [row[0] for row in found] == [2, 2, 1, 3, 3]


def test_a_report_on_the_present_refuses_the_past(ask: Ask) -> None:
    with pytest.raises(CannotAsk, match="cannot be asked for the past"):
        ask("admins", as_of=date(2026, 3, 3))


# --- of one thing -------------------------------------------------------------------------------


def history(site: Database, wanted: str, limit: int | None = None) -> list[tuple[object, ...]]:
    with site.snapshot() as session:
        return [row[0:1] + row[5:] for row in past.history(session, wanted, limit)]


@pytest.fixture
def eventful(database: Database) -> Database:
    with database.writer() as session:
        one = factories.domain(session, "example.com", "alias.org")
        ann = factories.mailbox(session, one, "ann")
        home = "/home/vpopmail/domains/example.com"
        for path in (f"{home}/.qmail-ann", f"{ann.directory}/.qmail", f"{home}/.qmail-x"):
            session.add(entry("write_file", "dotqmail", path, FRIDAY, lines=(None, "&a@b.c")))
            session.flush()
        session.add(entry("mod_user", "user", "ann@example.com", FRIDAY, clear_text=("a", "b")))
        session.add(entry("mod_user", "user", "ann@other-example.com", FRIDAY, flags=(1, 2)))
    return database


def test_an_address_has_the_history_of_its_account_and_files(eventful: Database) -> None:
    home = "/home/vpopmail/domains/example.com"

    assert history(eventful, "Ann@Alias.org") == [
        (5, f"{home}/.qmail-ann", "write_file", "lines", None, "&a@b.c"),
        (6, f"{home}/ann/.qmail", "write_file", "lines", None, "&a@b.c"),
        (8, "ann@example.com", "mod_user", "clear_text", "(masked)", "(masked)"),
    ]


def test_who_is_gone_has_a_history(eventful: Database) -> None:
    assert history(eventful, "joe@example.com") == [
        (2, "joe@example.com", "add_user", "password", None, "(masked)"),
        (2, "joe@example.com", "add_user", "quota", None, "10S"),
        (3, "joe@example.com", "mod_user", "flags", "0", "2"),
        (3, "joe@example.com", "mod_user", "odd", "false", "true"),
        (4, "joe@example.com", "del_user", None, None, None),
    ]


def test_a_domain_has_the_history_of_all_that_is_in_it(eventful: Database) -> None:
    assert {row[0] for row in history(eventful, "alias.org")} == {1, 2, 3, 4, 5, 6, 7, 8}


def test_a_file_has_a_history_of_its_own(eventful: Database) -> None:
    found = history(eventful, "/home/vpopmail/domains/example.com/.qmail-x")

    assert [row[0] for row in found] == [7]


def test_the_newest_entries_are_those_that_are_left(eventful: Database) -> None:
    assert {row[0] for row in history(eventful, "example.com", limit=2)} == {7, 8}
