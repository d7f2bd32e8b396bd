"""Alembic's environment: run by ``vpopsql db ...``, or by ``alembic`` in a checkout."""

from alembic import context
from sqlalchemy import Connection, create_engine

from vpopsql.db import type_differs
from vpopsql.model import Base
from vpopsql.schema_check import is_compared


def run(connection: Connection) -> None:
    """Run the migrations on a connection whose transaction the caller owns."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=type_differs,
        include_object=is_compared,
        # One transaction for all: a failed upgrade leaves the old schema whole.
        transactional_ddl=True,
    )
    context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    from vpopsql.config import load

    with create_engine(load().database.url).begin() as own:
        run(own)
