"""The file tree of a site, and the only writer of files in vpopsql.

Paths are *site paths*: absolute, as qmail and vpopmail know them (``/home/vpopmail/domains/x``),
found below a root that is empty in production. The contract, kept by every method:

* No symbolic link below the root is followed, be it the last component or one on the way, be it
  there before or put there during the call. Each component is opened relative to the one before.
* A file has its old content or its new one, whole, at every moment; a crash can at most leave a
  file behind whose name starts with `TEMP_PREFIX`, and a failure leaves nothing behind.
* Errors are the operating system's (`OSError`, with the site path as ``filename``), except for
  `UnsafePath`, which is no OSError, so that "no such file" and "not allowed" stay apart.

Modes are exact: the umask has no say. What is new belongs, unless told otherwise, to the owner of
the directory it is in. Only root can give a file away; for anyone else owners are left as they
come. Linux only. Not safe against another program that writes the same file without the lock.
"""

import ctypes
import errno
import fcntl
import os
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Any, BinaryIO

from vpopsql.directory import Directory
from vpopsql.pieces import Content, pieces_of, size_of
from vpopsql.ways import (
    PLACE,
    Ways,
    link_error,
    lstat,
    names_of,
    open_in,
    refuse_link,
    to_bytes,
    to_text,
)
from vpopsql.ways import LinkInPath as LinkInPath  # noqa: PLC0414 - part of what is promised here
from vpopsql.ways import UnsafePath as UnsafePath  # noqa: PLC0414 - the same

Owner = tuple[int, int]
"""User id and group id."""

TEMP_PREFIX = ".vpopsql-tmp-"
"""Names that start so are files that were being written; see `Tree.sweep`."""

LOCK_SUFFIX = ".lock"

_POLL_FIRST_S = 0.0005
_POLL_S = 0.01
"""How often a lock is tried: most are held for milliseconds, some for minutes."""

_FILE_MODE = 0o600

_PIECES_AT_ONCE = os.sysconf("SC_IOV_MAX")

_SYNC_FILE_RANGE_WRITE = 2
_sync_file_range: Any = getattr(ctypes.CDLL(None), "sync_file_range", None)
if _sync_file_range:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)

# A process does not compete with itself for fcntl locks, so its threads need locks of their own.
_thread_locks: dict[tuple[str, str], threading.Lock] = {}
os.register_at_fork(after_in_child=_thread_locks.clear)


class EntryType(StrEnum):
    """What a directory entry is."""

    FILE = "file"
    DIR = "dir"
    CHARDEV = "chardev"
    BLKDEV = "blkdev"
    FIFO = "fifo"
    LINK = "link"
    SOCK = "sock"
    UNKNOWN = "unknown"


_TYPES = {
    stat.S_IFREG: EntryType.FILE,
    stat.S_IFDIR: EntryType.DIR,
    stat.S_IFCHR: EntryType.CHARDEV,
    stat.S_IFBLK: EntryType.BLKDEV,
    stat.S_IFIFO: EntryType.FIFO,
    stat.S_IFLNK: EntryType.LINK,
    stat.S_IFSOCK: EntryType.SOCK,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A directory entry."""

    name: str
    type: EntryType


@dataclass(frozen=True, slots=True)
class File:
    """A regular file as it is."""

    data: bytes
    owner: Owner
    mode: int
    """Its permission bits."""
    modified_at: float
    """Unix seconds."""


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


@dataclass(frozen=True, slots=True)
class _Staged:
    """A new content that waits, in the right directory, under a name of its own."""

    write: Write
    temp: bytes
    mode: int
    owner: Owner


class Tree:
    """The files below ``root``, a real directory; the path to it may have symbolic links.

    :param places: site paths of directories that the administrator has named. The ways to them
        may have symbolic links too: packages put qmail's control files into /etc, disks are moved.
    """

    def __init__(self, root: str | os.PathLike[str] = "", places: Iterable[str] = ()) -> None:
        self.root = os.fspath(root) or "/"
        self._ways = Ways(self.root, places)
        self._tell: Callable[[Sequence[str]], None] | None = None

    @contextmanager
    def telling(self, tell: Callable[[Sequence[str]], None]) -> Iterator[None]:
        """Call ``tell`` with site paths just before what is there changes; not for directories.

        What it raises keeps the change from happening.
        """
        self._tell, before = tell, self._tell
        try:
            yield
        finally:
            self._tell = before

    def staying(self) -> AbstractContextManager[None]:
        """Keep directories open from one call to the next; see `Ways.staying`."""
        return self._ways.staying()

    def read(self, path: str, max_bytes: int | None = None) -> bytes:
        """Return the content of a regular file.

        :raises OSError: among the system's own, EFBIG for more than ``max_bytes`` and EINVAL for
            what is neither file nor directory.
        """
        with self._ways.parent(path) as (parent, name), _open_file(name, parent) as file:
            data = file.read() if max_bytes is None else file.read(max_bytes + 1)
            if max_bytes is not None and len(data) > max_bytes:
                raise _os_error(errno.EFBIG)
            return data

    @contextmanager
    def opened(self, path: str) -> Iterator[BinaryIO]:
        """Give a regular file to read from, for those who need little of a large one."""
        with self._ways.parent(path) as (parent, name), _open_file(name, parent) as file:
            yield file

    def load(self, path: str) -> File:
        """Return a regular file with what the system knows about it; errors as `read`."""
        with self._ways.parent(path) as (parent, name), _open_file(name, parent) as file:
            status = os.fstat(file.fileno())
            mode = stat.S_IMODE(status.st_mode)
            return File(file.read(), _owner_of(status), mode, status.st_mtime)

    def read_link(self, path: str) -> str:
        """Return where a symbolic link points; EINVAL if it is none."""
        with self._ways.parent(path) as (parent, name):
            return to_text(os.readlink(name, dir_fd=parent))

    def stat(self, path: str) -> os.stat_result:
        """Return what the system knows about a file, directory, link or anything else."""
        names = names_of(path) or (b".",)
        with self._ways.directory(path, names[:-1]) as parent:
            return lstat(names[-1], parent)

    def exists(self, path: str) -> bool:
        """Say whether there is anything at ``path``, a dangling link included."""
        try:
            self.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def list(self, path: str) -> list[Entry]:
        """Return what a directory holds, without ``.`` and ``..``, in name order."""
        with self._ways.directory(path) as directory:
            fd = open_in(b".", os.O_RDONLY | os.O_DIRECTORY, directory)
            try:
                with os.scandir(fd) as entries:
                    found = [Entry(to_text(os.fsencode(e.name)), _type_of(e)) for e in entries]
            finally:
                os.close(fd)
        return sorted(found, key=lambda entry: entry.name)

    def enter(self, path: str) -> Directory:
        """Open a directory, to look at much of what is in it; whoever asked closes it."""
        with self._ways.directory(path) as directory:
            return Directory(open_in(b".", os.O_RDONLY | os.O_DIRECTORY, directory), path)

    def write(
        self,
        path: str,
        data: Content,
        *,
        mode: int | None = None,
        owner: Owner | None = None,
        durable: bool = True,
    ) -> bool:
        """Make ``data`` the content of a file; see `write_many`.

        :param mode: None keeps that of an existing file; 0600 for a new one.
        :param owner: None keeps that of an existing file; its directory's for a new one.
        :returns: False if everything was as wanted already.
        """
        return bool(self.write_many([Write(path, data, mode, owner)], durable=durable))

    def write_many(self, batch: Iterable[Write], *, durable: bool = True) -> tuple[str, ...]:
        """Write files so that either none is changed or all are, renamed in the order given.

        All new contents are on disk before the first file changes. Only a rename that fails, or a
        crash between two renames, leaves the files before it new and the others old: put what
        refers to other files last. After a failed fsync of a directory all files are new, though
        perhaps not on disk. Files that are as wanted are left alone.

        :param durable: wait for the disk; False for what can be made again.
        :returns: the paths that were changed.
        :raises ValueError: a path occurs twice.
        """
        writes = tuple(batch)
        if len({write.path for write in writes}) < len(writes):
            raise ValueError("a path occurs twice in a batch")
        staged = []
        renamed = 0
        try:
            for write in writes:
                if new := self._stage(write, durable=durable):
                    staged.append(new)  # noqa: PERF401 - a failure finds what was staged so far
            for new in staged:
                self._finish(new, durable=durable)
            self._change(*(new.write.path for new in staged))
            for new in staged:
                with self._ways.parent(new.write.path) as (parent, name):
                    os.rename(new.temp, name, src_dir_fd=parent, dst_dir_fd=parent)
                renamed += 1
        except BaseException:
            for new in staged[renamed:]:
                with (
                    suppress(OSError, UnsafePath),
                    self._ways.parent(new.write.path) as (parent, _),
                ):
                    os.unlink(new.temp, dir_fd=parent)
            raise
        changed = tuple(new.write.path for new in staged)
        if durable:
            # A dict, for the order.
            for directory in dict.fromkeys(path.rpartition("/")[0] or "/" for path in changed):
                with self._ways.directory(directory) as fd:
                    _sync_directory(fd)
        return changed

    @contextmanager
    def create(self, path: str, mode: int = _FILE_MODE) -> Iterator[BinaryIO]:
        """Write a file piece by piece; it is there, whole and on disk, if the block ends well."""
        temp = _temp_name()
        with self._ways.parent(path) as (parent, _):
            owner = _owner_of(os.fstat(parent))
            fd = open_in(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, parent)
        try:
            with os.fdopen(fd, "wb") as file:
                _set_owner_and_mode(fd, owner, mode)
                yield file
                file.flush()
                os.fsync(fd)
            with self._ways.parent(path) as (parent, name):
                os.rename(temp, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException as error:
            if isinstance(error, OSError) and error.filename is None:
                error.filename = path  # what is written to a descriptor has no name
            with suppress(OSError, UnsafePath), self._ways.parent(path) as (parent, _):
                os.unlink(temp, dir_fd=parent)
            raise
        with self._ways.parent(path) as (parent, _):
            _sync_directory(parent)

    def append(self, path: str, data: bytes) -> None:
        """Add ``data`` to a file, which is made with mode 0600 if need be, and wait for the disk.

        Not atomic: a crash may leave a part of ``data``.
        """
        flags = os.O_WRONLY | os.O_APPEND
        with self._ways.parent(path) as (parent, name):
            try:
                fd, is_new = open_in(name, flags, parent), False
            except FileNotFoundError:
                fd, is_new = open_in(name, flags | os.O_CREAT | os.O_EXCL, parent), True
            try:
                _write_all(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            if is_new:
                _sync_directory(parent)

    def make_dir(
        self,
        path: str,
        mode: int = 0o700,
        owner: Owner | None = None,
        *,
        parents: bool = False,
        durable: bool = True,
    ) -> bool:
        """Make a directory.

        :param owner: None for the owner of the directory it is made in.
        :param parents: also make the missing ones above it, with the same mode and owner, and be
            content if it exists; without, an existing one is a `FileExistsError`.
        :returns: False if it existed.
        """
        names = names_of(path)
        made = False
        first = self._ways.depth(path, names) + 1 if parents else len(names)
        for depth in range(first, len(names) + 1):
            with self._ways.directory(path, names[: depth - 1]) as parent:
                made = _make_dir(names[depth - 1], parent, mode, owner, exist_ok=parents)
                if made and durable:
                    _sync_directory(parent)
        return made

    def sync(self, *directories: str) -> None:
        """Wait until what was made in directories is on disk, once for all of them.

        The disk has usually all of it when it has the first: so this is for whoever makes several
        things with ``durable=False``.
        """
        for path in directories:
            with self._ways.directory(path) as directory:
                _sync_directory(directory)

    def set_rights(self, path: str, mode: int, owner: Owner) -> None:
        """Set the mode and, as root, the owner of a regular file or a directory."""
        with self._ways.parent(path) as (parent, name):
            if stat.S_IFMT(lstat(name, parent).st_mode) not in {stat.S_IFREG, stat.S_IFDIR}:
                raise _os_error(errno.EINVAL)
            fd = open_in(name, os.O_RDONLY | os.O_NONBLOCK, parent)
            try:
                _set_owner_and_mode(fd, owner, mode)
            finally:
                os.close(fd)

    def symlink(self, path: str, target: str) -> None:
        """Make a symbolic link at ``path`` with the text ``target``, whatever that means."""
        text = _target(target)
        self._change(path)
        with self._ways.parent(path) as (parent, name):
            os.symlink(text, name, dir_fd=parent)
            if os.geteuid() == 0:
                user, group = _owner_of(os.fstat(parent))
                os.chown(name, user, group, dir_fd=parent, follow_symlinks=False)
            _sync_directory(parent)

    def remove(self, path: str) -> None:
        """Remove anything but a directory; a symbolic link itself, not what it points to."""
        self._change(path)
        with self._ways.parent(path) as (parent, name):
            os.unlink(name, dir_fd=parent)
            _sync_directory(parent)

    def remove_dir(self, path: str) -> None:
        """Remove an empty directory."""
        self._ways.leave()
        with self._ways.parent(path) as (parent, name):
            os.rmdir(name, dir_fd=parent)
            _sync_directory(parent)

    def remove_tree(self, path: str) -> None:
        """Remove a directory with all that is in it; links in it are removed, not followed."""
        self._ways.leave()
        with self._ways.parent(path) as (parent, name):
            refuse_link(name, parent)
            shutil.rmtree(name, dir_fd=parent)
            _sync_directory(parent)

    def sweep(self, path: str, older_than_s: float) -> tuple[str, ...]:
        """Remove the files that writers left in a directory when they were killed.

        :param older_than_s: seconds since they were last written to; a younger one may be of a
            writer that is at work.
        :returns: the site paths removed.
        """
        removed = []
        before = time.time() - older_than_s
        with self._ways.directory(path) as directory:
            fd = open_in(b".", os.O_RDONLY | os.O_DIRECTORY, directory)
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

    def rename(self, source: str, target: str) -> None:
        """Rename anything; a file at ``target`` is replaced, as is an empty directory by one."""
        self._change(source, target)
        self._ways.leave()
        with (
            self._ways.parent(source) as (old_parent, old),
            self._ways.parent(target) as (parent, new),
        ):
            os.rename(old, new, src_dir_fd=old_parent, dst_dir_fd=parent)
            _sync_directory(parent)
            if not os.path.samestat(os.fstat(old_parent), os.fstat(parent)):
                _sync_directory(old_parent)

    @contextmanager
    def lock(self, path: str, timeout_s: float = 10.0) -> Iterator[None]:
        """Hold vpopmail's lock of a file, ``path`` + ``.lock``, against processes and threads.

        The lock file is made where it is missing and never removed: whoever removes one lets two
        others each hold "the" lock. A thread that holds the lock waits for itself in vain.

        :raises TimeoutError: somebody else had it all the time.
        """
        if not names_of(path):  # `path` itself: "/.." + ".lock" would be a fine name
            raise UnsafePath("the root itself is meant")
        deadline = time.monotonic() + timeout_s
        threads = _thread_locks.setdefault((self.root, path), threading.Lock())
        if not threads.acquire(timeout=timeout_s):
            raise TimeoutError(errno.ETIMEDOUT, "the lock is held by another thread", path)
        try:
            # Only one descriptor may be open: closing any of them gives the process's lock up.
            fd = self._open_lock(path + LOCK_SUFFIX)
            try:
                wait_s = _POLL_FIRST_S
                while not _try_lock(fd):
                    if time.monotonic() >= deadline:
                        raise TimeoutError(errno.ETIMEDOUT, "another process has the lock", path)
                    time.sleep(wait_s)
                    wait_s = min(2 * wait_s, _POLL_S)
                yield
            finally:
                os.close(fd)
        finally:
            threads.release()

    def _change(self, *paths: str) -> None:
        if self._tell and paths:
            self._tell(paths)

    def _stage(self, write: Write, *, durable: bool) -> _Staged | None:
        """Write a new content under a temporary name; None if the file is as wanted."""
        with self._ways.parent(write.path) as (parent, name):
            try:
                old = _look(name, parent)
            except FileNotFoundError:
                mode, owner = _FILE_MODE, _owner_of(os.fstat(parent))
            else:
                mode, owner = stat.S_IMODE(old.st_mode), _owner_of(old)
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
            fd = open_in(new.temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, parent)
            try:
                try:
                    _write_all(fd, write.data)
                    if durable:
                        _send_to_disk(fd)
                finally:
                    os.close(fd)
            except BaseException:
                os.unlink(new.temp, dir_fd=parent)
                raise
            return new

    def _finish(self, new: _Staged, *, durable: bool) -> None:
        # Apart from `_stage`, so that the disk can work on a whole batch while it is written.
        with self._ways.parent(new.write.path) as (parent, _):
            fd = open_in(new.temp, os.O_WRONLY, parent)
            try:
                _set_owner_and_mode(fd, new.owner, new.mode)
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)

    def _open_lock(self, path: str) -> int:
        with self._ways.parent(path) as (parent, name):
            try:
                return open_in(name, os.O_RDWR, parent)
            except FileNotFoundError:
                with suppress(FileExistsError):  # another process was quicker
                    fd = open_in(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, parent)
                    try:
                        # Its directory's owner: vpopmail's own tools must be able to open it.
                        _set_owner_and_mode(fd, _owner_of(os.fstat(parent)), _FILE_MODE)
                    finally:
                        os.close(fd)
                return open_in(name, os.O_RDWR, parent)


def _target(text: str) -> bytes:
    """Return the text of a link. :raises UnsafePath: no link can have it."""
    if "\0" in text:
        raise UnsafePath(f"not the text of a link: {text!r}")
    try:
        return to_bytes(text)
    except UnicodeEncodeError:
        raise UnsafePath(f"not the text of a link: {text!r}") from None


def _open_file(name: bytes, parent: int) -> BinaryIO:
    """Open a regular file for reading; look first, since opening a device can do things."""
    _look(name, parent)
    # O_NONBLOCK: a FIFO put there since the look must not make us wait for a writer.
    return os.fdopen(open_in(name, os.O_RDONLY | os.O_NONBLOCK, parent), "rb")


def _has(data: Content, name: bytes, parent: int) -> bool:
    """Say whether this is the content of a file that had this size a moment ago."""
    pieces = pieces_of(data)
    places = zip(accumulate(map(len, pieces), initial=0), pieces, strict=False)
    with suppress(FileNotFoundError), _open_file(name, parent) as file:
        # What is new is short, and where it differs the rest need not be read.
        return all(
            os.pread(file.fileno(), len(piece), at) == piece
            for at, piece in sorted(places, key=lambda place: len(place[1]))
        )
    return False


def _look(name: bytes, parent: int) -> os.stat_result:
    """Return what the system knows about a regular file; anything else is an error."""
    status = lstat(name, parent)
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFLNK:
        raise link_error(name)
    if kind == stat.S_IFDIR:
        raise _os_error(errno.EISDIR)
    if kind != stat.S_IFREG:
        raise _os_error(errno.EINVAL)
    return status


def _os_error(number: int) -> OSError:
    # Makes the fitting subclass, as the system's own errors are.
    return OSError(number, os.strerror(number))


def _type_of(entry: os.DirEntry[str]) -> EntryType:
    # The first three come with the listing; the rare rest costs a call.
    if entry.is_symlink():
        return EntryType.LINK
    if entry.is_dir(follow_symlinks=False):
        return EntryType.DIR
    if entry.is_file(follow_symlinks=False):
        return EntryType.FILE
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
    except FileNotFoundError:
        return EntryType.UNKNOWN
    return _TYPES.get(stat.S_IFMT(mode), EntryType.UNKNOWN)


def _make_dir(name: bytes, parent: int, mode: int, owner: Owner | None, *, exist_ok: bool) -> bool:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        if not exist_ok:
            raise
        os.close(open_in(name, PLACE, parent))  # it is one
        return False
    try:
        fd = open_in(name, os.O_RDONLY | os.O_DIRECTORY, parent)
        try:
            _set_owner_and_mode(fd, owner or _owner_of(os.fstat(parent)), mode)
        finally:
            os.close(fd)
    except BaseException:
        os.rmdir(name, dir_fd=parent)
        raise
    return True


def _owner_of(status: os.stat_result) -> Owner:
    return status.st_uid, status.st_gid


def _set_owner_and_mode(fd: int, owner: Owner, mode: int) -> None:
    if os.geteuid() == 0:
        os.fchown(fd, *owner)
    os.fchmod(fd, mode)  # last: a change of owner takes set-id bits away


def _temp_name() -> bytes:
    return to_bytes(TEMP_PREFIX + secrets.token_hex(8))


def _write_all(fd: int, data: Content) -> None:
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


def _sync_directory(directory: int) -> None:
    fd = open_in(b".", os.O_RDONLY | os.O_DIRECTORY, directory)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, as the system likes
        return False
    return True
