"""``vpopsql config``: what is in force, and where it comes from."""

import click

from vpopsql import config
from vpopsql.cli import load_config


@click.command("config")
@click.pass_context
def show_config(ctx: click.Context) -> None:
    """Show every setting with its value and origin; secrets are masked."""
    click.echo(config.explain(load_config(ctx)))
