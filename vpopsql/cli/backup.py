"""``vpopsql backup`` and ``vpopsql restore``: the database in a file, and back."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vpopsql.cli import load_config
from vpopsql.cli.progress import Progress
from vpopsql.shown import human_size

if TYPE_CHECKING:
    from vpopsql.backup import Manifest, Shown

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--check", "checks", is_flag=True, help="Read FILE and test its checksums instead.")
@click.pass_context
def backup(ctx: click.Context, file: Path, *, force: bool, checks: bool) -> None:
    """Save the whole database in FILE, as it is at one moment.

    The daemon may go on working meanwhile. FILE has all password hashes; only its owner can read
    it. Mail is not in it, nor what else is in the domains' directories and is not of vpopsql:
    save those as files.

    Exit codes: 0 done, 2 wrong usage, 3 could not run.
    """
    from vpopsql import backup
    from vpopsql.db import Database

    if checks:
        _say(backup.check(file), file, "is as it was saved")
        return
    settings = load_config(ctx).database
    with closing(Database(settings.url)) as database, closing(Progress()) as progress:
        database.require_schema()
        manifest = backup.save(database, file, _shown(progress, "saving"), overwrite=force)
    _say(manifest, file, f"{human_size(file.stat().st_size)}, saved")


@click.command()
@click.argument("file", type=_FILE)
@click.pass_context
def restore(ctx: click.Context, file: Path) -> None:
    """Fill the configured database, which has to be empty, from FILE.

    It may be of the other kind. All or nothing is restored. What qmail reads is written by
    `vpopsql export apply` then, and `vpopsql verify --fix` makes the mailboxes' directories.

    Exit codes: 0 done, 2 wrong usage, 3 could not run.
    """
    from vpopsql import backup

    with closing(Progress()) as progress:
        manifest = backup.restore(
            load_config(ctx).database.url, file, _shown(progress, "restoring")
        )
    _say(manifest, file, "restored")


def _shown(progress: Progress, what: str) -> "Shown":
    return progress.of(what, "rows")


def _say(manifest: "Manifest", file: Path, what: str) -> None:
    click.echo(
        f"{file}: {what}: {manifest.rows:,} rows of {len(manifest.tables)} tables, at revision"
        f" {manifest.revision}, of {manifest.made_at}"
    )
