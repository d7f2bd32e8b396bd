"""The views and the table for mail servers: what is forbidden, hashes, logins, one lookup each."""

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import select, text

from tests import factories
from tests.mailservers import conftest
from vpopsql import config, schema_check
from vpopsql.db import Database
from vpopsql.mailservers import files
from vpopsql.model import DovecotLogin, Flag, LastAuth, Mailbox

MANUAL = Path(__file__).parents[2] / "docs/mailservers.md"
SERVICES = {
    "no_pop": (Flag.NO_POP, "disable_pop"),
    "no_imap": (Flag.NO_IMAP, "disable_imap"),
    "no_webmail": (Flag.NO_WEBMAIL, "disable_webmail"),
    "no_smtp": (Flag.NO_SMTP, "disable_smtp"),
    "no_relay": (Flag.NO_RELAY, "disable_external_relay"),
}
DROP = """
    INSERT INTO dovecot_logins (at, username, service, remote_ip)
    VALUES (:at, :username, :service, :ip)
    ON CONFLICT (username, service, remote_ip) DO UPDATE SET at = :at
    """


def ask(database: Database, query: str, **values: Any) -> list[dict[str, Any]]:
    with database.reader() as session:
        return [dict(row) for row in session.execute(text(query), values).mappings()]


def drop_in(
    database: Database, username: str, at: int, ip: str = "192.0.2.1", service: str = "imap"
) -> None:
    """Write a login as Dovecot does."""
    with database.writer() as session:
        values = {"username": username, "at": at, "ip": ip, "service": service}
        session.execute(text(DROP), values)


def noted(database: Database) -> list[tuple[str, str, str, int]]:
    """Return what is noted of logins, by mailbox and service."""
    query = select(Mailbox.name, LastAuth.service, LastAuth.remote_ip, LastAuth.at).join(
        Mailbox, Mailbox.id == LastAuth.mailbox_id
    )
    with database.reader() as session:
        rows = session.execute(query.order_by(Mailbox.name, LastAuth.service))
        return [(*row[:3], int(row[3].timestamp())) for row in rows]


@pytest.fixture
def site(database: Database) -> Database:
    """The site that Dovecot serves in the other tests."""
    with database.writer() as session:
        conftest.fill(session)
    return database


# --- who may log in ---------------------------------------------------------------------------


@pytest.mark.parametrize("own, default", [(None, False), (None, True), (True, False)])
def test_a_service_is_forbidden_by_the_account_or_by_the_limits_that_hold(
    database: Database, own: bool | None, default: bool
) -> None:
    accounts = [
        (service, has_bit, overrides)
        for service in SERVICES
        for has_bit in (False, True)
        for overrides in (False, True)
    ]
    with database.writer() as session:
        for service, has_bit, overrides in accounts:
            bit, limit = SERVICES[service]
            domain = factories.domain(session, f"{service}-{has_bit}-{overrides}.org".lower())
            flags = bit * has_bit | Flag.V_OVERRIDE * overrides
            factories.mailbox(session, domain, service, Flag(flags))
            if own is not None:
                factories.limits(session, domain, **{limit: own})
        factories.limits(session, None, **{each: default for _, each in SERVICES.values()})

    rows = ask(database, "SELECT * FROM dovecot_users")
    found = {row["domain"]: row[row["name"]] for row in rows}

    limited = default if own is None else own
    assert found == {
        f"{service}-{has_bit}-{overrides}.org".lower(): int(has_bit or (limited and not overrides))
        for service, has_bit, overrides in accounts
    }


def test_a_domains_own_limits_count_instead_of_the_sites(database: Database) -> None:
    with database.writer() as session:
        domain = factories.domain(session)
        factories.mailbox(session, domain)
        factories.limits(session, None, disable_imap=True)
        factories.limits(session, domain, disable_pop=True)

    (row,) = ask(database, "SELECT no_imap, no_pop FROM dovecot_users")

    assert row == {"no_imap": 0, "no_pop": 1}


def test_a_site_without_limits_forbids_nothing(database: Database) -> None:
    with database.writer() as session:
        factories.mailbox(session, factories.domain(session))

    (row,) = ask(database, f"SELECT {', '.join(SERVICES)} FROM dovecot_users")

    assert set(row.values()) == {0}


def test_an_account_is_found_by_each_name_of_its_domain(site: Database) -> None:
    rows = ask(
        site,
        "SELECT domain, address, home, uid, gid, quota_bytes, quota_messages, is_alias"
        " FROM dovecot_users WHERE name = 'alice' ORDER BY domain",
    )

    same = {
        "address": "alice@example.com",
        "home": "/d/example.com/alice",
        "uid": conftest.MAIL.pw_uid,
        "gid": conftest.MAIL.pw_gid,
        "quota_bytes": 10_485_760,
        "quota_messages": 1000,
    }
    assert rows == [
        {"domain": "alias.org", "is_alias": True, **same},
        {"domain": "example.com", "is_alias": False, **same},
    ]


HASHES = {
    "$6$salt$hash": "{CRYPT}$6$salt$hash",
    "{SHA512-CRYPT}$6$salt$hash": "{CRYPT}$6$salt$hash",
    "saszt8mUri4AI": "{CRYPT}saszt8mUri4AI",
    "$argon2id$v=19$x": "{ARGON2ID}$argon2id$v=19$x",
    "$argon2i$v=19$x": "{ARGON2I}$argon2i$v=19$x",
    "": None,
    "*": None,
    "!$6$salt$hash": None,
    "{CRYPT}": None,
    "{CRYPT}!$6$salt$hash": None,
    # Nobody's word is taken for what is behind the brace.
    "{PLAIN}secret": "{CRYPT}secret",
}


def test_a_hash_has_the_name_of_its_scheme_before_it(database: Database) -> None:
    with database.writer() as session:
        domain = factories.domain(session)
        for number, stored in enumerate(HASHES):
            factories.mailbox(session, domain, f"user{number:02}", password_hash=stored)

    rows = ask(database, "SELECT password FROM dovecot_users ORDER BY name")

    shown = [row["password"] for row in rows]
    assert dict(zip(HASHES, shown, strict=True)) == HASHES


# --- logins -----------------------------------------------------------------------------------


def test_a_login_dropped_in_is_noted_and_does_not_stay(site: Database) -> None:
    drop_in(site, "alice@example.com", 1_790_000_000, "2001:db8::1")
    drop_in(site, "alice@example.com", 1_790_000_001, "192.0.2.2", "pop3")
    drop_in(site, "o'neil@example.com", 1_790_000_002)

    assert noted(site) == [
        ("alice", "imap", "2001:db8::1", 1_790_000_000),
        ("alice", "pop3", "192.0.2.2", 1_790_000_001),
        ("o'neil", "imap", "192.0.2.1", 1_790_000_002),
    ]
    with site.reader() as session:
        assert session.scalars(select(DovecotLogin)).all() == []


def test_a_later_login_takes_the_place_of_an_earlier_one_and_no_other_way(site: Database) -> None:
    drop_in(site, "alice@example.com", 1_790_000_000, "192.0.2.1")
    drop_in(site, "alice@example.com", 1_790_000_009, "192.0.2.2")
    drop_in(site, "alice@example.com", 1_790_000_005, "192.0.2.3")

    assert noted(site) == [("alice", "imap", "192.0.2.2", 1_790_000_009)]


def test_a_login_of_nobody_changes_nothing(site: Database) -> None:
    for username in ("nobody@example.com", "alice@nowhere.org", "alice", ""):
        drop_in(site, username, 1_790_000_000)

    assert noted(site) == []


def test_lastauth_shows_the_newest_of_all_services(site: Database) -> None:
    drop_in(site, "alice@example.com", 1_790_000_000, "192.0.2.1", "pop3")
    drop_in(site, "alice@example.com", 1_790_000_001, "192.0.2.2")

    rows = ask(site, "SELECT userid, domain, remote_ip, timestamp FROM lastauth")
    assert [tuple(row.values()) for row in rows] == [
        ("alice", "example.com", "192.0.2.2", 1_790_000_001)
    ]


# --- the role ---------------------------------------------------------------------------------


@pytest.mark.parametrize("_backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT password_hash FROM mailboxes",
        "SELECT pw_passwd FROM vpopmail",
        "SELECT * FROM last_auths",
        "INSERT INTO last_auths (mailbox_id, service, at, remote_ip) VALUES (1, 'x', now(), '')",
        "DELETE FROM dovecot_logins",
        "SELECT * FROM postfix_aliases",
    ],
)
def test_dovecots_role_can_do_nothing_else(
    site: Database, database_url: str, statement: str
) -> None:
    login = files.Login("dovecot_of_the_test")
    made = configuration(database_url, "2.4", login)["role.sql"]
    with psycopg.connect(database_url) as connection:
        connection.execute(made)
        connection.execute("SET ROLE dovecot_of_the_test")

        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)
        connection.rollback()


# --- what they are said to be -----------------------------------------------------------------


def test_the_manual_names_every_column(database: Database) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (`.*`) \|$", MANUAL.read_text(), re.MULTILINE)
    documented = {view: re.findall(r"`(\w+)`", columns) for view, columns in rows}

    with database.reader() as session:
        columns = {
            view: list(session.execute(text(f"SELECT * FROM {view}")).keys())
            for view in schema_check.SERVER_VIEWS
        }

    assert columns == documented


# --- one lookup -------------------------------------------------------------------------------


def configuration(url: str, version: str, login: files.Login | None = None) -> dict[str, str]:
    """Return Dovecot's files for a database."""
    loaded = config.load(None, {"VPOPSQL_DATABASE_URL": url})
    users = files.Users("mail", "mail")
    return files.dovecot(loaded, version, "/etc/dovecot", login or files.Login("dovecot"), users)


def queries(url: str) -> dict[str, str]:
    """Return the queries that Dovecot 2.3 makes, with what it puts in."""
    text_ = configuration(url, "2.3")["vpopsql-sql.conf.ext"].replace("\\\n", " ")
    found = dict(re.findall(r"^(\w+_query) = (.*)$", text_, re.MULTILINE))
    inserted = {"%Ln": "alice", "%Ld": "alias.org", "%Ls": "imap", "%r": "::1"}
    return {
        name: re.sub(r"%\{\w+\}|%L?\w", lambda each: inserted.get(each[0], "::1"), query).replace(
            ":", "\\:"
        )
        for name, query in found.items()
    }


def postfix_queries(url: str) -> dict[str, str]:
    """Return Postfix's queries, with what it puts in."""
    loaded = config.load(None, {"VPOPSQL_DATABASE_URL": url})
    made = files.postfix(loaded, "/etc/postfix", files.Login("postfix"))
    inserted = {"%s": "alice@alias.org", "%u": "alice", "%d": "alias.org"}
    return {
        name: re.sub(
            "%[sud]", lambda each: inserted[each[0]], text_.partition("query = ")[2].strip()
        )
        for name, text_ in made.items()
        if name.endswith(".cf")
    }


def steps(site: Database, query: str) -> list[str]:
    return [row["detail"] for row in ask(site, f"EXPLAIN QUERY PLAN {query}")]


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ["password_query", "user_query"])
def test_a_login_is_one_lookup_by_keys(site: Database, database_url: str, name: str) -> None:
    found = steps(site, queries(database_url)[name])

    assert any("SEARCH a USING" in step and "(name=?)" in step for step in found), found
    assert any("SEARCH m USING" in step and "domain_id=? AND name=?" in step for step in found)
    assert [
        step for step in found if step.startswith("SCAN") and step != "SCAN CONSTANT ROW"
    ] == []


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "table", ["domains.cf", "mailboxes.cf", "aliases.cf", "recipients.cf", "senders.cf"]
)
def test_postfix_reads_no_table_from_end_to_end(
    site: Database, database_url: str, table: str
) -> None:
    found = steps(site, postfix_queries(database_url)[table])

    scans = [step for step in found if step.startswith("SCAN")]
    assert [step for step in scans if re.match(r"SCAN [admnfltxy]\b", step)] == [], found


@pytest.mark.parametrize("_backend", ["postgresql"], indirect=True)
def test_a_login_among_many_reads_a_handful_of_pages(site: Database, database_url: str) -> None:
    with site.writer() as session:
        session.execute(
            text(
                "INSERT INTO mailboxes (domain_id, name, password_hash, apop_uid, flags, comment,"
                " directory, quota_text) SELECT id, 'user' || n, '*', 1, 0, '', '/d', 'NOQUOTA'"
                " FROM domains, generate_series(1, 20000) n"
            )
        )
    site.close()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ANALYZE")
    query = queries(database_url)["password_query"]

    rows = ask(site, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT TEXT) {query}")

    plan = "\n".join(row["QUERY PLAN"] for row in rows)
    (pages,) = re.findall(r"^  Buffers: shared hit=(\d+)", plan, re.MULTILINE)[:1]
    assert "Seq Scan on mailboxes" not in plan
    assert int(pages) < 60, plan
