"""Passwords and logins that old programs write through the views."""

import json
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import make_url, select

from tests.views import ALICE_HASH, ask, change, make_viewed
from vpopsql.db import Database
from vpopsql.errors import DatabaseRefused
from vpopsql.model import (
    AuditEntry,
    LastAuth,
    Mailbox,
    Revision,
)


@pytest.fixture
def site(database: Database) -> Database:
    return make_viewed(database)


# --- passwords --------------------------------------------------------------------------------


def test_a_password_changed_in_sql_is_stored_noted_and_due_for_export(site: Database) -> None:
    change(
        site,
        "UPDATE vpopmail SET pw_passwd = '$6$new$hash', pw_clear_passwd = 'new'"
        " WHERE pw_name = 'alice' AND pw_domain = 'example.com'",
    )

    with site.reader() as session:
        alice = session.scalars(select(Mailbox).where(Mailbox.name == "alice")).one()
        entry = session.scalars(select(AuditEntry)).one()
        revision = session.scalars(select(Revision)).one()
    assert (alice.password_hash, alice.clear_text) == ("$6$new$hash", "new")
    assert alice.password_changed_at is not None
    assert abs(datetime.now(UTC) - alice.password_changed_at).total_seconds() < 60
    assert (entry.channel, entry.object_type, entry.object) == (
        "sql",
        "mailbox",
        "alice@example.com",
    )
    assert entry.changes == {"password_hash": ["***", "***"], "clear_text": ["***", "***"]}
    assert "new" not in json.dumps(entry.changes)
    assert revision.domain == "example.com"


def test_a_new_hash_alone_takes_the_old_clear_text_away(site: Database) -> None:
    change(site, "UPDATE vpopmail SET pw_passwd = 'x' WHERE pw_name = 'alice'")

    (row,) = ask(site, "SELECT pw_passwd, pw_clear_passwd FROM vpopmail WHERE pw_name = 'alice'")
    assert tuple(row.values()) == ("x", None)


def test_a_new_hash_makes_no_clear_text_field_where_there_was_none(site: Database) -> None:
    change(site, "UPDATE vpopmail SET pw_passwd = 'x' WHERE pw_name = 'zoe'")

    with site.reader() as session:
        assert session.scalar(select(Mailbox.clear_text).where(Mailbox.name == "zoe")) is None


def test_a_clear_text_alone_can_be_changed(site: Database) -> None:
    change(site, "UPDATE vpopmail SET pw_clear_passwd = 'other' WHERE pw_name = 'alice'")

    with site.reader() as session:
        alice = session.scalars(select(Mailbox).where(Mailbox.name == "alice")).one()
        changes = session.scalars(select(AuditEntry.changes)).one()
    assert (alice.password_hash, alice.clear_text) == (ALICE_HASH, "other")
    assert changes == {"clear_text": ["***", "***"]}


def test_a_password_set_to_null_locks_the_account(site: Database) -> None:
    change(site, "UPDATE vpopmail SET pw_passwd = NULL WHERE pw_name = 'alice'")

    with site.reader() as session:
        assert session.scalar(select(Mailbox.password_hash).where(Mailbox.name == "alice")) == ""


def test_a_password_set_to_what_it_is_leaves_no_trace(site: Database) -> None:
    change(site, "UPDATE vpopmail SET pw_passwd = pw_passwd, pw_name = pw_name")

    with site.reader() as session:
        assert session.scalars(select(AuditEntry)).all() == []
        assert session.scalars(select(Revision)).all() == []
        assert set(session.scalars(select(Mailbox.password_changed_at))) == {None}


@pytest.mark.parametrize("column", ["pw_passwd", "pw_clear_passwd"])
@pytest.mark.parametrize("value", ["a:b", "a\nb", "\x7f"])
def test_a_password_that_vpasswd_could_not_hold_is_refused(
    site: Database, column: str, value: str
) -> None:
    with pytest.raises(DatabaseRefused, match="must not have colons or control characters"):
        change(site, f"UPDATE vpopmail SET {column} = :value WHERE pw_name = 'alice'", value=value)


def test_a_change_of_many_passwords_notes_each(site: Database) -> None:
    change(site, "UPDATE vpopmail SET pw_passwd = '*' WHERE pw_domain = 'example.com'")

    with site.reader() as session:
        objects = session.scalars(select(AuditEntry.object).order_by(AuditEntry.object)).all()
    assert objects == [f"{name}@example.com" for name in ("alice", "bob", "boss", "many")]


@pytest.mark.parametrize("_backend", ["postgresql"], indirect=True)
def test_who_may_write_the_view_only_can_change_a_password(
    site: Database, database_url: str
) -> None:
    url = make_url(database_url).render_as_string(hide_password=False)

    with psycopg.connect(url) as connection:
        connection.execute("CREATE ROLE webmail")
        connection.execute("GRANT SELECT, UPDATE ON vpopmail TO webmail")
        connection.execute("SET ROLE webmail")
        connection.execute("UPDATE vpopmail SET pw_passwd = 'x' WHERE pw_name = 'alice'")
        found = connection.execute("SELECT pw_passwd FROM vpopmail WHERE pw_name = 'alice'")
        assert found.fetchall() == [("x",)]
        connection.rollback()


# --- logins -----------------------------------------------------------------------------------


def test_mail_toasters_post_login_script_records_a_login(site: Database) -> None:
    change(
        site,
        "UPDATE lastauth SET timestamp=1790000000, remote_ip='2001:db8::1'"
        " WHERE \"user\"='alice' AND domain='example.com'",
    )

    (row,) = ask(site, "SELECT timestamp, remote_ip FROM lastauth")
    assert tuple(row.values()) == (1790000000, "2001:db8::1")
    with site.reader() as session:
        services = session.scalars(select(LastAuth.service).order_by(LastAuth.service)).all()
    assert services == ["any", "imap"]


def test_the_address_alone_can_be_updated(site: Database) -> None:
    change(site, "UPDATE lastauth SET remote_ip='192.0.2.99' WHERE userid='alice'")

    (row,) = ask(site, "SELECT timestamp, remote_ip FROM lastauth")
    assert tuple(row.values()) == (1769904000, "192.0.2.99")


@pytest.mark.parametrize("column", ['"user"', "userid"])
def test_a_login_can_be_inserted_under_either_name_of_the_column(
    site: Database, column: str
) -> None:
    change(
        site,
        f"INSERT INTO lastauth ({column}, domain, remote_ip, timestamp)"
        " VALUES ('zoe', 'other.net', '192.0.2.5', 1780000000)",
    )

    (row,) = ask(
        site, "SELECT userid, remote_ip, timestamp FROM lastauth WHERE domain='other.net'"
    )
    assert tuple(row.values()) == ("zoe", "192.0.2.5", 1780000000)


@pytest.mark.parametrize("user, domain", [("Alice", "Example.COM"), ("alice", "alias.org")])
def test_an_insert_of_a_login_that_is_there_updates_it(
    site: Database, user: str, domain: str
) -> None:
    statement = (
        'INSERT INTO lastauth ("user", domain, remote_ip, timestamp)'
        " VALUES (:user, :domain, :ip, :at)"
    )
    change(site, statement, user=user, domain=domain, ip="192.0.2.5", at=1780000000)
    change(site, statement, user=user, domain=domain, ip="192.0.2.6", at=1780000001)

    (row,) = ask(site, "SELECT domain, remote_ip, timestamp FROM lastauth")
    assert tuple(row.values()) == ("example.com", "192.0.2.6", 1780000001)


@pytest.mark.parametrize("user, domain", [("nobody", "example.com"), ("alice", "nowhere.org")])
def test_a_login_of_nobody_is_refused(site: Database, user: str, domain: str) -> None:
    with pytest.raises(DatabaseRefused, match="there is no such account"):
        change(
            site,
            'INSERT INTO lastauth ("user", domain, remote_ip, timestamp)'
            " VALUES (:user, :domain, '::1', 1)",
            user=user,
            domain=domain,
        )


def test_a_login_without_time_or_address_is_refused(site: Database) -> None:
    with pytest.raises(DatabaseRefused, match="remote_ip and timestamp are needed"):
        change(site, "INSERT INTO lastauth (userid, domain) VALUES ('alice', 'example.com')")
