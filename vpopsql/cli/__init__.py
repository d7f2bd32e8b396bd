"""The command line: parse, call, print, exit code.

Each command lives in a module of its own that is imported only when it is used, because importing
Alembic or the importer would triple the start-up time of the others.

Exit codes: 0 done, 1 done with warnings or differences found (of the commands in `objects`:
refused, or there is no such thing), 2 wrong usage or input refused, 3 could not run
(configuration, database, files). Of `import`, 2 is a source with rejects only, of `verify` it is
harm to mail, and wrong usage is 3, so that scripts can tell them apart.
"""

import contextlib
import gc
import importlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import click

from vpopsql import __version__
from vpopsql.config import Config, load
from vpopsql.errors import VpopsqlError
from vpopsql.shown import printable

COULD_NOT_RUN = 3

_COMMANDS = {
    "alias": ("vpopsql.cli.objects.alias", "alias"),
    "alias-domain": ("vpopsql.cli.objects.alias_domain", "alias_domain"),
    "audit": ("vpopsql.cli.objects.audit", "audit"),
    "backup": ("vpopsql.cli.backup", "backup"),
    "catchall": ("vpopsql.cli.objects.catchall", "catchall"),
    "checkpassword": ("vpopsql.cli.checkpassword", "checkpassword"),
    "compat": ("vpopsql.cli.compat", "compat"),
    "completion": ("vpopsql.cli.completion", "completion"),
    "config": ("vpopsql.cli.config", "show_config"),
    "db": ("vpopsql.cli.db", "db"),
    "domain": ("vpopsql.cli.objects.domain", "domain"),
    "explain": ("vpopsql.cli.explain", "explain"),
    "export": ("vpopsql.cli.export", "export"),
    "fail2ban": ("vpopsql.cli.fail2ban", "fail2ban"),
    "flag": ("vpopsql.cli.objects.flag", "flag"),
    "forward": ("vpopsql.cli.objects.forward", "forward"),
    "history": ("vpopsql.cli.history", "history"),
    "hosts": ("vpopsql.cli.hosts", "hosts"),
    "import": ("vpopsql.cli.import_", "import_"),
    "ipmap": ("vpopsql.cli.objects.ipmap", "ipmap"),
    "lastauth": ("vpopsql.cli.objects.lastauth", "lastauth"),
    "limits": ("vpopsql.cli.objects.limits", "limits"),
    "mailserver": ("vpopsql.cli.mailserver", "mailserver"),
    "man": ("vpopsql.cli.man", "man"),
    "metrics": ("vpopsql.cli.metrics", "metrics"),
    "passwords": ("vpopsql.cli.passwords", "passwords"),
    "quota": ("vpopsql.cli.objects.quota", "quota"),
    "report": ("vpopsql.cli.report", "report"),
    "restore": ("vpopsql.cli.backup", "restore"),
    "serve": ("vpopsql.cli.serve", "serve"),
    "systemd": ("vpopsql.cli.systemd", "systemd"),
    "trash": ("vpopsql.cli.trash", "trash"),
    "undo": ("vpopsql.cli.objects.undo", "undo"),
    "usage": ("vpopsql.cli.usage", "usage"),
    "user": ("vpopsql.cli.objects.user", "user"),
    "verify": ("vpopsql.cli.verify", "verify"),
}


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name every command."""
        del ctx
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or guess which one was meant."""
        if args[0] not in _COMMANDS:
            from vpopsql.cli.objects.nouns import require_command

            require_command(self, ctx, args)
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vpopsql")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file with the settings (else VPOPSQL_CONFIG, else built-in defaults).",
)
@click.pass_context
def cli(ctx: click.Context, config_file: Path | None) -> None:
    """Keep qmail's virtual mail domains in a SQL database."""
    ctx.obj = config_file


def object_commands() -> set[str]:
    """Return the commands that are nouns, which all have the same exit codes."""
    return {name for name, (module, _) in _COMMANDS.items() if ".objects." in module}


def load_config(ctx: click.Context) -> Config:
    """Return the configuration for this invocation.

    :raises ConfigError: the file or the environment has mistakes.
    """
    return load(ctx.obj)


def main() -> None:
    """Run the command line; print a refusal as one clear message instead of a traceback."""
    # Modules and rows are no garbage: to look for cycles among them as often as usual costs a
    # tenth of the time to start, and half of the time of a long list.
    gc.set_threshold(20_000, 20, 50)
    try:
        with refusals_as_messages("vpopsql"):
            cli(prog_name="vpopsql")
    finally:
        # The interpreter looks for reference cycles at its end: a tenth of a second for nothing.
        gc.freeze()


@contextlib.contextmanager
def wrong_usage_is_no_result() -> Iterator[None]:
    """End the process with `COULD_NOT_RUN` at wrong usage, for commands of which 2 is a result."""
    try:
        yield
    except click.UsageError as error:
        error.show()
        sys.exit(COULD_NOT_RUN)


@contextlib.contextmanager
def refusals_as_messages(program: str) -> Iterator[None]:
    """End the process with `COULD_NOT_RUN` and a message instead of an exception."""
    try:
        yield
    except (VpopsqlError, OSError) as error:
        said = "\n".join(map(printable, str(error).split("\n")))
        click.echo(f"{program}: {said}", err=True)
        sys.exit(COULD_NOT_RUN)
    except Exception:  # noqa: BLE001 - its exit code must not be one that means something
        traceback.print_exc()
        click.echo(f"{program}: this is a defect: please report what stands above", err=True)
        sys.exit(COULD_NOT_RUN)
