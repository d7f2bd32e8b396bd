"""What the reports on mailboxes answer, every column of it."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.reports.conftest import Ask, ago
from vpopsql.db import Database
from vpopsql.schema_check import REPORT_VIEWS

pytestmark = pytest.mark.usefixtures("accounts")


def test_inactive_mailboxes_are_those_without_a_login_for_long(ask: Ask) -> None:
    assert ask("inactive-mailboxes") == [
        ("bob@example.com", "example.com", ago(200), None, None, None, ago(200), 200, True, None,
         "", True, False),
        ("alice@example.com", "example.com", ago(300), ago(100), "imap", "192.0.2.7", ago(100),
         100, False, 950, "no_pop qa_admin", False, True),
        ("carol@example.com", "example.com", None, None, None, None, None, None, True, 0, "",
         False, False),
        ("zoe@other.net", "other.net", None, None, None, None, None, None, True, None, "sa_admin",
         False, True),
    ]  # fmt: skip


def test_everybody_is_inactive_for_no_days_at_all(ask: Ask) -> None:
    found = ask("inactive-mailboxes", threshold=0, domain="alias.org", with_postmaster=True)

    assert [(row[0], row[7]) for row in found] == [
        ("postmaster@example.com", 400),
        ("bob@example.com", 200),
        ("alice@example.com", 100),
        ("dave@example.com", 1),
        ("carol@example.com", None),
    ]


def test_never_logged_in_says_who_made_them(ask: Ask) -> None:
    assert ask("never-logged-in", threshold=1) == [
        ("bob@example.com", "example.com", ago(200), 200, "boss@example.com", True, None),
        ("carol@example.com", "example.com", None, None, None, False, 0),
        ("zoe@other.net", "other.net", None, None, None, False, None),
    ]


def test_over_quota_tells_when_a_mailbox_will_be_full(ask: Ask) -> None:
    # 400 bytes in 40 days: 50 more take 5.
    full_on = (ago(1) + timedelta(days=5)).date().isoformat()

    assert ask("over-quota") == [
        ("alice@example.com", "example.com", 1000, 950, 95.0, 100, 10, ago(1), 400, full_on,
         ago(100)),
    ]  # fmt: skip


def test_over_quota_counts_messages_as_well(ask: Ask) -> None:
    found = ask("over-quota", threshold=0)

    assert found[1] == (
        "carol@example.com", "example.com", None, 0, 0.0, 4, 0, ago(0), None, None, None
    )  # fmt: skip
    assert len(found) == 2


def test_password_schemes_counts_them(ask: Ask) -> None:
    assert ask("password-schemes") == [
        ("example.com", "des", 1, None, None, True),
        ("example.com", "locked", 1, None, None, False),
        ("example.com", "md5-crypt", 1, None, None, True),
        ("example.com", "sha512-crypt", 2, ago(50), ago(50), False),
        ("other.net", "unknown", 1, None, None, None),
    ]


def test_password_scheme_mailboxes_names_them(ask: Ask) -> None:
    assert ask("password-scheme-mailboxes", domain="example.com", limit=2) == [
        ("alice@example.com", "example.com", "sha512-crypt", False, ago(50), ago(100)),
        ("bob@example.com", "example.com", "locked", False, None, None),
    ]


def test_clear_text_names_who_has_one_and_never_shows_it(ask: Ask) -> None:
    assert ask("clear-text") == [
        ("alice@example.com", "example.com", True, "sha512-crypt", "imap", ago(100)),
    ]


def test_admins_tells_who_gave_the_right(ask: Ask) -> None:
    assert ask("admins") == [
        ("alice@example.com", "example.com", "domain", "example.com", "boss@example.com", ago(60),
         ago(100), "sha512-crypt"),
        ("postmaster@example.com", "example.com", "postmaster", "example.com", None, None, None,
         "sha512-crypt"),
        ("zoe@other.net", "other.net", "system", "*", None, None, None, "unknown"),
    ]  # fmt: skip


def test_flags_tells_the_accounts_from_the_domains(ask: Ask) -> None:
    found = ask("flags", domain="example.com")

    assert [row for row in found if row[0][:5] in {"alice", "dave@"}] == [
        ("alice@example.com", "example.com", "no_imap", False, True, False, True, False),
        ("alice@example.com", "example.com", "no_pop", True, False, False, True, True),
        ("alice@example.com", "example.com", "qa_admin", True, None, False, True, None),
        ("dave@example.com", "example.com", "no_imap", False, True, True, False, True),
        ("dave@example.com", "example.com", "v_override", True, None, True, True, None),
    ]
    assert [row[:3] for row in found if row[0][:5] in {"bob@e", "carol"}] == [
        ("bob@example.com", "example.com", "no_imap"),
        ("carol@example.com", "example.com", "no_imap"),
    ]


def test_long_lines_counts_the_bytes_of_vpasswd(ask: Ask) -> None:
    line = "bob:!locked:1:0:Bob:/home/vpopmail/domains/example.com/bob:NOQUOTA:"

    found = ask("long-lines", threshold=len(line))

    assert ("bob@example.com", "example.com", len(line), 299) in found
    assert ask("long-lines") == []


def test_logins_of_a_day_are_counted_by_service_and_address(ask: Ask) -> None:
    assert ask("auth-activity") == [
        (ago(1).date().isoformat(), "example.com", None, "2001:db8::1", 1, None, None, ago(1)),
        (ago(40).date().isoformat(), "example.com", "imap", "192.0.2.7", 1, 3, 0, ago(40)),
        (ago(40).date().isoformat(), "example.com", "vpopmaild", "198.51.100.6", 2, 1, 7, ago(40)),
        (ago(40).date().isoformat(), None, "vpopmaild", "198.51.100.6", 0, 0, 4, ago(40)),
        (ago(100).date().isoformat(), "example.com", "imap", "192.0.2.7", 1, None, None, ago(100)),
        (ago(300).date().isoformat(), "example.com", "pop3", "192.0.2.9", 1, None, None, ago(300)),
    ]


def test_no_view_has_a_hash_or_a_password_in_it(accounts: Database) -> None:
    with accounts.reader() as session:
        views = sa.inspect(session.connection()).get_view_names()
        found = {
            view: repr(session.execute(sa.text(f"SELECT * FROM {view}")).all())
            for view in views
            if view.startswith("report_")
        }

    assert len(found) == len(REPORT_VIEWS)
    assert [view for view, rows in found.items() if "hhhhh" in rows or "secret" in rows] == []
