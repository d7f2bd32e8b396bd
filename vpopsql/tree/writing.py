"""How contents come to the disk: whole, under a temporary name first, or not at all.

A batch takes four rounds, so that the disk works on all files of it at once: each is written, then
each is waited for, then each takes the name it is to have, then the directories are waited for.
"""

import ctypes
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, BinaryIO

from vpopsql.pieces import Content, pieces_of, size_of
from vpopsql.tree import replaced
from vpopsql.tree.openat import (
    NEW_FILE_MODE,
    Owner,
    UnsafePath,
    open_directory,
    open_file,
    open_in,
    owner_of,
    regular_file,
    set_owner_and_mode,
    sync_directory,
    to_bytes,
    to_text,
)
from vpopsql.tree.ways import Ways

TEMP_PREFIX = ".vpopsql-tmp-"
"""Names that start so are files that were being written; see `Tree.sweep`."""


_OPEN_MAX = 16
"""Files of a batch that stay open while they wait: to open one again is a tenth of its time."""

_PIECES_AT_ONCE = os.sysconf("SC_IOV_MAX")

_SYNC_FILE_RANGE_WRITE = 2
_sync_file_range: Any = getattr(ctypes.CDLL(None), "sync_file_range", None)
if _sync_file_range:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


@dataclass(frozen=True, slots=True)
class Write:
    """A file as it shall be.

    ``mode`` and ``owner`` of None keep what an existing file has; a new one gets 0600 and the
    owner of its directory.
    """

    path: str
    data: Content
    mode: int | None = None
    owner: Owner | None = None


@dataclass(slots=True)
class _Staged:
    """A new content that waits, in the right directory, under a name of its own."""

    write: Write
    temp: bytes
    mode: int
    owner: Owner
    fd: int | None = None
    """Open to be written to; None: not open."""

    def close(self) -> None:
        """Close it, if it is open."""
        if self.fd is not None:
            fd, self.fd = self.fd, None
            os.close(fd)


class Ahead:
    """Contents that the disk has begun with, before the batches come that they belong to."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._begun: dict[str, _Staged] = {}

    def begin(self, writes: Iterable[Write]) -> None:
        """Begin with contents that some batches are to write."""
        for write in writes:
            if write.path in self._begun:
                raise ValueError("a path occurs twice")
            if new := _stage(self._ways, write, len(self._begun), durable=True):
                self._begun[write.path] = new

    def stage(self, write: Write, waiting: int, *, durable: bool) -> "_Staged | None":
        """Return what was begun with for a file, or begin now; None if the file is as wanted.

        :param waiting: how many others of its batch were begun with.
        """
        if new := self._begun.pop(write.path, None):
            if new.write == write:
                return new
            _discard(self._ways, new)
        return _stage(self._ways, write, waiting, durable=durable)

    def end(self) -> None:
        """Remove what no batch has written."""
        while self._begun:
            _discard(self._ways, self._begun.popitem()[1])


def replace(
    ways: Ways,
    writes: Sequence[Write],
    tell: Callable[[Sequence[str]], None],
    ahead: Ahead,
    *,
    durable: bool,
) -> tuple[str, ...]:
    """Write files, none or all; see `Tree.write_many`.

    :param tell: called with the paths that change just before they do; what it raises keeps that
        from happening.
    :param ahead: what has been begun.
    """
    if len({write.path for write in writes}) < len(writes):
        raise ValueError("a path occurs twice in a batch")
    staged: list[_Staged] = []
    renamed = 0
    try:
        for write in writes:
            if new := ahead.stage(write, len(staged), durable=durable):
                staged.append(new)
        for new in staged:
            _finish(ways, new, durable=durable)
        changed = tuple(new.write.path for new in staged)
        tell(changed)
        for new in staged:
            with ways.parent(new.write.path) as (parent, name):
                replaced.keep(name, parent)
                os.rename(new.temp, name, src_dir_fd=parent, dst_dir_fd=parent)
            renamed += 1
    except BaseException:
        for new in staged[renamed:]:
            _discard(ways, new)
        raise
    if durable:
        # A dict, for the order.
        for directory in dict.fromkeys(path.rpartition("/")[0] or "/" for path in changed):
            with ways.directory(directory) as fd:
                sync_directory(fd)
    return changed


def _stage(ways: Ways, write: Write, waiting: int, *, durable: bool) -> _Staged | None:
    """Write a new content under a temporary name; None if the file is as wanted.

    :param waiting: how many others wait that were written before it.
    """
    with ways.parent(write.path) as (parent, name):
        try:
            old = regular_file(name, parent)
        except FileNotFoundError:
            mode, owner = NEW_FILE_MODE, owner_of(os.fstat(parent))
        else:
            mode, owner = stat.S_IMODE(old.st_mode), owner_of(old)
            if (
                write.mode in {None, mode}
                and (write.owner in {None, owner} or os.geteuid() != 0)
                and old.st_size == size_of(write.data)
                and _has(write.data, name, parent)
            ):
                return None
        if write.mode is not None:
            mode = write.mode
        new = _Staged(write, _temp_name(), mode, write.owner or owner)
        new.fd = open_in(new.temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, parent)
        try:
            write_all(new.fd, write.data)
            if durable:
                _send_to_disk(new.fd)
            if waiting >= _OPEN_MAX:
                new.close()
        except BaseException:
            _discard(ways, new)
            raise
        return new


def _finish(ways: Ways, new: _Staged, *, durable: bool) -> None:
    # Apart from `_stage`, so that the disk can work on a whole batch while it is written.
    if new.fd is None:
        with ways.parent(new.write.path) as (parent, _):
            new.fd = open_in(new.temp, os.O_WRONLY, parent)
    try:
        set_owner_and_mode(new.fd, new.owner, new.mode)
        if durable:
            os.fsync(new.fd)
        new.close()
    except OSError as error:
        error.filename = new.write.path  # what is open has no name
        raise


def _discard(ways: Ways, new: _Staged) -> None:
    with suppress(OSError):  # where to close a file can fail, its writing may have failed first
        new.close()
    with suppress(OSError, UnsafePath), ways.parent(new.write.path) as (parent, _):
        os.unlink(new.temp, dir_fd=parent)


def _has(data: Content, name: bytes, parent: int) -> bool:
    """Say whether this is the content of a file that had this size a moment ago."""
    pieces = pieces_of(data)
    places = zip(accumulate(map(len, pieces), initial=0), pieces, strict=False)
    with suppress(FileNotFoundError), open_file(name, parent) as file:
        # What is new is short, and where it differs the rest need not be read.
        return all(
            os.pread(file.fileno(), len(piece), at) == piece
            for at, piece in sorted(places, key=lambda place: len(place[1]))
        )
    return False


@contextmanager
def create(ways: Ways, path: str, mode: int) -> Iterator[BinaryIO]:
    """Write a file piece by piece; see `Tree.create`."""
    temp = _temp_name()
    with ways.parent(path) as (parent, _):
        owner = owner_of(os.fstat(parent))
        fd = open_in(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, parent)
    try:
        with os.fdopen(fd, "wb") as file:
            set_owner_and_mode(fd, owner, mode)
            yield file
            file.flush()
            os.fsync(fd)
        with ways.parent(path) as (parent, name):
            os.rename(temp, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = path  # what is written to a descriptor has no name
        with suppress(OSError, UnsafePath), ways.parent(path) as (parent, _):
            os.unlink(temp, dir_fd=parent)
        raise
    with ways.parent(path) as (parent, _):
        sync_directory(parent)


def overwrite(ways: Ways, path: str, data: bytes) -> None:
    """Write a file where it is; see `Tree.overwrite`."""
    with ways.parent(path) as (parent, name):
        try:
            before = regular_file(name, parent).st_size
            fd = open_in(name, os.O_WRONLY | os.O_NONBLOCK, parent)
        except FileNotFoundError:
            before = None
            fd = open_in(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, parent)
        try:
            if before is None:
                set_owner_and_mode(fd, owner_of(os.fstat(parent)), NEW_FILE_MODE)
            write_all(fd, data)
            if before and before > len(data):
                os.ftruncate(fd, len(data))
        finally:
            os.close(fd)


def append(ways: Ways, path: str, data: bytes) -> None:
    """Add to the end of a file; see `Tree.append`."""
    flags = os.O_WRONLY | os.O_APPEND
    with ways.parent(path) as (parent, name):
        try:
            fd, is_new = open_in(name, flags, parent), False
        except FileNotFoundError:
            fd, is_new = open_in(name, flags | os.O_CREAT | os.O_EXCL, parent), True
        try:
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        if is_new:
            sync_directory(parent)


def sweep(ways: Ways, path: str, older_than_s: float) -> tuple[str, ...]:
    """Remove what killed writers left; see `Tree.sweep`."""
    removed = []
    before = time.time() - older_than_s
    with ways.directory(path) as directory:
        fd = open_directory(directory)
        try:
            with os.scandir(fd) as entries:
                left = [e.name for e in entries if e.name.startswith(TEMP_PREFIX)]
            for name in sorted(map(os.fsencode, left)):
                with suppress(FileNotFoundError):
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode) and status.st_mtime < before:
                        os.unlink(name, dir_fd=fd)
                        removed.append(f"{path.rstrip('/')}/{to_text(name)}")
            if removed:
                os.fsync(fd)
        finally:
            os.close(fd)
    return tuple(removed)


def _temp_name() -> bytes:
    return to_bytes(TEMP_PREFIX + secrets.token_hex(8))


def write_all(fd: int, data: Content) -> None:
    """Write all of a content to what is open."""
    pieces = pieces_of(data)
    for at in range(0, len(pieces), _PIECES_AT_ONCE):
        parcel = pieces[at : at + _PIECES_AT_ONCE]
        written = os.writev(fd, parcel)
        if written < size_of(parcel):
            rest = memoryview(b"".join(parcel))[written:]
            while rest:
                rest = rest[os.write(fd, rest) :]


def _send_to_disk(fd: int) -> None:
    """Let the disk begin with what was written; whoever must be sure waits for it by fsync.

    What begins with several files before the first is waited for has its places by then: the
    file system writes them all down once, not once for each file.
    """
    if _sync_file_range:
        # It may fail, as nothing depends on it.
        _sync_file_range(fd, 0, 0, _SYNC_FILE_RANGE_WRITE)
