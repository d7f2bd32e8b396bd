"""The site of a run, and the daemon on it."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import update

from scripts.serving import Daemon, DaemonFailed
from scripts.soaking.ours import PASSWORD, USERS, Domain
from scripts.soaking.strangers import HOME, LONG, MAPPED
from scripts.torturing.postgresql import Server
from vpopsql import config, db, homes
from vpopsql.db import Database
from vpopsql.exporter.apply import apply
from vpopsql.model import CatchAll, Flag, Mailbox
from vpopsql.passwords import hash_password
from vpopsql.services import account_changes, domain_changes, ipmaps, rights
from vpopsql.services.account_changes import Secret
from vpopsql.services.domain_changes import NewDomains
from vpopsql.tree import Tree

_CHECKOUT = Path(__file__).resolve().parents[2]
_SPARE_CONNECTIONS = 200
"""Those of neither the idle nor the busy ones."""


@dataclass(frozen=True, slots=True)
class Served:
    """A daemon on a site of its own."""

    daemon: Daemon
    settings: dict[str, str]
    wal: Path
    """SQLite's write-ahead log, or PostgreSQL's directory of them."""
    logs: Path

    def purge(self) -> None:
        """Empty the trash, as an operator would: what is deleted must not fill the disk.

        :raises DaemonFailed: it cannot be emptied while the daemon is at work.
        """
        words = ("trash", "purge", "--older-than", "0", "--yes")
        done = subprocess.run(
            [sys.executable, "-c", "from vpopsql.cli import main; main()", *words],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(_CHECKOUT), **self.settings},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DaemonFailed(f"the trash cannot be purged: {done.stderr}")

    def sizes(self) -> dict[str, int]:
        """Return what the logs take, in KiB: the database's and the daemon's."""
        return {"wal_kib": _size_kib(self.wal), "log_kib": _size_kib(self.logs)}


def _size_kib(path: Path) -> int:
    found = 0
    for each in (path, *(path.iterdir() if path.is_dir() else ())):
        with contextlib.suppress(FileNotFoundError):  # it comes and goes
            found += each.stat().st_size if each.is_file() else 0
    return found // 1024


@contextlib.contextmanager
def served(
    directory: Path, database: str, domains: Sequence[Domain], connections: int
) -> Iterator[Served]:
    """Make a site below ``directory``, and serve it while the block runs.

    :param database: ``sqlite`` or ``postgresql``.
    :param connections: how many there will be at once.
    """
    with contextlib.ExitStack() as held:
        url, wal = f"sqlite:///{directory}/vpopsql.db", directory / "vpopsql.db-wal"
        if database == "postgresql":
            place = directory / "server"
            place.mkdir()
            directory.chmod(0o755)
            server = Server(place, {"autovacuum": "on"})
            held.callback(server.stop)
            url, wal = server.url, place / "data/pg_wal"
        root, logs = directory / "root", directory / "log"
        root.mkdir()
        logs.mkdir()
        settings = {
            "VPOPSQL_DATABASE_URL": url,
            "VPOPSQL_PATHS_ROOT": str(root),
            "VPOPSQL_DAEMON_LISTEN": "127.0.0.1:0",
            "VPOPSQL_DAEMON_MAX_CONNECTIONS": str(connections + _SPARE_CONNECTIONS),
            "VPOPSQL_EXPORT_UID": str(os.geteuid()),
            "VPOPSQL_EXPORT_GID": str(os.getegid()),
        }
        _make(settings, domains)
        daemon = Daemon(settings, logs / "daemon.log")
        held.callback(daemon.stop)
        yield Served(daemon, settings, wal, logs)


def _make(settings: dict[str, str], domains: Sequence[Domain]) -> None:
    site = config.load(None, settings)
    db.upgrade(site.database.url)
    database = Database(site.database.url)
    tree = Tree(site.paths.root)
    actor = rights.operator("soak", site.paths.vpopmail)
    secret = Secret(hash_password(PASSWORD, "sha512-crypt"))
    new = NewDomains((os.geteuid(), os.getegid()), CatchAll.BOUNCE)
    for name in (HOME, "guessed.example", *(domain.name for domain in domains)):
        with database.writer() as session:
            domain, home = domain_changes.add_domain(session, actor, name, secret, new)
            made = [home]
            if name == HOME:
                session.execute(update(Mailbox).values(flags=int(Flag.SA_ADMIN)))
                ipmaps.add_mapping(session, actor, address=MAPPED, domain=HOME)
            else:
                made += [
                    account_changes.add_account(session, actor, user, name, secret)
                    for user in USERS
                ]
            homes.make_domain_directory(tree, domain.directory, domain.uid, domain.gid)
            for each in made:
                homes.make_home(tree, each)
            if name == HOME:
                text = "".join(f"{line}\n" for line in LONG[1])
                tree.write(f"{domain.directory}/{LONG[0]}", text.encode())
    for each in domains:
        each.users = {name: name for name in ("postmaster", *USERS)}
    apply(database, site)
    database.close()
