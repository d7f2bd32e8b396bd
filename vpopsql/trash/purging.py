"""What goes for good: claimed, then removed, then forgotten."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from vpopsql.columns import utc_now
from vpopsql.model import TrashEntry
from vpopsql.services.changes import note
from vpopsql.services.rights import Actor
from vpopsql.trash.entries import PRESENT, places
from vpopsql.tree import Tree


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be purged: what was deleted ``before``, the one with ``entry_id``, or both."""

    before: datetime | None = None
    entry_id: int | None = None

    def query(self) -> Select[TrashEntry]:
        """Return the query for what of it is there."""
        query = PRESENT
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
    for place in places(entry):
        # What was made for this entry alone; its one file or directory is in it.
        directory = place.rpartition("/")[0]
        if tree.exists(directory):
            tree.remove_tree(directory)


def forget(session: Session, entry: TrashEntry) -> None:
    """Forget the rows of an entry whose files are removed."""
    session.execute(update(TrashEntry).where(TrashEntry.id == entry.id).values(payload=None))
