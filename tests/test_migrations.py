"""The schema's life: up, down, up again, and who may open it."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy.pool import NullPool

from tests import factories
from vpopsql import db
from vpopsql.db import Database
from vpopsql.errors import DatabaseRefused, SchemaError
from vpopsql.model import SCHEMA_VERSION, AuditEntry, Base


@pytest.fixture
def connection(database_url: str) -> Iterator[sa.Connection]:
    """A connection of no pool and no guard, to a database with the newest schema."""
    engine = sa.create_engine(database_url, poolclass=NullPool)
    with engine.begin() as opened:
        yield opened
    engine.dispose()


@pytest.fixture
def audited(database: Database) -> Database:
    with database.writer() as session:
        session.add(
            AuditEntry(
                actor="cli",
                channel="cli",
                action="add_domain",
                object_type="domain",
                object="example.com",
                changes={},
            )
        )
    return database


def names_in(url: str) -> tuple[list[str], list[str]]:
    engine = sa.create_engine(url, poolclass=NullPool)
    try:
        inspector = sa.inspect(engine)
        return sorted(inspector.get_table_names()), sorted(inspector.get_view_names())
    finally:
        engine.dispose()


def test_the_migrations_make_what_the_model_says(connection: sa.Connection) -> None:
    context = MigrationContext.configure(connection, opts={"compare_type": db.type_differs})

    assert compare_metadata(context, Base.metadata) == []


def test_a_downgrade_leaves_alembics_own_table_only(database_url: str) -> None:
    db.downgrade(database_url, "base")

    assert names_in(database_url) == (["alembic_version"], [])


def test_a_downgrade_leaves_no_function_behind(database_url: str) -> None:
    db.downgrade(database_url, "base")

    engine = sa.create_engine(database_url, poolclass=NullPool)
    known = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
        "postgresql": "SELECT proname FROM pg_proc WHERE proname LIKE 'vpopsql%'",
    }
    with engine.connect() as connection:
        assert connection.execute(sa.text(known[engine.dialect.name])).all() == []
    engine.dispose()


def test_what_was_taken_down_can_be_put_up_again(database_url: str) -> None:
    before = names_in(database_url)

    db.downgrade(database_url, "base")
    db.upgrade(database_url)

    assert names_in(database_url) == before
    assert db.check(database_url) == []


def test_the_views_can_be_taken_down_alone(database_url: str) -> None:
    db.downgrade(database_url, "0001")

    tables, views = names_in(database_url)
    assert views == []
    assert "mailboxes" in tables


def test_an_upgrade_without_anything_to_do_changes_nothing(database_url: str) -> None:
    db.upgrade(database_url)

    assert db.check(database_url) == []


def test_every_constraint_has_a_name(connection: sa.Connection) -> None:
    inspector = sa.inspect(connection)
    tables = set(inspector.get_table_names()) - {"alembic_version"}

    found = [
        (table, constraint["name"])
        for table in tables
        for constraint in (
            inspector.get_pk_constraint(table),
            *inspector.get_foreign_keys(table),
            *inspector.get_unique_constraints(table),
            *inspector.get_check_constraints(table),
            *inspector.get_indexes(table),
        )
    ]

    prefixes = ("pk_", "fk_", "uq_", "ck_", "ix_")
    assert len(found) > len(tables)
    assert [pair for pair in found if not (pair[1] or "").startswith(prefixes)] == []


# SQLite rebuilds a table to change it: a new one is filled, the old one dropped. With foreign
# keys on, the drop deletes every row that refers to the table.
def test_a_batch_alter_column_on_a_parent_table_keeps_its_child_rows(
    database: Database, database_url: str
) -> None:
    with database.writer() as session:
        owner = factories.domain(session)
        factories.mailbox(session, owner, "alice")
        factories.alias(session, owner, "info", "&alice@example.com")
    database.close()

    with db._migration_connection(database_url) as connection:
        operations = Operations(MigrationContext.configure(connection))
        if connection.dialect.name == "sqlite":
            operations.execute("PRAGMA legacy_alter_table = ON")
        with operations.batch_alter_table("domains") as batch:
            batch.alter_column("catchall", server_default="bounce")

    with database.reader() as session:
        counts = [
            session.scalar(sa.text(f"SELECT count(*) FROM {table}"))
            for table in ("mailboxes", "domain_names", "dotqmail_lines", "vpopmail", "valias")
        ]
    assert counts == [1, 1, 1, 1, 1]


def test_a_database_of_newer_code_is_refused_with_what_to_do(
    database: Database, database_url: str
) -> None:
    with database.writer() as session:
        session.execute(
            sa.text("UPDATE schema_guard SET oldest_code = :code"), {"code": SCHEMA_VERSION + 1}
        )

    with pytest.raises(SchemaError, match="install a newer vpopsql"):
        database.require_schema()
    with pytest.raises(SchemaError, match="install a newer vpopsql"):
        db.upgrade(database_url)
    assert "install a newer vpopsql" in db.check(database_url)[0]


def test_an_older_schema_is_refused_with_what_to_do(database_url: str) -> None:
    db.downgrade(database_url, "0001")
    old = Database(database_url)

    with pytest.raises(SchemaError, match=r"at 0001.*run `vpopsql db upgrade`"):
        old.require_schema()
    old.close()


def test_a_database_without_schema_is_refused_with_what_to_do(empty_database_url: str) -> None:
    empty = Database(empty_database_url)

    with pytest.raises(SchemaError, match="no vpopsql schema: run `vpopsql db upgrade`"):
        empty.require_schema()
    empty.close()


@pytest.mark.parametrize("change", ["UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log"])
def test_the_audit_log_refuses_to_be_changed(audited: Database, change: str) -> None:
    with pytest.raises(DatabaseRefused, match="append-only"), audited.writer() as session:
        session.execute(sa.text(change))

    with audited.reader() as session:
        assert session.scalars(sa.select(AuditEntry.actor)).all() == ["cli"]


AGAIN = """
    INSERT OR REPLACE INTO audit_log
        (id, at, actor, channel, action, object_type, object, changes)
    SELECT {}, at, 'again', channel, action, object_type, object, changes
    FROM audit_log WHERE id = 1
    """


# On SQLite a replaced row is deleted without any trigger for DELETE being asked.
@pytest.mark.parametrize("entry_id", ["1", "1.0", "'1'"])
@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_an_entry_of_the_audit_log_cannot_be_replaced(
    audited: Database, connection: sa.Connection, entry_id: str
) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        connection.execute(sa.text(AGAIN.format(entry_id)))

    with audited.reader() as session:
        assert session.scalars(sa.select(AuditEntry.actor)).all() == ["cli"]


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_an_odd_number_in_the_audit_log_does_not_stop_it(
    audited: Database, connection: sa.Connection
) -> None:
    connection.execute(sa.text(AGAIN.format("-1")))
    connection.execute(sa.text(AGAIN.format("NULL")))

    found = connection.execute(sa.text("SELECT id, actor FROM audit_log ORDER BY id")).all()
    assert [tuple(row) for row in found] == [(-1, "again"), (1, "cli"), (2, "again")]
