"""``vpopsql export``: the files that qmail and vpopmail read."""

import json

import click

from vpopsql.cli import load_config


@click.group()
def export() -> None:
    """Write the files that qmail and vpopmail read."""


@export.command()
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json"]),
    default="table",
    help="How the changed files are listed.",
)
@click.pass_context
def apply(ctx: click.Context, output: str) -> None:
    """Bring every file to what the database says, and list those that changed."""
    from vpopsql.db import Database
    from vpopsql.exporter import apply as exporter

    config = load_config(ctx)
    database = Database(config.database.url, busy_timeout_s=config.database.busy_timeout_s)
    try:
        database.require_schema()
        applied = exporter.apply(database, config)
    finally:
        database.close()
    if output == "json":
        result = {
            "changed": applied.changed,
            "extra": applied.extra,
            "reloaded": applied.reloaded,
            "revision": applied.revision,
            "swept": applied.swept,
        }
        click.echo(json.dumps(result, indent=2))
        return
    for path in applied.changed:
        click.echo(_printable(path))
    for path in applied.extra:
        click.echo(f"{_printable(path)}: not in the database, left as it is", err=True)
    for path in applied.swept:
        click.echo(f"{_printable(path)}: half-written by a killed process, removed", err=True)
    reloaded = ", qmail-send reloaded" if applied.reloaded else ""
    click.echo(f"{len(applied.changed)} files changed{reloaded}; at revision {applied.revision}")


def _printable(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode()
