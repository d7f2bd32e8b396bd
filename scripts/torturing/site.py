"""The site of a run: a database, two hosts, and the processes that work on them.

The daemon and one follower work on the first host, ``here``; the second, ``there``, has a
follower alone. Each has all files of the site, below a root of its own.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from sqlalchemy import update

from scripts.torturing import Defect
from scripts.torturing.load import SHARED
from scripts.torturing.nursery import Nursery
from scripts.torturing.postgresql import Server
from vpopsql import config, db, homes, passwords
from vpopsql.db import Database
from vpopsql.errors import VpopsqlError
from vpopsql.exporter import hosts
from vpopsql.exporter.apply import apply
from vpopsql.model import CatchAll, Flag, Mailbox
from vpopsql.services import domain_changes, rights
from vpopsql.services.account_changes import Secret
from vpopsql.services.domain_changes import NewDomains
from vpopsql.tree import Tree

ALWAYS = "stays.example"
"""A domain that nobody changes: its administrator makes all changes."""

ADMIN = (f"postmaster@{ALWAYS}", "a word for the administrator")
HOSTS = ("here", "there")
DAEMON = "daemon"

_START_S = 30.0
_SETTLE_S = 60.0
_POLL_S = 0.01
_BAD = ("Traceback", "internal error", '"event": "connection broke"')
"""What no log may have, whatever was killed."""

_QUICK = {
    "FOLLOW_QUIET_S": "0.01",
    "FOLLOW_WAIT_S": "0.1",
    "FOLLOW_POLL_S": "0.05",
    "FOLLOW_REPORT_S": "1",
    "EXPORT_GENERATIONS": "2",
    "PASSWORDS_SCHEME": "sha512-crypt",
    "PASSWORDS_ROUNDS": "1000",
}


class Site:
    """A site with its processes, none of which runs yet.

    :param server: PostgreSQL; None: the database is SQLite.
    """

    def __init__(self, directory: Path, nursery: Nursery, server: Server | None) -> None:
        self._directory = directory
        self._nursery = nursery
        self.server = server
        self.url = server.url if server else f"sqlite:///{directory}/vpopsql.db"
        self.roots = {host: directory / host for host in HOSTS}
        self._running: dict[str, int] = {}
        self._logs: dict[str, Path] = {}
        self._starts = 0
        self.port = 0
        self._make()
        self.database = Database(self.url)

    def _make(self) -> None:
        db.upgrade(self.url)
        database = Database(self.url)
        actor = rights.operator("torture", "/home/vpopmail")
        new = NewDomains((os.geteuid(), os.getegid()), CatchAll.BOUNCE)
        for root in self.roots.values():
            root.mkdir()
        for name in (ALWAYS, SHARED):
            secret = Secret(passwords.hash_password(ADMIN[1], "sha512-crypt", 1000))
            with database.writer() as session:
                domain, home = domain_changes.add_domain(session, actor, name, secret, new)
                session.execute(update(Mailbox).values(flags=int(Flag.SA_ADMIN)))
            for root in self.roots.values():
                tree = Tree(root)
                homes.make_domain_directory(tree, domain.directory, domain.uid, domain.gid)
                homes.make_home(tree, home)
        for host in HOSTS:
            apply(database, self.config(host))
        database.close()

    def config(self, host: str) -> config.Config:
        """Return the configuration of a host."""
        return config.load(None, self._environment(host))

    def _environment(self, host: str) -> dict[str, str]:
        settings = {
            **_QUICK,
            "DATABASE_URL": self.url,
            "PATHS_ROOT": str(self.roots[host]),
            "DAEMON_LISTEN": "127.0.0.1:0",
            # Only root may give files away.
            "EXPORT_UID": str(os.geteuid()),
            "EXPORT_GID": str(os.getegid()),
        }
        return {f"VPOPSQL_{name}": value for name, value in settings.items()}

    # --- processes ------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start the daemon, or a follower by its host's name; see `await_daemon`."""
        if name == DAEMON:
            self._start(name, ["serve"], HOSTS[0])
        else:
            words = ["export", "follow", "--host", name, "--role", "mail"]
            self._start(name, words, name)

    def start_export(self, name: str, host: str) -> None:
        """Start an export of everything to a host, as the process ``name``."""
        self._start(name, ["export", "apply"], host)

    def _start(self, name: str, words: list[str], host: str) -> None:
        self._starts += 1
        log = self._directory / f"{name}-{self._starts}.log"
        log.touch()
        environment: Mapping[str, str] = {"PATH": os.environ["PATH"], **self._environment(host)}
        self._logs[name] = log
        self._running[name] = self._nursery.start(words, environment, log)

    def await_daemon(self) -> None:
        """Wait until the daemon listens, and note where. :raises Defect: it has ended."""
        self._await(self._is_listening, "the daemon does not start", _START_S)

    def _is_listening(self) -> bool:
        self.require_running(DAEMON)
        for line in self._logs[DAEMON].read_bytes().splitlines(keepends=True):
            if line.endswith(b"}\n") and (event := json.loads(line))["event"] == "listening":
                self.port = int(event["port"])
                return True
        return False

    def require_running(self, name: str) -> None:
        """Look whether a process is there. :raises Defect: it ended by itself."""
        status = self._nursery.status(self._running[name])
        if status is not None:
            said = self._logs[name].read_text(errors="replace")[-2000:]
            raise Defect(f"{name} ended by itself with {status}: {said}")

    def kill(self, name: str) -> bool:
        """Kill a process; return False if it had come to its end before.

        :raises Defect: it had not ended well, or had something to complain of that it must not.
        """
        status = self._nursery.end(self._running.pop(name))
        log = self._logs.pop(name)
        said = log.read_text(errors="replace")
        _require_sound(name, said)
        if status not in {0, -9}:
            raise Defect(f"{name} ended with {status}: {said[-2000:]}")
        log.unlink()
        return status == -9  # noqa: PLR2004 - SIGKILL

    def is_over(self, name: str) -> bool:
        """Tell whether a process has come to its end."""
        return self._nursery.status(self._running[name]) is not None

    def finish(self, name: str) -> None:
        """Wait for the end of a process. :raises Defect: as `kill` does."""
        self._await(lambda: self.is_over(name), f"{name} does not end", _START_S)
        self.kill(name)

    def abandon(self, name: str) -> None:
        """Wait for the end of a process, however it ends, as long as it ends in an orderly way."""
        self._await(lambda: self.is_over(name), f"{name} does not end", _START_S)
        self._nursery.end(self._running.pop(name))
        log = self._logs.pop(name)
        _require_sound(name, log.read_text(errors="replace"))
        log.unlink()

    # --- waiting --------------------------------------------------------------------------------

    def settle(self) -> None:
        """Wait until the files of both hosts show all that is committed.

        :raises Defect: they never do, or a process has ended.
        """
        self._await(self._is_settled, "the followers do not catch up", _SETTLE_S)

    def _is_settled(self) -> bool:
        for name in (DAEMON, *HOSTS):
            self.require_running(name)
        try:
            with self.database.reader() as session:
                found = hosts.standings(session)
        except VpopsqlError:
            self.database.forget_connections()
            return False
        up_to_date = [each.name for each in found if not each.behind and not each.error]
        return sorted(up_to_date) == sorted(HOSTS)

    def _await(self, holds: Callable[[], bool], otherwise: str, patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        while not holds():
            if time.monotonic() > deadline:
                raise Defect(f"{otherwise} within {patience_s:.0f} s{self._last_words()}")
            time.sleep(_POLL_S)

    def _last_words(self) -> str:
        said = {name: log.read_text(errors="replace")[-600:] for name, log in self._logs.items()}
        return "".join(f"\n{name}: {text}" for name, text in said.items())


def _require_sound(name: str, said: str) -> None:
    for word in _BAD:
        if (at := said.find(word)) >= 0:
            start = said.rfind("\n", 0, at) + 1
            raise Defect(f"{name} says: {said[start : start + 4000]}")
