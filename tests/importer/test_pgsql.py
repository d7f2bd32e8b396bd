"""``vpopsql import pgsql``: vpopmail's tables in a running PostgreSQL."""

from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.engine import URL

from tests.importer import sqlsites, support
from tests.importer.conftest import PgSources, SampleSite
from tests.importer.sqlschemas import PGSQL, PGSQL_BY_DOMAIN, PGSQL_OLD, Schema
from vpopsql.db import Database
from vpopsql.errors import ImportFailed
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.origin import Store
from vpopsql.importer.tables.live import LiveDatabase
from vpopsql.importer.tables.schema import ACCOUNTS
from vpopsql.importer.tables.source import stage
from vpopsql.importer.tables.staging import Staged, Staging

HOME = "/home/vpopmail/domains"
JOE: sqlsites.Row = {
    "pw_name": "joe",
    "pw_domain": "example.com",
    "pw_passwd": "*",
    "pw_uid": 1,
    "pw_gid": 0,
    "pw_gecos": "Joe",
    "pw_dir": f"{HOME}/example.com/joe",
    "pw_shell": "",
}

# --- the same site ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema, clear_text",
    [(PGSQL, True), (PGSQL_OLD, False), (PGSQL_BY_DOMAIN, True)],
    ids=["one table", "padded", "by domain"],
)
def test_a_database_gives_the_site_that_the_tree_gives(
    pgsql: PgSources, pgsql_site: SampleSite, schema: Schema, clear_text: bool
) -> None:
    sample, tree = pgsql_site

    found, evidence = support.read_tables(Store.PGSQL, pgsql.of(schema, sample), sample.root)

    assert found == sqlsites.expected(tree, clear_text=clear_text, limits_text=True)
    assert support.codes(evidence) == ["link"]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_text_comes_as_the_bytes_that_the_server_stores(
    pgsql: PgSources, tmp_path: Path, encoding: str
) -> None:
    root = sqlsites.bare_site(tmp_path, "example.com")
    url = pgsql.create(encoding)
    pgsql.fill(url, PGSQL, {"vpopmail": [JOE]})
    pgsql.execute(
        url,
        f"SET client_encoding = {encoding}",
        "UPDATE vpopmail SET pw_gecos = E'J\\xf6'",
    )
    dump = tmp_path / "dump.sql"
    dump.write_bytes(pgsql.dump(url))

    found, _ = support.read_tables(Store.PGSQL, url, root, with_tree=False)
    dumped, _ = support.read_tables(Store.PGSQL, str(dump), root, with_tree=False)

    (domain,) = found.domains
    assert domain.mailboxes[0].comment == "J\udcf6"
    assert found == dumped


# --- rows -------------------------------------------------------------------------------------


def test_names_that_differ_only_in_case_or_blanks_are_one_account(
    pgsql: PgSources, tmp_path: Path
) -> None:
    root = sqlsites.bare_site(tmp_path, "example.com")
    url = pgsql.create()
    rows = [{**JOE, "pw_name": name} for name in ("joe", "JOE", "joe ", "Ann ")]
    pgsql.fill(url, PGSQL, {"vpopmail": rows})

    found, evidence = support.read_tables(Store.PGSQL, url, root, with_tree=False)

    (domain,) = found.domains
    assert [box.name for box in domain.mailboxes] == ["ann", "joe"]
    codes = support.codes(evidence)
    assert [code for code in codes if code != "shared-home"] == [
        "same-user",
        "same-user",
        "trailing-blanks",
        "trailing-blanks",
        "upper-case",
    ]
    assert support.totals(evidence)["vpopmail"] == (1, 4, 2, 0, 0, 2)


def test_long_domains_have_the_beginning_of_their_names_as_tables(
    pgsql: PgSources, tmp_path: Path
) -> None:
    one, other = f"{'l' * 60}.one.example", f"{'l' * 60}.on-e.example"
    root = sqlsites.bare_site(tmp_path, one, other)
    url = pgsql.create()
    rows = [
        {**JOE, "pw_name": name, "pw_domain": one, "pw_dir": f"{HOME}/{domain}/{name}"}
        for name, domain in (("ann", one), ("bob", other))
    ]
    pgsql.fill(url, PGSQL_BY_DOMAIN, {"vpopmail": rows})

    found, evidence = support.read_tables(Store.PGSQL, url, root, with_tree=False)

    names = {each.name.name: [box.name for box in each.mailboxes] for each in found.domains}
    assert names == {one: ["ann"], other: ["bob"]}
    assert "shared-table" in support.codes(evidence)


# --- refusals ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def pgsql_user(pgsql: PgSources, pgsql_site: SampleSite) -> URL:
    """The URL of the sample site for a user who needs a password and may read it."""
    url = make_url(pgsql.of(PGSQL, pgsql_site.sample))
    name = pgsql.make_reader("right pw")
    pgsql.execute(str(url), f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
    return url.set(username=name, password="right pw")


def refusal(url: URL | str, root: Path) -> str:
    text = url if isinstance(url, str) else url.render_as_string(hide_password=False)
    with pytest.raises(ImportFailed) as refused:
        support.read_tables(Store.PGSQL, text, root, with_tree=False)
    return str(refused.value)


def test_a_table_that_the_user_may_not_read_is_named(
    pgsql: PgSources, pgsql_user: URL, tmp_path: Path
) -> None:
    root = sqlsites.bare_site(tmp_path, "example.com")
    url = pgsql.create()
    pgsql.fill(url, PGSQL, {"vpopmail": [JOE]})
    pgsql.execute(url, f"GRANT SELECT ON vpopmail TO {pgsql_user.username}")

    said = refusal(pgsql_user.set(database=make_url(url).database), root)

    assert "permission denied for table" in said
    assert "let the user of the URL read the whole database: GRANT SELECT" in said


def test_a_wrong_password_is_said_without_it(pgsql_user: URL, pgsql_site: SampleSite) -> None:
    said = refusal(pgsql_user.set(password="wrong pw"), pgsql_site.sample.root)

    assert said.startswith(f"pgsql://{pgsql_user.username}:***@/{pgsql_user.database}: ")
    assert "password authentication failed" in said
    assert "are user, database and password (--password-file) right?" in said
    assert "wrong" not in said


@pytest.mark.parametrize(
    "url, reason",
    [
        ("postgresql://u:secret@127.0.0.1:1/db", "is the server there"),
        ("mysql://u:secret@h/db", "the URL is one of mysql, not of pgsql"),
        ("postgresql://u:secret@h", "the URL names no database"),
        ("postgresql://u:secret@h:x/db", "this is no URL of a database"),
    ],
)
def test_a_wrong_url_is_refused_without_its_password(
    tmp_path: Path, url: str, reason: str
) -> None:
    said = refusal(url, tmp_path)

    assert reason in said
    assert "secret" not in said


def test_a_database_without_accounts_is_refused(pgsql: PgSources, tmp_path: Path) -> None:
    assert "has neither a table vpopmail" in refusal(pgsql.create(), tmp_path)


# --- the command ------------------------------------------------------------------------------


def test_the_command_reads_plans_applies_and_proves(
    database: Database,
    database_url: str,
    pgsql_user: URL,
    pgsql_site: SampleSite,
    tmp_path: Path,
) -> None:
    root = pgsql_site.sample.root
    (tmp_path / "password").write_text("right pw\n")
    secret = ["--password-file", str(tmp_path / "password")]
    source = sqlsites.arguments("pgsql", pgsql_user.set(password=None), root, *secret)

    planned = sqlsites.run(database_url, root, *source, "--format", "json")
    applied = sqlsites.run(database_url, root, *source, "--apply")
    again = sqlsites.run(database_url, root, *source, "--apply")
    proved = sqlsites.run(database_url, root, "verify", *secret)

    assert [each.exit_code for each in (planned, applied, again, proved)] == [1, 1, 1, 0]
    assert "Imported: 10 domains with 270 mailboxes" in applied.output
    assert "Nothing to do: the database has all of it already." in again.output
    assert "0 files that differ for no known reason" in proved.output
    shown = "".join(each.output for each in (planned, applied, again, proved))
    written = shown + sqlsites.everything(database)
    assert "onlypw" not in shown
    assert "right pw" not in written
    assert sqlsites.VLOG_PASSWORD not in written


def test_rows_that_come_while_it_is_read_are_not_seen(pgsql: PgSources, tmp_path: Path) -> None:
    url = pgsql.create()
    pgsql.fill(url, PGSQL, {"vpopmail": [JOE]})
    live = LiveDatabase(url, "pgsql")
    pgsql.execute(url, "UPDATE vpopmail SET pw_name = 'ann'")

    with Staging(tmp_path) as staging:
        live.copy("vpopmail", ACCOUNTS, staging)
        staging.finish()
    live.close()

    staged = Staged(staging.path, "x", False, "pgsql", {ACCOUNTS.name: ("vpopmail",)}, False)
    assert [row.fields[0] for row in staged.rows(ACCOUNTS, "example.com")] == ["joe"]
    staged.close()


def test_no_password_that_people_mistyped_reaches_the_scratch_file(
    pgsql: PgSources, pgsql_site: SampleSite, tmp_path: Path
) -> None:
    url = pgsql.of(PGSQL, pgsql_site.sample)
    dump = tmp_path / "dump.sql"
    dump.write_bytes(pgsql.dump(url))
    (tmp_path / "live").mkdir()

    live = stage(url, "pgsql", tmp_path / "live", Evidence())
    dumped = stage(str(dump), "pgsql", tmp_path, Evidence())

    scratch = live.path.read_bytes() + dumped.path.read_bytes()
    assert sqlsites.VLOG_PASSWORD.encode() in dump.read_bytes()
    assert scratch.count(b"onlypw") == 2
    assert sqlsites.VLOG_PASSWORD.encode() not in scratch
