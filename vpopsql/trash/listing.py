"""What is and was in the trash, as people see it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from vpopsql.model import TrashEntry, TrashKind
from vpopsql.trash.entries import is_left, place_of
from vpopsql.tree import Tree


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
    elif place := place_of(tree, entry):
        path, state = place, State.KEPT
    elif is_left(session, tree, entry):
        state = State.NOT_MOVED
    return Listed(entry.id, entry.at, entry.actor, entry.kind, entry.name, path, state)
