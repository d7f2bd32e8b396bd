"""Fills the templates of Dovecot's and Postfix's configurations in.

This module writes no file and asks no database. What it puts into a template comes from the
configuration and the command line; a value with a character that one of the programs could take
for anything but itself is refused, since each quotes in a way of its own.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote

from sqlalchemy import make_url
from sqlalchemy.engine import URL

from vpopsql.config import Config
from vpopsql.errors import ConfigError

DOVECOT_VERSIONS = ("2.3", "2.4")

_DOVECOT = {
    "2.3": ("vpopsql.conf", "vpopsql-sql.conf.ext", "vpopsql-dict.conf.ext"),
    "2.4": ("vpopsql.conf",),
}
_POSTFIX = (
    "domains.cf",
    "mailboxes.cf",
    "aliases.cf",
    "recipients.cf",
    "senders.cf",
    "main.cf.example",
)
_ROLE = "role.sql"

_PLAIN = re.compile(r"[\w.,/:@+=~-]+", re.ASCII)
_NAME = re.compile(r"[a-z_][a-z0-9_-]*", re.ASCII)
_ROLE_NAME = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)
_SOCKETS = "/var/run/postgresql"
"""Where Debian's libpq looks for a server that no host is named of."""
_NOBODY = "'none'"
"""What no address is equal to."""
_MECHANISM = {"2.3": "%m", "2.4": "%{mechanism}"}
"""What Dovecot calls the mechanism of a login."""
_CLEAR = (
    "(SELECT '{PLAIN}' || pw_clear_passwd FROM vpopmail WHERE pw_name = name"
    " AND pw_domain = substr(address, length(name) + 2) AND pw_clear_passwd <> '')"
)
"""The password of a row of dovecot_users, if it is stored."""
_MAY_READ_CLEAR = "GRANT SELECT (pw_name, pw_domain, pw_clear_passwd) ON vpopmail"
_DOVECOTS_OWN = "# As Dovecot's own user, who logs in to PostgreSQL."


@dataclass(frozen=True, slots=True)
class Login:
    """As whom a mail server logs in to PostgreSQL."""

    role: str
    password: str | None = None
    """None: the server knows it otherwise, or needs none."""


@dataclass(frozen=True, slots=True)
class Users:
    """The system's users that parts of Dovecot run as."""

    mail: str
    """Who owns the mailboxes, and mail processes run as."""
    database: str
    """Who may read and write a SQLite database."""


def dovecot(
    config: Config,
    version: str,
    directory: str,
    login: Login,
    users: Users,
    webmails: Iterable[IPv4Address | IPv6Address] = (),
    *,
    challenges: bool = False,
) -> dict[str, str]:
    """Return Dovecot's configuration: the text of each file by its name.

    :param version: one of `DOVECOT_VERSIONS`.
    :param directory: where the files will be.
    :param webmails: where IMAP logins of webmails come from.
    :param challenges: whether CRAM-MD5 and APOP are offered, which need passwords in clear text.
    :raises ConfigError: a value cannot be written there.
    """
    url = make_url(config.database.url)
    is_sqlite = url.get_backend_name() == "sqlite"
    run_as = f"user = {_checked('user', users.database, _NAME)}" if is_sqlite else _DOVECOTS_OWN
    values = {
        **_common(config, directory),
        "DRIVER": "sqlite" if is_sqlite else "pgsql",
        "CONNECT": (_connect_23 if version == "2.3" else _connect_24)(url, login),
        "WEBMAILS": ", ".join(f"'{each}'" for each in webmails) or _NOBODY,
        "MAIL_USER": _checked("user", users.mail, _NAME),
        "RUN_AS": run_as,
        "MECHANISMS": "plain login cram-md5 apop" if challenges else "plain login",
        "PASSWORD": "password",
        "AND_STORED": "",
    }
    if challenges:
        asks = f"'{_MECHANISM[version]}' IN ('CRAM-MD5', 'APOP')"
        values["PASSWORD"] = f"CASE WHEN {asks} THEN {_CLEAR} ELSE password END AS password"
        values["AND_STORED"] = f" AND (NOT {asks} OR {_CLEAR} IS NOT NULL)"
    filled = {name: _fill(f"dovecot-{version}/{name}", values) for name in _DOVECOT[version]}
    may_read = f"{_MAY_READ_CLEAR} TO {login.role};\n" if challenges else ""
    return filled if is_sqlite else filled | {_ROLE: _role("dovecot", login, may_read)}


def postfix(config: Config, directory: str, login: Login) -> dict[str, str]:
    """Return Postfix's tables, and what of them to put into main.cf; see `dovecot`.

    :raises ConfigError: a value cannot be written there.
    """
    url = make_url(config.database.url)
    is_sqlite = url.get_backend_name() == "sqlite"
    connect = f"dbpath = {_path(url)}" if is_sqlite else _connect_postfix(url, login)
    values = {
        **_common(config, directory),
        "CONNECT": connect,
        # smtpd is in a chroot on Debian, where it would find neither files nor sockets.
        "TABLE": "proxy:sqlite" if is_sqlite else "proxy:pgsql",
    }
    filled = {name: _fill(f"postfix/{name}", values) for name in _POSTFIX}
    return filled if is_sqlite else filled | {_ROLE: _role("postfix", login)}


def _common(config: Config, directory: str) -> dict[str, str]:
    root = config.paths.root
    return {
        "DIRECTORY": _checked("directory", directory),
        "ROOT": f"'{_checked('paths.root', root)}' || " if root else "",
        "UID": str(config.export.uid),
        "GID": str(config.export.gid),
    }


def _connect_23(url: URL, login: Login) -> str:
    if url.get_backend_name() == "sqlite":
        return _path(url)
    return " ".join(f"{name}={value}" for name, value in _parameters(url, login).items())


def _connect_24(url: URL, login: Login) -> str:
    if url.get_backend_name() == "sqlite":
        # Written down because vpopsql's database must stay in this mode.
        return f"sqlite_path = {_path(url)}\nsqlite_journal_mode = wal"
    parameters = _parameters(url, login)
    host = parameters.pop("host")
    lines = (f"    {name} = {value}" for name, value in parameters.items())
    return "\n".join([f"pgsql {host} {{", "  parameters {", *lines, "  }", "}"])


def _connect_postfix(url: URL, login: Login) -> str:
    parameters = _parameters(url, login)
    user, name = parameters.pop("user"), parameters.pop("dbname")
    secret = parameters.pop("password", None)
    who = user if secret is None else f"{user}:{quote(secret, safe='')}"
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in parameters.items())
    # Postfix reads a % as it stands there, and wants the name of the database once more.
    return f"hosts = postgresql://{who}@/{name}?{query}\ndbname = {name}"


def _parameters(url: URL, login: Login) -> dict[str, str]:
    """Return what libpq has to know, by its names; the host first."""
    given = {name: value for name, value in url.query.items() if isinstance(value, str)}
    parameters = {
        "host": url.host or _SOCKETS,
        **({"port": str(url.port)} if url.port else {}),
        "dbname": url.database or login.role,
        **{name: value for name, value in given.items() if name not in {"user", "password"}},
        "user": _checked("role", login.role, _ROLE_NAME),
    }
    checked = {name: _checked(f"database.url: {name}", each) for name, each in parameters.items()}
    if login.password is not None:
        checked["password"] = _checked("password", login.password, is_secret=True)
    return checked


def _path(url: URL) -> str:
    return _checked("database.url", url.database or "")


def _role(server: str, login: Login, may_read_clear: str = "") -> str:
    role = _checked("role", login.role, _ROLE_NAME)
    return _fill(f"{server}-{_ROLE}", {"ROLE": role, "MAY_READ_CLEAR": may_read_clear})


def _fill(template: str, values: Mapping[str, str]) -> str:
    text = resources.files(__package__).joinpath(template).read_text(encoding="utf-8")
    return re.sub(r"@([A-Z_]+)@", lambda found: values[found[1]], text)


def _checked(
    what: str, value: str, form: re.Pattern[str] = _PLAIN, *, is_secret: bool = False
) -> str:
    """Return a value that none of the programs takes for anything else.

    :raises ConfigError: it is not of the form.
    """
    if form.fullmatch(value):
        return value
    shown = "it" if is_secret else repr(value)
    allowed = "letters, digits and .,/:@+=~_-" if form is _PLAIN else "a-z, 0-9 and _"
    raise ConfigError(
        f"{what}: {shown} cannot be written to a mail server's files: only {allowed}"
    )
