"""Hosts that follow a site: what they have, and what they should have."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Executable

from tests.exporter.conftest import files_below
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.exporter import hosts
from vpopsql.exporter.apply import apply
from vpopsql.exporter.follower import Follower
from vpopsql.exporter.outbox import OURS
from vpopsql.model import HostRole

RUN = "from vpopsql.cli import main; main()"
PATIENCE_S = 60.0

_NO_EXPORT = re.compile(rf"/({re.escape(OURS)}|Maildir/|trash/)")

ACCEPTED = (
    "/var/qmail/control/morercpthosts",
    "/var/qmail/control/morercpthosts.cdb",
    "/var/qmail/control/rcpthosts",
)
"""The files of relays."""


Follow = Callable[..., Follower]

on_sqlite = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
"""For what has nothing to do with the database."""

on_postgresql = pytest.mark.parametrize("_backend", ["postgresql"], indirect=True)


def followers(database: Database, config: Config) -> Follow:
    """Return a function that makes a follower of a host."""

    def make(role: HostRole = HostRole.MAIL, *, adopts: bool = False) -> Follower:
        return Follower(database, config, "mx1.example", role, adopts=adopts)

    return make


def at(root: Path, config: Config) -> Config:
    """Return the configuration of a host whose files are below ``root``."""
    return replace(config, paths=Paths(root=str(root)))


def files(root: Path) -> dict[str, bytes]:
    """Return what is below a root, without what no export writes: locks, notes, homes."""
    return {
        path: data
        for path, data in files_below(root).items()
        if not path.endswith((".lock", "/lastauth")) and not _NO_EXPORT.search(path)
    }


def wanted(database: Database, config: Config, place: Path) -> dict[str, bytes]:
    """Return what an export into an empty ``place`` writes."""
    place.mkdir()
    apply(database, at(place, config), is_recorded=False)
    return files(place)


def only(names: tuple[str, ...], of: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return some files of a host."""
    return {name: data for name, data in of.items() if name in names}


def standing(database: Database) -> hosts.Standing:
    """Return what is known of the one host."""
    with database.reader() as session:
        (found,) = hosts.standings(session)
    return found


def pretend(database: Database, statement: Executable) -> None:
    """Do something to the rows that leaves no trace."""
    with database.writer() as session:
        session.execute(statement)


def eventually(holds: Callable[[], object], what: str) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def are_up_to_date(database: Database, *names: str) -> bool:
    """Tell whether these hosts, and no others, are known and stand at the newest revision."""
    with database.reader() as session:
        found = hosts.standings(session)
    return [each.name for each in found if not each.behind and not each.error] == sorted(names)


class Process:
    """A command in a process of its own."""

    def __init__(self, url: str, root: Path, *arguments: str, **settings: str) -> None:
        self._running = subprocess.Popen(
            [sys.executable, "-c", RUN, *arguments],
            env={
                "PYTHONPATH": ".",
                "PATH": os.environ["PATH"],
                "VPOPSQL_DATABASE_URL": url,
                "VPOPSQL_PATHS_ROOT": str(root),
                **settings,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self) -> None:
        """End it at once."""
        self._running.kill()
        self._running.communicate()

    def terminate(self) -> tuple[int, str]:
        """Ask it to end; return its exit code and what it said on standard error."""
        self._running.terminate()
        _, said = self._running.communicate(timeout=PATIENCE_S)
        return self._running.returncode, said

    def finish(self) -> tuple[int, str, str]:
        """Wait for its end; return its exit code and what it said."""
        out, err = self._running.communicate(timeout=PATIENCE_S)
        return self._running.returncode, out, err
