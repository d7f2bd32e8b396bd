"""The views with vpopmail's names: what Dovecot, Postfix and webmail plug-ins ask and write."""

from typing import Any

import pytest

from tests import factories
from tests.views import ALICE_HASH, ask, change, make_viewed
from vpopsql.db import Database
from vpopsql.errors import DatabaseRefused


@pytest.fixture
def site(database: Database) -> Database:
    return make_viewed(database)


def users(rows: list[dict[str, Any]]) -> list[str]:
    return [row["user"] for row in rows]


# --- what the views show ----------------------------------------------------------------------


def test_vpopmail_shows_an_account_as_vpopmails_table_does(site: Database) -> None:
    (row,) = ask(site, "SELECT * FROM vpopmail WHERE pw_name = 'alice'")

    assert list(row.items())[:9] == [
        ("pw_name", "alice"),
        ("pw_domain", "example.com"),
        ("pw_passwd", ALICE_HASH),
        ("pw_uid", 1),
        ("pw_gid", 0),
        ("pw_gecos", "Alice"),
        ("pw_dir", "/home/vpopmail/domains/example.com/alice"),
        ("pw_shell", "10485760S,1000C"),
        ("pw_clear_passwd", "secret"),
    ]
    assert list(row)[9:] == ["id", "my_uid", "my_gid"]
    assert (row["my_uid"], row["my_gid"]) == (89, 89)


def test_a_quota_is_spelled_as_dovecots_queries_take_it_apart(site: Database) -> None:
    rows = ask(site, "SELECT pw_shell FROM vpopmail ORDER BY pw_domain, pw_name")

    assert [row["pw_shell"] for row in rows] == [
        "10485760S,1000C",
        "NOQUOTA",
        "5S",
        "7C",
        "NOQUOTA",
    ]


def test_passwords_that_are_not_there_are_null_and_never_empty(site: Database) -> None:
    rows = ask(
        site,
        "SELECT pw_name AS name, pw_passwd AS hash, pw_clear_passwd AS clear FROM vpopmail"
        " WHERE pw_name IN ('bob', 'boss') ORDER BY pw_name",
    )

    assert [tuple(row.values()) for row in rows] == [
        ("bob", None, None),
        ("boss", factories.PASSWORD_HASH, None),
    ]


def test_pw_gid_has_the_accounts_own_bits_only(site: Database) -> None:
    rows = ask(
        site, "SELECT pw_gid FROM vpopmail WHERE pw_domain = 'example.com' ORDER BY pw_name"
    )

    assert [row["pw_gid"] for row in rows] == [0, 0x8 | 0x2, 0x2000, 0x4]


def test_limits_are_numbers_under_the_names_of_mysqls_table(site: Database) -> None:
    (row,) = ask(site, "SELECT * FROM limits")

    assert row == {
        "domain": "example.com",
        "maxpopaccounts": -1,
        "maxaliases": 3,
        "maxforwards": -1,
        "maxautoresponders": -1,
        "maxmailinglists": -1,
        "diskquota": 100,
        "maxmsgcount": 0,
        "defaultquota": 0,
        "defaultmaxmsgcount": 0,
        "disable_pop": 0,
        "disable_imap": 0,
        "disable_dialup": 0,
        "disable_passwordchanging": 0,
        "disable_webmail": 1,
        "disable_relay": 1,
        "disable_smtp": 0,
        "disable_spamassassin": 0,
        "delete_spam": 0,
        "disable_maildrop": 0,
        "perm_account": 0,
        "perm_alias": 0,
        "perm_forward": 0,
        "perm_autoresponder": 0,
        "perm_maillist": 1 | 2 << 3 | 4 << 6,
        "perm_quota": 0,
        "perm_defaultquota": 0,
    }
    assert {type(value) for value in row.values()} == {str, int}


def test_lastauth_shows_the_newest_login_under_both_names_of_the_column(site: Database) -> None:
    assert ask(site, "SELECT * FROM lastauth") == [
        {
            "user": "alice",
            "userid": "alice",
            "domain": "example.com",
            "remote_ip": "192.0.2.7",
            "timestamp": 1769904000,
        }
    ]


def test_valias_shows_the_lines_of_a_domains_aliases(site: Database) -> None:
    rows = ask(site, "SELECT * FROM valias ORDER BY id")

    assert list(rows[0]) == ["id", "alias", "domain", "valias_line", "valias_type", "copy"]
    assert [tuple(row.values())[1:] for row in rows] == [
        ("info", "example.com", "&alice@example.com", 1, 0),
        ("info", "example.com", "# note", 0, 0),
        ("info", "example.com", "|/bin/cat", 0, 0),
    ]


def test_the_small_tables_of_vpopmail_are_there(site: Database) -> None:
    aliases = ask(site, "SELECT alias, domain FROM aliasdomains")
    addresses = ask(site, "SELECT ip_addr, domain FROM ip_alias_map")
    counters = ask(site, "SELECT domain, cur_users, the_dir FROM dir_control ORDER BY domain")

    assert [tuple(row.values()) for row in aliases] == [("alias.org", "example.com")]
    assert [tuple(row.values()) for row in addresses] == [("192.0.2.1", "example.com")]
    assert [tuple(row.values()) for row in counters] == [
        ("dom_89", 2, ""),
        ("example.com", 4, "0"),
    ]


@pytest.mark.parametrize(
    "query",
    [
        'SELECT id, "user", userid, passwd, domain, logon, remoteip, error, timestamp FROM vlog',
        "SELECT ip_addr, timestamp FROM relay WHERE timestamp > 5",
    ],
)
def test_what_vpopsql_does_not_keep_is_empty_but_there(site: Database, query: str) -> None:
    assert ask(site, query) == []


# --- the queries of sites ---------------------------------------------------------------------

# Each as sites run it, %n and %d as :n and :d, %r as :r, %a as :a; by dialect where it must be.


@pytest.mark.parametrize(
    "name, domain, found",
    [
        ("alice", "example.com", ["alice@example.com"]),
        ("alice", "alias.org", ["alice@example.com"]),
        ("alice", "other.net", []),
        ("bob", "example.com", []),
    ],
)
def test_sagredos_password_query(site: Database, name: str, domain: str, found: list[str]) -> None:
    query = """
        SELECT pw_name || '@' || pw_domain AS "user", pw_passwd AS password,
            pw_dir AS userdb_home, 89 AS userdb_uid, 89 AS userdb_gid
        FROM vpopmail LEFT JOIN aliasdomains ON aliasdomains.alias = :d
        WHERE pw_name = :n AND (pw_domain = :d OR pw_domain = aliasdomains.domain)
            AND ('993' <> '995' OR (pw_gid & 2) = 0)
            AND ('192.0.2.9' <> '127.0.0.1' OR (pw_gid & 4) = 0)
            AND ('192.0.2.9' = '127.0.0.1' OR '993' <> '993' OR (pw_gid & 8) = 0)
        """

    assert users(ask(site, query, n=name, d=domain)) == found


def test_sagredos_quota_rule(site: Database) -> None:
    bytes_of = {
        True: "CAST(pw_shell AS INTEGER)",
        False: "COALESCE(substring(pw_shell from '^[0-9]+'), '0')",
    }[site.is_sqlite]

    rows = ask(
        site,
        f"SELECT '*\\:bytes=' || {bytes_of} AS rule FROM vpopmail"
        " WHERE pw_domain = 'example.com' AND pw_name IN ('alice', 'bob') ORDER BY pw_name",
    )

    assert [row["rule"] for row in rows] == ["*:bytes=10485760", "*:bytes=0"]


@pytest.mark.parametrize(
    "name, address, found",
    [
        ("alice", "192.0.2.9", 1),
        ("alice", "127.0.0.1", 0),
        ("many", "127.0.0.1", 0),
        ("boss", "127.0.0.1", 1),
        ("bob", "192.0.2.9", 0),
    ],
)
def test_the_dovecot_wikis_password_query(
    site: Database, name: str, address: str, found: int
) -> None:
    query = """
        SELECT pw_passwd AS password
        FROM vpopmail LEFT JOIN limits ON vpopmail.pw_domain = limits.domain
        WHERE pw_name = :n AND pw_domain = 'example.com' AND (pw_gid & 8) = 0
            AND (:r <> '127.0.0.1' OR (pw_gid & 4) = 0)
            AND ((:r <> '127.0.0.1' OR COALESCE(disable_webmail, 0) <> 1)
                AND COALESCE(disable_imap, 0) <> 1 OR (pw_gid & 8192) <> 0)
        """

    assert len(ask(site, query, n=name, r=address)) == found


def test_the_limits_of_a_domain_without_any_coalesce(site: Database) -> None:
    (row,) = ask(
        site,
        "SELECT COALESCE(disable_imap, 0) AS off FROM vpopmail"
        " LEFT JOIN limits ON limits.domain = pw_domain WHERE pw_name = 'zoe'",
    )

    assert row["off"] == 0


def test_mail_toasters_clear_text_query(site: Database) -> None:
    query = (
        "SELECT pw_clear_passwd AS password FROM vpopmail WHERE pw_name = :n AND pw_domain = :d"
    )

    (alice,) = ask(site, query, n="alice", d="example.com")
    (zoe,) = ask(site, query, n="zoe", d="other.net")

    assert (alice["password"], zoe["password"]) == ("secret", None)


def test_dovecots_iteration_lists_mailboxes_once_and_no_alias_domains(site: Database) -> None:
    rows = ask(site, "SELECT pw_name || '@' || pw_domain AS \"user\" FROM vpopmail ORDER BY 1")

    assert users(rows) == [
        "alice@example.com",
        "bob@example.com",
        "boss@example.com",
        "many@example.com",
        "zoe@other.net",
    ]


@pytest.mark.parametrize(
    "name, domain, service, address, found",
    [
        ("alice", "alias.org", "imap", "192.0.2.9", ["alice@example.com"]),
        ("alice", "example.com", "imap", "127.0.0.1", []),
        ("boss", "example.com", "imap", "127.0.0.1", ["boss@example.com"]),
        ("bob", "example.com", "pop3", "192.0.2.9", []),
        ("many", "example.com", "imap", "192.0.2.9", ["many@example.com"]),
        ("zoe", "other.net", "pop3", "127.0.0.1", ["zoe@other.net"]),
    ],
)
def test_the_query_that_does_it_right(
    site: Database, name: str, domain: str, service: str, address: str, found: list[str]
) -> None:
    query = """
        SELECT v.pw_name || '@' || v.pw_domain AS "user", v.pw_passwd AS password
        FROM vpopmail v LEFT JOIN limits l ON l.domain = v.pw_domain
        WHERE v.pw_name = :n
            AND v.pw_domain = COALESCE((SELECT domain FROM aliasdomains WHERE alias = :d), :d)
            AND (:s <> 'pop3' OR (v.pw_gid & 2) = 0)
            AND (:s <> 'imap' OR :r = '127.0.0.1' OR (v.pw_gid & 8) = 0)
            AND (:r <> '127.0.0.1' OR (v.pw_gid & 4) = 0)
            AND ((v.pw_gid & 8192) <> 0 OR (
                (:s <> 'pop3' OR COALESCE(l.disable_pop, 0) = 0)
                AND (:s <> 'imap' OR COALESCE(l.disable_imap, 0) = 0)
                AND (:r <> '127.0.0.1' OR COALESCE(l.disable_webmail, 0) = 0)))
        """

    assert users(ask(site, query, n=name, d=domain, s=service, r=address)) == found


def test_postfixs_maps(site: Database) -> None:
    domains = ask(
        site, "SELECT pw_domain AS d FROM vpopmail UNION SELECT alias FROM aliasdomains ORDER BY 1"
    )
    boxes = ask(
        site,
        "SELECT pw_dir || '/Maildir/' AS box FROM vpopmail"
        " WHERE pw_name = 'zoe' AND pw_domain = 'other.net' AND (pw_gid & 16) = 0",
    )
    forwards = ask(
        site,
        "SELECT substr(valias_line, 2) AS target FROM valias"
        " WHERE alias = 'info' AND domain = 'example.com' AND valias_line LIKE '&%'",
    )

    assert [row["d"] for row in domains] == ["alias.org", "example.com", "other.net"]
    assert [row["box"] for row in boxes] == ["/home/vpopmail/domains/other.net/zoe/Maildir/"]
    assert [row["target"] for row in forwards] == ["alice@example.com"]


def test_deleting_old_users_finds_those_who_logged_in_long_ago(site: Database) -> None:
    query = 'select "user",domain from lastauth where timestamp < :limit'

    assert len(ask(site, query, limit=1769904001)) == 1
    assert ask(site, query, limit=1769904000) == []


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement, instead",
    [
        ("INSERT INTO vpopmail (pw_name, pw_domain) VALUES ('x', 'example.com')", "add_user"),
        ("DELETE FROM vpopmail WHERE pw_name = 'alice'", "del_user"),
        *(
            (f"UPDATE vpopmail SET {column} = {value} WHERE pw_name = 'alice'", "mod_user")
            for column, value in [
                ("pw_name", "'x'"),
                ("pw_domain", "'other.net'"),
                ("pw_uid", "2"),
                ("pw_gid", "1"),
                ("pw_gecos", "'x'"),
                ("pw_dir", "'/x'"),
                ("pw_shell", "'1S'"),
                ("id", "99"),
                ("my_uid", "0"),
                ("my_gid", "0"),
            ]
        ),
        ("UPDATE lastauth SET userid = 'bob'", "cannot be changed"),
        ("UPDATE lastauth SET domain = 'other.net'", "cannot be changed"),
        ("DELETE FROM lastauth", "del_user"),
        ("INSERT INTO aliasdomains (alias, domain) VALUES ('x.org', 'example.com')", "add_alias_"),
        ("UPDATE aliasdomains SET domain = 'other.net'", "add_alias_domain"),
        ("DELETE FROM aliasdomains", "del_domain"),
        ("INSERT INTO limits (domain) VALUES ('other.net')", "set_limits"),
        ("UPDATE limits SET maxaliases = 9", "set_limits"),
        ("DELETE FROM limits", "del_limits"),
        ("INSERT INTO valias (alias, domain) VALUES ('x', 'example.com')", "add_alias"),
        ("UPDATE valias SET valias_line = 'x'", "remove_alias"),
        ("DELETE FROM valias", "delete_alias"),
        ("INSERT INTO ip_alias_map (ip_addr, domain) VALUES ('::1', 'x')", "add_ip_map"),
        ("UPDATE ip_alias_map SET domain = 'other.net'", "del_ip_map"),
        ("DELETE FROM ip_alias_map", "del_ip_map"),
        ("INSERT INTO dir_control (domain) VALUES ('x')", "add_user"),
        ("UPDATE dir_control SET cur_users = 0", "add_domain"),
        ("DELETE FROM dir_control", "add_domain"),
        ("INSERT INTO vlog (message) VALUES ('x')", "log of the daemon"),
        ("INSERT INTO relay (ip_addr) VALUES ('::1')", "SMTP AUTH"),
    ],
)
def test_every_other_write_is_refused_with_what_to_use(
    site: Database, statement: str, instead: str
) -> None:
    with pytest.raises(DatabaseRefused, match=f"is a view.*{instead}"):
        change(site, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM vlog WHERE timestamp < 5",
        "DELETE FROM relay",
        "UPDATE valias SET valias_line = 'x' WHERE alias = 'nothing'",
        "UPDATE lastauth SET timestamp = 1 WHERE userid = 'nobody'",
    ],
)
def test_a_write_that_finds_no_row_is_no_error(site: Database, statement: str) -> None:
    change(site, statement)


# --- how they are found -----------------------------------------------------------------------


def plan(site: Database, query: str) -> str:
    return "\n".join(row["detail"] for row in ask(site, f"EXPLAIN QUERY PLAN {query}"))


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_a_login_through_an_alias_domain_does_not_read_every_mailbox(site: Database) -> None:
    found = plan(
        site,
        "SELECT pw_name FROM vpopmail LEFT JOIN aliasdomains ON aliasdomains.alias = 'alias.org'"
        " WHERE pw_name = 'alice'"
        " AND (pw_domain = 'alias.org' OR pw_domain = aliasdomains.domain)",
    )

    assert "SEARCH m USING INDEX ix_mailboxes_name (name=?)" in found
    assert "SCAN m" not in found


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_the_mailboxes_of_a_domain_come_in_order_without_sorting(site: Database) -> None:
    found = plan(site, "SELECT * FROM mailboxes WHERE domain_id = 1 ORDER BY name")

    # The index behind the UNIQUE constraint over the domain and the name.
    assert found == "SEARCH mailboxes USING INDEX sqlite_autoindex_mailboxes_1 (domain_id=?)"
