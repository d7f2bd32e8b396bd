"""What can be done with the files of a tree; see `vpopsql.tree` for what all of it keeps to."""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from vpopsql.directory import Directory
from vpopsql.pieces import Content
from vpopsql.tree import locking, writing
from vpopsql.tree.listing import Entry, entries_in
from vpopsql.tree.openat import (
    NEW_FILE_MODE,
    PLACE,
    Owner,
    UnsafePath,
    lstat,
    open_directory,
    open_file,
    open_in,
    os_error,
    owner_of,
    refuse_link,
    set_owner_and_mode,
    sync_directory,
    to_bytes,
    to_text,
)
from vpopsql.tree.ways import Ways, names_of
from vpopsql.tree.writing import Write


@dataclass(frozen=True, slots=True)
class File:
    """A regular file as it is."""

    data: bytes
    owner: Owner
    mode: int
    """Its permission bits."""
    modified_at: float
    """Unix seconds."""


class Tree:
    """The files below ``root``, a real directory; the path to it may have symbolic links.

    :param places: site paths of directories that the administrator has named. The ways to them
        may have symbolic links too: packages put qmail's control files into /etc, disks are moved.
    """

    def __init__(self, root: str | os.PathLike[str] = "", places: Iterable[str] = ()) -> None:
        self.root = os.fspath(root) or "/"
        self._ways = Ways(self.root, places)
        self._tell: Callable[[Sequence[str]], None] | None = None
        self._ahead = writing.Ahead(self._ways)

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
        with self._ways.parent(path) as (parent, name), open_file(name, parent) as file:
            data = file.read() if max_bytes is None else file.read(max_bytes + 1)
            if max_bytes is not None and len(data) > max_bytes:
                raise os_error(errno.EFBIG)
            return data

    @contextmanager
    def opened(self, path: str) -> Iterator[BinaryIO]:
        """Give a regular file to read from, for those who need little of a large one."""
        with self._ways.parent(path) as (parent, name), open_file(name, parent) as file:
            yield file

    def load(self, path: str) -> File:
        """Return a regular file with what the system knows about it; errors as `read`."""
        with self._ways.parent(path) as (parent, name), open_file(name, parent) as file:
            status = os.fstat(file.fileno())
            mode = stat.S_IMODE(status.st_mode)
            return File(file.read(), owner_of(status), mode, status.st_mtime)

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
            return entries_in(directory)

    def enter(self, path: str) -> Directory:
        """Open a directory, to look at much of what is in it; whoever asked closes it."""
        with self._ways.directory(path) as directory:
            return Directory(open_directory(directory), path)

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
        return writing.replace(
            self._ways, tuple(batch), self._change, self._ahead, durable=durable
        )

    @contextmanager
    def ahead(self, writes: Iterable[Write]) -> Iterator[None]:
        """Let the disk begin with contents that several batches of the block are to write.

        It has usually all of them when the first batch has waited for its own, so that the others
        need not wait any more. What no batch writes is removed again.
        """
        try:
            self._ahead.begin(writes)
            yield
        finally:
            self._ahead.end()

    def create(self, path: str, mode: int = NEW_FILE_MODE) -> AbstractContextManager[BinaryIO]:
        """Write a file piece by piece; it is there, whole and on disk, if the block ends well."""
        return writing.create(self._ways, path, mode)

    def overwrite(self, path: str, data: bytes) -> None:
        """Write a file where it is, and wait for no disk: a third of the time of `write`.

        For what can tell by itself whether it is whole: a crash may leave a part of ``data``, with
        what was there before behind it. A file that is missing is made with mode 0600.
        """
        writing.overwrite(self._ways, path, data)

    def append(self, path: str, data: bytes) -> None:
        """Add ``data`` to a file, which is made with mode 0600 if need be, and wait for the disk.

        Not atomic: a crash may leave a part of ``data``.
        """
        writing.append(self._ways, path, data)

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
                    sync_directory(parent)
        return made

    def sync(self, *directories: str) -> None:
        """Wait until what was made in directories is on disk, once for all of them.

        The disk has usually all of it when it has the first: so this is for whoever makes several
        things with ``durable=False``.
        """
        for path in directories:
            with self._ways.directory(path) as directory:
                sync_directory(directory)

    def set_rights(self, path: str, mode: int, owner: Owner) -> None:
        """Set the mode and, as root, the owner of a regular file or a directory."""
        with self._ways.parent(path) as (parent, name):
            if stat.S_IFMT(lstat(name, parent).st_mode) not in {stat.S_IFREG, stat.S_IFDIR}:
                raise os_error(errno.EINVAL)
            fd = open_in(name, os.O_RDONLY | os.O_NONBLOCK, parent)
            try:
                set_owner_and_mode(fd, owner, mode)
            finally:
                os.close(fd)

    def symlink(self, path: str, target: str) -> None:
        """Make a symbolic link at ``path`` with the text ``target``, whatever that means."""
        text = _target(target)
        self._change([path])
        with self._ways.parent(path) as (parent, name):
            os.symlink(text, name, dir_fd=parent)
            if os.geteuid() == 0:
                user, group = owner_of(os.fstat(parent))
                os.chown(name, user, group, dir_fd=parent, follow_symlinks=False)
            sync_directory(parent)

    def remove(self, path: str, *, durable: bool = True, is_told: bool = True) -> None:
        """Remove anything but a directory; a symbolic link itself, not what it points to.

        :param durable: wait for the disk; False for whoever does so for many.
        :param is_told: whether it is of interest to those who are told of changes.
        """
        if is_told:
            self._change([path])
        with self._ways.parent(path) as (parent, name):
            os.unlink(name, dir_fd=parent)
            if durable:
                sync_directory(parent)

    def remove_dir(self, path: str) -> None:
        """Remove an empty directory."""
        self._ways.leave(path)
        with self._ways.parent(path) as (parent, name):
            os.rmdir(name, dir_fd=parent)
            sync_directory(parent)

    def remove_tree(self, path: str) -> None:
        """Remove a directory with all that is in it; links in it are removed, not followed."""
        self._ways.leave(path)
        with self._ways.parent(path) as (parent, name):
            refuse_link(name, parent)
            shutil.rmtree(name, dir_fd=parent)
            sync_directory(parent)

    def sweep(self, path: str, older_than_s: float) -> tuple[str, ...]:
        """Remove the files that writers left in a directory when they were killed.

        :param older_than_s: seconds since they were last written to; a younger one may be of a
            writer that is at work.
        :returns: the site paths removed.
        """
        return writing.sweep(self._ways, path, older_than_s)

    def rename(self, source: str, target: str, *, durable: bool = True) -> None:
        """Rename anything; a file at ``target`` is replaced, as is an empty directory by one.

        :param durable: wait for the disk; False for whoever does so for more than this.
        """
        self._change([source, target])
        self._ways.leave(source)
        self._ways.leave(target)
        with (
            self._ways.parent(source) as (old_parent, old),
            self._ways.parent(target) as (parent, new),
        ):
            os.rename(old, new, src_dir_fd=old_parent, dst_dir_fd=parent)
            if not durable:
                return
            sync_directory(parent)
            if not os.path.samestat(os.fstat(old_parent), os.fstat(parent)):
                sync_directory(old_parent)

    def lock(self, path: str, timeout_s: float = 10.0) -> AbstractContextManager[None]:
        """Hold vpopmail's lock of a file, ``path`` + ``.lock``, against processes and threads.

        The lock file is made where it is missing and never removed: whoever removes one lets two
        others each hold "the" lock. A thread that holds the lock waits for itself in vain.

        :raises TimeoutError: somebody else had it all the time.
        """
        return locking.held(self._ways, path, timeout_s)

    def _change(self, paths: Sequence[str]) -> None:
        if self._tell and paths:
            self._tell(paths)


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
            set_owner_and_mode(fd, owner or owner_of(os.fstat(parent)), mode)
        finally:
            os.close(fd)
    except BaseException:
        os.rmdir(name, dir_fd=parent)
        raise
    return True


def _target(text: str) -> bytes:
    """Return the text of a link. :raises UnsafePath: no link can have it."""
    if "\0" in text:
        raise UnsafePath(f"not the text of a link: {text!r}")
    try:
        return to_bytes(text)
    except UnicodeEncodeError:
        raise UnsafePath(f"not the text of a link: {text!r}") from None
