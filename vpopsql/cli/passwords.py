"""``vpopsql passwords``: the keys that readable passwords are encrypted with."""

import click

from vpopsql.cli import load_config

_AT_ONCE = 500


@click.group()
def passwords() -> None:
    """Make keys for readable passwords, and use a new one."""


@passwords.command("new-key")
def new_key() -> None:
    """Print a new key, to be the first line of the file of `passwords.key_file`."""
    from vpopsql.sealed import new_key as made

    click.echo(made())


@passwords.command("rotate-key")
@click.pass_context
def rotate_key(ctx: click.Context) -> None:
    """Encrypt all readable passwords with the first key of `passwords.key_file`.

    Those that are not encrypted yet, and those of deleted accounts in the trash, as well. When it
    is done, and no backup needs them any more, the other keys can leave the file. It can be
    repeated, and others may work meanwhile.

    Exit codes: 0 done; 2 wrong usage; 3 could not run: no key, or one is missing.
    """
    from contextlib import closing

    from vpopsql.cli.objects.site import Site
    from vpopsql.db import Database
    from vpopsql.errors import ConfigError
    from vpopsql.sealed import Keyring
    from vpopsql.services import resealing

    config = load_config(ctx)
    path, settings = config.passwords.key_file, config.database
    if not path:
        raise ConfigError(
            "passwords.key_file: not set: make a key with `vpopsql passwords new-key`"
        )
    keyring = Keyring.load(path)
    with closing(
        Database(settings.url, busy_timeout_s=settings.busy_timeout_s, key_file=path)
    ) as database:
        database.require_schema()
        actor = Site(config, database).actor
        with database.reader() as session:
            ids = resealing.find_passwords(session)
        done = 0
        for start in range(0, len(ids), _AT_ONCE):
            with database.writer() as session:
                few = ids[start : start + _AT_ONCE]
                done += resealing.reseal_accounts(session, actor, keyring, few)
        with database.writer() as session:
            done += resealing.reseal_trash(session, actor, keyring)
    click.echo(f"{done} encrypted anew")
