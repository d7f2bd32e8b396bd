"""``vpopsql export hooks``: what hooks have not heard of, and telling them."""

import contextlib
import json
import shlex
from typing import TYPE_CHECKING

import click

from vpopsql.cli import load_config
from vpopsql.shown import printable

if TYPE_CHECKING:
    from vpopsql.config import Config
    from vpopsql.db import Database


@click.group()
def hooks() -> None:
    """Look after the programs that are told of changed files."""


@hooks.command(name="list")
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json"]),
    default="table",
    help="How they are listed.",
)
@click.pass_context
def list_(ctx: click.Context, output: str) -> None:
    """List the hooks, and what each has not heard of; exit with 1 if there is anything."""
    from vpopsql.db import Database
    from vpopsql.exporter.hooks import Courier

    config = load_config(ctx)
    with contextlib.closing(Database(config.database.url)) as database:
        waiting = Courier(database, config).waiting()
    if output == "json":
        shown = [
            {
                "command": each.command,
                "events": [
                    {"number": event.number, "at": event.at.isoformat(), "files": event.files}
                    for event in each.events
                ],
            }
            for each in waiting
        ]
        click.echo(json.dumps(shown, indent=2))
    else:
        for each in waiting:
            since = f" since {each.events[0].at:%Y-%m-%d %H:%M}" if each.events else ""
            click.echo(printable(f"{len(each.events):>6}  {shlex.join(each.command)}{since}"))
    ctx.exit(1 if any(each.events for each in waiting) else 0)


@hooks.command()
@click.pass_context
def run(ctx: click.Context) -> None:
    """Run the hooks that something waits for; exit with 1 if one fails."""
    from vpopsql.db import Database

    config = load_config(ctx)
    with contextlib.closing(Database(config.database.url)) as database:
        ctx.exit(1 if tell(database, config) else 0)


def tell(database: "Database", config: "Config") -> list[str]:
    """Run the hooks that something waits for; say what went wrong, and return it.

    :raises ExportFailed: the outbox cannot be read or written.
    """
    if not config.hooks.commands:
        return []
    from vpopsql.errors import DatabaseRefused, DatabaseUnavailable
    from vpopsql.exporter.hooks import Courier

    try:
        failures = Courier(database, config).deliver_patiently()
    except (DatabaseUnavailable, DatabaseRefused) as error:
        failures = [f"hooks wait: {error}"]
    for failure in failures:
        click.echo(printable(f"{failure}; see `vpopsql export hooks list`"), err=True)
    return failures
