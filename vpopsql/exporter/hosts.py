"""The hosts that follow the database: what they report, and who is behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from vpopsql.columns import utc_now
from vpopsql.model import Host, HostRole, Revision

STALE_AFTER_S = 60.0
"""How long a host may be behind, or silent, if nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a host stands."""

    name: str
    role: HostRole
    revision: int
    behind: int
    """How many revisions its files do not show."""
    behind_s: float
    """Seconds since the eldest of them was made."""
    silent_s: float
    """Seconds since its last report."""
    reached_at: datetime | None
    reported_at: datetime
    error: str | None
    is_stale: bool


def report(
    session: Session, name: str, role: HostRole, revision: int, error: str | None = None
) -> None:
    """Write down where a host stands.

    :param name: in lower case.
    :param revision: that its files show; 0: not known.
    """
    now = utc_now()
    host = session.get(Host, name)
    if host is None:
        host = Host(name=name, revision=0)
        session.add(host)
    if revision != host.revision:
        host.reached_at = now
    host.role, host.revision, host.error, host.reported_at = role, revision, error, now


def forget(session: Session, name: str) -> bool:
    """Forget a host; return whether it was known. One that still follows reports itself again."""
    gone = session.execute(delete(Host).where(Host.name == name).returning(Host.name))
    return gone.first() is not None


def standings(session: Session, stale_after_s: float = STALE_AFTER_S) -> Sequence[Standing]:
    """Return where each host stands, by name.

    A host is stale if it has been behind or silent for longer than ``stale_after_s``, or reports
    an error.
    """
    now = utc_now()
    return [
        _standing(session, host, now, timedelta(seconds=stale_after_s))
        for host in session.scalars(select(Host).order_by(Host.name))
    ]


def _standing(session: Session, host: Host, now: datetime, patience: timedelta) -> Standing:
    later = select(func.count(), func.min(Revision.at)).where(Revision.id > host.revision)
    behind, eldest = session.execute(later).one()
    behind_for = max(now - eldest, timedelta()) if behind else timedelta()
    silent_for = max(now - host.reported_at, timedelta())
    return Standing(
        name=host.name,
        role=host.role,
        revision=host.revision,
        behind=behind,
        behind_s=behind_for.total_seconds(),
        silent_s=silent_for.total_seconds(),
        reached_at=host.reached_at,
        reported_at=host.reported_at,
        error=host.error,
        is_stale=bool(host.error) or max(behind_for, silent_for) > patience,
    )
