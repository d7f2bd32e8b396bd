"""What a workload works with: sites, fresh databases, a daemon for each, the unit M."""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from scripts.benchmarks import BenchFailed, programs, site
from scripts.benchmarks.client import Client
from scripts.benchmarks.databases import Databases
from scripts.benchmarks.site import PASSWORD, Site
from scripts.benchmarks.stub import stub
from scripts.benchmarks.yardstick import measure_m


@dataclass(frozen=True, slots=True)
class Options:
    """How much to measure."""

    users: int
    domains: int
    repeat: int
    seconds: float


@dataclass(slots=True)
class Run:
    """One of the repetitions of a workload."""

    value: float
    """Steps a second, or seconds a step."""
    m: float
    """M, measured just before, so that a machine that is busy for a while is so for both."""
    latencies_s: list[float]


@dataclass(slots=True)
class Sites:
    """The sites of a run, each made when it is first asked for."""

    directory: Path
    options: Options
    _made: dict[str, Site] = field(default_factory=dict)

    def get(self, name: str) -> Site:
        """Return the site ``users`` or ``domains``."""
        if name not in self._made:
            place = self.directory / f"site-{name}"
            self._made[name] = (
                site.users_site(place, self.options.users)
                if name == "users"
                else site.domains_site(place, self.options.domains)
            )
        return self._made[name]


class Stage(Protocol):
    """Something that answers on a port, with what it is supposed to hold."""

    options: Options
    sites: Sites

    def port(self, name: str) -> int:
        """Return the port of a server for the site ``name``."""


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
        self._ports: dict[str, int] = {}
        scratch.mkdir()

    def port(self, name: str) -> int:
        """Return the port of the daemon for the site ``name``, started if there is none."""
        if name not in self._ports:
            settings = self.settings(self.imported(name))
            log = self._scratch / f"{name}.log"
            port = self.enter_context(programs.daemon(settings, log))
            self._require_all(port, name)
            self._ports[name] = port
        return self._ports[name]

    def _require_all(self, port: int, name: str) -> None:
        """Refuse to measure a daemon that does not hold the whole site."""
        found = self.sites.get(name)
        with Client(port) as client:
            client.ask(f"slogin {found.main.addresses[0]} {PASSWORD}".encode())
            users = client.ask(f"user_count {found.main.name}".encode())
            domains = client.ask(b"domain_count")
        for reply, wanted in ((users, len(found.main.names)), (domains, len(found.domains))):
            if reply != f"+OK+\r\ncount {wanted}\r\n.\r\n".encode():
                raise BenchFailed(f"the daemon should hold {wanted}, it says {reply!r}")

    def imported(self, name: str) -> str:
        """Return the URL of a database that holds the site ``name``."""
        if name not in self._imported:
            self.import_site(name)
        return self._imported[name]

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
            "PATHS_ROOT": "" if root is None else str(root),
        }


class StubStage(contextlib.ExitStack):
    """A server that answers without looking, in the sizes that a daemon's answers have."""

    def __init__(self, options: Options, sites: Sites) -> None:
        super().__init__()
        self.options = options
        self.sites = sites
        self._port: int | None = None

    def port(self, name: str) -> int:
        """Return the port of the stub, which is the same for every site."""
        del name
        if self._port is None:
            users = _BLOCK * self.options.users
            self._port = self.enter_context(
                stub({b"user_info": _list(_BLOCK), b"list_users": _list(users)})
            )
        return self._port


_BLOCK = b"".join(b"name_of_the_%02d %s\r\n" % (n, b"0" * 12) for n in range(24))
"""About as long as a mailbox in the expanded form."""


def _list(lines: bytes) -> bytes:
    return b"+OK+\r\n" + lines + b".\r\n"


def repeat(options: Options, measure: Callable[[], tuple[float, list[float]]]) -> list[Run]:
    """Return the runs of a workload, each of them M, then what ``measure()`` returns."""
    runs = []
    for _ in range(options.repeat):
        m = measure_m()
        value, latencies_s = measure()
        runs.append(Run(value, m, latencies_s))
    return runs
