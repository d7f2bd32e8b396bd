"""The keys, each declared once: name, default, what it may be, what it is for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from vpopsql import kinds
from vpopsql import passwords as hashing
from vpopsql.kinds import Address, Deadlines, Kind

T = TypeVar("T")

PREFIX = "VPOPSQL_"
"""How the names of the environment's variables begin."""

USUAL_DATABASE = "sqlite:////var/lib/vpopsql/vpopsql.db"

WORKERS_MAX = 64


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
        return f"{PREFIX}{self.section}_{self.name}".upper()


def _key(default: T, kind: Kind, purpose: str, *, secret: bool = False) -> T:
    return field(default=default, repr=not secret, metadata={"kind": kind, "purpose": purpose})


@dataclass(frozen=True, slots=True)
class Database:
    """Which database, and how it is held."""

    url: str = _key(USUAL_DATABASE, kinds.database_url(), "The database.", secret=True)
    password_file: str = _key(
        "",
        kinds.file(),
        "The file whose first line is the password of `url`, for PostgreSQL; `url` has none then.",
    )
    pool_size: int = _key(
        10,
        kinds.integer(1, 200),
        "Connections kept open by all workers of a daemon for looking up, as many for changes, and"
        " as many for all else, by each two at least; twice as many may be open for a moment.",
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
    accounts: str = _key(
        "vpasswd",
        kinds.one_of("vpasswd", "database"),
        "`database`: they are there alone. No `vpasswd` with its cdb and no directory counter is"
        " written, and an apply removes them: nothing may look up accounts in files.",
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

    @property
    def has_accounts(self) -> bool:
        """Whether the accounts are in files, too."""
        return self.accounts == "vpasswd"


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


SECTIONS: Mapping[str, type[Any]] = MappingProxyType(
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
    for section, shape in SECTIONS.items():
        for item in fields(shape):
            kind, purpose = item.metadata["kind"], item.metadata["purpose"]
            yield Key(section, item.name, item.default, kind.allowed, purpose, kind, not item.repr)
