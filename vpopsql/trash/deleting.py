"""What is about to be deleted is written down, then moved to the trash."""

from dataclasses import dataclass

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from vpopsql.errors import NoSuchUser
from vpopsql.model import Domain, Mailbox, TrashKind
from vpopsql.prepared import Prepared
from vpopsql.services.changes import note
from vpopsql.services.domains import find_domain, lock_domain
from vpopsql.services.kept_rows import Rows, rows_below, write_down
from vpopsql.services.rights import Actor
from vpopsql.trash import entries
from vpopsql.trash.entries import Seen
from vpopsql.tree import Tree

_MAILBOX = Prepared(
    select(Mailbox.id, Mailbox.directory).where(
        Mailbox.domain_id == bindparam("domain_id"), Mailbox.name == bindparam("name")
    )
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A tree that is to be moved when the deletion is committed and the files have followed."""

    id: int
    source: str
    target: str
    seen: Seen | None
    """None: there was nothing."""

    def move(self, tree: Tree) -> bool:
        """Move the tree to the trash; return whether it was there and still the same.

        :raises OSError: it cannot be moved; `finish` can try again.
        """
        status = entries.status_of(tree, self.source)
        if not (status and self.seen and self.seen.is_still(status)):
            return False
        return entries.move(tree, self.source, self.target)


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
    entry_id, target = write_down(session, actor, kind, name, source, rows)
    return Kept(entry_id, source, target, entries.see(tree, source, kind))
