"""What a directory holds."""

import os
import stat
from dataclasses import dataclass
from enum import StrEnum

from vpopsql.tree.openat import open_directory, to_text


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


def entries_in(place: int) -> list[Entry]:
    """Return what a directory holds, without ``.`` and ``..``, in name order."""
    fd = open_directory(place)
    try:
        with os.scandir(fd) as entries:
            found = [Entry(to_text(os.fsencode(e.name)), _type_of(e)) for e in entries]
    finally:
        os.close(fd)
    return sorted(found, key=lambda entry: entry.name)


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
