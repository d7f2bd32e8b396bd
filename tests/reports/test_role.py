"""The role that docs/reports.md makes: it reads reports, and neither hashes nor anything else."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from vpopsql.db import Database
from vpopsql.schema_check import REPORT_VIEWS

pytestmark = pytest.mark.parametrize("_backend", ["postgresql"], indirect=True)

DOCUMENT = Path(__file__).parents[2] / "docs/reports.md"
VIEWS = ("aliasdomains", "limits", "lastauth", "valias", "ip_alias_map", "dir_control")

# A view of several tables cannot be written to, whoever tries.
REFUSED = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ObjectNotInPrerequisiteState,
)


@pytest.fixture
def reader(accounts: Database, database_url: str) -> Iterator[psycopg.Connection]:
    """A connection that has the rights of the role, and no others."""
    role = f"reader_{uuid.uuid4().hex}"
    (documented,) = re.findall(r"```sql\n(-- The role.*?)```", DOCUMENT.read_text(), re.DOTALL)
    url = make_url(database_url).set(drivername="postgresql")
    accounts.close()
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as opened:
        opened.execute(documented.replace("vpopsql_reports", role))
        opened.execute(f"SET SESSION AUTHORIZATION {role}")
        yield opened
        opened.execute("RESET SESSION AUTHORIZATION")
        opened.execute(f"DROP OWNED BY {role}")
        opened.execute(f"DROP ROLE {role}")


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
