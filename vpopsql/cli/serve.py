"""``vpopsql serve``: the daemon."""

import contextlib

import click
import structlog

from vpopsql import logs
from vpopsql.cli import load_config
from vpopsql.config import Config
from vpopsql.daemon.conversation import Service
from vpopsql.daemon.server import serve_stdio, serve_tcp
from vpopsql.db import Database
from vpopsql.errors import ExportFailed, VpopsqlError
from vpopsql.exporter.hooks import Courier, hooks_in_background
from vpopsql.exporter.projector import Projector


@click.command()
@click.option("--stdio", is_flag=True, help="Serve one client on standard input and output.")
@click.pass_context
def serve(ctx: click.Context, *, stdio: bool) -> None:
    """Answer clients of the vpopmaild protocol."""
    run(load_config(ctx), stdio=stdio)


PATIENCE_S = 4.0
"""How long a client's transaction may take before the database counts as out of order."""


def _catch_up(files: Projector) -> None:
    try:
        files.catch_up()
    except ExportFailed as error:
        # Reading works without files, and each change says itself when they cannot be written.
        structlog.get_logger("vpopsql.daemon").error("files behind", error=str(error))


def _tell_once(courier: Courier) -> None:
    try:
        failures = courier.deliver() if courier.is_needed else []
    except VpopsqlError as error:
        failures = [str(error)]
    if failures:
        structlog.get_logger("vpopsql.hooks").error("hooks failed", errors=failures)


def run(config: Config, *, stdio: bool) -> None:
    """Serve until told to stop, or on standard input until the client is done.

    :raises SchemaError: the database is not one that this code may serve.
    """
    logs.configure(config.log)
    settings = config.database
    database = Database(
        settings.url,
        pool_size=settings.pool_size,
        busy_timeout_s=settings.busy_timeout_s,
        patience_s=PATIENCE_S,
    )
    # Its transactions read whole domains, and nobody minds if that takes a while.
    for_files = Database(settings.url, pool_size=1, busy_timeout_s=settings.busy_timeout_s)
    with contextlib.closing(database), contextlib.closing(for_files):
        database.require_schema()
        courier = Courier(for_files, config)
        if stdio:
            serve_stdio(Service(database, config, Projector(for_files, config)))
            # The client has gone: nobody waits for them.
            _tell_once(courier)
            return
        with hooks_in_background(courier) as wake:
            files = Projector(for_files, config, wake)
            _catch_up(files)
            serve_tcp(Service(database, config, files))
