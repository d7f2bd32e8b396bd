"""``vpopsql serve``: the daemon."""

import click

from vpopsql import logs
from vpopsql.cli import load_config
from vpopsql.config import Config
from vpopsql.daemon.conversation import Service
from vpopsql.daemon.server import serve_stdio, serve_tcp
from vpopsql.db import Database
from vpopsql.exporter.apply import apply
from vpopsql.touched import Touched


class _WholeExport:
    """Brings all files of the site to the database after each change."""

    def __init__(self, database: Database, config: Config) -> None:
        self._database = database
        self._config = config

    def follow(self, touched: Touched) -> None:
        """Export whatever differs."""
        del touched
        apply(self._database, self._config)


@click.command()
@click.option("--stdio", is_flag=True, help="Serve one client on standard input and output.")
@click.pass_context
def serve(ctx: click.Context, *, stdio: bool) -> None:
    """Answer clients of the vpopmaild protocol."""
    run(load_config(ctx), stdio=stdio)


def run(config: Config, *, stdio: bool) -> None:
    """Serve until told to stop, or on standard input until the client is done.

    :raises SchemaError: the database is not one that this code may serve.
    """
    logs.configure(config.log)
    database = Database(
        config.database.url,
        pool_size=config.database.pool_size,
        busy_timeout_s=config.database.busy_timeout_s,
    )
    try:
        database.require_schema()
        files = _WholeExport(database, config)
        (serve_stdio if stdio else serve_tcp)(Service(database, config, files))
    finally:
        database.close()
