"""Thinning snapshots out: the older they are, the fewer are left.

All of the last weeks stay, then the last of each week, then the last of each month, and in the end
none but the newest that there is of a mailbox or a domain.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    case,
    cast,
    delete,
    extract,
    func,
    or_,
    select,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from vpopsql.config import Usage
from vpopsql.db import Database
from vpopsql.model import DomainUsage, MailboxUsage

_OWNERS_AT_ONCE = 2000
"""Mailboxes or domains whose snapshots are thinned in one transaction."""
_WEEK_S = 7 * 24 * 3600
_MONTHS = 12


@dataclass(slots=True)
class Pruned:
    """How many snapshots were deleted."""

    mailboxes: int = 0
    domains: int = 0


def prune(database: Database, settings: Usage, now: datetime) -> Pruned:
    """Delete the snapshots that are too many or too old.

    :raises DatabaseUnavailable: it went away; what was thinned before stays so.
    """
    return Pruned(
        mailboxes=_thin(database, MailboxUsage, MailboxUsage.mailbox_id, settings, now),
        domains=_thin(database, DomainUsage, DomainUsage.domain, settings, now),
    )


def _thin(
    database: Database,
    table: type[MailboxUsage | DomainUsage],
    owner: InstrumentedAttribute[Any],
    settings: Usage,
    now: datetime,
) -> int:
    deleted = 0
    after = None
    while True:
        with database.writer() as session:
            until = _last_of_page(session, owner, after)
            if until is None:
                return deleted
            page = owner <= until if after is None else (owner > after) & (owner <= until)
            doomed = _doomed(table, owner, page, settings, now)
            gone = session.execute(
                delete(table).where(table.id.in_(doomed)),
                execution_options={"synchronize_session": False},
            )
            deleted += gone.rowcount  # type: ignore[attr-defined]
        after = until


def _last_of_page(session: Session, owner: InstrumentedAttribute[Any], after: Any) -> Any:  # noqa: ANN401 - a key of either kind
    page = select(owner.label("owner")).distinct().order_by(owner).limit(_OWNERS_AT_ONCE)
    if after is not None:
        page = page.where(owner > after)
    return session.scalar(select(func.max(page.subquery().c.owner)))


def _doomed(
    table: type[MailboxUsage | DomainUsage],
    owner: InstrumentedAttribute[Any],
    page: ColumnElement[bool],
    settings: Usage,
    now: datetime,
) -> Any:  # noqa: ANN401 - a select of keys
    at = table.measured_at
    newest_first = (at.desc(), table.id.desc())
    ranked = (
        select(
            table.id,
            at.label("at"),
            func.row_number().over(partition_by=owner, order_by=newest_first).label("of_all"),
            func.row_number()
            .over(partition_by=(owner, _period(at, settings, now)), order_by=newest_first)
            .label("of_period"),
        )
        .where(page)
        .subquery()
    )
    thick = ranked.c.at < now - timedelta(days=settings.keep_all_days)
    too_many = (ranked.c.of_period > 1) & thick
    unwanted: list[ColumnElement[bool]] = [too_many]
    if settings.keep_days:
        unwanted.append(ranked.c.at < now - timedelta(days=settings.keep_days))
    return select(ranked.c.id).where(ranked.c.of_all > 1, or_(*unwanted))


def _period(
    at: InstrumentedAttribute[datetime], settings: Usage, now: datetime
) -> ColumnElement[Any]:
    """Return a number for the week or month of which one snapshot is left."""
    week = cast(extract("epoch", at), BigInteger) // _WEEK_S
    month = cast(extract("year", at), Integer) * _MONTHS + cast(extract("month", at), Integer)
    weekly = at >= now - timedelta(days=settings.keep_weekly_days)
    all_ = at >= now - timedelta(days=settings.keep_all_days)
    # Weeks and months never share a number: months are counted downwards.
    return case((all_, 0), (weekly, week), else_=-month)
