"""The entries of the trash, and where their files are: still where they were, or in the trash.

Whether it is the entry's files that are still where they were is told by the directory itself, and
by whether somebody lives there: a new mailbox may have the path by now, and where hosts do not
share their files, the same path is another directory on each.
"""

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from vpopsql.model import TrashEntry, TrashKind
from vpopsql.services.kept_rows import Rows
from vpopsql.services.paths import is_home
from vpopsql.tree import Tree

PRESENT = (
    select(TrashEntry)
    .where(TrashEntry.restored_at.is_(None), TrashEntry.purged_at.is_(None))
    .order_by(TrashEntry.id)
)
"""Selects what was deleted and neither restored nor purged since, the eldest first."""

_SEEN = "seen"
"""The key in an entry's rows for what tells its directory from another one."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What tells a directory from one that is made later under the same path."""

    inode: int
    """Not enough: it is used again at once."""
    changed_at_ns: int | None
    """None where it does not matter, as nobody makes a directory anew where files are; only of
    a home and of an empty directory that cannot be told by looking."""

    def is_still(self, status: os.stat_result) -> bool:
        """Tell whether this is the directory that was seen."""
        return status.st_ino == self.inode and self.changed_at_ns in {None, status.st_ctime_ns}


def see(tree: Tree, path: str, kind: TrashKind) -> Seen | None:
    """Return what tells the file or directory at ``path`` from a later one; None: it is missing.

    :param kind: what it is that is being deleted.
    """
    status = status_of(tree, path)
    if status is None:
        return None
    if kind is TrashKind.USER or not stat.S_ISDIR(status.st_mode) or not tree.list(path):
        return Seen(status.st_ino, status.st_ctime_ns)
    return Seen(status.st_ino, None)


def rows_of_seen(seen: Seen | None) -> Rows:
    """Return what an entry remembers of a file or directory that goes on this host alone."""
    return {_SEEN: [asdict(seen)] if seen else []}


def _is_what_was_seen(tree: Tree, entry: TrashEntry) -> bool:
    """Tell whether what is at an entry's old path can be what it is about.

    Somebody may have made another there, or it may be another host's.
    """
    status = status_of(tree, entry.original_path)
    if status is None:
        return False
    is_directory = stat.S_ISDIR(status.st_mode)
    if entry.kind is not TrashKind.DIRECTORY:
        return is_directory
    seen = (entry.payload or {}).get(_SEEN)
    if seen is None:
        return is_directory
    return any(Seen(**each).is_still(status) for each in seen)


def status_of(tree: Tree, path: str) -> os.stat_result | None:
    """Return what the system knows about a path; None: there is nothing."""
    try:
        return tree.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def move(tree: Tree, source: str, target: str) -> bool:
    """Move a tree and wait until that is on disk; arguments and errors as `rename`.

    :returns: whether it was there.
    """
    places = rename(tree, source, target)
    tree.sync(*places)
    return bool(places)


def rename(tree: Tree, source: str, target: str) -> Sequence[str]:
    """Move a tree to ``target``; where that is another file system, to the trash beside it.

    :returns: the directories that are to be waited for, in this order, lest a crash leave the
        tree nowhere. None if it is not there any more: a daemon and a follower of one host may
        both be about to move it.
    :raises OSError: it cannot be moved; it is where it was.
    """
    place = _parent(target)
    tree.make_dir(_parent(place), parents=True)
    tree.make_dir(place, parents=True, durable=False)
    try:
        tree.rename(source, target, durable=False)
    except OSError as error:
        with suppress(OSError):
            tree.remove_dir(place)
        if error.errno == errno.ENOENT and not tree.exists(source):
            return ()
        beside = _beside(source, target)
        if error.errno != errno.EXDEV or target == beside:
            raise
        return rename(tree, source, beside)
    return _parent(place), place, _parent(source) or "/"


def move_back(tree: Tree, place: str, path: str) -> None:
    """Move a tree from its ``place`` in the trash to ``path``, where nothing is."""
    tree.make_dir(_parent(path), parents=True)
    tree.rename(place, path)
    with suppress(OSError):
        tree.remove_dir(_parent(place))


def _beside(source: str, target: str) -> str:
    place, name = target.rsplit("/", 2)[1:]
    return f"{_parent(source)}/.trash/{place}/{name}"


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def places(entry: TrashEntry) -> tuple[str, str]:
    """Return where in the trash an entry's files may be."""
    return entry.trash_path, _beside(entry.original_path, entry.trash_path)


def place_of(tree: Tree, entry: TrashEntry) -> str | None:
    """Return where in the trash an entry's files are; None: nowhere."""
    return next((path for path in places(entry) if tree.exists(path)), None)


def is_left(session: Session, tree: Tree, entry: TrashEntry) -> bool:
    """Tell whether an entry's files are still where they were, and nobody else's."""
    if entry.kind is TrashKind.DOTQMAIL:
        return False
    return (
        place_of(tree, entry) is None
        and _is_what_was_seen(tree, entry)
        and not is_home(session, entry.original_path)
    )
