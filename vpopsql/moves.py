"""Directories that get another name with their mailbox or domain, and crashes on the way.

::

    move = Move(source, target, domain_id, real_name)
    move.begin(tree, site_directory)     # in the transaction, last before its commit
    ...                                  # commit, let the files follow
    move.end(tree, site_directory)

`begin` writes down what it is about to do, in ``<vpopmail>/trash/.renames``, renames the
directory, and puts a symbolic link in the old place, which leads qmail and vdelivermail to the new
one until they hear of it. So whatever the rows and the files say, and wherever it is cut off, mail
finds its way. (Between the rename and the link there are some microseconds, in which a delivery is
deferred.) `end` takes the link away.

`unfinished` says which moves were cut off, having put back those that were never committed. The
others are ended by their caller, once the files have followed: `end` before that would leave files
that lead nowhere. What has been written down is about this host's files, so it is among them, not
in the database.
"""

import errno
import json
import secrets
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from vpopsql.errors import DirectoryExists
from vpopsql.model import Domain
from vpopsql.services.paths import is_home
from vpopsql.touched import Touched
from vpopsql.tree import LinkInPath, Tree

_PLACE = "trash/.renames"


@dataclass(frozen=True, slots=True)
class Move:
    """A directory and what it shall be called."""

    source: str
    """A site path without a slash at its end."""
    target: str
    """Another name in the same directory."""
    domain_id: int
    domain: str
    """The real domain whose files have to follow, under its new name."""
    names: tuple[str, ...] = ()
    """All names that lead there or did, if these change."""
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def require_room(self, tree: Tree) -> None:
        """Refuse to overwrite anything, and to rename what is no directory.

        :raises DirectoryExists: something is there.
        :raises LinkInPath: the directory is somewhere else, and a link leads to it.
        """
        if tree.exists(self.target):
            raise DirectoryExists(self.target)
        if tree.exists(self.source) and not _is_directory(tree, self.source):
            raise LinkInPath(f"{self.source}: only a directory itself can be renamed")

    def begin(self, tree: Tree, site_directory: str) -> bool:
        """Rename the directory, and leave a link; return whether there was a directory.

        :raises DirectoryExists, LinkInPath: as `require_room` does.
        :raises OSError: it cannot be done; everything is as it was.
        """
        self.require_room(tree)
        if not _is_directory(tree, self.source):
            return False
        tree.make_dir(f"{site_directory}/{_PLACE}", parents=True)
        tree.write(self._note(site_directory), json.dumps(asdict(self)).encode())
        try:
            tree.rename(self.source, self.target)
            tree.symlink(self.source, self.target.rpartition("/")[2])
        except BaseException:
            self.undo(tree, site_directory)
            raise
        return True

    def undo(self, tree: Tree, site_directory: str) -> None:
        """Put back what `begin` has done, as the change is not committed."""
        if _is_directory(tree, self.target):
            if self._is_link(tree):
                tree.remove(self.source)
            if not tree.exists(self.source):
                tree.rename(self.target, self.source)
        self._forget(tree, site_directory)

    def end(self, tree: Tree, site_directory: str) -> None:
        """Take the link away; nothing leads there any more."""
        if self._is_link(tree):
            # Whoever finishes what others left may have been quicker.
            with suppress(FileNotFoundError):
                tree.remove(self.source)
        self._forget(tree, site_directory)

    @property
    def touched(self) -> Touched:
        """Return which files have to follow."""
        of = {self.domain}
        return Touched(set(of), set(of), set(of), names=set(self.names))

    def _is_link(self, tree: Tree) -> bool:
        try:
            return tree.read_link(self.source) == self.target.rpartition("/")[2]
        except OSError as error:
            if error.errno in {errno.EINVAL, errno.ENOENT, errno.ENOTDIR}:
                return False
            raise

    def _note(self, site_directory: str) -> str:
        return f"{site_directory}/{_PLACE}/{self.token}.json"

    def _forget(self, tree: Tree, site_directory: str) -> None:
        with suppress(FileNotFoundError):
            tree.remove(self._note(site_directory))


def has_unfinished(tree: Tree, site_directory: str) -> bool:
    """Tell whether there may be moves that were cut off; some may still be on their way."""
    return bool(_notes(tree, site_directory))


def unfinished(session: Session, tree: Tree, site_directory: str) -> list[Move]:
    """Put back moves that were not committed; return the others, which are still to be ended.

    :param session: in a write transaction: who is still at work is waited for.
    """
    committed = []
    for path in _notes(tree, site_directory):
        move = _read(tree, path)
        if move is None:
            # Half a note is of somebody who was killed before he moved anything.
            with suppress(FileNotFoundError):
                tree.remove(path)
            continue
        session.execute(select(Domain.id).where(Domain.id == move.domain_id).with_for_update())
        if is_home(session, move.target):
            committed.append(move)
        elif is_home(session, move.source):
            move.undo(tree, site_directory)
        else:
            # Deleted since then: what is there is in the trash, or will be.
            move.end(tree, site_directory)
    return committed


def _notes(tree: Tree, site_directory: str) -> list[str]:
    place = f"{site_directory}/{_PLACE}"
    try:
        return [f"{place}/{e.name}" for e in tree.list(place) if e.name.endswith(".json")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read(tree: Tree, path: str) -> Move | None:
    try:
        found = json.loads(tree.read(path))
        return Move(**(found | {"names": tuple(found["names"])}))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _is_directory(tree: Tree, path: str) -> bool:
    try:
        return stat.S_ISDIR(tree.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
