"""vpopmail's locks, which are files."""

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from vpopsql.tree.openat import NEW_FILE_MODE, UnsafePath, open_in, owner_of, set_owner_and_mode
from vpopsql.tree.ways import Ways, names_of

_SUFFIX = ".lock"

_POLL_FIRST_S = 0.0005
_POLL_S = 0.01
"""How often a lock is tried: most are held for milliseconds, some for minutes."""

# A process does not compete with itself for fcntl locks, so its threads need locks of their own.
_thread_locks: dict[tuple[bytes, str], threading.Lock] = {}
os.register_at_fork(after_in_child=_thread_locks.clear)


@contextmanager
def held(ways: Ways, path: str, timeout_s: float) -> Iterator[None]:
    """Hold the lock of a file; see `Tree.lock`."""
    if not names_of(path):  # `path` itself: "/.." + ".lock" would be a fine name
        raise UnsafePath("the root itself is meant")
    deadline = time.monotonic() + timeout_s
    threads = _thread_locks.setdefault((ways.root, path), threading.Lock())
    if not threads.acquire(timeout=timeout_s):
        raise TimeoutError(errno.ETIMEDOUT, "the lock is held by another thread", path)
    try:
        # Only one descriptor may be open: closing any of them gives the process's lock up.
        fd = _open(ways, path + _SUFFIX)
        try:
            wait_s = _POLL_FIRST_S
            while not _try(fd):
                if time.monotonic() >= deadline:
                    raise TimeoutError(errno.ETIMEDOUT, "another process has the lock", path)
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, _POLL_S)
            yield
        finally:
            os.close(fd)
    finally:
        threads.release()


def _open(ways: Ways, path: str) -> int:
    with ways.parent(path) as (parent, name):
        try:
            return open_in(name, os.O_RDWR, parent)
        except FileNotFoundError:
            with suppress(FileExistsError):  # another process was quicker
                fd = open_in(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, parent)
                try:
                    # Its directory's owner: vpopmail's own tools must be able to open it.
                    set_owner_and_mode(fd, owner_of(os.fstat(parent)), NEW_FILE_MODE)
                finally:
                    os.close(fd)
            return open_in(name, os.O_RDWR, parent)


def _try(fd: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, as the system likes
        return False
    return True
