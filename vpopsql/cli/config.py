"""``vpopsql config``: what is in force, where it comes from, and whether it fits this host."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import click

from vpopsql import config
from vpopsql.cli import load_config
from vpopsql.config import Config
from vpopsql.errors import ConfigError, VpopsqlError


@click.group("config", invoke_without_command=True)
@click.pass_context
def show_config(ctx: click.Context) -> None:
    """Show every setting with its value and origin; secrets are masked."""
    if ctx.invoked_subcommand is None:
        click.echo(config.explain(load_config(ctx)))


@show_config.command()
@click.pass_context
def check(ctx: click.Context) -> None:
    """Find all mistakes at once: in the settings, and in what they name on this host.

    The database and its schema, the directories, the programs, and files with passwords that
    others can read. Give it as the user that vpopsql runs as.

    Exit codes: 0 there are none, 1 there are some, 2 wrong usage.
    """
    try:
        settings = load_config(ctx)
    except ConfigError as error:
        mistakes = str(error).split("\n")
    else:
        mistakes = [*_of_host(settings)]
        if settings.passwords.store_clear_text and not settings.passwords.key_file:
            click.echo(
                "warning: passwords.store_clear_text: readable passwords are stored as they are:"
                " set passwords.key_file to have them encrypted",
                err=True,
            )
    for mistake in mistakes:
        click.echo(mistake, err=True)
    if mistakes:
        ctx.exit(1)
    click.echo("no mistakes")


def _of_host(settings: Config) -> Iterator[str]:
    yield from _readable_by_others(settings)
    yield from _of_key_file(settings)
    yield from _of_database(settings)
    for path in settings.paths.places:
        real = settings.paths.real(path)
        if not real.is_dir():
            yield f"{real}: no such directory: see [paths]"
        elif not os.access(real, os.R_OK | os.W_OK | os.X_OK):
            yield f"{real}: cannot be written to by this user"
    export = settings.export
    for key, command in (
        ("export.reload_command", export.reload_command),
        ("export.newu_command", export.newu_command),
        ("export.newmrh_command", export.newmrh_command),
        *(("hooks.commands", command) for command in settings.hooks.commands),
    ):
        if command and not (Path(command[0]).is_file() and os.access(command[0], os.X_OK)):
            yield f"{key}: {command[0]}: no such program, or not for this user"


def _of_key_file(settings: Config) -> Iterator[str]:
    from vpopsql.sealed import Keyring

    if settings.passwords.key_file:
        try:
            Keyring.load(settings.passwords.key_file)
        except ConfigError as error:
            yield str(error)


def _of_database(settings: Config) -> Iterator[str]:
    from vpopsql.db import Database

    database = Database(settings.database.url, pool_size=1)
    try:
        database.require_schema()
    except VpopsqlError as error:
        yield f"database.url: {error}"
    finally:
        database.close()


def _readable_by_others(settings: Config) -> Iterator[str]:
    """Say which files with secrets are open to everybody."""
    database = settings.database
    files = {database.password_file} - {""}
    origin = settings.origins.get("database.url", "")
    if origin.startswith("/") and not database.password_file:
        # Masking changes an URL only if there is something to mask.
        files |= {origin} if config.mask_url(database.url) != database.url else set()
    if database.url.startswith("sqlite:///"):
        files.add(database.url.removeprefix("sqlite:///").partition("?")[0])
    for file in sorted(files):
        if Path(file).exists() and Path(file).stat().st_mode & stat.S_IROTH:
            yield f"{file}: everybody can read it, and there are secrets in it: chmod o-r"
