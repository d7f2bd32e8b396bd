"""Queries of other programs on vpopmail's tables, run as they stand on the views of that name.

Beside those of tests/test_compat_views.py. What a program puts into a query stands there already.
Where MySQL's grammar is not the database's, a site that moves writes the query in the other one;
those are here in the spelling of each.
"""

from typing import Any

import pytest
from sqlalchemy import text

from tests import factories
from vpopsql.db import Database
from vpopsql.model import Flag

HOME = "/home/vpopmail/domains/example.com"


@pytest.fixture
def site(database: Database) -> Database:
    """A domain with an alias domain and limits."""
    with database.writer() as session:
        domain = factories.domain(session, "example.com", "alias.org")
        alice = factories.mailbox(
            session,
            domain,
            "alice",
            Flag.NO_WEBMAIL,
            clear_text="secret",
            quota_bytes=10_485_760,
            quota_text="10485760S",
        )
        factories.mailbox(session, domain, "postmaster", Flag.NO_IMAP)
        factories.limits(session, domain, disable_imap=True)
        factories.alias(session, domain, "info", "&alice@example.com", "x@y.org")
        factories.last_auth(session, alice, factories.at(2026, 1, 1), "192.0.2.1")
    return database


def values(site: Database, query: str) -> list[tuple[Any, ...]]:
    with site.reader() as session:
        return [tuple(row) for row in session.execute(text(query.replace(":", "\\:")))]


QUERIES: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "user_query of Dovecot's wiki": (
        (
            "SELECT pw_name, 89 as uid, 89 as gid, pw_dir as home FROM vpopmail"
            " WHERE pw_name = 'alice' AND pw_domain = 'example.com'"
        ),
        [("alice", 89, 89, f"{HOME}/alice")],
    ),
    "user_query of the sagredo guide, which knows no alias domains": (
        (
            "SELECT pw_dir AS home, 89 AS uid, 89 AS gid FROM vpopmail"
            " WHERE pw_name = 'alice' AND pw_domain = 'alias.org'"
        ),
        [],
    ),
    "password_query of Dovecot's wiki, where the domain has no IMAP": (
        (
            "select pw_passwd as password FROM vpopmail LEFT JOIN limits"
            " ON vpopmail.pw_domain=limits.domain WHERE pw_name='alice' and"
            " pw_domain='example.com' and (pw_gid & 8) = 0 and ('::1'!='127.0.0.1' or"
            " (pw_gid & 4) = 0) and ( ('::1'!='127.0.0.1' or COALESCE(disable_webmail,0)!=1)"
            " and COALESCE(disable_imap,0)!=1 or (pw_gid & 8192) <> 0 )"
        ),
        [],
    ),
    "password_query of QMailToaster": (
        (
            "SELECT pw_name || '@' || 'alias.org' AS \"user\", pw_passwd AS password"
            " FROM vpopmail LEFT JOIN aliasdomains ON aliasdomains.alias = 'alias.org'"
            " WHERE pw_name = 'alice' AND pw_domain = aliasdomains.domain"
        ),
        [("alice@alias.org", factories.PASSWORD_HASH)],
    ),
    "Courier's authmysqlrc": (
        (
            "SELECT pw_name || '@' || pw_domain, pw_passwd, 89, 89, pw_dir, '.maildir',"
            " pw_shell, pw_gecos, 'disablewebmail=0' FROM vpopmail"
            " WHERE pw_name = 'alice' AND pw_domain = 'example.com'"
        ),
        [
            (
                "alice@example.com",
                factories.PASSWORD_HASH,
                89,
                89,
                f"{HOME}/alice",
                ".maildir",
                "10485760S",
                "Alice",
                "disablewebmail=0",
            )
        ],
    ),
    "qpsmtpd's auth_vpopmail_sql": (
        (
            "SELECT pw_passwd,pw_clear_passwd FROM vpopmail"
            " WHERE pw_name='alice' AND pw_domain='example.com'"
        ),
        [(factories.PASSWORD_HASH, "secret")],
    ),
    "ISPConfig's import": (
        "SELECT pw_domain FROM vpopmail WHERE pw_name='postmaster'",
        [("example.com",)],
    ),
    "synchronisation with Mailman": (
        "SELECT alias, valias_line FROM valias WHERE domain='example.com' ORDER BY id",
        [("info", "&alice@example.com"), ("info", "x@y.org")],
    ),
    "vpopmail's own, on PostgreSQL": (
        "SELECT remote_ip, timestamp FROM lastauth WHERE userid='alice' AND domain='example.com'",
        [("192.0.2.1", 1767225600)],
    ),
    "list of alias domains": (
        "SELECT alias FROM aliasdomains WHERE domain = 'example.com'",
        [("alias.org",)],
    ),
}


def test_queries_run_as_they_stand(site: Database) -> None:
    found = {name: values(site, query) for name, (query, _) in QUERIES.items()}

    assert found == {name: wanted for name, (_, wanted) in QUERIES.items()}


def test_ispconfig_finds_every_column_by_its_name(site: Database) -> None:
    with site.reader() as session:
        found = session.execute(text("SELECT * FROM vpopmail WHERE pw_name='postmaster'"))
        names = set(found.keys())

    assert {"pw_name", "pw_domain", "pw_passwd", "pw_uid", "pw_gid", "pw_gecos"} <= names
    assert {"pw_dir", "pw_shell", "pw_clear_passwd"} <= names


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(
            "UPDATE vpopmail SET pw_passwd='$6$x$y' WHERE pw_name='alice'"
            " AND pw_domain='example.com'",
            id="Horde and Roundcube",
        ),
        pytest.param(
            "UPDATE vpopmail SET pw_passwd='$6$x$y', pw_clear_passwd='new'"
            " WHERE pw_name='alice' AND pw_domain='example.com'",
            id="the same with clear text",
        ),
    ],
)
def test_a_webmail_changes_a_password(site: Database, statement: str) -> None:
    with site.writer() as session:
        session.execute(text(statement))

    assert values(site, "SELECT pw_passwd FROM vpopmail WHERE pw_name = 'alice'") == [("$6$x$y",)]


@pytest.mark.parametrize("_backend", ["postgresql"], indirect=True)
def test_concat_is_postgresqls_too(site: Database) -> None:
    query = """
        SELECT CONCAT(pw_name,'@',pw_domain) AS "user", pw_passwd AS password,
            CONCAT('*:bytes=', substring(pw_shell from '^[0-9]+')) AS userdb_quota_rule
        FROM vpopmail LEFT JOIN aliasdomains ON aliasdomains.alias='alias.org'
        WHERE pw_name='alice' AND (pw_domain='alias.org' OR pw_domain=aliasdomains.domain)
            AND ('995'!='995' OR (pw_gid & 2) = 0)
        """

    assert values(site, query) == [
        ("alice@example.com", factories.PASSWORD_HASH, "*:bytes=10485760")
    ]
