"""Sealing readable passwords anew: those of accounts, and of what is in the trash."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select, type_coerce, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import flag_modified

from vpopsql.columns import ExactText, from_database_text, to_database_text
from vpopsql.model import Mailbox, TrashEntry
from vpopsql.sealed import Keyring
from vpopsql.services.changes import note
from vpopsql.services.rights import Actor, require_system

_STORED = type_coerce(Mailbox.clear_text, ExactText)


def find_passwords(session: Session) -> Sequence[int]:
    """Return the ids of the accounts that have a readable password."""
    query = select(Mailbox.id).where(_STORED.is_not(None), _STORED != "")
    return session.scalars(query.order_by(Mailbox.id)).all()


def reseal_accounts(session: Session, actor: Actor, keyring: Keyring, ids: Sequence[int]) -> int:
    """Seal the passwords of some accounts with the present key; return how many were not.

    One that is changed meanwhile is sealed by whoever changes it.

    :raises NotAuthorized: ``actor`` is no system administrator.
    :raises PasswordSealed: one cannot be opened.
    """
    require_system(actor)
    query = select(Mailbox.id, _STORED).where(Mailbox.id.in_(ids)).with_for_update()
    done = 0
    for mailbox_id, stored in session.execute(query):
        if stored and not keyring.is_current(stored):
            # As it is sealed already, the column's type leaves it alone.
            new = keyring.seal(keyring.open(stored))
            mine = update(Mailbox).where(Mailbox.id == mailbox_id)
            session.execute(mine.values(clear_text=new))
            done += 1
    _note(session, actor, done)
    return done


def reseal_trash(session: Session, actor: Actor, keyring: Keyring) -> int:
    """Seal the passwords of deleted accounts with the present key; return how many were not.

    :raises NotAuthorized: ``actor`` is no system administrator.
    :raises PasswordSealed: one cannot be opened.
    """
    require_system(actor)
    query = select(TrashEntry).where(TrashEntry.payload.is_not(None)).with_for_update()
    done = 0
    for entry in session.scalars(query):
        resealed = sum(_reseal_row(row, keyring) for row in _mailboxes(entry))
        if resealed:
            flag_modified(entry, "payload")
        done += resealed
    session.flush()
    _note(session, actor, done)
    return done


def _mailboxes(entry: TrashEntry) -> Iterator[dict[str, Any]]:
    yield from (entry.payload or {}).get("mailboxes", ())


def _reseal_row(row: dict[str, Any], keyring: Keyring) -> bool:
    stored = from_database_text(row.get("clear_text") or "")
    if keyring.is_current(stored):
        return False
    row["clear_text"] = to_database_text(keyring.seal(keyring.open(stored)))
    return True


def _note(session: Session, actor: Actor, done: int) -> None:
    if done:
        note(session, actor, "rotate_key", ("site", "passwords"), {"resealed": (None, done)})
