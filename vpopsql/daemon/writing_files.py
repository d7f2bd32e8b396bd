"""The handlers of the commands that change files.

A dot-qmail file is rows: those change, and the exporter writes the file. Every other file is
written, renamed and removed in the site's tree, when the transaction is over.
"""

import errno
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from vpopsql import errors, trash
from vpopsql.daemon import delivery
from vpopsql.daemon.call import Body, Call, Effects, Write
from vpopsql.protocol import encode, unstuff
from vpopsql.services import changes, dotqmail_changes, paths
from vpopsql.services.dotqmail_changes import Content, Place
from vpopsql.services.paths import Owner
from vpopsql.tree import LinkInPath, Tree

# --- handlers -----------------------------------------------------------------------------------


def mk_dir(call: Call) -> Write:
    """Make a directory, in one that is there."""
    path = _Path(call, call.word(errors.DirectoryRequired))
    return Write(path.make_dir)


def rm_dir(call: Call) -> Write:
    """Move a directory with all that is in it to the trash."""
    path = _Path(call, call.word(errors.DirectoryRequired))
    return Write(path.remove_dir)


def rm_file(call: Call) -> Write:
    """Remove a file, or a symbolic link itself."""
    path = _Path(call, call.word(errors.FilenameRequired))
    return Write(path.remove)


def rename_file(call: Call) -> Write:
    """Rename a file or a directory, within what the caller may touch."""
    names = call.word(errors.SourceRequired), call.word(errors.DestinationRequired)
    source, target = _Path(call, names[0]), _Path(call, names[1])
    return Write(lambda session, effects: source.rename(session, effects, target))


def write_file(call: Call) -> Body:
    """Write a file of the lines that follow; what cannot be written is refused at once."""
    path = _Path(call, call.word(errors.FilenameRequired))
    path.require_writable()

    def finish(lines: Sequence[bytes]) -> Write:
        data = _file_of(lines)
        return Write(lambda session, effects: path.write(session, effects, data))

    return Body(finish, None, is_file=True)


def _file_of(lines: Iterable[bytes]) -> bytes:
    """Return the file that a body's lines are; their carriage returns belong to it."""
    texts = (unstuff(line.decode("utf-8", "surrogateescape")) for line in lines)
    return b"".join(encode(text) + b"\n" for text in texts)


# --- paths --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Whose:
    """What the database says of a path, in one transaction."""

    owner: Owner | None
    place: Place | None
    """The dot-qmail file that it is."""

    @property
    def ids(self) -> tuple[int, int] | None:
        """Return the user and group that a new file belongs to; None: its directory's."""
        return (self.owner.domain.uid, self.owner.domain.gid) if self.owner else None


class _Path:
    """A path of a file command; its methods are jobs, or parts of one."""

    def __init__(self, call: Call, text: str) -> None:
        self._actor = call.actor
        self._rules = delivery.rules_of(call)
        self._max_bytes = call.config.daemon.max_file_bytes
        self._owned = paths.resolve(call.session, call.actor, text)
        self.below = self._owned.below
        self.tree = Tree(call.config.paths.root + self._owned.root)
        self._site = call.tree()

    def require_writable(self) -> None:
        """Refuse a path that no file can be at. :raises OSError: why not."""
        if self.below == "/":
            raise _os_error(errno.EISDIR)
        if not stat.S_ISDIR(self._mode(self.below.rpartition("/")[0] or "/")):
            raise _os_error(errno.ENOTDIR)
        try:
            mode = self._mode(self.below)
        except FileNotFoundError:
            return
        if not stat.S_ISREG(mode):
            raise _os_error(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL)

    def _mode(self, path: str) -> int:
        mode = self.tree.stat(path).st_mode
        if stat.S_ISLNK(mode):
            raise LinkInPath(path)
        return mode

    def make_dir(self, session: Session, effects: Effects) -> None:
        """Make a directory."""
        whose = self.whose(session)
        if self.below == "/":
            raise _os_error(errno.EEXIST)
        if whose.place:
            raise errors.UnauthorizedPath(self._actor.level)
        self._note(session, "mk_dir")
        effects.actions.append(lambda: self.tree.make_dir(self.below, owner=whose.ids))

    def remove_dir(self, session: Session, effects: Effects) -> None:
        """Move a directory to the trash."""
        self.require_nobodys_home(session, self.whose(session))
        if not stat.S_ISDIR(self._mode(self.below)):
            raise _os_error(errno.ENOTDIR)
        path = self._owned.site_path
        kept = trash.prepare_directory(session, self._site, self._actor, path)
        effects.trash(kept, self._site)

    def remove(self, session: Session, effects: Effects) -> None:
        """Remove a file, or the rows that are one."""
        if self.below == "/":
            raise _os_error(errno.EISDIR)
        place = self.whose(session).place
        if place and dotqmail_changes.remove_file(session, self._actor, self._rules, place):
            _touch(effects, place, is_removed=True)
        else:
            self._note(session, "rm_file", {"bytes": (self._size(), None)})
            effects.actions.append(lambda: self.tree.remove(self.below))

    def write(self, session: Session, effects: Effects, data: bytes) -> None:
        """Make ``data`` all that a file has."""
        whose = self.whose(session)
        if whose.place:
            content = delivery.parse_content(data)
            self._set(session, effects, whose.place, content)
        else:
            self._note(session, "write_file", {"bytes": (self._size(), len(data))})
            effects.actions.append(lambda: self.tree.write(self.below, data, owner=whose.ids))

    def rename(self, session: Session, effects: Effects, target: "_Path") -> None:
        """Give a file the place of ``target``, be it rows before or after."""
        ours, theirs = self.whose(session), target.whose(session)
        rows = ours.place and dotqmail_changes.read_file(session, self._rules, ours.place)
        if ours.place and rows:
            self._rename_rows(session, effects, ours.place, rows, target, theirs)
        elif theirs.place:
            data = self.tree.read(self.below, self._max_bytes)
            self._set(session, effects, theirs.place, delivery.parse_content(data))
            effects.actions.append(lambda: self.tree.remove(self.below))
        else:
            self.require_nobodys_home(session, ours)
            target.require_nobodys_home(session, theirs)
            names = (self._owned.site_path, target._owned.site_path)  # noqa: SLF001 - of our own class
            self._note(session, "rename_file", {"path": names})
            effects.actions.append(lambda: self.tree.rename(self.below, target.below))

    def _rename_rows(
        self,
        session: Session,
        effects: Effects,
        source: Place,
        content: Content,
        target: "_Path",
        theirs: _Whose,
    ) -> None:
        if theirs.place:
            rename = dotqmail_changes.rename_file
            rename(session, self._actor, self._rules, source, theirs.place)
            _touch(effects, theirs.place)
            is_removed = source != theirs.place
        else:
            dotqmail_changes.remove_file(session, self._actor, self._rules, source)
            # Before the rows are gone for good: a file too many is harmless, one lost is not.
            data = delivery.render_content(content)
            target.tree.write(target.below, data, owner=theirs.ids)
            is_removed = True
        _touch(effects, source, is_removed=is_removed)

    def _note(
        self,
        session: Session,
        action: str,
        changed: Mapping[str, tuple[object, object]] | None = None,
    ) -> None:
        """Write down a change of what has no rows."""
        changes.note(session, self._actor, action, ("file", self._owned.site_path), changed)

    def _size(self) -> int | None:
        """Return how many bytes a file has; None: there is none."""
        try:
            return self.tree.stat(self.below).st_size
        except FileNotFoundError:
            return None

    def whose(self, session: Session) -> _Whose:
        """Return what the database says of it now."""
        owner = paths.owner_of(session, self._actor, self._owned)
        return _Whose(owner, delivery.place_of(owner))

    def _set(self, session: Session, effects: Effects, place: Place, content: Content) -> None:
        dotqmail_changes.set_file(session, self._actor, self._rules, place, content)
        _touch(effects, place)

    def require_nobodys_home(self, session: Session, whose: _Whose) -> None:
        """Refuse what only deleting a domain or mailbox may move."""
        paths.require_nobodys_home(session, self._actor, self._owned, whose.owner)


def _touch(effects: Effects, place: Place, *, is_removed: bool = False) -> None:
    effects.touched.dotqmail.add(place.domain.name)
    if is_removed:
        effects.touched.removed.add(delivery.path_of(place))


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
