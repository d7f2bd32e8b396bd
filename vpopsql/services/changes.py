"""The trace of a change: an audit entry for people, a revision for exports.

An entry says who did what to which object, when, from where, and what was before and after. It is
part of the transaction of its change.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, bindparam, exists, func, insert, or_, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from vpopsql.columns import to_database_text, utc_now
from vpopsql.model import UNFINISHED_IMPORT, AuditEntry, Revision, SiteSetting, table_of
from vpopsql.prepared import Change, Prepared, is_far
from vpopsql.services import sight
from vpopsql.services.rights import Actor
from vpopsql.touched import OF_NO_ACCOUNT, Mark

MASKED = "(masked)"
"""What the audit log shows of a secret."""

UNDOES = "undoes"
"""The field that has the number of the entry whose change was taken back."""

_MADE = "revisions"

_ENTRY = Change(insert(table_of(AuditEntry)))
_REVISION = Prepared(insert(table_of(Revision)).returning(Revision.id))

_NEAR = 1_000
"""Revisions back to which the one before is looked for: they have no index for a domain's."""

_of_revision = table_of(Revision).columns

Newest = Prepared[int, datetime]
"""Finds the newest revision that is about the accounts of a domain, its number and time."""


def _newest(
    revisions: ReadOnlyColumnCollection[str, Any], *are_near: ColumnElement[bool]
) -> Newest:
    """Return what finds the newest revision of a domain's accounts among some revisions."""
    return Prepared(
        select(revisions.id, revisions.at)
        .where(
            *are_near,
            or_(revisions.domain == bindparam("domain"), revisions.domain.is_(None)),
            *(revisions.topic != topic for topic in sorted(OF_NO_ACCOUNT)),
            # The files of a part of a site are for who reads all of it to refuse.
            ~exists().where(SiteSetting.key == UNFINISHED_IMPORT),
        )
        .order_by(revisions.id.desc())
        .limit(1)
    )


# Each looks at no more of them than it has to. The first one's condition PostgreSQL would take to
# leave a third of all revisions; the second one SQLite would carry out to its end and sort.
_BEFORE_ON_SQLITE = _newest(
    _of_revision, _of_revision.id > select(func.max(Revision.id) - _NEAR).scalar_subquery()
)
_BEFORE_ON_A_SERVER = _newest(
    select(_of_revision.id, _of_revision.at, _of_revision.domain, _of_revision.topic)
    .order_by(_of_revision.id.desc())
    .limit(_NEAR)
    .subquery()
    .c
)


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
    if not _insert(session, actor, action, changed):
        return
    now = utc_now()
    watching = sight.of(session)
    newest = _BEFORE_ON_A_SERVER if is_far(session) else _BEFORE_ON_SQLITE
    before = newest.ahead(session, domain=domain) if watching else None
    take = _REVISION.ahead(session, at=now, domain=domain, topic=action)
    session.info.setdefault(_MADE, []).append(take)
    if watching and before:
        watching.marks = lambda: _marks(before(), take(), now)


def _marks(
    before: tuple[int, datetime] | None, made: tuple[int] | None, at: datetime
) -> tuple[Mark, Mark] | None:
    return (Mark.of(*before), Mark.of(*made, at)) if before and made else None


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
