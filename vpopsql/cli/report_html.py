"""``vpopsql report html``: the pages about a site."""

import contextlib
import os
from pathlib import Path

import click

from vpopsql.cli import load_config

_JOBS_MAX = 64


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--title", default="Mail site", show_default=True, help="What the pages are about.")
@click.option("--domain", metavar="NAME", help="Only what is of this domain.")
@click.option(
    "--rows",
    type=click.IntRange(1, 100_000),
    default=1000,
    show_default=True,
    help="At most so many rows of each report on a page.",
)
@click.option("--files", is_flag=True, help="Ask the reports on files of this host, too.")
@click.option(
    "--jobs",
    type=click.IntRange(1, _JOBS_MAX),
    default=lambda: min(os.cpu_count() or 1, 8),
    show_default="one for each processor, at most 8",
    help="How many processes make pages.",
)
@click.pass_context
def html(
    ctx: click.Context,
    /,
    directory: Path,
    title: str,
    domain: str | None,
    *,
    rows: int,
    files: bool,
    jobs: int,
) -> None:
    """Write pages about the site into DIR: an overview, all reports, and all domains.

    DIR is made, or empty, or has the pages of an earlier run, which are replaced once the new ones
    are complete. Open its index.html with a browser; nobody but the owner and the group of DIR can
    read the pages.

    Exit codes: 0 done, 2 wrong usage, 3 could not run: DIR is as it was.
    """
    from vpopsql.cli.progress import Progress
    from vpopsql.columns import utc_now
    from vpopsql.db import Database
    from vpopsql.reports.site.write import Wanted, write_site

    config = load_config(ctx)
    settings = config.database
    with (
        contextlib.closing(
            Database(settings.url, busy_timeout_s=settings.busy_timeout_s)
        ) as database,
        contextlib.closing(Progress()) as progress,
    ):
        database.require_schema()
        written = write_site(
            database,
            config,
            Wanted(directory, title, domain, rows, files, jobs),
            utc_now(),
            progress.show,
        )
    click.echo(f"{written.pages:,} pages, {written.domains:,} of domains: {directory}/index.html")
