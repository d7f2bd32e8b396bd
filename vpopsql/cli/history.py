"""``vpopsql history``: who changed something, and how."""

from contextlib import closing

import click

from vpopsql.cli import load_config


@click.command()
@click.argument("wanted", metavar="OBJECT")
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "csv", "json", "jsonl", "html"]),
    default="table",
    help="How the entries are printed.",
)
@click.option(
    "--limit", type=click.IntRange(1, 2**63 - 1), help="The newest entries only, so many."
)
@click.pass_context
def history(ctx: click.Context, wanted: str, output: str, limit: int | None) -> None:
    """Tell what happened to OBJECT, the oldest first: an address, a domain or a file's path.

    What is gone has a history, too. Imports are not in it, and secrets are masked.

    Exit codes: 0 done, also when there is nothing; 2 wrong usage, 3 could not run.
    """
    from vpopsql.db import Database
    from vpopsql.reports import past
    from vpopsql.reports.text import FORMATS

    settings = load_config(ctx).database
    with closing(Database(settings.url, busy_timeout_s=settings.busy_timeout_s)) as database:
        database.require_schema()
        with database.snapshot() as session:
            rows = past.history(session, wanted, limit)
            for line in FORMATS[output](past.HISTORY, rows):
                click.echo(line)
