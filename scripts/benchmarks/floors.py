"""What a change cannot be quicker than, in any language: what has to be done, and nothing else.

A client asks, as of a daemon, and is answered when this is done: a SHA512 hash, made on another
processor while the directories of a new mailbox are; one row committed; and the files that change,
as long as those of the site, written as ours are: beside the old one, begun with together, each
waited for, renamed, and their directories waited for. Where an answer comes before the change, one
row is looked up for it. There is no check, no audit log, and nothing else to be looked up.
"""

import contextlib
import ctypes
import itertools
import multiprocessing
import os
import signal
import socket
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from scripts.benchmarks.client import Client
from scripts.benchmarks.site import PASSWORD
from scripts.benchmarks.stage import DatabaseStage, Measured, Run, repeat
from scripts.benchmarks.workload import with_files
from scripts.libcrypt import crypt
from scripts.sites.shape import HOME
from vpopsql.aside import Helpers

_SYNC_FILE_RANGE_WRITE = 2
_sync_file_range = ctypes.CDLL(None).sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)

_MAILBOX = ("", "Maildir", "Maildir/cur", "Maildir/new", "Maildir/tmp")
"""Its directories, below its home."""
_OF_ACCOUNTS = ("vpasswd", "vpasswd.cdb")
_OF_MAILBOXES = (*_OF_ACCOUNTS, ".dir-control")
_OF_DOMAIN = (*_OF_MAILBOXES, ".qmail-default")
_OF_SITE = (
    *("users/assign", "users/cdb", "control/virtualdomains"),
    *("control/rcpthosts", "control/morercpthosts", "control/morercpthosts.cdb"),
)
"""What a new domain changes, below qmail's home."""

_CREATE = "CREATE TABLE floor (id INTEGER PRIMARY KEY, said VARCHAR)"
_LOOK = "SELECT said FROM floor WHERE id = 1"
_ROW = "x" * 300
"""About as long as that of a mailbox."""

_FORK = multiprocessing.get_context("fork")
_OK = b"+OK \r\n"

_Files = Mapping[Path, bytes]


@dataclass(frozen=True, slots=True)
class Floor:
    """The least that a change has to do.

    :ivar site: the name of the site that it is like.
    :ivar makes: the directories that it makes, from the top.
    :ivar changes: given the root of the site, returns the files that it changes.
    :ivar is_asked_first: whether the client gets an answer before it says what to change.
    """

    site: str
    makes: tuple[str, ...]
    changes: Callable[[Path], Iterable[Path]]
    is_asked_first: bool = False

    def run(self, stage: DatabaseStage) -> list[Run]:
        """Measure it, again and again."""
        with_files(stage, self.site)
        root = stage.root(self.site)
        # Daemons may yet change the real ones.
        place = stage.directory(f"floor-{time.monotonic_ns()}")
        place.mkdir()
        files = {place / each.relative_to(root): each.read_bytes() for each in self.changes(root)}
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        # Nothing is removed: a disk may take its time with inodes that were just given back.
        numbers = itertools.count()
        url = stage.fill("floor", lambda _url: None)
        with _process(partial(self._serve, url, place, files)) as port, Client(port) as client:

            def take() -> Measured:
                latencies: list[float] = []
                deadline = time.perf_counter() + stage.options.seconds
                while not latencies or time.perf_counter() < deadline:
                    number = next(numbers)
                    (place / str(number)).mkdir()
                    begin = time.perf_counter()
                    if self.is_asked_first:
                        client.ask(b"may")
                    client.ask(b"change %d" % number)
                    latencies.append(time.perf_counter() - begin)
                return Measured(statistics.median(latencies), latencies)

            return repeat(stage.options, take)

    def _serve(self, url: str, place: Path, files: _Files, client: socket.socket) -> None:
        """Answer one client until it hangs up."""
        hashing = Helpers[bytes](1, "hash")
        with _database(url) as (look, commit):
            client.sendall(_OK)
            while line := client.recv(1024):
                verb, *number = line.split()
                if verb == b"may":
                    look()
                else:
                    self._change(place / number[0].decode(), files, commit, hashing)
                client.sendall(_OK)

    def _change(
        self, new: Path, files: _Files, commit: Callable[[], object], hashing: Helpers[bytes]
    ) -> None:
        if self.makes:
            make_hash = partial(crypt, PASSWORD.encode(), b"$6$0123456789abcdef")
            hashed = hashing.begin(make_hash)
            _make([new / each for each in self.makes])
            _ = hashed.result() if hashed else make_hash()
        commit()
        _write(files)


def _make(directories: Sequence[Path]) -> None:
    """Make directories, and wait for each that has one of them."""
    for each in directories:
        each.mkdir()
    for each in sorted({each.parent for each in directories}, reverse=True):
        _sync(each)


def _write(files: _Files) -> None:
    """Replace files, and wait for the disk."""
    opened = []
    for path, content in files.items():
        fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, content)
        _sync_file_range(fd, 0, 0, _SYNC_FILE_RANGE_WRITE)
        opened.append(fd)
    for fd in opened:
        os.fsync(fd)
        os.close(fd)
    for path in files:
        Path(f"{path}.new").rename(path)
    for directory in {path.parent for path in files}:
        _sync(directory)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


@contextlib.contextmanager
def _process(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """Give the port of a process that serves one client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = _FORK.Process(target=_serve_one, args=(listener, serve), daemon=True)
        process.start()
        try:
            yield listener.getsockname()[1]
        finally:
            process.kill()
            process.join()


def _serve_one(listener: socket.socket, serve: Callable[[socket.socket], object]) -> None:
    # Only the parent ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    client, _ = listener.accept()
    with client, contextlib.suppress(ConnectionError):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        serve(client)


_Do = Callable[[], object]


@contextlib.contextmanager
def _database(url: str) -> Iterator[tuple[_Do, _Do]]:
    """Give what looks a row up, and what commits one, in a database of its own."""
    if make_url(url).get_backend_name() == "sqlite":
        file = str(make_url(url).database)
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("DROP TABLE IF EXISTS floor")
            connection.execute(_CREATE)
            insert = "INSERT INTO floor (said) VALUES (?)"
            connection.execute(insert, (_ROW,))
            yield (
                lambda: connection.execute(_LOOK).fetchone(),
                lambda: connection.execute(insert, (_ROW,)),
            )
    else:
        with psycopg.connect(url, autocommit=True, prepare_threshold=0) as server:
            server.execute("DROP TABLE IF EXISTS floor")
            server.execute(_CREATE.replace("INTEGER", "SERIAL"))
            insert = "INSERT INTO floor (said) VALUES (%s)"
            server.execute(insert, (_ROW,))
            yield (
                lambda: server.execute(_LOOK).fetchone(),
                lambda: server.execute(insert, (_ROW,)),
            )


# --- which ones there are -----------------------------------------------------------------------


def floor_of_mailboxes(verb: str, domain: str, *, has_files: bool) -> Floor:
    """Return that of a command that changes a mailbox of a domain of the site ``changes``.

    :param has_files: whether it is in vpasswd, too.
    """
    makes = tuple(f"new/{each}".rstrip("/") for each in _MAILBOX) if verb == "add_user" else ()
    names = _OF_ACCOUNTS if verb == "mod_user" else _OF_MAILBOXES
    if not has_files:
        names = ()
    return Floor(
        "changes",
        makes,
        lambda root: (_domains(root) / domain / name for name in names),
        is_asked_first=verb == "mod_user",
    )


def floor_of_domains(domains: int) -> Floor:
    """Return that of adding a domain to a site of so many."""
    return Floor(
        f"domains-{domains}",
        ("new", *(f"new/postmaster/{each}".rstrip("/") for each in _MAILBOX)),
        _of_new_domain,
    )


def _of_new_domain(root: Path) -> Iterator[Path]:
    like = next(_domains(root).glob("**/vpasswd")).parent
    found = [*(like / name for name in _OF_DOMAIN), _domains(root) / ".dir-control"]
    found += [root / "var/qmail" / name for name in _OF_SITE]
    return filter(Path.exists, found)


def _domains(root: Path) -> Path:
    return root / HOME.lstrip("/") / "domains"
