"""The trash: what was deleted, until it is restored or purged.

A deletion takes two steps of its caller, around the commit::

    kept = trash.prepare_user(session, tree, actor, name, domain)
    ...                      # delete the rows, commit, let the files follow
    kept.move(tree)

`prepare_user`, `prepare_domain` and `prepare_directory` write down, in the same transaction, what
will be gone: the rows with all that hangs from them, and where the files are and will be. The
dot-qmail files of a domain are rows alone; whoever deletes one writes it down by
`services.kept_rows`. `move` moves the tree as it is, by one rename: nothing is copied, no link
followed, owners stay. It goes to ``<vpopmail>/trash/<time>-<random>/<name>``, which no file
command reaches; where that is another file system, to ``.trash/<time>-<random>/<name>`` beside the
original.

A crash between the commit and the move leaves the tree where it was. It is shown as "not moved
yet", and `finish` moves it, unless a new mailbox or domain lives there by now. For the same reason
`move` does nothing if the directory is not the one that was prepared for.

What is restored has new row ids, and is otherwise what it was, except for IP addresses that are
mapped elsewhere by now. Purging takes two steps as well: the entry is claimed, so that nobody
restores half a tree, and forgotten when its files are gone.

Nothing here begins or ends a transaction.
"""

import errno
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import chain
from typing import Any

from sqlalchemy import Select, bindparam, select, update
from sqlalchemy.orm import Session, defer

from vpopsql.columns import from_database_text, to_database_text, utc_now
from vpopsql.errors import (
    DirectoryExists,
    DomainExists,
    NameInUse,
    NoSuchUser,
    NotInTrash,
    UserExists,
)
from vpopsql.model import (
    AuditEntry,
    Domain,
    DomainName,
    DotQmailFile,
    IpMapping,
    Mailbox,
    TrashEntry,
    TrashKind,
)
from vpopsql.names import split_address
from vpopsql.prepared import Prepared
from vpopsql.services import buckets
from vpopsql.services.changes import note, record
from vpopsql.services.domains import find_domain, get_domain, lock_domain
from vpopsql.services.kept_rows import Rows, insert_rows, rows_below, write_down
from vpopsql.services.paths import is_home
from vpopsql.services.rights import Actor
from vpopsql.touched import Touched
from vpopsql.tree import Tree

_MAILBOX = Prepared(
    select(Mailbox.id, Mailbox.directory).where(
        Mailbox.domain_id == bindparam("domain_id"), Mailbox.name == bindparam("name")
    )
)

_SEEN = "seen"
"""The key in an entry's rows for what tells its directory from another one; see `_identity`."""


class State(StrEnum):
    """What has become of an entry."""

    KEPT = "kept"
    NOT_MOVED = "not moved yet"
    NO_FILES = "no files"
    """There are only rows: no directory was found, or another one is in its place."""
    RESTORED = "restored"
    PURGED = "purged"


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry, as people see it."""

    id: int
    at: datetime
    actor: str
    kind: TrashKind
    name: str
    path: str
    """Where the files are, or were."""
    state: State


# --- deleting -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Seen:
    """What tells a directory from one that is made later under the same path."""

    inode: int
    """Not enough: it is used again at once."""
    changed_at_ns: int | None
    """None where it does not matter, as nobody makes a directory anew where files are; only of
    a home and of an empty directory that cannot be told by looking."""

    def is_still(self, status: os.stat_result) -> bool:
        """Tell whether this is the directory that was seen."""
        return status.st_ino == self.inode and self.changed_at_ns in {None, status.st_ctime_ns}


@dataclass(frozen=True, slots=True)
class Kept:
    """A tree that is to be moved when the deletion is committed and the files have followed."""

    id: int
    source: str
    target: str
    seen: "_Seen | None"
    """None: there was nothing."""

    def move(self, tree: Tree) -> bool:
        """Move the tree to the trash; return whether it was there and still the same.

        :raises OSError: it cannot be moved; `finish` can try again.
        """
        status = _status(tree, self.source)
        if not (status and self.seen and self.seen.is_still(status)):
            return False
        return _move(tree, self.source, self.target)


def prepare_user(session: Session, tree: Tree, actor: Actor, name: str, domain: str) -> Kept:
    """Write down a mailbox that is about to be deleted.

    :raises NoSuchDomain, NoSuchUser: there is none.
    """
    found = lock_domain(session, domain)
    mailbox = _MAILBOX.first(session, domain_id=found.id, name=name)
    if mailbox is None:
        raise NoSuchUser(f"{name}@{domain}")
    mailbox_id, directory = mailbox
    rows = rows_below(session, Mailbox, mailbox_id)
    entry = (TrashKind.USER, f"{name}@{found.name}", directory)
    return _prepare(session, tree, actor, entry, rows)


def prepare_domain(session: Session, tree: Tree, actor: Actor, name: str) -> Kept | None:
    """Write down a domain that is about to be deleted; None if ``name`` is no real domain's."""
    found = find_domain(session, name)
    if found is None or found.name != name:
        return None
    lock_domain(session, name)
    rows = rows_below(session, Domain, found.id)
    return _prepare(session, tree, actor, (TrashKind.DOMAIN, name, found.directory), rows)


def prepare_directory(
    session: Session,
    tree: Tree,
    actor: Actor,
    path: str,
    action: str = "rm_dir",
    *,
    is_followed: bool = False,
) -> Kept:
    """Write down a file or directory without rows that is about to go.

    :param is_followed: whether it goes on every host, and not on this one alone.
    """
    rows = {} if is_followed else _identity(tree, path)
    kept = _prepare(session, tree, actor, (TrashKind.DIRECTORY, path, path), rows)
    moved = {"directory": (kept.source, kept.target)}
    note(session, actor, action, (TrashKind.DIRECTORY.value, path), moved)
    return kept


def _prepare(
    session: Session, tree: Tree, actor: Actor, entry: tuple[TrashKind, str, str], rows: Rows
) -> Kept:
    kind, name, path = entry
    source = path.rstrip("/")
    entry_id, target = write_down(session, actor, kind, name, source, rows)
    return Kept(entry_id, source, target, _see(tree, source, kind))


def _see(tree: Tree, path: str, kind: TrashKind) -> "_Seen | None":
    status = _status(tree, path)
    if status is None:
        return None
    if kind is TrashKind.USER or not stat.S_ISDIR(status.st_mode) or not tree.list(path):
        return _Seen(status.st_ino, status.st_ctime_ns)
    return _Seen(status.st_ino, None)


def _identity(tree: Tree, path: str) -> Rows:
    """Return what an entry remembers of a file or directory that goes on this host alone."""
    seen = _see(tree, path.rstrip("/"), TrashKind.DIRECTORY)
    return {_SEEN: [{"inode": seen.inode, "changed_at_ns": seen.changed_at_ns}] if seen else []}


def _is_what_was_seen(tree: Tree, entry: TrashEntry) -> bool:
    """Tell whether what is at an entry's old path can be what it is about.

    Somebody may have made another there, or it may be another host's.
    """
    status = _status(tree, entry.original_path)
    if status is None:
        return False
    is_directory = stat.S_ISDIR(status.st_mode)
    if entry.kind is not TrashKind.DIRECTORY:
        return is_directory
    seen = (entry.payload or {}).get(_SEEN)
    if seen is None:
        return is_directory
    return any(_Seen(**each).is_still(status) for each in seen)


def _status(tree: Tree, path: str) -> os.stat_result | None:
    try:
        return tree.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


# --- moving -------------------------------------------------------------------------------------


def _move(tree: Tree, source: str, target: str) -> bool:
    """Move a tree to the trash; return False if it is not there any more.

    A daemon and a follower of one host may both be about to move it.
    """
    place = _parent(target)
    tree.make_dir(place, parents=True)
    try:
        tree.rename(source, target)
    except OSError as error:
        with suppress(OSError):
            tree.remove_dir(place)
        if error.errno == errno.ENOENT and not tree.exists(source):
            return False
        if error.errno != errno.EXDEV:
            raise
    else:
        return True
    target = _beside(source, target)
    tree.make_dir(_parent(target), parents=True)
    tree.rename(source, target)
    return True


def _beside(source: str, target: str) -> str:
    place, name = target.rsplit("/", 2)[1:]
    return f"{_parent(source)}/.trash/{place}/{name}"


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _places(entry: TrashEntry) -> tuple[str, str]:
    return entry.trash_path, _beside(entry.original_path, entry.trash_path)


def _place(tree: Tree, entry: TrashEntry) -> str | None:
    """Return where in the trash an entry's files are; None: nowhere."""
    return next((path for path in _places(entry) if tree.exists(path)), None)


def _is_left(session: Session, tree: Tree, entry: TrashEntry) -> bool:
    """Tell whether an entry's files are still where they were, and nobody else's."""
    if entry.kind is TrashKind.DOTQMAIL:
        return False
    return (
        _place(tree, entry) is None
        and _is_what_was_seen(tree, entry)
        and not is_home(session, entry.original_path)
    )


def unmoved(session: Session, tree: Tree) -> dict[str, datetime]:
    """Return where what was deleted still is, and when that was."""
    # Their rows may be many, and are hardly ever asked for.
    present = session.scalars(_PRESENT.options(defer(TrashEntry.payload))).all()
    return {each.original_path: each.at for each in present if _is_left(session, tree, each)}


def displace(session: Session, tree: Tree, audit: int, is_new: Callable[[str], bool]) -> list[str]:
    """Move away what is in the place of a mailbox or domain that was deleted and made again.

    For a host that follows, before it does anything else: what is there is the old one's, and
    the new one must not get its mail.

    :param session: in a write transaction.
    :param audit: the newest entry of the audit log that this host shows. Times would not do: of
        two changes at once, the one with the higher number may have begun earlier.
    :param is_new: tells of a path that nobody has used yet what is there.
    :returns: the paths that are free now.
    """
    deletions = select(AuditEntry.object).where(
        AuditEntry.id > audit, AuditEntry.action.in_(("del_user", "del_domain"))
    )
    number = Counter(session.scalars(deletions))
    query = _PRESENT.where(
        TrashEntry.name.in_(deletions), TrashEntry.kind.in_((TrashKind.USER, TrashKind.DOMAIN))
    )
    entries: defaultdict[str, list[TrashEntry]] = defaultdict(list)
    for entry in session.scalars(query):
        entries[entry.name].append(entry)
    moved = []
    # Eldest first: what is there was left by the first of them.
    for entry in chain.from_iterable(of[-number[name] :] for name, of in entries.items()):
        path = entry.original_path
        is_there = _place(tree, entry) is None and tree.exists(path)
        if is_there and is_home(session, path) and not is_new(path):
            _move(tree, path, entry.trash_path)
            moved.append(path)
    return moved


# --- looking ------------------------------------------------------------------------------------


def list_entries(session: Session, tree: Tree) -> list[Listed]:
    """Return what was deleted, the newest first."""
    entries = session.scalars(select(TrashEntry).order_by(TrashEntry.id.desc()))
    return [_listed(session, tree, entry) for entry in entries]


def _listed(session: Session, tree: Tree, entry: TrashEntry) -> Listed:
    path, state = entry.original_path, State.NO_FILES
    if entry.restored_at:
        state = State.RESTORED
    elif entry.purged_at:
        state = State.PURGED
    elif entry.kind is TrashKind.DOTQMAIL:
        state = State.KEPT
    elif place := _place(tree, entry):
        path, state = place, State.KEPT
    elif _is_left(session, tree, entry):
        state = State.NOT_MOVED
    return Listed(entry.id, entry.at, entry.actor, entry.kind, entry.name, path, state)


def finish(session: Session, tree: Tree) -> list[str]:
    """Move what a crash left where it was; return the paths it was at.

    :param session: in a write transaction, so that nobody comes to live there meanwhile.
    """
    present = session.scalars(_PRESENT.with_for_update()).all()
    left = [entry for entry in present if _is_left(session, tree, entry)]
    for entry in left:
        if tree.exists(entry.original_path):  # two may be about one
            _move(tree, entry.original_path, entry.trash_path)
    return [entry.original_path for entry in left]


def bring_back(session: Session, tree: Tree) -> list[str]:
    """Move back what was restored on another host; return the paths it is at now.

    :param session: in a write transaction, so that nobody deletes it meanwhile.
    """
    query = select(TrashEntry).where(TrashEntry.restored_at.is_not(None)).order_by(TrashEntry.id)
    moved = []
    for entry in session.scalars(query.with_for_update()):
        place, path = _place(tree, entry), entry.original_path
        if place and not tree.exists(path):
            tree.make_dir(_parent(path), parents=True)
            tree.rename(place, path)
            with suppress(OSError):
                tree.remove_dir(_parent(place))
            moved.append(path)
    return moved


_PRESENT = (
    select(TrashEntry)
    .where(TrashEntry.restored_at.is_(None), TrashEntry.purged_at.is_(None))
    .order_by(TrashEntry.id)
)


# --- renaming -----------------------------------------------------------------------------------


def follow_rename(
    session: Session, names: tuple[str, str], directories: tuple[str, str] | None
) -> None:
    """Let what was deleted from a domain come back to it under its new name.

    :param names: the domain's old name and its new one.
    :param directories: likewise; None: it stays where it is.
    """
    old, new = names
    query = _PRESENT.where(
        TrashEntry.kind.in_((TrashKind.USER, TrashKind.DOTQMAIL)),
        TrashEntry.name.endswith(f"@{old}", autoescape=True),
    )
    for entry in session.scalars(query.with_for_update()):
        entry.name = f"{split_address(entry.name)[0]}@{new}"
        if directories:
            entry.original_path = _below(entry.original_path, *directories)
            entry.payload = _rows_moved(entry.payload or {}, *directories)
    session.flush()


def _rows_moved(rows: Rows, old: str, new: str) -> Rows:
    plain_old, plain_new = to_database_text(old), to_database_text(new)

    def moved(row: dict[str, Any], column: str) -> dict[str, Any]:
        return row | {column: _below(row[column], plain_old, plain_new)}

    changed = {"mailboxes": [moved(row, "directory") for row in rows.get("mailboxes", ())]}
    lines = rows.get("dotqmail_lines")
    if lines:
        changed["dotqmail_lines"] = [moved(row, "line") for row in lines]
    return rows | changed


def _below(path: str, old: str, new: str) -> str:
    return f"{new}{path[len(old) :]}" if path.startswith(f"{old}/") else path


# --- restoring ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back."""

    name: str
    path: str
    touched: Touched
    """The files that are to follow when it is committed."""
    has_files: bool


def find_deleted(
    session: Session, kind: TrashKind, named: tuple[str, str], before: datetime
) -> TrashEntry | None:
    """Return the newest entry of something that was deleted until a time.

    :param named: its name, and the path that it was at; an empty one says nothing.
    """
    name, path = named
    query = select(TrashEntry).where(TrashEntry.kind == kind, TrashEntry.at <= before)
    query = query.where(TrashEntry.original_path == path if path else TrashEntry.name == name)
    return session.scalars(query.order_by(TrashEntry.id.desc()).limit(1)).first()


def restore(
    session: Session, tree: Tree, entry_id: int, actor: Actor, *, moves: bool = True
) -> Restored:
    """Put rows and files back; the caller commits at once.

    :param moves: False for a dry run, which leaves the files where they are.
    :raises NotInTrash: there is no such entry, or it was restored or purged.
    :raises NoSuchDomain: a mailbox's or alias's domain is gone.
    :raises UserExists, DomainExists, NameInUse: the name is taken again.
    :raises DirectoryExists: something stands where the files were.
    """
    query = _PRESENT.where(TrashEntry.id == entry_id).with_for_update()
    entry = session.scalars(query).first()
    if entry is None:
        raise NotInTrash(f"there is nothing in the trash with the number {entry_id}")
    if is_home(session, entry.original_path):
        raise DirectoryExists(entry.original_path)
    place = _place(tree, entry)
    if place and tree.exists(entry.original_path):
        raise DirectoryExists(entry.original_path)
    touched, lines = _restore_rows(session, actor, entry), _lines_of(entry)
    if place and moves:
        # Before the commit: a row without its directory would make mail wait.
        tree.make_dir(_parent(entry.original_path), parents=True)
        tree.rename(place, entry.original_path)
        with suppress(OSError):
            tree.remove_dir(_parent(place))
    entry.restored_at, entry.payload = utc_now(), None
    session.flush()
    _record_restored(session, actor, entry, lines)
    has_files = entry.kind is TrashKind.DOTQMAIL or tree.exists(entry.original_path)
    return Restored(entry.name, entry.original_path, touched, has_files)


def _lines_of(entry: TrashEntry) -> str:
    """Return the text of a dot-qmail file; of anything else it means nothing."""
    rows = (entry.payload or {}).get("dotqmail_lines", ())
    return "\n".join(row["line"] for row in rows)


def _record_restored(session: Session, actor: Actor, entry: TrashEntry, lines: str) -> None:
    kind, back = entry.kind.value, {"directory": (None, entry.original_path)}
    domain = entry.name.rpartition("@")[2]
    match entry.kind:
        case TrashKind.DIRECTORY:
            note(session, actor, "restore", (kind, entry.name), back)
        case TrashKind.DOTQMAIL:
            of = (kind, entry.original_path)
            record(session, actor, "restore", of, {"lines": (None, lines)}, domain=domain)
        case _:
            record(session, actor, "restore", (kind, entry.name), back, domain=domain)


def _restore_rows(session: Session, actor: Actor, entry: TrashEntry) -> Touched:
    rows: Rows = entry.payload or {}
    match entry.kind:
        case TrashKind.DIRECTORY:
            return Touched()
        case TrashKind.USER:
            return _restore_user(session, entry, rows)
        case TrashKind.DOTQMAIL:
            return _restore_file(session, entry, rows)
        case TrashKind.DOMAIN:
            return _restore_domain(session, actor, entry, rows)


def _restore_user(session: Session, entry: TrashEntry, rows: Rows) -> Touched:
    name, of = split_address(entry.name)
    domain = lock_domain(session, get_domain(session, of).name)
    query = select(Mailbox.id).where(Mailbox.domain_id == domain.id, Mailbox.name == name)
    if session.scalar(query) is not None:
        raise UserExists(entry.name)
    insert_rows(session, rows, {"domains": {rows["mailboxes"][0]["domain_id"]: domain.id}})
    buckets.retake_bucket(
        session, domain.id, buckets.bucket_of(entry.original_path, domain.directory)
    )
    return Touched(accounts={domain.name}, dotqmail={domain.name})


def _restore_file(session: Session, entry: TrashEntry, rows: Rows) -> Touched:
    of = split_address(entry.name)[1]
    domain = lock_domain(session, get_domain(session, of).name)
    (file,) = rows["dotqmail_files"]
    query = select(DotQmailFile.id).where(
        DotQmailFile.domain_id == domain.id,
        DotQmailFile.mailbox_id.is_(None),
        DotQmailFile.name == from_database_text(file["name"]),
    )
    if session.scalar(query) is not None:
        raise NameInUse(f"{entry.name} is an alias again")
    insert_rows(session, rows, {"domains": {file["domain_id"]: domain.id}})
    return Touched(dotqmail={domain.name})


def _restore_domain(session: Session, actor: Actor, entry: TrashEntry, rows: Rows) -> Touched:
    names = [row["name"] for row in rows["domain_names"]]
    taken = session.scalars(select(DomainName.name).where(DomainName.name.in_(names))).all()
    if taken:
        raise DomainExists(", ".join(sorted(taken)))
    addresses = [row["address"] for row in rows.get("ip_mappings", ())]
    mapped = session.scalars(select(IpMapping.address).where(IpMapping.address.in_(addresses)))
    kept = set(addresses) - set(mapped)
    free = [row for row in rows.get("ip_mappings", ()) if row["address"] in kept]
    insert_rows(session, rows | {"ip_mappings": free}, {})
    bucket = buckets.bucket_of(entry.original_path, f"{actor.site_directory}/domains")
    buckets.retake_bucket(session, None, bucket)
    of_it = {entry.name}
    return Touched(set(of_it), set(of_it), set(of_it), site=True)


# --- purging ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be purged: what was deleted ``before``, the one with ``entry_id``, or both."""

    before: datetime | None = None
    entry_id: int | None = None

    def query(self) -> Select[TrashEntry]:
        """Return the query for what of it is there."""
        query = _PRESENT
        if self.before is not None:
            query = query.where(TrashEntry.at < self.before)
        if self.entry_id is not None:
            query = query.where(TrashEntry.id == self.entry_id)
        return query


def find_due(session: Session, due: Due) -> Sequence[TrashEntry]:
    """Return the entries that `claim` would declare purged."""
    return session.scalars(due.query()).all()


def claim(session: Session, actor: Actor, due: Due | None) -> Sequence[TrashEntry]:
    """Declare entries purged; return them, with those whose purge did not come to its end.

    When this is committed, `remove` their files, then `forget` them.
    """
    if due is not None:
        for entry in session.scalars(due.query().with_for_update()).all():
            entry.purged_at = utc_now()
            gone = {"directory": (entry.trash_path, None)}
            note(session, actor, "purge", (entry.kind.value, entry.name), gone)
        session.flush()
    query = select(TrashEntry).where(
        TrashEntry.purged_at.is_not(None), TrashEntry.payload.is_not(None)
    )
    return session.scalars(query).all()


def remove(tree: Tree, entry: TrashEntry) -> None:
    """Remove an entry's files from the trash; they are gone for good."""
    for path in map(_parent, _places(entry)):
        if tree.exists(path):
            tree.remove_tree(path)


def forget(session: Session, entry: TrashEntry) -> None:
    """Forget the rows of an entry whose files are removed."""
    session.execute(update(TrashEntry).where(TrashEntry.id == entry.id).values(payload=None))
