"""The schema of the database: its migrations, and the guard against code that is too old."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, func, make_url, select, text
from sqlalchemy.pool import NullPool

from vpopsql import schema_check
from vpopsql.columns import ExactText
from vpopsql.db.engines import SECRET_PARAMETERS, open_existing_only, outages, sqlite_path
from vpopsql.errors import SchemaError
from vpopsql.model import SCHEMA_VERSION, Base, SchemaGuard

_PACKAGE = Path(__file__).resolve().parents[1]

_MIGRATION_LOCK = 0x76706F7073716C
"""The advisory lock of a migration: "vpopsql" in ASCII."""

_MIGRATION_PATIENCE_S = 3600
"""How long a migration waits for another one, which may take minutes."""


def migrations_directory() -> Path:
    """Return where the migrations are: inside the wheel, or beside the package in a checkout."""
    packaged = _PACKAGE / "_migrations"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "migrations"


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the schema up to ``revision``; a SQLite file and its directory are made if missing.

    :raises SchemaError: newer code has changed the database so that this one must not touch it,
        or the database cannot hold every text.
    """
    path = sqlite_path(make_url(url))
    if path:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        # It holds every hash; SQLite gives its other files the same mode.
        path.touch(mode=0o600)
    _migrate(url, "upgrade", revision)


def downgrade(url: str, revision: str) -> None:
    """Take the schema back to ``revision`` (``base``: no schema at all)."""
    _migrate(url, "downgrade", revision)


def current(url: str) -> str | None:
    """Return the revision that the database is at; None when it has no schema."""
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415 - slow import

    with _connection(url, "BEGIN") as connection:
        return MigrationContext.configure(connection).get_current_revision()


def exists(url: str) -> bool:
    """Say whether there is something to connect to: False for a SQLite file that is missing."""
    path = sqlite_path(make_url(url))
    return path is None or path.exists()


def check(url: str) -> list[str]:
    """Say how the database's schema differs from what this code expects; empty: not at all."""
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415 - slow import
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415

    with _connection(url, "BEGIN") as connection:
        try:
            require(connection)
        except SchemaError as error:
            return [str(error)]
        options = {"compare_type": type_differs, "include_object": schema_check.is_compared}
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, Base.metadata)
        return [
            *schema_check.describe(differences),
            *schema_check.missing(connection),
            *schema_check.missing_computed(connection),
            *schema_check.miscounted(connection),
        ]


def type_differs(
    context: Any,  # noqa: ANN401 - Alembic's signature
    _inspected_column: object,
    _model_column: object,
    inspected: object,
    wanted: object,
) -> bool | None:
    """Tell Alembic whether a column's type is another than the model's; None: it decides."""
    if not isinstance(wanted, ExactText):
        return None
    meant = wanted.load_dialect_impl(context.dialect)
    return (
        not isinstance(inspected, type(meant))
        or inspected.collation != meant.collation
        or inspected.length != meant.length
    )


def revisions() -> list[str]:
    """Return all revisions of the schema that this code knows, the newest last."""
    # Read from the files' names, as importing Alembic is slow.
    names = (path.name for path in (migrations_directory() / "versions").glob("[0-9]*_*.py"))
    return sorted(match[1] for name in names if (match := re.match(r"(\d{4})_", name)))


def require(connection: Connection) -> None:
    """Refuse a database that this code must not open.

    :raises SchemaError: it has no schema, an older one, or one that is too new; the text says
        what to do.
    """
    _refuse_encoding(connection)
    _refuse_newer(connection)
    if not connection.dialect.has_table(connection, "alembic_version"):
        raise SchemaError("the database has no vpopsql schema: run `vpopsql db upgrade`")
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    _refuse_unknown(found)
    head = revisions()[-1]
    if found != head:
        raise SchemaError(
            f"the database's schema is at {found or 'nothing'}, this code needs {head}:"
            " run `vpopsql db upgrade`"
        )


def _migrate(url: str, direction: str, revision: str) -> None:
    from alembic import command  # noqa: PLC0415 - slow import
    from alembic.config import Config  # noqa: PLC0415
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(migrations_directory()))
    with _migration_connection(url) as connection:
        _refuse_newer(connection)
        if direction == "upgrade":
            _refuse_encoding(connection)
        _refuse_unknown(MigrationContext.configure(connection).get_current_revision())
        config.attributes["connection"] = connection
        try:
            getattr(command, direction)(config, revision)
        except CommandError as error:
            raise SchemaError(f"{direction} to {revision}: {error}") from None


@contextlib.contextmanager
def _migration_connection(url: str) -> Iterator[Connection]:
    """Give a connection in one transaction; on SQLite with foreign keys off, and checked last.

    A batch migration rebuilds a table under a temporary name; with foreign keys on, dropping the
    old one would delete every row that refers to it.
    """
    with _connection(url, "BEGIN IMMEDIATE", patience_s=_MIGRATION_PATIENCE_S) as connection:
        if connection.dialect.name == "postgresql":
            # Until the end of the transaction; on SQLite it is the only one that writes, anyway.
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        yield connection
        if connection.dialect.name == "sqlite":
            broken = connection.execute(text("PRAGMA foreign_key_check")).all()
            if broken:
                raise SchemaError(f"the migration broke foreign keys: {broken[:5]}")


@contextlib.contextmanager
def _connection(url: str, begin: str, *, patience_s: float = 5) -> Iterator[Connection]:
    """Give a connection in one transaction, which begins with ``begin`` on SQLite.

    :param patience_s: how long to wait for another writer, on SQLite.
    """
    engine = create_engine(url, poolclass=NullPool, hide_parameters=SECRET_PARAMETERS)
    if engine.dialect.name == "sqlite":
        open_existing_only(engine)

        @event.listens_for(engine, "connect")
        def _connected(connection: Any, _record: object) -> None:  # noqa: ANN401 - DBAPI
            connection.isolation_level = None
            connection.execute(f"PRAGMA busy_timeout = {round(patience_s * 1000)}")
            connection.execute("PRAGMA foreign_keys = OFF")
            # A new database has no write-ahead log yet: a power cut that brings back the journal
            # which a commit has removed would undo it.
            connection.execute("PRAGMA synchronous = EXTRA")
            # A rebuilt table is renamed while views still name the old one.
            connection.execute("PRAGMA legacy_alter_table = ON")

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

    with outages(engine.url):
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()


def _oldest_code(connection: Connection) -> int | None:
    """Return the guard's number; None when there is no schema."""
    if not connection.dialect.has_table(connection, SchemaGuard.__tablename__):
        return None
    return connection.execute(select(SchemaGuard.oldest_code)).scalar()


def _refuse_newer(connection: Connection) -> None:
    oldest = _oldest_code(connection)
    if oldest is not None and oldest > SCHEMA_VERSION:
        raise SchemaError(
            f"the database needs code of schema version {oldest} or newer, this is"
            f" {SCHEMA_VERSION}: install a newer vpopsql"
        )


def _refuse_unknown(revision: str | None) -> None:
    if revision is not None and revision not in revisions():
        raise SchemaError(
            f"the database's schema is at {revision}, which this vpopsql does not know, its own"
            f" is {revisions()[-1]}: install the vpopsql that upgraded it"
        )


def _refuse_encoding(connection: Connection) -> None:
    if connection.dialect.name != "postgresql":
        return
    encoding = connection.execute(text("SHOW server_encoding")).scalar()
    if encoding != "UTF8":
        raise SchemaError(
            f"the database's encoding is {encoding}, which cannot hold every text: make another"
            " with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )
