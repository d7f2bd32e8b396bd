"""``vpopsql import mysql``: vpopmail's tables in a running MariaDB."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import func, make_url, select
from sqlalchemy.engine import URL

from tests.importer import sqlsites, support
from tests.importer.conftest import MakeMysql, SampleSite
from tests.importer.sqlschemas import MYSQL, MYSQL_BY_DOMAIN, MYSQL_OLD, MYSQL_SHIPPED, Schema
from tests.mariadb import MariaDB
from vpopsql.cli import cli, main
from vpopsql.db import Database
from vpopsql.errors import ImportFailed
from vpopsql.importer import site
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.origin import Store
from vpopsql.importer.tables.live import LiveDatabase
from vpopsql.importer.tables.schema import ACCOUNTS
from vpopsql.importer.tables.source import stage
from vpopsql.importer.tables.staging import Staged, Staging
from vpopsql.model import Mailbox

# --- the same site ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema", [MYSQL, MYSQL_SHIPPED, MYSQL_BY_DOMAIN], ids=["one table", "shipped", "by domain"]
)
def test_a_database_gives_the_site_that_the_tree_gives(
    mysql_of: MakeMysql, utf8_site: SampleSite, schema: Schema
) -> None:
    sample, tree = utf8_site

    found, evidence = support.read_tables(Store.MYSQL, mysql_of(schema, sample), sample.root)

    assert found == sqlsites.expected(tree)
    assert support.codes(evidence) == ["link", "unreliable-permissions"]


def test_an_old_database_gives_the_site_byte_for_byte(
    mysql_of: MakeMysql, latin1_site: SampleSite
) -> None:
    sample, tree = latin1_site

    found, evidence = support.read_tables(Store.MYSQL, mysql_of(MYSQL_OLD, sample), sample.root)

    assert found == sqlsites.expected(tree, clear_text=False)
    assert support.codes(evidence) == ["link", "no-snapshot", "unreliable-permissions"]


# --- what is never read -----------------------------------------------------------------------


def test_no_password_that_people_mistyped_reaches_the_scratch_file(
    mysql_of: MakeMysql, utf8_site: SampleSite, tmp_path: Path
) -> None:
    staged = stage(mysql_of(MYSQL, utf8_site.sample), "mysql", tmp_path, Evidence())

    scratch = staged.path.read_bytes()
    assert b"onlypw" in scratch
    assert sqlsites.VLOG_PASSWORD.encode() not in scratch
    assert staged.path.stat().st_mode & 0o777 == 0o600
    assert "vlog" not in str(staged.tables)


# --- rows in disorder -------------------------------------------------------------------------

ODD: sqlsites.Tables = {
    "vpopmail": [
        {
            "pw_name": name,
            "pw_domain": domain,
            "pw_passwd": password,
            "pw_uid": uid,
            "pw_gid": 0,
            "pw_gecos": gecos,
            "pw_dir": f"/home/vpopmail/domains/{domain}/{name}",
            "pw_shell": "NOQUOTA",
            "pw_clear_passwd": "",
        }
        for name, domain, password, uid, gecos in [
            ("Upper", "small.example", "$1$a$b", 1, "U"),
            ("colon", "small.example", "$1$a$b", 1, "a:b"),
            ("nullhash", "small.example", None, 1, "n"),
            ("nulluid", "small.example", "$1$a$b", None, "n"),
            ("with blank", "small.example", "$1$a$b", 1, "n"),
            ("stray", "gone.example", "$1$a$b", 1, "n"),
            ("alias", "multi.test", "$1$a$b", 1, "n"),
        ]
    ],
    "valias": [
        {"alias": alias, "domain": domain, "valias_line": line}
        for alias, domain, line in [
            ("two", "small.example", "a@b.org"),
            ("two", "small.example", "a@b.org"),
            ("two", "small.example", "c@d.org\n\n_e@f.org"),
            ("blank", "small.example", " "),
            ("a/b", "small.example", "x"),
            ("crew", "catch.example", "x"),
            ("x", "gone.example", "x"),
        ]
    ],
    "limits": [
        {"domain": "north.example", "maxaliases": -7, "perm_account": 9, "diskquota": 2**64 - 1},
        {"domain": "gone.example"},
    ],
    "lastauth": [
        {"user": "gone", "domain": "small.example", "remote_ip": "?", "timestamp": 1},
        {"user": "colon", "domain": "small.example", "remote_ip": "?", "timestamp": -1},
        {"user": "nulluid", "domain": "small.example", "remote_ip": "::1", "timestamp": 1},
    ],
    "ip_alias_map": [
        {"ip_addr": "x", "domain": "small.example"},
        {"ip_addr": "192.0.2.9", "domain": "gone.example"},
    ],
    "dir_control": [{"domain": "gone.example", "cur_users": 1}],
    "aliasdomains": [{"alias": "gone.example", "domain": "small.example"}],
}


def facts(evidence: Evidence) -> list[tuple[str, str, str, str]]:
    """Return what was found about rows, whatever the place."""
    found = [(str(each.code), each.key, each.text, each.reason) for each in evidence.findings]
    return sorted(each for each in found if each[0] not in {"link", "no-home"})


def test_a_database_in_disorder_and_its_dump_give_the_same_findings(
    mariadb_server: MariaDB, utf8_site: SampleSite, tmp_path: Path
) -> None:
    sample, _ = utf8_site
    url = mariadb_server.create()
    with mariadb_server.connect(url) as connection:
        connection.exec_driver_sql("SET SESSION sql_mode = ''")
        sqlsites.fill(connection, MYSQL, sample.tables)
        for table, rows in ODD.items():
            sqlsites.insert(connection, table, rows)
    dump = tmp_path / "dump.sql"
    dump.write_bytes(mariadb_server.dump(url))

    found, evidence = support.read_tables(Store.MYSQL, url, sample.root)
    dumped, dump_evidence = support.read_tables(Store.MYSQL, str(dump), sample.root)

    assert found == dumped
    assert facts(evidence) == facts(dump_evidence)
    assert support.totals(evidence) == support.totals(dump_evidence)
    assert [tally for tally in evidence.tallies if not tally.adds_up] == []
    assert sorted((code, key) for code, key, _, _ in facts(evidence)) == [
        ("alias-domain-differs", "gone.example"),
        ("bad-name", "a/b@small.example"),
        ("bad-name", "with blank@small.example"),
        ("blank-alias", "blank@small.example"),
        ("colon", "colon@small.example"),
        ("duplicate", "two@small.example"),
        ("lastauth-without-user", "small.example"),
        ("malformed", "nullhash@small.example"),
        ("malformed", "nulluid@small.example"),
        ("malformed", "x"),
        ("odd-lastauth", "colon@small.example"),
        ("odd-limit", "north.example"),
        ("odd-limit", "north.example"),
        ("odd-limit", "north.example"),
        ("relayed", ""),
        ("row-without-domain", "gone.example"),
        ("row-without-domain", "gone.example"),
        ("row-without-domain", "gone.example"),
        ("shadowed-alias", "crew@catch.example"),
        ("unknown-domain", "192.0.2.9"),
        ("unknown-domain", "gone.example"),
        ("unknown-domain", "multi.test"),
        ("unknown-hash", "colon@small.example"),
        ("unknown-hash", "upper@small.example"),
        ("unreliable-permissions", "north.example"),
        ("unreliable-permissions", "small.example"),
        ("upper-case", "upper@small.example"),
    ]


# --- two domains, one table -------------------------------------------------------------------


def test_domains_that_share_a_table_get_the_accounts_of_their_directories(
    mariadb_server: MariaDB, tmp_path: Path
) -> None:
    root = sqlsites.bare_site(tmp_path, "a-b.com", "a.b.com", f"{'l' * 63}.example")
    url = mariadb_server.create()
    home = "/home/vpopmail/domains"
    rows: list[sqlsites.Row] = [
        {"pw_name": name, "pw_passwd": "*", "pw_uid": 1, "pw_gid": 0, "pw_dir": directory}
        for name, directory in [
            ("ann", f"{home}/a-b.com/ann"),
            ("bob", f"{home}//a.b.com/bob"),
            ("eve", "/srv/eve"),
        ]
    ]
    with mariadb_server.connect(url) as connection:
        connection.exec_driver_sql(MYSQL_BY_DOMAIN.accounts.format("a_b_com"))
        sqlsites.insert(connection, "a_b_com", rows)

    found, evidence = support.read_tables(Store.MYSQL, url, root, with_tree=False)

    names = {each.name.name: [box.name for box in each.mailboxes] for each in found.domains}
    assert names == {"a-b.com": ["ann"], "a.b.com": ["bob"], f"{'l' * 63}.example": []}
    reasons = {str(each.code): each.reason for each in evidence.findings}
    assert reasons["shared-table"] == "it is the table of a-b.com and of a.b.com"
    assert reasons["ambiguous-row"] == "its directory is of none of a-b.com, a.b.com"
    assert reasons["no-account-table"].endswith("no table of MySQL can have so long a name")
    assert support.totals(evidence)["vpopmail"] == (1, 3, 2, 0, 0, 1)


# --- refusals ---------------------------------------------------------------------------------


def _user(server: MariaDB, url: URL, name: str, what: str) -> URL:
    """Return the URL for a new user who may read what is said, and has a password."""
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE USER {name}@localhost IDENTIFIED BY 'right pw'")
        connection.exec_driver_sql(f"GRANT SELECT ON {what} TO {name}@localhost")
    return url.set(username=name, password="right pw")


@pytest.fixture(scope="session")
def mysql_user(mariadb_server: MariaDB, mysql_of: MakeMysql, utf8_site: SampleSite) -> URL:
    """The URL of the sample site for a user who may read all of it."""
    url = make_url(mysql_of(MYSQL, utf8_site.sample))
    return _user(mariadb_server, url, f"reader_{url.database}", f"{url.database}.*")


def refusal(url: URL | str, root: Path) -> str:
    text = url if isinstance(url, str) else url.render_as_string(hide_password=False)
    with pytest.raises(ImportFailed) as refused:
        support.read_tables(Store.MYSQL, text, root, with_tree=False)
    return str(refused.value)


def test_tables_that_the_user_may_not_read_are_not_taken_for_missing(
    mariadb_server: MariaDB, mysql_of: MakeMysql, utf8_site: SampleSite
) -> None:
    url = make_url(mysql_of(MYSQL, utf8_site.sample))
    what = f"{url.database}.vpopmail"

    said = refusal(
        _user(mariadb_server, url, f"narrow_{url.database}", what), utf8_site.sample.root
    )

    assert "valias: SELECT command denied to user" in said
    assert "let the user of the URL read the whole database: GRANT SELECT" in said


def test_a_wrong_password_is_said_without_it(mysql_user: URL, utf8_site: SampleSite) -> None:
    said = refusal(mysql_user.set(password="wrong pw"), utf8_site.sample.root)

    assert said.startswith(f"mysql://{mysql_user.username}:***@/{mysql_user.database}: Access den")
    assert "are user, database and password (--password-file) right?" in said
    assert "wrong" not in said


def test_a_database_that_is_not_there_is_said_by_name(
    mysql_of: MakeMysql, utf8_site: SampleSite
) -> None:
    url = make_url(mysql_of(MYSQL, utf8_site.sample)).set(database="nowhere")

    assert "Unknown database 'nowhere'" in refusal(url, utf8_site.sample.root)


def test_a_database_without_accounts_is_refused(
    mariadb_server: MariaDB, utf8_site: SampleSite
) -> None:
    said = refusal(mariadb_server.create(), utf8_site.sample.root)

    assert "has neither a table vpopmail nor one for each domain" in said


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_that_is_not_there_is_said_with_its_place(utf8_site: SampleSite) -> None:
    said = refusal("mysql://u:secret@127.0.0.1:1/vpopmail", utf8_site.sample.root)

    assert said.startswith("mysql://u:***@127.0.0.1:1/vpopmail: Can't connect to MySQL server")
    assert "is the server there" in said


@pytest.mark.parametrize(
    "url, reason",
    [
        ("postgresql://u:secret@h/db", "the URL is one of postgresql, not of mysql"),
        ("oracle://u:secret@h/db", "the URL is one of oracle, not of mysql"),
        ("mysql://u:secret@h", "the URL names no database"),
        ("mysql://u:secret@h/", "the URL names no database"),
        ("mysql://u:secret@h:port/db", "this is no URL of a database"),
        ("://u:secret@h/db", "this is no URL of a database"),
    ],
)
def test_a_wrong_url_is_refused_without_its_password(
    utf8_site: SampleSite, url: str, reason: str
) -> None:
    said = refusal(url, utf8_site.sample.root)

    assert reason in said
    assert "secret" not in said


def test_a_missing_driver_is_said_with_how_to_get_it(
    utf8_site: SampleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)

    said = refusal("mysql://u:secret@h/db", utf8_site.sample.root)

    assert said == (
        "mysql://u:***@h/db: the driver pymysql is missing: pip install 'vpopsql[mysql]'"
    )


# --- the command ------------------------------------------------------------------------------


def test_the_command_reads_plans_applies_and_proves(
    database: Database,
    database_url: str,
    mysql_user: URL,
    utf8_site: SampleSite,
    tmp_path: Path,
) -> None:
    root = utf8_site.sample.root
    (tmp_path / "password").write_text("right pw\n")
    secret, plan = ["--password-file", str(tmp_path / "password")], tmp_path / "plan"
    source = sqlsites.arguments("mysql", mysql_user.set(password=None), root, *secret)

    planned = sqlsites.run(database_url, root, *source, "--format", "json")
    applied = sqlsites.run(database_url, root, *source, "--apply", "--plan", str(plan))
    again = sqlsites.run(database_url, root, *source, "--apply")
    proved = sqlsites.run(database_url, root, "verify", *secret)

    assert [each.exit_code for each in (planned, applied, again, proved)] == [1, 1, 1, 0]
    assert "Imported: 10 domains with 270 mailboxes" in applied.output
    assert "Nothing to do: the database has all of it already." in again.output
    assert "0 files that differ for no known reason" in proved.output
    written = "".join(
        [
            *(each.output for each in (planned, applied, again, proved)),
            plan.read_text(),
            sqlsites.everything(database),
        ]
    )
    assert "onlypw" in written
    assert "right pw" not in written
    assert sqlsites.VLOG_PASSWORD not in written
    assert json.loads(planned.output.splitlines()[-1])["lines_add_up"] is True


def test_an_export_of_what_was_imported_writes_the_files_of_the_cdb_build(
    database: Database,
    database_url: str,
    mysql_of: MakeMysql,
    utf8_site: SampleSite,
    tmp_path: Path,
) -> None:
    sample, _ = utf8_site
    root = tmp_path / "copy"
    shutil.copytree(sample.root, root, symlinks=True)
    url = make_url(mysql_of(MYSQL, sample))

    imported = sqlsites.run(database_url, root, *sqlsites.arguments("mysql", url, root, "--apply"))
    exported = CliRunner().invoke(
        cli,
        ["export", "apply"],
        env={"VPOPSQL_DATABASE_URL": database_url, "VPOPSQL_PATHS_ROOT": str(root)},
    )

    assert (imported.exit_code, exported.exit_code) == (1, 0), exported.output
    vpasswd = root / "home/vpopmail/domains/small.example/vpasswd"
    own = [row for row in sample.tables["vpopmail"] if row["pw_domain"] == "small.example"]
    assert len(vpasswd.read_text().splitlines()) == len(own)
    alias = root / "home/vpopmail/domains/catch.example/.qmail-sales"
    assert alias.read_text() == "everything@catch.example\n"
    again, _ = support.read(root)
    assert _accounts(again) == _accounts(utf8_site.tree)


def _accounts(found: site.Site) -> list[tuple[object, ...]]:
    """Return what vpasswd says of every account: last logins stay in the database."""
    boxes = [box for each in found.domains for box in each.mailboxes]
    return [box._replace(last_auth=None, created_at=None) for box in boxes]


def test_files_from_before_the_tables_are_explained_by_the_proof(
    database_url: str, mysql_of: MakeMysql, utf8_site: SampleSite, tmp_path: Path
) -> None:
    sample, _ = utf8_site
    root = tmp_path / "copy"
    shutil.copytree(sample.root, root, symlinks=True)
    directory = root / "home/vpopmail/domains/small.example"
    (directory / "vpasswd").write_text("old:x:1:0:old:/old:NOQUOTA\n")
    (directory / "vpasswd.cdb").write_bytes(b"old")
    (directory / ".qmailadmin-limits").write_text("maxaliases: 99\n")
    (directory / ".dir-control").write_text("7\n")
    source = sqlsites.arguments("mysql", make_url(mysql_of(MYSQL, sample)), root)

    applied = sqlsites.run(database_url, root, *source, "--apply")
    proved = sqlsites.run(database_url, root, "verify", "--format", "json")

    assert (applied.exit_code, proved.exit_code) == (1, 0), proved.output
    reasons = json.loads(proved.output)["reasons"]
    assert reasons["unread-file"] >= 3


# --- updates ----------------------------------------------------------------------------------


def test_what_a_damaged_dump_lacks_is_not_removed(
    database: Database,
    database_url: str,
    mariadb_server: MariaDB,
    mysql_of: MakeMysql,
    utf8_site: SampleSite,
    tmp_path: Path,
) -> None:
    sample, _ = utf8_site
    text = mariadb_server.dump(mysql_of(MYSQL, sample), "--skip-extended-insert")
    dump = tmp_path / "dump.sql"
    source = sqlsites.arguments("mysql", str(dump), sample.root)
    dump.write_bytes(text)
    first = sqlsites.run(database_url, sample.root, *source, "--apply")
    dump.write_bytes(text[: text.index(b"INSERT INTO `vpopmail` VALUES ('u2")])

    again = sqlsites.run(
        database_url, sample.root, *source, "--apply", "--update", "--accept", "damaged-dump"
    )

    assert (first.exit_code, again.exit_code) == (1, 1), again.output
    with database.reader() as session:
        assert session.scalar(select(func.count()).select_from(Mailbox)) == 270


def test_an_update_carries_over_what_has_changed_in_the_tables(
    database: Database,
    database_url: str,
    mariadb_server: MariaDB,
    utf8_site: SampleSite,
) -> None:
    sample, _ = utf8_site
    url = mariadb_server.create()
    with mariadb_server.connect(url) as connection:
        sqlsites.fill(connection, MYSQL, sample.tables)
    source = sqlsites.arguments("mysql", make_url(url), sample.root)
    sqlsites.run(database_url, sample.root, *source, "--apply")
    with mariadb_server.connect(url) as connection:
        connection.exec_driver_sql("UPDATE vpopmail SET pw_gecos = 'new' WHERE pw_name = 'a1'")
        connection.exec_driver_sql("DELETE FROM valias WHERE alias = 'sales'")

    refused = sqlsites.run(database_url, sample.root, *source, "--apply")
    updated = sqlsites.run(database_url, sample.root, *source, "--apply", "--update")
    proved = sqlsites.run(database_url, sample.root, "verify")

    assert [each.exit_code for each in (refused, updated, proved)] == [2, 1, 0]
    assert " Updated: 2 domains; removed: 0." in updated.output
    with database.reader() as session:
        assert session.scalar(select(Mailbox.comment).where(Mailbox.name == "a1")) == "new"


def test_several_processes_read_the_same_site(mysql_of: MakeMysql, utf8_site: SampleSite) -> None:
    sample, tree = utf8_site

    found, evidence = support.read_tables(
        Store.MYSQL, mysql_of(MYSQL_BY_DOMAIN, sample), sample.root, jobs=2
    )

    assert found == sqlsites.expected(tree)
    assert [tally for tally in evidence.tallies if not tally.adds_up] == []


def test_a_site_without_its_tree_is_imported_and_proved(
    database_url: str, mysql_of: MakeMysql, utf8_site: SampleSite
) -> None:
    sample, _ = utf8_site
    root = sample.root
    source = ["mysql", mysql_of(MYSQL, sample), "--qmail", str(root / "var/qmail")]

    applied = sqlsites.run(database_url, root, *source, "--apply", "--format", "json")
    proved = sqlsites.run(database_url, root, "verify")

    assert (applied.exit_code, proved.exit_code) == (1, 0), proved.output
    summary = json.loads(applied.output.splitlines()[-1])
    assert summary["parts"]["mailboxes"]["new"] == 270
    assert summary["lines_add_up"] is True
    assert "0 files that differ for no known reason" in proved.output


# --- one moment -------------------------------------------------------------------------------


def test_rows_that_come_while_it_is_read_are_not_seen(
    mariadb_server: MariaDB, utf8_site: SampleSite, tmp_path: Path
) -> None:
    url = mariadb_server.create()
    accounts = list(utf8_site.sample.tables["vpopmail"])
    with mariadb_server.connect(url) as connection:
        sqlsites.fill(connection, MYSQL, {"vpopmail": accounts[:3]})
        live = LiveDatabase(url, "mysql")
        sqlsites.insert(connection, "vpopmail", accounts[3:5])

    with Staging(tmp_path) as staging:
        live.copy("vpopmail", ACCOUNTS, staging)
        staging.finish()
    live.close()

    staged = Staged(staging.path, "x", False, "mysql", {ACCOUNTS.name: ("vpopmail",)}, False)
    assert sum(owner.rows for owner in staged.owners(ACCOUNTS)) == 3
    staged.close()


def test_the_program_ends_with_three_and_one_sentence(
    database_url: str,
    utf8_site: SampleSite,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = sqlsites.arguments("mysql", "oracle://u:secret@h/db", utf8_site.sample.root)
    monkeypatch.setattr(sys, "argv", ["vpopsql", "import", *arguments])
    monkeypatch.setenv("VPOPSQL_DATABASE_URL", database_url)

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 3
    assert capsys.readouterr().err == "vpopsql: the URL is one of oracle, not of mysql\n"
