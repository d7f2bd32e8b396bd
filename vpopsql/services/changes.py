"""The trace of a change: an audit entry for people, a revision for exports.

An entry says who did what to which object, when, from where, and what was before and after. It is
part of the transaction of its change.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from vpopsql.columns import to_database_text, utc_now
from vpopsql.model import AuditEntry, Revision, table_of
from vpopsql.prepared import Change, Prepared
from vpopsql.services.rights import Actor

MASKED = "(masked)"
"""What the audit log shows of a secret."""

UNDOES = "undoes"
"""The field that has the number of the entry whose change was taken back."""

_MADE = "revisions"

_ENTRY = Change(insert(table_of(AuditEntry)))
_REVISION = Prepared(insert(table_of(Revision)).returning(Revision.id))


def record(
    session: Session,
    actor: Actor,
    action: str,
    object_: tuple[str, str],
    changes: Mapping[str, tuple[Any, Any]] | None = None,
    *,
    domain: str | None,
) -> None:
    """Write down that ``actor`` did ``action``.

    :param object_: its type and name, such as ``("user", "alice@example.com")``.
    :param changes: field -> (old, new); secrets must be `MASKED`.
    :param domain: whose files change by it; None: those of the whole site.
    """
    record_many(session, actor, action, [(object_, changes or {})], domain=domain)


def record_many(
    session: Session,
    actor: Actor,
    action: str,
    changed: Iterable[tuple[tuple[str, str], Mapping[str, tuple[Any, Any]]]],
    *,
    domain: str | None,
) -> None:
    """Write down that ``actor`` did ``action`` with several objects of one domain.

    :param changed: of each object what `record` takes; none: nothing is written.
    """
    if _insert(session, actor, action, changed):
        take = _REVISION.ahead(session, at=utc_now(), domain=domain, topic=action)
        session.info.setdefault(_MADE, []).append(take)


def note(
    session: Session,
    actor: Actor,
    action: str,
    object_: tuple[str, str],
    changes: Mapping[str, tuple[Any, Any]] | None = None,
) -> None:
    """Write down, as `record` does, what makes no file of ours older than the database."""
    _insert(session, actor, action, [(object_, changes or {})])


def _insert(
    session: Session,
    actor: Actor,
    action: str,
    changed: Iterable[tuple[tuple[str, str], Mapping[str, tuple[Any, Any]]]],
) -> bool:
    now = utc_now()
    undoes = {} if actor.undoes is None else {UNDOES: [None, actor.undoes]}
    entries = [
        {
            "at": now,
            "actor": actor.address,
            "actor_ip": actor.remote_ip or None,
            "channel": actor.channel,
            "request_id": actor.request_id or None,
            "action": action,
            "object_type": kind,
            "object": name,
            "changes": {field: _plain(pair) for field, pair in changes.items()} | undoes,
        }
        for (kind, name), changes in changed
    ]
    if len(entries) == 1:
        _ENTRY.run(session, **entries[0])
    elif entries:
        session.connection().execute(_ENTRY.statement, entries)
    return bool(entries)


def revisions_of(session: Session) -> set[int]:
    """Return the revisions that a session has made."""
    made: list[Callable[[], tuple[int] | None]] = session.info.get(_MADE, [])
    return {row[0] for take in made if (row := take())}


def _plain(pair: tuple[Any, Any]) -> list[Any]:
    return [to_database_text(value) if isinstance(value, str) else value for value in pair]
