"""Measuring a Maildir, as Maildir++ says.

Counted are the messages in ``new`` and ``cur`` of the box and of each folder except ``.Trash``,
without those that are marked as trashed. A message's size is in its name; without one it is the
file's.

The sums in ``maildirsize`` are believed instead if nothing can have changed since they were
written: the file is newer than every ``new`` and ``cur``, has the mailbox's quota, no damaged
line, and is not so long that Maildir++ has it made anew. They can still be wrong: a program that
knows nothing of the file may have delivered before one that does.

Nothing is written, and no symbolic link is followed.
"""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from vpopsql.directory import Directory, name_of
from vpopsql.model import UsageSource
from vpopsql.qmail import maildirsize
from vpopsql.quota import Quota
from vpopsql.tree import Tree

FILE = "maildirsize"

_FILE_MAX = 5119
"""Bytes of a maildirsize; from 5120 on Maildir++ has it made anew."""

_PARTS = ("new", "cur")
_SIZE = re.compile(r",S=(\d+)")
_TRASHED = re.compile(r":2,[A-Z]*T")
_UNLIMITED = Quota()


class Measured(NamedTuple):
    """What a Maildir holds, and how that was found out."""

    bytes: int
    messages: int
    source: UsageSource


def measure(tree: Tree, path: str, quota: Quota = _UNLIMITED) -> Measured:
    """Return what the Maildir at ``path`` holds.

    :param quota: of the mailbox: sums that were made for another one are not believed.
    :raises OSError: it is not there, or a part of it cannot be read or is a symbolic link.
    :raises UnsafePath: there is a symbolic link on the way to it.
    """
    with tree.enter(path) as box:
        folders = [
            name_of(entry)
            for entry in box.entries()
            if entry.name.startswith(".")
            and entry.name != ".Trash"
            and entry.is_dir(follow_symlinks=False)
        ]
        return _told(box, folders, quota) or _counted(box, folders)


def _told(box: Directory, folders: list[str], quota: Quota) -> Measured | None:
    """Return what maildirsize says; None: it is not to be believed."""
    try:
        data, status = box.read_with_status(FILE, _FILE_MAX)
    except OSError:
        return None
    sums = maildirsize.parse(data)
    if (
        not maildirsize.is_sound(data)
        or Quota.parse(sums.quota_text) != quota
        or min(sums.total_bytes, sums.total_count) < 0
        or bool(sums.total_bytes) != bool(sums.total_count)
        or status.st_mtime > time.time()
    ):
        return None
    for part in _parts(box, folders):
        # Times of the same tick do not tell which was first.
        if part.status().st_mtime_ns >= status.st_mtime_ns:
            return None
    return Measured(sums.total_bytes, sums.total_count, UsageSource.MAILDIRSIZE)


def _counted(box: Directory, folders: list[str]) -> Measured:
    sizes = [size for part in _parts(box, folders) for size in _sizes(part)]
    return Measured(sum(sizes), len(sizes), UsageSource.COUNT)


def _parts(box: Directory, folders: list[str]) -> Iterator[Directory]:
    """Return what messages are in, each open until the next is asked for."""
    for folder in ("", *folders):
        # Made or removed while we look; a folder need not have both.
        with suppress(FileNotFoundError), box.enter(folder) as found:
            for name in _PARTS:
                try:
                    part = found.enter(name)
                except FileNotFoundError:
                    continue
                with part:
                    yield part


def _sizes(part: Directory) -> Iterator[int]:
    for entry in part.entries():
        if _TRASHED.search(entry.name) or not entry.is_file(follow_symlinks=False):
            continue
        if told := _SIZE.search(entry.name):
            yield int(told[1])
        else:
            # Delivered or deleted while we looked.
            with suppress(FileNotFoundError):
                yield entry.stat(follow_symlinks=False).st_size
