"""``vpopsql hosts``: the hosts that follow the database, and who is behind."""

import contextlib
import json
from typing import TYPE_CHECKING

import click

from vpopsql.cli import load_config
from vpopsql.shown import printable

if TYPE_CHECKING:
    from vpopsql.exporter.hosts import Standing


@click.command()
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json"]),
    default="table",
    help="How the hosts are listed.",
)
@click.option(
    "--stale-after",
    "stale_after_s",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds that a host may be behind or silent.",
)
@click.option("--forget", metavar="NAME", help="Forget a host that is no more, and list the rest.")
@click.pass_context
def hosts(ctx: click.Context, output: str, stale_after_s: float, forget: str | None) -> None:
    """Show where the hosts stand that follow the database; exit with 1 if one is stale."""
    from vpopsql.db import Database
    from vpopsql.exporter import hosts as known

    config = load_config(ctx)
    settings = config.database
    database = Database(settings.url, busy_timeout_s=settings.busy_timeout_s)
    with contextlib.closing(database):
        database.require_schema()
        if forget is not None:
            with database.writer() as session:
                is_gone = known.forget(session, forget.lower())
            if not is_gone:
                raise click.BadParameter(f"no host {forget} has reported", param_hint="--forget")
        with database.reader() as session:
            found = known.standings(session, stale_after_s)
    if output == "json":
        click.echo(json.dumps([_as_data(each) for each in found], indent=2))
    else:
        for each in found:
            click.echo(printable(_line(each)))
        if not found:
            click.echo("no host follows this database: see `vpopsql export follow`", err=True)
    ctx.exit(1 if any(each.is_stale for each in found) else 0)


def _as_data(host: "Standing") -> dict[str, object]:
    return {
        "name": host.name,
        "role": host.role.value,
        "revision": host.revision,
        "behind": host.behind,
        "behind_s": round(host.behind_s, 3),
        "silent_s": round(host.silent_s, 3),
        "reached_at": host.reached_at and host.reached_at.isoformat(),
        "reported_at": host.reported_at.isoformat(),
        "error": host.error,
        "stale": host.is_stale,
    }


def _line(host: "Standing") -> str:
    state = "STALE" if host.is_stale else "ok"
    behind = f"{host.behind} behind for {host.behind_s:.0f} s" if host.behind else "up to date"
    error = f": {host.error}" if host.error else ""
    return (
        f"{state:<5}  {host.name}  {host.role.value}  at {host.revision}, {behind},"
        f" heard of {host.silent_s:.0f} s ago{error}"
    )
