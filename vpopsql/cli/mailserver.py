"""``vpopsql mailserver``: the configuration of Dovecot and Postfix, to read the same database."""

import contextlib
import functools
import grp
import ipaddress
import os
import pwd
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from vpopsql.cli import load_config
from vpopsql.shown import printable

if TYPE_CHECKING:
    from vpopsql.config import Config
    from vpopsql.mailservers.files import Login

_MODE, _SECRET_MODE = 0o644, 0o640
"""Of the files; the second where there may be a database's password in them."""

_IP = ipaddress.IPv4Address | ipaddress.IPv6Address


class _Address(click.ParamType[_IP]):
    """An IP address, of either kind."""

    name = "address"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> _IP:
        """Return it."""
        try:
            return ipaddress.ip_address(str(value))
        except ValueError:
            self.fail(f"{value!r} is no IP address", param, ctx)


@dataclass(frozen=True, slots=True)
class _Target:
    """What both commands are told: where the files go, and how a server logs in."""

    directory: Path
    role: str
    password_file: TextIO | None
    replace: bool
    dry_run: bool


def _targeted(role: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the argument and the options of a `_Target`, and the target to its function.

    :param role: who logs in to PostgreSQL unless told otherwise.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(
            ctx: click.Context,
            /,
            directory: Path,
            role: str,
            password_file: TextIO | None,
            *,
            replace: bool,
            dry_run: bool,
            **options: Any,  # noqa: ANN401 - as click gives them
        ) -> None:
            function(ctx, _Target(directory, role, password_file, replace, dry_run), **options)

        made: Callable[..., None] = command
        for decorator in (
            click.argument("directory", type=click.Path(path_type=Path, file_okay=False)),
            click.option("--dry-run", is_flag=True, help="Show the files; write none."),
            click.option("--replace", is_flag=True, help="Write over files with other content."),
            click.option(
                "--password-file",
                type=click.File(),
                help="The role's password is its first line; `-` is standard input.",
            ),
            click.option(
                "--role", default=role, show_default=True, help="Who logs in to PostgreSQL."
            ),
            click.pass_context,
        ):
            made = decorator(made)
        return made

    return decorate


@click.group()
def mailserver() -> None:
    """Write the configuration of a mail server that reads vpopsql's database."""


@mailserver.command("dovecot")
@click.option("--version", type=click.Choice(["2.3", "2.4"]), required=True, help="Dovecot's.")
@click.option(
    "--webmail",
    "webmails",
    type=_Address(),
    multiple=True,
    metavar="ADDRESS",
    help="IMAP from there is webmail, to which no_webmail applies; may be given again.",
)
@click.option(
    "--user", show_default="who has export.uid here", help="Who owns the mailboxes, by name."
)
@click.option(
    "--cram-md5",
    "challenges",
    is_flag=True,
    help="Offer CRAM-MD5 and APOP as well, for passwords that are stored in clear text.",
)
@_targeted("vpopsql_dovecot")
def dovecot(
    ctx: click.Context,
    target: _Target,
    version: str,
    webmails: tuple[_IP, ...],
    user: str | None,
    *,
    challenges: bool,
) -> None:
    """Write Dovecot's part into DIRECTORY, such as /etc/dovecot; see docs/mailservers.md."""
    from vpopsql.mailservers import files

    config = load_config(ctx)
    login = _login(config, target)
    mail = user or _user_name(config.export.uid)
    users = files.Users(mail=mail, database=_database_owner(config) or mail)
    where = str(target.directory.absolute())
    made = files.dovecot(config, version, where, login, users, webmails, challenges=challenges)
    _deliver(config, target, made, group="dovecot")
    if not webmails:
        click.echo("no --webmail: no_webmail has no effect, a webmail's logins are IMAP", err=True)
    if challenges and not config.passwords.store_clear_text:
        click.echo(
            "--cram-md5: passwords.store_clear_text is off, so new passwords cannot be used so",
            err=True,
        )


@mailserver.command("postfix")
@_targeted("vpopsql_postfix")
def postfix(ctx: click.Context, target: _Target) -> None:
    """Write Postfix's tables into DIRECTORY, such as /etc/postfix/vpopsql."""
    from vpopsql.mailservers import files

    config = load_config(ctx)
    login = _login(config, target)
    made = files.postfix(config, str(target.directory.absolute()), login)
    _deliver(config, target, made, group="postfix")


def _login(config: "Config", target: _Target) -> "Login":
    from vpopsql.errors import ConfigError
    from vpopsql.mailservers.files import Login

    if target.password_file is None:
        return Login(target.role)
    if _is_sqlite(config):
        raise click.UsageError("--password-file: a SQLite database has no password")
    password = target.password_file.readline().rstrip("\r\n")
    if not password:
        raise ConfigError(f"{target.password_file.name}: its first line is empty")
    return Login(target.role, "PASSWORD" if target.dry_run else password)


def _is_sqlite(config: "Config") -> bool:
    return config.database.url.startswith("sqlite:")


def _group(name: str) -> int:
    """Return a group of this host; where it has no such group, or we may not, our own."""
    with contextlib.suppress(KeyError):
        if os.geteuid() == 0:
            return grp.getgrnam(name).gr_gid
    return os.getegid()


def _user_name(uid: int) -> str:
    from vpopsql.errors import ConfigError

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise ConfigError(
            f"export.uid: this host has no user {uid}: name the mail host's with --user"
        ) from None


def _database_owner(config: "Config") -> str | None:
    """Return who owns a SQLite database; None: no such file, or no such user, is here."""
    from sqlalchemy import make_url

    if not _is_sqlite(config):
        return None
    try:
        return Path(make_url(config.database.url).database or "").owner()
    except (OSError, KeyError):
        return None


def _deliver(config: "Config", target: _Target, made: Mapping[str, str], group: str) -> None:
    """Write the files; the server's ``group`` reads what nobody else may."""
    from vpopsql.errors import ExportFailed
    from vpopsql.tree import Tree, UnsafePath, Write

    where = target.directory.absolute()
    if target.dry_run:
        for name, text in made.items():
            click.echo(f"==> {printable(str(where / name))} <==\n{text}")
        return
    different = [
        name
        for name, text in made.items()
        if (where / name).exists() and (where / name).read_bytes() != text.encode()
    ]
    if different and not target.replace:
        raise ExportFailed(
            f"{where}: {', '.join(different)} would be written over: see --dry-run, then --replace"
        )
    # The way there is the administrator's own and may have links; the files may be none.
    where.mkdir(mode=0o755, parents=True, exist_ok=True)
    mode, owner = _MODE, None
    if not _is_sqlite(config):
        mode, owner = _SECRET_MODE, (os.geteuid(), _group(group))
    try:
        changed = Tree(where).write_many(
            Write(f"/{name}", text.encode(), mode, owner) for name, text in made.items()
        )
    except UnsafePath as error:
        raise ExportFailed(f"{where}: {error}") from error
    for name in made:
        said = "written" if f"/{name}" in changed else "as it was"
        click.echo(f"{printable(str(where / name))}: {said}")
