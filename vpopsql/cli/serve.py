"""``vpopsql serve``: the daemon."""

import click
import structlog

from vpopsql import logs
from vpopsql.cli import load_config
from vpopsql.config import Config
from vpopsql.daemon.conversation import Service
from vpopsql.daemon.server import serve_stdio, serve_tcp
from vpopsql.db import Database
from vpopsql.errors import ExportFailed
from vpopsql.exporter.projector import Projector


@click.command()
@click.option("--stdio", is_flag=True, help="Serve one client on standard input and output.")
@click.pass_context
def serve(ctx: click.Context, *, stdio: bool) -> None:
    """Answer clients of the vpopmaild protocol."""
    run(load_config(ctx), stdio=stdio)


def _catch_up(files: Projector) -> None:
    try:
        files.catch_up()
    except ExportFailed as error:
        # Reading works without files, and each change says itself when they cannot be written.
        structlog.get_logger("vpopsql.daemon").error("files behind", error=str(error))


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
        files = Projector(database, config)
        if not stdio:
            _catch_up(files)
        (serve_stdio if stdio else serve_tcp)(Service(database, config, files))
    finally:
        database.close()
