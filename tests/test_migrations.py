"""The schema's life: up, down, up again, and who may open it."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy.pool import NullPool

from tests import factories
from vpopsql import db, schema_check
from vpopsql.db import Database, schema
from vpopsql.errors import DatabaseRefused, DatabaseUnavailable, SchemaError
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
    options = {"compare_type": db.type_differs, "include_object": schema_check.is_compared}
    context = MigrationContext.configure(connection, opts=options)

    assert compare_metadata(context, Base.metadata) == []
    assert schema_check.missing_computed(connection) == []


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

    with schema._migration_connection(database_url) as connection:
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


# --- what is checked --------------------------------------------------------------------------


def alter(url: str, *statements: str) -> None:
    engine = sa.create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


def test_the_names_that_a_check_expects_are_those_that_the_migrations_make(
    connection: sa.Connection,
) -> None:
    expected = schema_check.expected(connection.dialect.name)

    assert schema_check.found(connection) == set(expected)


def test_a_missing_view_is_named_with_what_to_do(database_url: str) -> None:
    alter(database_url, "DROP VIEW limits")

    assert db.check(database_url) == [
        "the view `limits` is missing: make it anew as migration 0002 does, or restore a backup"
    ]


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_a_missing_trigger_is_named_with_what_to_do(database_url: str) -> None:
    alter(database_url, "DROP TRIGGER audit_log_no_delete", "DROP TRIGGER audit_log_no_replace")

    assert db.check(database_url) == [
        f"the trigger `audit_log_no_{action}` on `audit_log` is missing: make it anew as"
        f" migration {migration} does, or restore a backup"
        for action, migration in [("delete", "0001"), ("replace", "0004")]
    ]


@pytest.mark.parametrize("_backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    "change",
    [
        "DROP TRIGGER audit_log_append_only ON audit_log",
        "ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only",
    ],
)
def test_a_trigger_that_is_off_is_as_good_as_missing(database_url: str, change: str) -> None:
    alter(database_url, change)

    (sentence,) = db.check(database_url)
    assert sentence.startswith("the trigger `audit_log_append_only` on `audit_log` is missing:")


@pytest.mark.parametrize("_backend", ["postgresql"], indirect=True)
def test_a_missing_function_is_named(database_url: str) -> None:
    alter(database_url, "DROP FUNCTION vpopsql_update_vpopmail CASCADE")

    function, trigger = db.check(database_url)

    assert function.startswith("the function `vpopsql_update_vpopmail` is missing:")
    assert trigger.startswith("the trigger `vpopmail_update` on `vpopmail` is missing:")


@pytest.mark.parametrize(
    "change, sentence",
    [
        ("DROP TABLE exports", "the table `exports` is missing: restore a backup"),
        ("CREATE TABLE mine (x INTEGER)", "the table `mine` is none of vpopsql's"),
        (
            "DROP INDEX ix_mailboxes_name",
            "the index `ix_mailboxes_name` of `mailboxes` is missing: restore a backup",
        ),
        (
            "CREATE INDEX mine ON mailboxes (comment)",
            "the index `mine` of `mailboxes` is none of vpopsql's",
        ),
        (
            "ALTER TABLE exports DROP COLUMN files_changed",
            "the column `files_changed` of `exports` is missing: restore a backup",
        ),
        (
            "ALTER TABLE exports ADD COLUMN mine INTEGER",
            "the column `mine` of `exports` is none of vpopsql's",
        ),
    ],
)
def test_a_difference_is_a_sentence(database_url: str, change: str, sentence: str) -> None:
    alter(database_url, change)

    assert db.check(database_url) == [sentence]


@pytest.mark.parametrize("_backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    "change, sentence",
    [
        (
            "ALTER TABLE exports ALTER files_changed DROP NOT NULL",
            "the column `files_changed` of `exports` accepts NULL, and must not",
        ),
        (
            "ALTER TABLE exports ALTER files_changed TYPE TEXT",
            "the type of the column `files_changed` of `exports` is TEXT, and must be INTEGER",
        ),
        (
            "ALTER TABLE trash DROP CONSTRAINT uq_trash_trash_path",
            "the constraint `uq_trash_trash_path` of `trash` is missing: restore a backup",
        ),
    ],
)
def test_a_difference_in_a_column_is_a_sentence(
    database_url: str, change: str, sentence: str
) -> None:
    alter(database_url, change)

    assert db.check(database_url) == [sentence]


@pytest.mark.parametrize("_backend", ["postgresql"], indirect=True)
def test_a_missing_foreign_key_is_named(database_url: str) -> None:
    key = "fk_ip_mappings_domain_id_domains"
    alter(database_url, f"ALTER TABLE ip_mappings DROP CONSTRAINT {key}")

    assert db.check(database_url) == [
        f"the foreign key `{key}` of `ip_mappings` is missing: restore a backup"
    ]


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_a_check_does_not_wait_for_a_writer(database: Database, database_url: str) -> None:
    with database.writer():
        assert db.current(database_url) == db.revisions()[-1]
        assert db.check(database_url) == []


# --- databases that are not ours --------------------------------------------------------------


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "no/such.db"
    path.parent.mkdir()
    url = f"sqlite:///{path}"
    database = Database(url)

    for attempt in (
        database.require_schema,
        lambda: db.current(url),
        lambda: db.check(url),
        lambda: db.downgrade(url, "base"),
    ):
        with pytest.raises(
            DatabaseUnavailable, match=r"such\.db: no such database file: .*upgrade"
        ):
            attempt()

    database.close()
    assert list(path.parent.iterdir()) == []


def test_a_file_that_goes_away_is_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "vpopsql.db"
    db.upgrade(f"sqlite:///{path}")
    database = Database(f"sqlite:///{path}")
    path.rename(tmp_path / "moved.db")

    with (
        pytest.raises(DatabaseUnavailable, match="no such database file"),
        database.writer() as session,
    ):
        session.connection()

    database.close()
    assert not path.exists()


@pytest.fixture
def latin1_url(empty_database_url: str) -> Iterator[str]:
    """A PostgreSQL database that holds Latin 1 only."""
    url = sa.make_url(empty_database_url)
    name = f"{url.database}_latin1"
    with psycopg.connect(empty_database_url, autocommit=True) as server:
        server.execute(
            f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
            " TEMPLATE template0".encode()
        )
        yield url.set(database=name).render_as_string(hide_password=False)
        server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.mark.parametrize("_backend", ["postgresql"], indirect=True)
def test_an_encoding_that_does_not_hold_every_text_is_refused_with_what_to_do(
    latin1_url: str,
) -> None:
    database = Database(latin1_url)
    what_to_do = "is LATIN1.*CREATE DATABASE .* ENCODING 'UTF8' TEMPLATE template0"

    with pytest.raises(SchemaError, match=what_to_do):
        db.upgrade(latin1_url)
    with pytest.raises(SchemaError, match=what_to_do):
        database.require_schema()

    database.close()
    assert "ENCODING 'UTF8'" in db.check(latin1_url)[0]
    assert db.current(latin1_url) is None
