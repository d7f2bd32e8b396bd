"""What a change cannot be quicker than, in any language: what has to be done, and nothing else.

A SHA512 hash, made while the directories of a new mailbox are; one row committed; and the files
that change, as long as those of the site, written as ours are: beside the old one, begun with
together, each waited for, renamed, and their directories waited for. There is no client, no
question to the database, no check and no audit log.
"""

import contextlib
import ctypes
import itertools
import os
import sqlite3
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from scripts.benchmarks.site import PASSWORD
from scripts.benchmarks.stage import DatabaseStage, Measured, Run, repeat
from scripts.benchmarks.workload import with_files
from scripts.libcrypt import crypt
from scripts.sites.shape import HOME

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

_CREATE = "CREATE TABLE floor (said VARCHAR)"
_ROW = "x" * 300
"""About as long as that of a mailbox."""

_Files = Mapping[Path, bytes]


@dataclass(frozen=True, slots=True)
class Floor:
    """The least that a change has to do.

    :ivar site: the name of the site that it is like.
    :ivar makes: the directories that it makes, from the top.
    :ivar changes: given the root of the site, returns the files that it changes.
    """

    site: str
    makes: tuple[str, ...]
    changes: Callable[[Path], Iterable[Path]]

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
        with _committing(stage) as commit:

            def take() -> Measured:
                latencies: list[float] = []
                deadline = time.perf_counter() + stage.options.seconds
                while not latencies or time.perf_counter() < deadline:
                    new = place / f"new-{next(numbers)}"
                    new.mkdir()
                    begin = time.perf_counter()
                    self._change(new, files, commit)
                    latencies.append(time.perf_counter() - begin)
                return Measured(statistics.median(latencies), latencies)

            return repeat(stage.options, take)

    def _change(self, new: Path, files: _Files, commit: Callable[[], object]) -> None:
        if self.makes:
            asked = PASSWORD.encode(), b"$6$0123456789abcdef"
            hashing = threading.Thread(target=crypt, args=asked)
            hashing.start()
            _make([new / each for each in self.makes])
            hashing.join()
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
def _committing(stage: DatabaseStage) -> Iterator[Callable[[], object]]:
    """Give what commits a row, in a database of its own."""
    url = stage.fill("floor", lambda _url: None)
    if make_url(url).get_backend_name() == "sqlite":
        file = str(make_url(url).database)
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("DROP TABLE IF EXISTS floor")
            connection.execute(_CREATE)
            yield lambda: connection.execute("INSERT INTO floor VALUES (?)", (_ROW,))
    else:
        with psycopg.connect(url, autocommit=True, prepare_threshold=0) as server:
            server.execute("DROP TABLE IF EXISTS floor")
            server.execute(_CREATE)
            yield lambda: server.execute("INSERT INTO floor VALUES (%s)", (_ROW,))


# --- which ones there are -----------------------------------------------------------------------


def floor_of_mailboxes(verb: str, domain: str, *, has_files: bool) -> Floor:
    """Return that of a command that changes a mailbox of a domain of the site ``changes``.

    :param has_files: whether it is in vpasswd, too.
    """
    makes = tuple(f"new/{each}".rstrip("/") for each in _MAILBOX) if verb == "add_user" else ()
    names = _OF_ACCOUNTS if verb == "mod_user" else _OF_MAILBOXES
    if not has_files:
        names = ()
    return Floor("changes", makes, lambda root: (_domains(root) / domain / name for name in names))


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
