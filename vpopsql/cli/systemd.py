"""``vpopsql systemd``: the units that run vpopsql."""

import os
import pwd
import shutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from vpopsql.cli import load_config
from vpopsql.errors import VpopsqlError


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--user", default="root", show_default=True, help="Who vpopsql runs as.")
@click.option("--force", is_flag=True, help="Replace units that are there and differ.")
@click.pass_context
def systemd(ctx: click.Context, directory: Path, user: str, *, force: bool) -> None:
    """Write the units of this installation to DIRECTORY, such as /etc/systemd/system.

    The daemon with its socket, the follower, and timers that verify the files every hour and
    measure the mailboxes every night. Nothing is enabled or started.

    Exit codes: 0 done, 2 wrong usage, 3 could not run.
    """
    from vpopsql.systemd import units

    config = load_config(ctx)
    given = ctx.find_root().params["config_file"] or os.environ.get("VPOPSQL_CONFIG")
    program = _program()
    texts = units(config, program, Path(given).resolve() if given else None, user)
    write_texts(directory, texts, force=force)
    if ignored := sorted(
        name for name in os.environ if name.startswith("VPOPSQL_") and name != "VPOPSQL_CONFIG"
    ):
        click.echo(
            f"vpopsql: units do not see these variables, put the settings into a file:"
            f" {', '.join(ignored)}",
            err=True,
        )
    if closed := _closed_to(user, program):
        click.echo(
            f"vpopsql: {user} cannot run {program}: {closed} is closed to him; install vpopsql,"
            " and its Python, where everybody may",
            err=True,
        )
    click.echo("next: systemctl daemon-reload; systemctl enable --now vpopsql.service")


def _program() -> Path:
    beside = Path(sys.executable).with_name("vpopsql")
    found = beside if beside.exists() else shutil.which("vpopsql")
    if not found:
        raise VpopsqlError("no program vpopsql is installed beside this Python or in PATH")
    return Path(found).absolute()


def _closed_to(user: str, program: Path) -> Path | None:
    """Return a directory that keeps a user from a program or its Python, as root's home does.

    Groups are not looked at: who relies on them is warned in vain.
    """
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        return None
    for path in (program, Path(sys.executable).resolve()):
        for directory in reversed(path.parents):
            found = directory.stat()
            is_owner = found.st_uid == uid
            if uid and not found.st_mode & (stat.S_IXUSR if is_owner else stat.S_IXOTH):
                return directory
    return None


def write_texts(directory: Path, texts: Mapping[str, str], *, force: bool) -> None:
    """Write files for another program, and say which.

    :param texts: by paths below ``directory``.
    :raises VpopsqlError: there are others already, and ``force`` is not given.
    """
    different = [
        name
        for name, text in texts.items()
        if (path := directory / name).exists() and path.read_text() != text
    ]
    if different and not force:
        raise VpopsqlError(
            f"{directory}: there are others already: {', '.join(different)}; see --force"
        )
    for name, text in texts.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        click.echo(path)
