"""What a workload works with: sites, fresh databases, daemons, the unit M."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from scripts.benchmarks import BenchFailed, programs, site
from scripts.benchmarks.client import Client
from scripts.benchmarks.databases import Databases
from scripts.benchmarks.programs import Daemon
from scripts.benchmarks.site import PASSWORD, Site
from scripts.benchmarks.stub import stub
from scripts.benchmarks.yardstick import measure


@dataclass(frozen=True, slots=True)
class Options:
    """How much to measure."""

    users: int
    domains: int
    repeat: int
    seconds: float
    mailboxes: int
    """Of the large site that is made up."""
    cold: bool
    """Whether to measure the first step after a start of the daemon, too."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one of the repetitions of a workload took."""

    value: float
    """Steps a second, seconds a step, or bytes."""
    latencies_s: list[float]
    cpu_s: float | None = None
    """A step's share of what processors did for the daemon; None: it was not watched."""


@dataclass(frozen=True, slots=True)
class Run:
    """One of the repetitions of a workload."""

    measured: Measured
    m: float
    """M, measured just before, so that a machine that is busy for a while is so for both."""
    cpu_m: float
    """M by the processor's clock."""


@dataclass(slots=True)
class Sites:
    """The sites of a run, each made when it is first asked for."""

    directory: Path
    options: Options
    _made: dict[str, Site] = field(default_factory=dict)

    def get(self, name: str) -> Site:
        """Return the site ``users``, ``changes``, or ``domains-N`` with that many domains."""
        if name not in self._made:
            self._made[name] = self._make(name, self.directory / f"site-{name}")
        return self._made[name]

    def _make(self, name: str, place: Path) -> Site:
        kind, _, number = name.partition("-")
        if kind == "domains":
            return site.domains_site(place, int(number))
        make = site.users_site if kind == "users" else site.changes_site
        return make(place, self.options.users)


class Stage(Protocol):
    """Something that answers on a port, with what it is supposed to hold."""

    options: Options
    sites: Sites

    def server(self, name: str, variant: str = "") -> Daemon:
        """Return a server for the site ``name``."""


VARIANTS = {
    "": {},
    # As if each login were the first of its user.
    "new": {"PASSWORDS_REMEMBER_S": "0"},
    "crowd": {"DAEMON_MAX_CONNECTIONS": "2100"},
    # As the C daemon built for MySQL, which writes no vpasswd.
    "database": {"EXPORT_ACCOUNTS": "database"},
}
"""Daemons that differ from the usual one, and their settings."""


class DatabaseStage(contextlib.ExitStack):
    """Daemons on one kind of database; leaving it ends them."""

    def __init__(
        self, options: Options, sites: Sites, databases: Databases, scratch: Path
    ) -> None:
        super().__init__()
        self.options = options
        self.sites = sites
        self._databases = databases
        self._scratch = scratch
        self._imported: dict[str, str] = {}
        self._filled: dict[str, str] = {}
        self._daemons: dict[tuple[str, str], Daemon] = {}
        self._logs = 0
        scratch.mkdir()

    def server(self, name: str, variant: str = "") -> Daemon:
        """Return the daemon for the site ``name``, started if there is none."""
        found = self._daemons.get((name, variant))
        if found is None:
            found = self.enter_context(self.fresh(name, variant))
            self._require_all(found.port, name)
            self._daemons[name, variant] = found
        return found

    @contextlib.contextmanager
    def fresh(self, name: str, variant: str = "") -> Iterator[Daemon]:
        """Give a daemon that has just been started.

        Its files are below a directory of its own, where those of the site are if it was exported.
        """
        settings = self.settings(self.imported(name), self.root(name)) | VARIANTS[variant]
        self._logs += 1
        with programs.daemon(settings, self._scratch / f"{self._logs}.log") as daemon:
            yield daemon

    def _require_all(self, port: int, name: str) -> None:
        """Refuse to measure a daemon that does not hold the whole site."""
        if name in self._filled:
            return
        found = self.sites.get(name)
        with Client(port) as client:
            client.ask(f"slogin {found.main.addresses[0]} {PASSWORD}".encode())
            users = client.ask(f"user_count {found.main.name}".encode())
            domains = client.ask(b"domain_count")
        for reply, wanted in ((users, len(found.main.names)), (domains, len(found.domains))):
            if reply != f"+OK+\r\ncount {wanted}\r\n.\r\n".encode():
                raise BenchFailed(f"the daemon should hold {wanted}, it says {reply!r}")

    def fill(self, name: str, make: Callable[[str], object]) -> str:
        """Return the URL of a database that ``make`` has filled, when it is first asked for."""
        if name not in self._filled:
            url = self._databases.create()
            make(url)
            self._databases.settle(url)
            self._filled[name] = url
        return self._filled[name]

    def imported(self, name: str) -> str:
        """Return the URL of a database that holds the site ``name``."""
        if name not in self._filled and name not in self._imported:
            self.import_site(name)
        return self._filled.get(name) or self._imported[name]

    def import_site(self, name: str) -> float:
        """Import the site ``name`` into a fresh database; return how long that took."""
        url = self._databases.create()
        found = self.sites.get(name)
        seconds = programs.run(
            self.settings(url),
            *("import", "tree", "--apply", "--vpopmail", found.vpopmail, "--qmail", found.qmail),
        )
        self._databases.settle(url)
        self._imported[name] = url
        return seconds

    def export_site(self, name: str, root: Path) -> float:
        """Export the site ``name`` into the empty directory ``root``; return how long it took."""
        return programs.run(self.settings(self.imported(name), root), "export", "apply")

    def root(self, name: str) -> Path:
        """Return where the files of the daemons of a site are."""
        return self._scratch / f"root-{name}"

    def write_files(self, name: str) -> None:
        """Export a site to where its daemons have it, unless that was done."""
        if not self.root(name).exists():
            self.root(name).mkdir()
            self.export_site(name, self.root(name))

    def directory(self, name: str) -> Path:
        """Return a place of its own for ``name``, not made yet."""
        return self._scratch / name

    @staticmethod
    def settings(url: str, root: Path | None = None) -> dict[str, str]:
        """Return the settings that differ from production's defaults."""
        return {
            "DATABASE_URL": url,
            # Only root may give files away.
            "EXPORT_UID": str(os.geteuid()),
            "EXPORT_GID": str(os.getegid()),
            # The C daemon does not do it, and it would turn the MD5 hashes into others.
            "PASSWORDS_REHASH": "false",
            "PATHS_ROOT": "" if root is None else str(root),
        }


class StubStage(contextlib.ExitStack):
    """A server that answers without looking, in the sizes that a daemon's answers have."""

    def __init__(self, options: Options, sites: Sites) -> None:
        super().__init__()
        self.options = options
        self.sites = sites
        self._server: Daemon | None = None

    def server(self, name: str, variant: str = "") -> Daemon:
        """Return the stub, which is the same for every site."""
        del variant
        self.sites.get(name)  # before the driver's processes are forked, which ask for it
        if self._server is None:
            users = _BLOCK * self.options.users
            port = self.enter_context(
                stub({b"user_info": _list(_BLOCK), b"list_users": _list(users)})
            )
            self._server = Daemon(port, pid=0)
        return self._server


_BLOCK = b"".join(b"name_of_the_%02d %s\r\n" % (n, b"0" * 12) for n in range(24))
"""About as long as a mailbox in the expanded form."""


def _list(lines: bytes) -> bytes:
    return b"+OK+\r\n" + lines + b".\r\n"


def repeat(options: Options, take: Callable[[], Measured]) -> list[Run]:
    """Return the runs of a workload, each of them M, then what ``take()`` returns."""
    runs = []
    for _ in range(options.repeat):
        yardstick = measure()
        runs.append(Run(take(), yardstick.m, yardstick.cpu_m))
    return runs
