"""Calls of the system by a name in an open directory, none of which follows a symbolic link.

As with openat(2) and its kin, nothing that is put on the way to the directory leads elsewhere.
Names are bytes here, as the system has them; the text of a name is the same everywhere in vpopsql,
whatever the locale.
"""

import errno
import os
import stat
from typing import BinaryIO

PLACE = os.O_PATH | os.O_DIRECTORY
"""How a directory is opened to work in by ``dir_fd``; it can be neither read nor synced."""

NEW_FILE_MODE = 0o600

Owner = tuple[int, int]
"""User id and group id."""


class UnsafePath(ValueError):
    """A path that is not absolute, or has an empty component, ``.``, ``..`` or NUL."""


class LinkInPath(UnsafePath):
    """A symbolic link stands where a file or directory was wanted."""


def to_bytes(name: str) -> bytes:
    """Return the bytes of a name."""
    return name.encode("utf-8", "surrogateescape")


def to_text(name: bytes) -> str:
    """Return the text of a name."""
    return name.decode("utf-8", "surrogateescape")


def open_in(name: bytes, flags: int, parent: int) -> int:
    """Open ``name`` in ``parent``, never through a symbolic link."""
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, NEW_FILE_MODE, dir_fd=parent)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            refuse_link(name, parent)
        raise


def open_directory(place: int) -> int:
    """Open a directory that is open as a `PLACE` to read or sync it."""
    return open_in(b".", os.O_RDONLY | os.O_DIRECTORY, place)


def open_file(name: bytes, parent: int) -> BinaryIO:
    """Open a regular file for reading.

    :raises OSError: among the system's own, those of `regular_file`.
    """
    # Looks first, since opening a device can do things.
    regular_file(name, parent)
    # O_NONBLOCK: a FIFO put there since the look must not make us wait for a writer.
    return os.fdopen(open_in(name, os.O_RDONLY | os.O_NONBLOCK, parent), "rb")


def regular_file(name: bytes, parent: int) -> os.stat_result:
    """Return what the system knows about a regular file.

    :raises OSError: among the system's own, EISDIR for a directory, EINVAL for anything special.
    :raises LinkInPath: it is a symbolic link.
    """
    status = lstat(name, parent)
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFLNK:
        raise _link_error(name)
    if kind == stat.S_IFDIR:
        raise os_error(errno.EISDIR)
    if kind != stat.S_IFREG:
        raise os_error(errno.EINVAL)
    return status


def lstat(name: bytes, parent: int) -> os.stat_result:
    """Return what the system knows about ``name`` in ``parent``, be it a link."""
    return os.stat(name, dir_fd=parent, follow_symlinks=False)


def refuse_link(name: bytes, parent: int) -> None:
    """Refuse a symbolic link. :raises LinkInPath: it is one."""
    if stat.S_ISLNK(lstat(name, parent).st_mode):
        raise _link_error(name)


def os_error(number: int) -> OSError:
    """Return an error as the system raises it."""
    # This makes the fitting subclass, as the system's own errors are.
    return OSError(number, os.strerror(number))


def owner_of(status: os.stat_result) -> Owner:
    """Return whose a file is."""
    return status.st_uid, status.st_gid


def set_owner_and_mode(fd: int, owner: Owner, mode: int) -> None:
    """Set the mode and, as root, the owner of what is open."""
    if os.geteuid() == 0:
        os.fchown(fd, *owner)
    os.fchmod(fd, mode)  # last: a change of owner takes set-id bits away


def sync_directory(place: int) -> None:
    """Wait until the names in a directory are on disk."""
    fd = open_directory(place)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _link_error(name: bytes) -> LinkInPath:
    return LinkInPath(f"a symbolic link is not followed: {to_text(name)!r}")
