"""Upgrades of databases with data in them, from every revision, and several at once."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from tests import factories
from tests.sites import import_sample
from vpopsql import db
from vpopsql.db import Database
from vpopsql.errors import SchemaError
from vpopsql.model import (
    DERIVED,
    AuditEntry,
    Base,
    Host,
    HostRole,
    Mailbox,
    MailboxUsage,
    Revision,
    TrashEntry,
    TrashKind,
    UsageSource,
)

OURS = {"alembic_version", "schema_guard"}
COMPUTED = {table.name for table in Base.metadata.sorted_tables if DERIVED in table.info}

Rows = dict[str, list[dict[str, Any]]]


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    """A connection without any rule of ours."""
    engine = sa.create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def tables_of(connection: sa.Connection) -> list[sa.Table]:
    """Return the tables that data are in, in an order that foreign keys allow."""
    metadata = sa.MetaData()
    metadata.reflect(connection)
    return [each for each in metadata.sorted_tables if each.name not in OURS | COMPUTED]


def rows_of(url: str, columns: dict[str, list[str]] | None = None) -> Rows:
    """Return all rows, of all columns that hold data or of those named."""
    with connected(url) as connection:
        found: Rows = {}
        for table in tables_of(connection):
            if columns is not None and table.name not in columns:
                continue
            wanted = [
                each
                for each in table.c
                if each.computed is None and (columns is None or each.name in columns[table.name])
            ]
            order = list(table.primary_key)
            rows = connection.execute(sa.select(*wanted).order_by(*order)).mappings()
            found[table.name] = [dict(row) for row in rows]
        return found


def fill(url: str, rows: Rows) -> dict[str, list[str]]:
    """Put into a database what it has a place for; return that: columns by table."""
    with connected(url) as connection:
        places = {}
        for table in tables_of(connection):
            names = [each.name for each in table.c if each.computed is None]
            known = rows.get(table.name, [])
            places[table.name] = [each for each in names if not known or each in known[0]]
            values = [{name: row[name] for name in places[table.name]} for row in known]
            if values:
                connection.execute(table.insert(), values)
        return places


@pytest.fixture
def rows(database: Database, database_url: str, unpack: Callable[[str], Path]) -> Rows:
    """The rows of a site that has been imported and been at work."""
    import_sample(database, "small", unpack("small"))
    with database.writer() as session:
        box = session.scalars(sa.select(Mailbox).order_by(Mailbox.id)).first()
        assert box is not None
        now = factories.at(2026, 3, 4, 5, 6, 7)
        session.add_all(
            [
                AuditEntry(
                    actor="a@b.c",
                    channel="cli",
                    action="add_user",
                    object_type="user",
                    object="caf\udce9@example.com",
                    changes={"quota": [None, "NOQUOTA"]},
                ),
                Revision(topic="add_user", domain="example.com"),
                Host(
                    name="mx1",
                    role=HostRole.MAIL,
                    revision=1,
                    reported_at=now,
                ),
                MailboxUsage(
                    mailbox_id=box.id,
                    measured_at=now,
                    bytes=5,
                    messages=1,
                    source=UsageSource.COUNT,
                ),
                TrashEntry(
                    at=now,
                    actor="a@b.c",
                    kind=TrashKind.USER,
                    name="gone@example.com",
                    original_path="/x",
                    trash_path="/y",
                    payload={"mailboxes": []},
                ),
            ]
        )
    database.close()
    return rows_of(database_url)


@pytest.mark.parametrize("revision", db.revisions())
def test_data_of_every_revision_come_through_an_upgrade(
    rows: Rows, empty_database_url: str, revision: str
) -> None:
    url = empty_database_url
    db.upgrade(url, revision)
    columns = fill(url, rows)
    before = rows_of(url, columns)

    db.upgrade(url)

    assert {"mailboxes", "domains", "dotqmail_lines", "audit_log"} <= set(before)
    assert all(before[name] for name in ("mailboxes", "domain_names", "dotqmail_lines"))
    assert rows_of(url, columns) == before
    assert db.check(url) == []


def test_data_that_an_older_schema_has_a_place_for_come_through_a_downgrade(
    rows: Rows, database_url: str
) -> None:
    db.downgrade(database_url, "0001")
    left = rows_of(database_url)
    db.upgrade(database_url)

    columns = {name: list(kept[0]) for name, kept in left.items() if kept}
    assert left["mailboxes"] == rows["mailboxes"]
    assert rows_of(database_url, columns) == {name: left[name] for name in columns}
    assert db.check(database_url) == []


def test_a_schema_of_a_later_version_is_refused_with_what_to_do(database_url: str) -> None:
    with connected(database_url) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    later = Database(database_url)

    with pytest.raises(SchemaError, match=r"at 9999, which .* does not know.*install the vpopsql"):
        later.require_schema()
    with pytest.raises(SchemaError, match="install the vpopsql that upgraded it"):
        db.upgrade(database_url)
    with pytest.raises(SchemaError, match="install the vpopsql that upgraded it"):
        db.downgrade(database_url, "0001")
    later.close()
    assert "install the vpopsql" in db.check(database_url)[0]


@pytest.mark.slow
@pytest.mark.parametrize("start", ["", "0007"], ids=["empty", "older"])
def test_upgrades_at_once_wait_for_each_other(empty_database_url: str, start: str) -> None:
    url = empty_database_url
    if start:
        db.upgrade(url, start)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": ".", "VPOPSQL_DATABASE_URL": url}
    command = [sys.executable, "-c", "from vpopsql.cli import main; main()", "db", "upgrade"]

    together = [
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    said = [process.communicate(timeout=120)[1] for process in together]

    assert [process.returncode for process in together] == [0, 0, 0], said
    assert db.check(url) == []
