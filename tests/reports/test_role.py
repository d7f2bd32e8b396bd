"""The role that docs/reports.md makes: it reads reports, and neither hashes nor anything else."""

import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from vpopsql.cli import main
from vpopsql.db import Database
from vpopsql.reports.registry import REPORTS
from vpopsql.reports.report import Source
from vpopsql.schema_check import REPORT_VIEWS

pytestmark = pytest.mark.parametrize("_backend", ["postgresql"], indirect=True)

DOCUMENT = Path(__file__).parents[2] / "docs/reports.md"
VIEWS = ("aliasdomains", "limits", "lastauth", "valias", "ip_alias_map", "dir_control")

OF_ONE = ("--domain", "alias.org", "--jobs", "1")

# A view of several tables cannot be written to, whoever tries.
REFUSED = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ObjectNotInPrerequisiteState,
)


@pytest.fixture
def role(accounts: Database, database_url: str) -> Iterator[str]:
    """The role, as the page says, under a name of its own."""
    name = f"reader_{uuid.uuid4().hex}"
    (documented,) = re.findall(r"```sql\n(-- The role.*?)```", DOCUMENT.read_text(), re.DOTALL)
    accounts.close()
    with owner(database_url) as opened:
        opened.execute(documented.replace("vpopsql_reports", name))
    yield name
    with owner(database_url) as opened:
        opened.execute(f"DROP OWNED BY {name}")
        opened.execute(f"DROP ROLE {name}")


def owner(database_url: str) -> psycopg.Connection:
    url = make_url(database_url).set(drivername="postgresql")
    return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)


@pytest.fixture
def reader(role: str, database_url: str) -> Iterator[psycopg.Connection]:
    """A connection that has the rights of the role, and no others."""
    with owner(database_url) as opened:
        opened.execute(f"SET SESSION AUTHORIZATION {role}")
        yield opened


@pytest.fixture
def vpopsql(
    role: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int | str | None]:
    """A function that runs the command with the rights of the role; it returns the exit code."""
    as_role = make_url(database_url).update_query_dict({"options": f"-c role={role}"})
    monkeypatch.setenv("VPOPSQL_DATABASE_URL", as_role.render_as_string(hide_password=False))

    def run(*arguments: str) -> int | str | None:
        monkeypatch.setattr("sys.argv", ["vpopsql", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code

    return run


def test_it_reads_every_report_and_the_views_of_vpopmail(reader: psycopg.Connection) -> None:
    read = {view: reader.execute(f"SELECT * FROM {view}") for view in (*REPORT_VIEWS, *VIEWS)}

    assert len(read["report_mailboxes"].fetchall()) == 6
    assert len(reader.execute("SELECT pw_name, pw_gid, pw_dir FROM vpopmail").fetchall()) == 6


@pytest.mark.parametrize(
    "query",
    [
        "SELECT password_hash FROM mailboxes",
        "SELECT clear_text FROM mailboxes",
        "SELECT payload FROM trash",
        "SELECT pw_passwd FROM vpopmail",
        "SELECT pw_clear_passwd FROM vpopmail",
        "SELECT * FROM vpopmail",
        "SELECT * FROM audit_log",
        "SELECT changes FROM audit_log",
        "SELECT * FROM mailboxes",
        "SELECT * FROM domain_names",
    ],
)
def test_it_reads_no_hash_and_no_table(reader: psycopg.Connection, query: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(query)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE vpopmail SET pw_passwd = 'x'",
        "INSERT INTO lastauth (userid, domain) VALUES ('alice', 'example.com')",
        "DELETE FROM report_clear_text",
        "UPDATE report_mailboxes SET name = 'x'",
        "INSERT INTO revisions (topic) VALUES ('x')",
        "CREATE TABLE mine (id integer)",
    ],
)
def test_it_writes_nothing(reader: psycopg.Connection, statement: str) -> None:
    with pytest.raises(REFUSED):
        reader.execute(statement)


def test_the_command_answers_with_its_rights(
    vpopsql: Callable[..., int | str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [each.name for each in REPORTS.values() if each.source is Source.VIEW]

    codes = {name: vpopsql("report", name) for name in asked}
    of_domain = {name: vpopsql("report", name, "--domain", "alias.org") for name in asked}

    assert (set(codes.values()), set(of_domain.values())) == ({0}, {0}), capsys.readouterr().err


def test_pages_are_written_with_its_rights(
    vpopsql: Callable[..., int | str | None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"

    codes = [vpopsql("report", "html", str(whole)), vpopsql("report", "html", str(part), *OF_ONE)]

    assert codes == [0, 0], capsys.readouterr().err
    assert (whole / "domains/ex/example.com.html").exists()
    assert (part / "domains/ex/example.com.html").exists()
