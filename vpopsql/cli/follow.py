"""``vpopsql export follow``: a host whose files follow the database."""

import contextlib
import signal
import socket
from typing import TYPE_CHECKING

import click

from vpopsql.cli import load_config
from vpopsql.shown import printable

if TYPE_CHECKING:
    from vpopsql.config import Config
    from vpopsql.db import Database
    from vpopsql.exporter.follower import Follower
    from vpopsql.exporter.hooks import Courier


@click.command()
@click.option("--host", help="The name that this host reports under; else the system's.")
@click.option(
    "--role",
    type=click.Choice(["mail", "relay"]),
    default="mail",
    show_default=True,
    help="All files, or rcpthosts and morercpthosts only.",
)
@click.option("--once", is_flag=True, help="Bring the files up to date and end.")
@click.option(
    "--adopt",
    is_flag=True,
    help="On a host that was never seen before, drop names that the database does not know.",
)
@click.pass_context
def follow(ctx: click.Context, host: str | None, role: str, *, once: bool, adopt: bool) -> None:
    """Keep the files of this host as the database says, until SIGTERM."""
    config = load_config(ctx)
    name = host or socket.gethostname()
    failures = run(config, name, role, once=once, adopt=adopt)
    for failure in failures:
        click.echo(printable(f"{failure}; see `vpopsql export hooks list`"), err=True)
    ctx.exit(1 if failures else 0)


def run(config: "Config", name: str, role: str, *, once: bool, adopt: bool) -> list[str]:
    """Follow, until told to stop or for one pass; return what went wrong with hooks.

    :raises ExportFailed: another follower is at work; in one pass, files could not be written.
    :raises DatabaseUnavailable: in one pass, the database is away.
    """
    from vpopsql import dumps, logs
    from vpopsql.db import Database
    from vpopsql.exporter.follower import Follower, Service, Stop
    from vpopsql.exporter.hooks import Courier
    from vpopsql.model import HostRole

    dumps.forbid()
    logs.configure(config.log)
    settings = config.database
    database = Database(
        settings.url,
        pool_size=2,
        busy_timeout_s=settings.busy_timeout_s,
        key_file=config.passwords.key_file,
    )
    with contextlib.closing(database):
        kind = HostRole(role)
        follower = Follower(database, config, name, kind, adopts=adopt)
        courier = Courier(database, config, name, kind)
        with follower.alone():
            if once:
                return _once(follower, database, courier)
            with contextlib.closing(Stop()) as stop:
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, lambda *_: stop.set())
                Service(follower, database, config).run(stop, courier)
    return []


def _once(follower: "Follower", database: "Database", courier: "Courier") -> list[str]:
    from vpopsql.errors import ExportFailed, VpopsqlError

    database.require_schema()
    try:
        follower.catch_up()
    except ExportFailed as error:
        with contextlib.suppress(VpopsqlError):
            follower.report(str(error))
        raise
    follower.report()
    return courier.deliver_patiently()
