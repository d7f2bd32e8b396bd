"""What is about to be deleted is written down, then moved to the trash."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from vpopsql.model import Domain, Mailbox, TrashKind
from vpopsql.services import account_changes
from vpopsql.services.account_changes import Home
from vpopsql.services.changes import note
from vpopsql.services.domains import find_domain, lock_domain
from vpopsql.services.kept_rows import Rows, rows_below, write_down
from vpopsql.services.rights import Actor
from vpopsql.trash import entries
from vpopsql.trash.entries import Seen
from vpopsql.tree import Tree


@dataclass(frozen=True, slots=True)
class Kept:
    """A tree that is to be moved when the deletion is committed and the files have followed."""

    source: str
    target: str
    seen: Seen | None
    """None: there was nothing."""

    def move(self, tree: Tree) -> bool:
        """Move the tree to the trash, and wait until that is on disk; errors as `rename`.

        :returns: whether it was there and still the same.
        """
        places = self.rename(tree)
        tree.sync(*places)
        return bool(places)

    def rename(self, tree: Tree) -> Sequence[str]:
        """Move the tree to the trash, as `move` does, but leave it to the caller to wait.

        :returns: the directories to be waited for; none if the tree was not there any more.
        :raises OSError: it cannot be moved; `finish` can try again.
        """
        with tree.staying():
            status = entries.status_of(tree, self.source)
            if not (status and self.seen and self.seen.is_still(status)):
                return ()
            return entries.rename(tree, self.source, self.target)


def delete_user(
    session: Session, tree: Tree, actor: Actor, name: str, domain: str
) -> tuple[Home, Kept]:
    """Delete a mailbox that has been written down; errors as `account_changes.require_deletion`.

    :returns: its directory, and what moves that.
    """
    doomed = account_changes.require_deletion(session, actor, name, domain)
    rows = rows_below(session, Mailbox, doomed.mailbox.id)
    entry = (TrashKind.USER, doomed.address, doomed.mailbox.directory)
    kept = _prepare(session, tree, actor, entry, rows)
    return account_changes.delete_doomed(session, actor, doomed), kept


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
    seen = None if is_followed else entries.see(tree, path.rstrip("/"), TrashKind.DIRECTORY)
    rows = {} if is_followed else entries.rows_of_seen(seen)
    kept = _prepare(session, tree, actor, (TrashKind.DIRECTORY, path, path), rows)
    moved = {"directory": (kept.source, kept.target)}
    note(session, actor, action, (TrashKind.DIRECTORY.value, path), moved)
    return kept


def _prepare(
    session: Session, tree: Tree, actor: Actor, entry: tuple[TrashKind, str, str], rows: Rows
) -> Kept:
    kind, name, path = entry
    source = path.rstrip("/")
    target = write_down(session, actor, kind, name, source, rows)
    return Kept(source, target, entries.see(tree, source, kind))
