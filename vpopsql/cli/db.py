"""``vpopsql db``: the schema's life."""

import click

from vpopsql import db as database
from vpopsql.cli import load_config


@click.group()
def db() -> None:
    """Create, upgrade and check the database schema."""


@db.command()
@click.argument("revision", default="head")
@click.pass_context
def upgrade(ctx: click.Context, revision: str) -> None:
    """Bring the schema up to REVISION (the newest by default)."""
    url = load_config(ctx).database.url
    database.upgrade(url, revision)
    click.echo(f"the schema is at {database.current(url)}")


@db.command()
@click.pass_context
def current(ctx: click.Context) -> None:
    """Print the revision that the database is at."""
    click.echo(database.current(load_config(ctx).database.url) or "no schema")


@db.command()
@click.pass_context
def check(ctx: click.Context) -> None:
    """Compare the schema with what this code expects; say what differs and exit 1."""
    differences = database.check(load_config(ctx).database.url)
    for difference in differences:
        click.echo(difference, err=True)
    if differences:
        ctx.exit(1)
    click.echo("the schema is as this code expects it")


@db.command()
@click.argument("revision")
@click.confirmation_option(prompt="Downgrading can delete data. Go on?")
@click.pass_context
def downgrade(ctx: click.Context, revision: str) -> None:
    """Take the schema back to REVISION (`base` removes everything)."""
    url = load_config(ctx).database.url
    database.downgrade(url, revision)
    click.echo(f"the schema is at {database.current(url) or 'base'}")
