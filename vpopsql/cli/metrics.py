"""``vpopsql metrics``: the figures of a site for Prometheus."""

import contextlib
from pathlib import Path

import click

from vpopsql.cli import load_config

_MODE = 0o644
"""node_exporter is another user."""


@click.command()
@click.option(
    "--textfile",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="Write them there, at once and whole, for node_exporter's textfile collector.",
)
@click.pass_context
def metrics(ctx: click.Context, textfile: Path | None) -> None:
    """Print the figures of a site in Prometheus's text format."""
    from vpopsql.db import Database
    from vpopsql.errors import ExportFailed
    from vpopsql.exposition import render
    from vpopsql.metrics import site_families
    from vpopsql.tree import Tree, UnsafePath

    config = load_config(ctx)
    settings = config.database
    database = Database(settings.url, busy_timeout_s=settings.busy_timeout_s)
    with contextlib.closing(database):
        database.require_schema()
        with database.survey() as session:
            text = render(site_families(session))
    if textfile is None:
        click.echo(text, nl=False)
        return
    # The way there is the administrator's own and may have links; the file itself may be none.
    tree = Tree(textfile.absolute().parent)
    try:
        tree.write(f"/{textfile.name}", text.encode(), mode=_MODE, durable=False)
    except UnsafePath as error:
        raise ExportFailed(f"{textfile}: {error}") from error
    except OSError as error:
        raise ExportFailed(f"{textfile}: {error.strerror}") from error
