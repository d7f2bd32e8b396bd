"""``vpopsql compat``: vpopmail's own commands, for the scripts of a site."""

from pathlib import Path

import click

from vpopsql.shown import printable


@click.group()
def compat() -> None:
    """Put vpopmail's commands (vadduser, vuserinfo, ...) where scripts look for them."""


@compat.command()
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--remove", is_flag=True, help="Remove them; what they replaced comes back.")
@click.option("--force", is_flag=True, help="Move other files of their names aside.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.pass_context
def install(
    ctx: click.Context, directory: Path, *, remove: bool, force: bool, dry_run: bool
) -> None:
    """Put vpopmail's commands into DIRECTORY, such as /home/vpopmail/bin.

    They use this installation, and the configuration that --config or VPOPSQL_CONFIG names now.
    """
    from vpopsql.cli import load_config
    from vpopsql.compat import install as launchers
    from vpopsql.errors import ExportFailed

    if remove and force:
        raise click.UsageError("--force is for installing")
    directory = directory.absolute()
    try:
        if remove:
            steps = launchers.plan_removal(directory) if dry_run else launchers.remove(directory)
        else:
            load_config(ctx)
            do = launchers.plan_install if dry_run else launchers.install
            steps = do(directory, _config_file(ctx.obj), force=force)
    except OSError as error:
        # Its path is one below the directory.
        raise ExportFailed(f"{directory}{error.filename}: {error.strerror}") from error
    for step in steps:
        aside = ""
        if step.moved_aside:
            before = f"{step.name}{launchers.ASIDE}"
            aside = f", {before} is back" if remove else f", what was there is {before}"
        click.echo(printable(f"{directory / step.name}: {step.what}{aside}"))
    if dry_run:
        click.echo("nothing was changed", err=True)


def _config_file(given: Path | None) -> Path | None:
    """Return the configuration in use, wherever the commands are called from; None: defaults."""
    import os

    named = given or (
        Path(os.environ["VPOPSQL_CONFIG"]) if os.environ.get("VPOPSQL_CONFIG") else None
    )
    return named.absolute() if named else None
