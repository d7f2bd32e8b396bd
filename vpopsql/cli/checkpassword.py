"""``vpopsql checkpassword``: a checkpassword program, see `vpopsql.checkpassword`."""

import contextlib
import sys

import click

from vpopsql import checkpassword as program
from vpopsql.checkpassword import Options, Stop
from vpopsql.cli import load_config
from vpopsql.config import Config
from vpopsql.errors import VpopsqlError

PATIENCE_S = 10.0
"""How long a login may wait for the database."""


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=True,
)
@click.option("--direct", is_flag=True, help="Ask the database, not the daemon.")
@click.option(
    "--service",
    type=click.Choice(program.SERVICES),
    help="What is logged in to; else $TCPLOCALPORT and PROGRAM tell.",
)
@click.option("--socket", help="Where the daemon is asked.", metavar="PATH")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="PROGRAM [ARGUMENT]...")
@click.pass_context
def checkpassword(
    ctx: click.Context,
    *,
    direct: bool,
    service: str | None,
    socket: str | None,
    command: tuple[str, ...],
) -> None:
    """Read login, password and challenge from descriptor 3, and run PROGRAM if they are good.

    For qmail-popup and qmail-smtpd with an AUTH patch. vpopsql-checkpassword does the same and
    starts more quickly.
    """
    words = [f"--service={service}"] if service else []
    words += [f"--socket={socket}"] if socket else []

    def ask(_options: Options, service: str, credentials: bytearray) -> bytes:
        try:
            config = load_config(ctx)
        except VpopsqlError as error:
            raise Stop(program.TEMPORARY, str(error)) from None
        return _ask_database(config, program.question(service, credentials))

    program.run([*words, "--", *command], ask if direct else program.ask)


def _ask_database(config: Config, asked: bytearray) -> bytes:
    from vpopsql import logs
    from vpopsql.daemon.authentication import Authenticator
    from vpopsql.db import Database

    logs.configure(config.log)
    settings = config.database
    try:
        database = Database(
            settings.url,
            pool_size=1,
            busy_timeout_s=settings.busy_timeout_s,
            patience_s=PATIENCE_S,
            key_file=config.passwords.key_file,
        )
        with contextlib.closing(database):
            database.require_schema()
            authenticator = Authenticator(database, config)
            answer, granted = authenticator.answer(bytes(asked))
            if granted:
                authenticator.remember(granted)
            return answer
    except VpopsqlError as error:
        raise Stop(program.TEMPORARY, str(error)) from None
    finally:
        program.wipe(asked)
        sys.stderr.flush()
