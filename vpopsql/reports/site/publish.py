"""A directory of pages that are replaced all together, once the new ones are all there.

The new pages are written below ``.next`` in the directory itself, so that it may be the root of a
web server, a mount, or have rights of its own, and then change places with the old ones: the
directories, and last of all the index. Whatever ends us before leaves the old site. Pages
are not waited for until they are on the disk: after a power failure, write them again.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vpopsql.errors import ExportFailed
from vpopsql.tree import EntryType, Tree

MARK = ".vpopsql-report"
"""The file that says that a directory is ours."""
_NEXT = ".next"
_PARTS = ("assets", "domains", "reports")
_INDEX = "index.html"
_SAYS = b"Made by `vpopsql report html`, which replaces what it has made here.\n"
_DIRECTORY_MODE = 0o750
_FILE_MODE = 0o640
_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)


class Pages:
    """Writes pages, below a root: of a site that is not to be seen yet."""

    def __init__(self, root: str, umask: int) -> None:
        self._tree = Tree(root)
        self._directory_mode = _DIRECTORY_MODE & ~umask
        self._file_mode = _FILE_MODE & ~umask
        self._made: set[str] = set()

    def write(self, path: str, page: str) -> None:
        """Write a page, and make the directory that it is in.

        :param path: such as ``domains/ex/example.com.html``.
        """
        above, _, _ = path.rpartition("/")
        if above and above not in self._made:
            self._tree.make_dir(f"/{above}", self._directory_mode, parents=True, durable=False)
            self._made.add(above)
        self._tree.write(f"/{path}", page.encode(), mode=self._file_mode, durable=False)


@contextmanager
def publishing(directory: Path) -> Iterator[tuple[str, int]]:
    """Give the root of a new site, for `Pages`, and the umask; publish it if the block ends well.

    :param directory: new, empty, or the place of an earlier site; what else is in there stays.
    :raises ExportFailed: it is anything else, somebody else is writing there, or it cannot be
        written to.
    """
    umask = os.umask(0o077)
    os.umask(umask)
    try:
        with _opened(directory, umask) as tree:
            root = directory / _NEXT
            try:
                yield str(root), umask
                _replace(directory)
            finally:
                with suppress(FileNotFoundError):
                    tree.remove_tree(f"/{_NEXT}")
    except OSError as error:
        if isinstance(error, TimeoutError):
            raise ExportFailed(f"{directory}: another process is writing pages there") from error
        raise ExportFailed(
            f"{directory}: {error.strerror}: {error.filename or ''}".removesuffix(": ")
        ) from error


@contextmanager
def _opened(directory: Path, umask: int) -> Iterator[Tree]:
    """Make a directory ours, and lock it."""
    with suppress(FileExistsError):
        directory.mkdir(_DIRECTORY_MODE)
    tree = Tree(directory)
    entries = {entry.name: entry.type for entry in tree.list("/")}
    if entries and entries.get(MARK) is not EntryType.FILE:
        raise ExportFailed(
            f"{directory}: is not empty, and was not made by `vpopsql report html`: name a new"
            " directory or an empty one"
        )
    tree.write(f"/{MARK}", _SAYS, mode=_FILE_MODE & ~umask, durable=False)
    with tree.lock(f"/{MARK}", timeout_s=0):
        if tree.exists(f"/{_NEXT}"):  # of somebody who was killed
            tree.remove_tree(f"/{_NEXT}")
        tree.make_dir(f"/{_NEXT}", _DIRECTORY_MODE & ~umask, durable=False)
        yield tree


def _replace(directory: Path) -> None:
    """Let the new pages and the old ones change places."""
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in _PARTS:
            _exchange(place, f"{_NEXT}/{part}", part)
        os.rename(f"{_NEXT}/{_INDEX}", _INDEX, src_dir_fd=place, dst_dir_fd=place)
    finally:
        os.close(place)


def _exchange(place: int, new: str, old: str) -> None:
    """Put ``new`` where ``old`` is, and the other way round, in one step where that can be."""
    try:
        _renameat2(place, new, old)
    except FileNotFoundError:
        os.rename(new, old, src_dir_fd=place, dst_dir_fd=place)
    except OSError as error:
        # EINVAL: this file system cannot; ENOSYS: nor can this system.
        if error.errno not in {errno.EINVAL, errno.ENOSYS}:
            raise
        aside = f"{new}-old"
        os.rename(old, aside, src_dir_fd=place, dst_dir_fd=place)
        os.rename(new, old, src_dir_fd=place, dst_dir_fd=place)


def _renameat2(place: int, one: str, other: str) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    done = library.renameat2(place, one.encode(), place, other.encode(), _EXCHANGE)
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), other)
