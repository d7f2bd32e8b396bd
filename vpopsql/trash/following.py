"""Files that have yet to follow: where a deletion was cut off, or was done on another host.

What one process began, any other may end. A host that has files of its own does with them what was
done elsewhere.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime
from itertools import chain

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from vpopsql.model import AuditEntry, TrashEntry, TrashKind
from vpopsql.services.paths import is_home
from vpopsql.trash.entries import PRESENT, is_left, move, move_back, place_of
from vpopsql.tree import Tree


def unmoved(session: Session, tree: Tree) -> dict[str, datetime]:
    """Return where what was deleted still is, and when that was."""
    # Their rows may be many, and are hardly ever asked for.
    present = session.scalars(PRESENT.options(defer(TrashEntry.payload))).all()
    return {each.original_path: each.at for each in present if is_left(session, tree, each)}


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
    query = PRESENT.where(
        TrashEntry.name.in_(deletions), TrashEntry.kind.in_((TrashKind.USER, TrashKind.DOMAIN))
    )
    entries: defaultdict[str, list[TrashEntry]] = defaultdict(list)
    for entry in session.scalars(query):
        entries[entry.name].append(entry)
    moved = []
    # Eldest first: what is there was left by the first of them.
    for entry in chain.from_iterable(of[-number[name] :] for name, of in entries.items()):
        path = entry.original_path
        is_there = place_of(tree, entry) is None and tree.exists(path)
        if is_there and is_home(session, path) and not is_new(path):
            move(tree, path, entry.trash_path)
            moved.append(path)
    return moved


def finish(session: Session, tree: Tree) -> list[str]:
    """Move what a crash left where it was; return the paths it was at.

    :param session: in a write transaction, so that nobody comes to live there meanwhile.
    """
    present = session.scalars(PRESENT.with_for_update()).all()
    left = [entry for entry in present if is_left(session, tree, entry)]
    for entry in left:
        if tree.exists(entry.original_path):  # two may be about one
            move(tree, entry.original_path, entry.trash_path)
    return [entry.original_path for entry in left]


def bring_back(session: Session, tree: Tree) -> list[str]:
    """Move back what was restored on another host; return the paths it is at now.

    :param session: in a write transaction, so that nobody deletes it meanwhile.
    """
    query = select(TrashEntry).where(TrashEntry.restored_at.is_not(None)).order_by(TrashEntry.id)
    moved = []
    for entry in session.scalars(query.with_for_update()):
        place, path = place_of(tree, entry), entry.original_path
        if place and not tree.exists(path):
            move_back(tree, place, path)
            moved.append(path)
    return moved
