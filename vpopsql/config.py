"""Configuration: one TOML file and the environment become one frozen `Config`.

A value comes from the first of: the environment variable ``VPOPSQL_<SECTION>_<KEY>``, the file
(``--config`` or ``VPOPSQL_CONFIG``), the default. All mistakes are found before any is reported,
each with the place it stands in, its key and what is allowed; an unknown key is a mistake. No
message and no ``repr`` shows a password.

Each key is declared once, as a field of its section: name, default, what it may be, what it is
for. `explain`, `reference` and docs/configuration.md follow from that. This module opens no file
but the configuration and the database's password, and checks no value against the machine it runs
on, except that password hashes of the configured scheme can be made here.
"""

import difflib
import inspect
import itertools
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from vpopsql import kinds
from vpopsql import passwords as hashing
from vpopsql.errors import ConfigError

# Others take them from here.
from vpopsql.kinds import Address as Address  # noqa: PLC0414
from vpopsql.kinds import Deadlines as Deadlines  # noqa: PLC0414
from vpopsql.kinds import Kind
from vpopsql.kinds import listen_address as listen_address  # noqa: PLC0414

T = TypeVar("T")

_PREFIX = "VPOPSQL_"

_PASSWORD_MAX = 4096  # characters

_USUAL_DATABASE = "sqlite:////var/lib/vpopsql/vpopsql.db"

WORKERS_MAX = 64

# Variables that are no keys: where the file is, and what the test suite is told.
_OTHER_VARIABLES = re.compile(r"VPOPSQL_(CONFIG|TEST_.*)")


# --- the keys ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Key:
    """One key as declared: where it stands, what it may be, what it is for."""

    section: str
    name: str
    default: object
    allowed: str
    purpose: str
    kind: Kind = field(repr=False)
    is_secret: bool = False

    @property
    def path(self) -> str:
        """The key as it is spoken of: ``daemon.listen``."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that sets it: ``VPOPSQL_DAEMON_LISTEN``."""
        return f"{_PREFIX}{self.section}_{self.name}".upper()


def _key(default: T, kind: Kind, purpose: str, *, secret: bool = False) -> T:
    return field(default=default, repr=not secret, metadata={"kind": kind, "purpose": purpose})


@dataclass(frozen=True, slots=True)
class Database:
    """Which database, and how it is held."""

    url: str = _key(_USUAL_DATABASE, kinds.database_url(), "The database.", secret=True)
    password_file: str = _key(
        "",
        kinds.file(),
        "The file whose first line is the password of `url`, for PostgreSQL; `url` has none then.",
    )
    pool_size: int = _key(
        10,
        kinds.integer(1, 200),
        "Connections kept open by all workers of a daemon for looking up, and as many for changes,"
        " by each two at least; twice as many may be open for a moment.",
    )
    busy_timeout_s: float = _key(
        30.0, kinds.seconds(0.1, 3600), "How long a writer waits for another one, on SQLite."
    )


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the files are; as the wire, the database and qmail write it, without `root`."""

    root: str = _key(
        "",
        kinds.directory(may_be_empty=True),
        "Put before every path when a file is touched: a site's tree may lie anywhere while its"
        " paths stay as they are. Empty in production.",
    )
    vpopmail: str = _key(
        "/home/vpopmail", kinds.directory(), "vpopmail's home: `domains/` and `etc/` are in it."
    )
    qmail: str = _key("/var/qmail", kinds.directory(), "qmail's home.")

    @property
    def places(self) -> tuple[str, ...]:
        """The directories that may lie behind symbolic links."""
        homes = (self.vpopmail, self.qmail)
        return (*homes, f"{self.vpopmail}/domains", self.control, self.users)

    @property
    def control(self) -> str:
        """qmail's control files."""
        return self.qmail + "/control"

    @property
    def users(self) -> str:
        """The directory of qmail's users/assign and its cdb."""
        return self.qmail + "/users"

    def real(self, path: str) -> Path:
        """Return where the absolute ``path`` of the wire or the database really is."""
        return Path(self.root + path)


@dataclass(frozen=True, slots=True)
class Daemon:
    """How vpopmaild serves."""

    listen: Address = _key(  # noqa: RUF009 - declares a field as dataclasses.field does
        Address("127.0.0.1", 89), kinds.address(), "Where the standalone daemon listens."
    )
    idle_timeout_s: float = _key(
        60.0, kinds.seconds(0.1, 86_400), "A client silent for so long is let go."
    )
    max_connections: int = _key(
        200, kinds.integer(1, 10_000), "Clients served at once; more are told so and let go."
    )
    max_connections_per_address: int = _key(
        50,
        kinds.integer(0, 10_000),
        "How many of them may come from one IPv4 address or IPv6 network of 64 bits; those of this"
        " host itself do not count; 0: any number.",
    )
    max_connections_per_user: int = _key(
        0,
        kinds.integer(0, 10_000),
        "How many of them may be of one account that has logged in; 0: any number, for control"
        " panels log in with one account.",
    )
    allow_from: tuple[str, ...] = _key((), kinds.networks(), "Who may connect; empty: everybody.")
    deny_from: tuple[str, ...] = _key(
        (), kinds.networks(), "Who may not connect, whatever `allow_from` says."
    )
    proxy_from: tuple[str, ...] = _key(
        (),
        kinds.networks(),
        "The proxies: a connection from there begins with a header of the PROXY protocol, version"
        " 1 or 2, and counts as its client's.",
    )
    tls_listen: Address | None = _key(  # noqa: RUF009 - declares a field as dataclasses.field does
        None,
        kinds.optional_address(),
        "Where the standalone daemon listens for clients that speak TLS from the beginning; unset:"
        " nowhere.",
    )
    tls_certificate: str = _key(
        "",
        kinds.file(),
        "The certificate and those that it is signed with, as PEM; SIGHUP has it read again;"
        " empty: there is no TLS.",
    )
    tls_key: str = _key(
        "", kinds.file(), "Its key, not encrypted; empty: it is in the certificate's file."
    )
    allow_clear_text: bool = _key(
        default=False,
        kind=kinds.boolean(),
        purpose="Take logins without TLS on other addresses than loopback, too.",
    )
    user: str = _key(
        "",
        kinds.user(),
        "Who the daemon becomes when root has started it and it listens; empty: it stays root, and"
        " keeps only the rights over other people's files.",
    )
    workers: int = _key(
        0,
        kinds.integer(0, WORKERS_MAX),
        "Processes that serve clients; 0: one for each processor that may be used, 8 at most.",
    )
    drain_timeout_s: float = _key(
        10.0, kinds.seconds(0, 3600), "How long clients may finish after SIGTERM."
    )
    max_file_bytes: int = _key(
        16 * 1024 * 1024,
        kinds.integer(1024, 2**30),
        "Bytes of a file that read_file sends and write_file takes.",
    )
    auth_socket: str = _key(
        "",
        kinds.socket_path(),
        "The UNIX socket on which `vpopsql serve` checks logins for vpopsql-checkpassword, which"
        " looks for it at `/run/vpopsql/auth`; empty: there is none.",
    )
    auth_socket_mode: str = _key(
        "0600",
        kinds.one_of("0600", "0660", "0666"),
        "Who may ask there: the daemon's own user and root, also its group, or everybody who may"
        " enter the directory.",
    )
    login_attempts: int = _key(
        4,
        kinds.integer(1, 100),
        "Failed logins, or lines before a good one, that end a connection.",
    )
    login_delay_max_s: float = _key(
        8.0,
        kinds.seconds(0, 60),
        "How long a login is held up at most after many failed ones to the same account, or from"
        " the same address; 0: never.",
    )
    guessing_file: str = _key(
        "",
        kinds.socket_path(),
        "The file in which failed logins are counted for that; empty: in the daemon's memory."
        " Under tcpserver, where each client has a process of its own, there has to be one.",
    )
    login_history_days: int = _key(
        90,
        kinds.integer(0, 3650),
        "Days that logins and failed logins of each hour are kept for the report auth-activity;"
        " 0: they are not counted.",
    )


@dataclass(frozen=True, slots=True)
class Passwords:
    """How passwords are stored."""

    store_clear_text: bool = _key(
        default=False,
        kind=kinds.boolean(),
        purpose="Keep a readable copy of every new password, for APOP and CRAM-MD5.",
    )
    key_file: str | None = _key(
        None,
        kinds.file(),
        "A file of keys, made by `vpopsql passwords new-key`, that readable passwords are"
        " encrypted with in the database; unset, they are stored as they are.",
    )
    scheme: str = _key(
        hashing.DEFAULT_SCHEME,
        kinds.one_of(*hashing.ROUNDS),
        "How new passwords are hashed; each mail program of the site must know it. argon2, by"
        " which argon2id is meant, needs the extra of this name, and is unknown to crypt(3).",
    )
    strength_file: str | None = _key(
        None,
        kinds.file(),
        "The rules that a new password must keep; unset, vpopmail's etc/password_strength.conf, if"
        ' there is one; "": there are none.',
    )
    rehash: bool = _key(
        default=True,
        kind=kinds.boolean(),
        purpose="After a good login, put a new hash in the place of one that is of a weaker"
        " scheme, or of a lower cost, than new ones are.",
    )
    deadlines: Deadlines = _key(  # noqa: RUF009 - declares a field as dataclasses.field does
        Deadlines(),
        kinds.deadlines(),
        "The last day, in UTC, on which a hash of a scheme is good; from the next day on nobody"
        " can log in with one.",
    )
    remember_s: float = _key(
        300.0,
        kinds.seconds(0, 86_400),
        "How long the daemon knows a password again that was right, without computing its hash:"
        " from a keyed digest in its memory. 0: not at all.",
    )
    rounds: int | None = _key(
        None,
        kinds.integer(1, 5_000_000),
        "The cost of a new hash; unset, the scheme's usual one. "
        + "; ".join(f"{name} {ok.start} to {ok.stop - 1}" for name, ok in hashing.ROUNDS.items())
        + ".",
    )


@dataclass(frozen=True, slots=True)
class Domains:
    """What new domains are like."""

    catchall: str = _key(
        "bounce",
        kinds.one_of("bounce", "delete"),
        "What happens to mail for names that a new domain does not have.",
    )


@dataclass(frozen=True, slots=True)
class Export:
    """How the files of qmail and vpopmail are written."""

    uid: int = _key(89, kinds.integer(0, 2**32 - 2), "The numeric owner of vpopmail's files.")
    gid: int = _key(89, kinds.integer(0, 2**32 - 2), "The numeric group of vpopmail's files.")
    reload_command: tuple[str, ...] = _key(
        (), kinds.command(), "Run, without a shell, after an export that changed a file."
    )
    delivery: str = _key(
        "vdelivermail",
        kinds.one_of("vdelivermail", "exact"),
        "`exact`: qmail delivers into a mailbox's Maildir itself, by a line of users/assign,"
        " wherever that comes to the same.",
    )
    exact_despite_quota: bool = _key(
        default=False,
        kind=kinds.boolean(),
        purpose="With `exact`, also for mailboxes with a quota, which nobody enforces then.",
    )
    assign_cdb: str = _key(
        "cdb",
        kinds.one_of("cdb", "assign.cdb"),
        "The name of users/assign's cdb, which is assign.cdb for s/qmail.",
    )
    newu_command: tuple[str, ...] = _key(
        (), kinds.command(), "qmail-newu, to compile users/assign; empty: vpopsql compiles it."
    )
    newmrh_command: tuple[str, ...] = _key(
        (), kinds.command(), "qmail-newmrh, to compile morercpthosts; empty: vpopsql compiles it."
    )
    generations: int = _key(
        10,
        kinds.integer(1, 1000),
        "How many applies can be taken back. What they replaced lies in qmail's users directory.",
    )


@dataclass(frozen=True, slots=True)
class Follow:
    """How `vpopsql export follow` keeps a host's files in step."""

    quiet_s: float = _key(
        0.2, kinds.seconds(0, 60), "How long nothing may have changed before files are written."
    )
    wait_s: float = _key(
        2.0, kinds.seconds(0, 3600), "How long changes wait at most while more keep coming."
    )
    poll_s: float = _key(
        1.0,
        kinds.seconds(0.05, 3600),
        "How often a SQLite database is looked at; PostgreSQL tells.",
    )
    report_s: float = _key(
        20.0, kinds.seconds(1, 3600), "How often a host says where it stands if nothing happens."
    )


@dataclass(frozen=True, slots=True)
class Hooks:
    """What runs on a host after its files have changed."""

    commands: tuple[tuple[str, ...], ...] = _key(
        (),
        kinds.commands(),
        "Run, without a shell, with what has changed on standard input, as JSON.",
    )
    timeout_s: float = _key(
        60.0, kinds.seconds(0.1, 3600), "How long one may take before it is ended, and has failed."
    )
    retries: int = _key(
        3,
        kinds.integer(0, 100),
        "How often a command that ends by itself tries a failed hook again; `follow` does so"
        " for ever.",
    )


@dataclass(frozen=True, slots=True)
class DotQmail:
    """What the lines of dot-qmail files may do that others than system administrators write."""

    programs: tuple[str, ...] = _key(
        (
            "/usr/bin/autorespond",
            "/usr/local/bin/autorespond",
            "/usr/bin/qmail-autoresponder",
            "/usr/local/bin/qmail-autoresponder",
            "/usr/bin/vacation",
            "/usr/local/bin/vacation",
            "/usr/bin/ezmlm/ezmlm-*",
            "/usr/local/bin/ezmlm/ezmlm-*",
        ),
        kinds.programs(),
        "Programs that anybody may have his mail given to, with files of his own only. `ezmlm-*`"
        " stands for those that handle a message, not for those that make lists.",
    )


@dataclass(frozen=True, slots=True)
class Lists:
    """Mailing lists, which are ezmlm-idx's."""

    ezmlm_make: str = _key(
        "",
        kinds.program(),
        "ezmlm-make, for add_list and mod_list; empty: there are no list commands.",
    )


@dataclass(frozen=True, slots=True)
class Trash:
    """What happens to the files of what was deleted."""

    retention_days: int = _key(
        30,
        kinds.integer(0, 36_500),
        "How long `vpopsql trash purge` leaves them; 0: for ever.",
    )


@dataclass(frozen=True, slots=True)
class Usage:
    """Which snapshots `vpopsql usage prune` leaves; the newest of each mailbox stays always."""

    keep_all_days: int = _key(
        35, kinds.integer(1, 36_500), "So long all of them; after that the last of each week."
    )
    keep_weekly_days: int = _key(
        365, kinds.integer(1, 36_500), "So long one a week; after that the last of each month."
    )
    keep_days: int = _key(1095, kinds.integer(0, 36_500), "So long one a month; 0: for ever.")


@dataclass(frozen=True, slots=True)
class Log:
    """What is logged, and how."""

    level: str = _key(
        "info", kinds.one_of("debug", "info", "warning", "error"), "The least urgent level logged."
    )
    format: str = _key(
        "json", kinds.one_of("json", "console"), "One JSON object a line, or text for people."
    )


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of one process; sections and keys are attributes.

    ``origins`` tells of each key, as ``section.key``, where its value came from.
    """

    database: Database = field(default_factory=Database)
    paths: Paths = field(default_factory=Paths)
    daemon: Daemon = field(default_factory=Daemon)
    passwords: Passwords = field(default_factory=Passwords)
    domains: Domains = field(default_factory=Domains)
    export: Export = field(default_factory=Export)
    follow: Follow = field(default_factory=Follow)
    hooks: Hooks = field(default_factory=Hooks)
    dotqmail: DotQmail = field(default_factory=DotQmail)
    lists: Lists = field(default_factory=Lists)
    trash: Trash = field(default_factory=Trash)
    usage: Usage = field(default_factory=Usage)
    log: Log = field(default_factory=Log)
    origins: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({}), repr=False, compare=False
    )


_SECTIONS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "database": Database,
        "paths": Paths,
        "daemon": Daemon,
        "passwords": Passwords,
        "domains": Domains,
        "export": Export,
        "follow": Follow,
        "hooks": Hooks,
        "dotqmail": DotQmail,
        "lists": Lists,
        "trash": Trash,
        "usage": Usage,
        "log": Log,
    }
)


def keys() -> Iterator[Key]:
    """Return every key in the order of its declaration."""
    for section, shape in _SECTIONS.items():
        for item in fields(shape):
            kind, purpose = item.metadata["kind"], item.metadata["purpose"]
            yield Key(section, item.name, item.default, kind.allowed, purpose, kind, not item.repr)


# --- reading ----------------------------------------------------------------------------------


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the effective configuration.

    :param path: the file; None takes the one that ``VPOPSQL_CONFIG`` names, if it does.
    :raises ConfigError: with every mistake of the file and the environment, one a line.
    """
    draft = _Draft()
    path = path or (Path(environ["VPOPSQL_CONFIG"]) if environ.get("VPOPSQL_CONFIG") else None)
    if path is not None:
        draft.read_file(path)
    draft.read_environment(environ)
    draft.read_password()
    draft.find_contradictions()
    if draft.mistakes:
        raise ConfigError("\n".join(draft.mistakes))
    return draft.config()


@dataclass(slots=True)
class _Draft:
    """A configuration being read: the values so far, where they came from, the mistakes."""

    values: dict[str, object] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    mistakes: list[str] = field(default_factory=list)

    def read_file(self, path: Path) -> None:
        try:
            sections = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            self.mistakes.append(f"{path}: cannot be read: {error.strerror}")
            return
        except ValueError as error:
            self.mistakes.append(f"{path}: is not TOML: {error}")
            return
        known = {key.path: key for key in keys()}
        for section, entries in sections.items():
            if section not in _SECTIONS:
                hint = _suggest(section, _SECTIONS)
                self.mistakes.append(f"{path}: unknown section {section}{hint}")
                continue
            if not isinstance(entries, dict):
                self.mistakes.append(f"{path}: {section} is a section; write [{section}]")
                continue
            for name, value in entries.items():
                if key := known.get(f"{section}.{name}"):
                    self._set(key, value, str(path))
                else:
                    hint = _suggest(f"{section}.{name}", known)
                    self.mistakes.append(f"{path}: unknown key {section}.{name}{hint}")

    def read_environment(self, environ: Mapping[str, str]) -> None:
        known = {key.variable: key for key in keys()}
        for name, text in sorted(environ.items()):
            if key := known.get(name):
                self._set(key, _from_text(key, text), f"environment {name}")
            elif name.startswith(_PREFIX) and not _OTHER_VARIABLES.fullmatch(name):
                hint = _suggest(name, known)
                self.mistakes.append(f"environment: unknown variable {name}{hint}")

    def _set(self, key: Key, value: object, origin: str) -> None:
        try:
            self.values[key.path] = key.kind.accept(value)
        except ValueError:
            self.refused.add(key.path)
            what = "is not of the form allowed" if key.is_secret else f"is {value!r}"
            self.mistakes.append(f"{origin}: {key.path} {what}; allowed: {key.allowed}")
        else:
            self.origins[key.path] = origin

    def read_password(self) -> None:
        """Put the password of the database into its URL."""
        path = self.values.get("database.password_file")
        if not isinstance(path, str) or not path or "database.url" in self.refused:
            return
        from sqlalchemy import make_url  # noqa: PLC0415 - slow import

        where = self.origins["database.password_file"]
        url = make_url(str(self.values.get("database.url", _USUAL_DATABASE)))
        if url.drivername != "postgresql":
            self.mistakes.append(
                f"{where}: database.password_file is set, and database.url names no PostgreSQL"
            )
            return
        if url.password is not None:
            self.mistakes.append(
                f"{where}: database.password_file is set, and database.url has a password:"
                " leave it out there"
            )
            return
        try:
            with Path(path).open(encoding="utf-8") as file:
                password = file.readline(_PASSWORD_MAX).rstrip("\r\n")
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            self.mistakes.append(
                f"{where}: database.password_file: {path}: cannot be read: {said}"
            )
            return
        self.values["database.url"] = url.set(password=password).render_as_string(
            hide_password=False
        )

    def find_contradictions(self) -> None:
        self._find_contradictions_of_tls()
        if self.refused & {"passwords.scheme", "passwords.rounds"}:
            return
        chosen = self.config().passwords
        if not hashing.can_hash(chosen.scheme):
            possible = ", ".join(filter(hashing.can_hash, hashing.ROUNDS))
            self.mistakes.append(
                f"{self.origins['passwords.scheme']}: passwords.scheme {chosen.scheme} is not to"
                f" be had on this machine; allowed: {possible}"
            )
        allowed = hashing.ROUNDS[chosen.scheme]
        if chosen.rounds is not None and chosen.rounds not in allowed:
            self.mistakes.append(
                f"{self.origins['passwords.rounds']}: passwords.rounds is {chosen.rounds};"
                f" allowed with {chosen.scheme}: {allowed.start} to {allowed.stop - 1}"
            )

    def _find_contradictions_of_tls(self) -> None:
        if self.values.get("daemon.tls_certificate") or "daemon.tls_certificate" in self.refused:
            return
        for path in ("daemon.tls_listen", "daemon.tls_key"):
            if self.values.get(path):
                self.mistakes.append(
                    f"{self.origins[path]}: {path} is set, and daemon.tls_certificate is not"
                )

    def config(self) -> Config:
        sections: dict[str, Any] = {
            section: shape(
                **{
                    item.name: self.values[f"{section}.{item.name}"]
                    for item in fields(shape)
                    if f"{section}.{item.name}" in self.values
                }
            )
            for section, shape in _SECTIONS.items()
        }
        return Config(**sections, origins=MappingProxyType(self.origins))


def _from_text(key: Key, text: str) -> object:
    """Return the TOML value that a variable's text stands for; the text itself if none."""
    try:
        return key.kind.from_text(text)
    except ValueError:
        return text


def _suggest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


# --- showing ----------------------------------------------------------------------------------


def explain(config: Config) -> str:
    """Return every effective value and where it came from, as a TOML file; passwords masked."""
    lines: list[str] = []
    for section, section_keys in itertools.groupby(keys(), lambda key: key.section):
        lines += [f"[{section}]"]
        for key in section_keys:
            value = getattr(getattr(config, section), key.name)
            assignment = f"# {key.name} =" if value is None else f"{key.name} = {_toml(value)}"
            lines.append(f"{assignment:<50}  # {config.origins.get(key.path, 'default')}")
        lines.append("")
    return "\n".join(lines)


def reference() -> str:
    """Return docs/configuration.md's tables: every key, what it may be, what it is for."""
    lines: list[str] = []
    for section, section_keys in itertools.groupby(keys(), lambda key: key.section):
        lines += [f"## [{section}]", "", inspect.getdoc(_SECTIONS[section]) or "", ""]
        lines += ["| key | default | allowed | purpose |", "| --- | --- | --- | --- |"]
        for key in section_keys:
            default = "unset" if key.default is None else f"`{_toml(key.default)}`"
            lines.append(f"| `{key.name}` | {default} | {key.allowed} | {key.purpose} |")
        lines.append("")
    return "\n".join(lines)


def mask_url(url: str) -> str:
    """Return a database URL fit to be shown: without the password, wherever it stands in it."""
    url = re.sub(r"(://[^:/@]*:).*@", r"\1***@", url)
    return re.sub(r"([?&][a-z]*password=)[^&]*", r"\1***", url, flags=re.IGNORECASE)


def _toml(value: object) -> str:
    match value:
        case Address():
            return _toml(str(value))
        case str():
            return json.dumps(mask_url(value), ensure_ascii=False)
        case Deadlines():
            pairs = ", ".join(f"{scheme} = {last_day}" for scheme, last_day in value)
            return f"{{ {pairs} }}" if value else "{}"
        case tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case float():
            return f"{value:g}"
    return str(value).lower()
