"""Asking for a report in parts: some domains, or a day, at a time.

What has a row for each domain, or sums up each day, would have to be sorted as a whole before its
first row. In parts the first rows come at once, whatever the size of the site, and the order is
the same. All parts are asked for in one transaction, so they are of one moment.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy import literal_column
from sqlalchemy.orm import InstrumentedAttribute, Session

from vpopsql.model import AuditEntry, DomainName, DomainUsage, LastAuth, LoginCount, Mailbox
from vpopsql.reports.report import Parts, Report

_FEWEST, _MOST = 100, 2000
"""Domains that are asked for at a time: few at first, so that something is there soon."""

_FEWEST_ENTRIES, _MOST_ENTRIES = 1000, 32_000
"""Entries of the audit log, likewise."""
_MOST_DAYS = 64
"""Days that are asked for at a time, from one on."""
_FEWEST_TIMES, _MOST_TIMES = 500, 16_000
"""Times of logins that are looked at at a time, likewise."""

_LOGGED_IN = LastAuth.remote_ip != literal_column("'0.0.0.0'")
"""As the index on logins has it: a parameter might be anything."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the rows of a report."""

    where: Sequence[sa.ColumnElement[bool]] = ()
    """What tells them from the others."""
    known: Collection[str] = ()
    """Columns that have a value in all of them."""


def divide(
    session: Session,
    report: Report,
    columns: Mapping[str, sa.ColumnClause[Any]],
    until: datetime | None = None,
) -> Iterator[Part]:
    """Give the parts of a report, in the order in which it is sorted.

    :param until: of `Parts.IDLE_TIMES`, the last that is of interest; None: all are.
    """
    if report.parts is Parts.WHOLE:
        yield Part(known=report.known)
        return
    if report.parts is Parts.IDLE_TIMES:
        since = columns["idle_since"]
        for begin, end in _idle_times(session, until):
            where = [since >= begin] if end is None else [since >= begin, since < end]
            yield Part(where, (*report.known, since.name))
        return
    column = columns[report.sort[0].removeprefix("-")]
    for least, most in _bounds(session, report.parts):
        yield Part((column >= least, column <= most), report.known)


def _bounds(session: Session, parts: Parts) -> Iterator[tuple[object, object]]:
    """Give for each part the least and the most of the column that the report is sorted by."""
    match parts:
        case Parts.DOMAINS:
            yield from _domains(session)
        case Parts.LOGIN_DAYS:
            last = (sa.select(sa.func.max(LastAuth.at)).where(_LOGGED_IN), LastAuth.at)
            counted = (sa.select(sa.func.max(LoginCount.hour)), LoginCount.hour)
            yield from _spans(_days(session, [last, counted]))
        case Parts.GROWTH_DAYS:
            happened = (DomainUsage.measured_at, AuditEntry.at)
            newest = [(sa.select(sa.func.max(at)), at) for at in happened]
            yield from _spans(_days(session, newest))
        case Parts.ENTRIES:
            yield from _entries(session)


def _domains(session: Session) -> Iterator[tuple[str, str]]:
    """Give the first and the last name of some real domains at a time."""
    names = sa.select(DomainName.name).where(~DomainName.is_alias).order_by(DomainName.name)
    last, size = "", _FEWEST
    while found := session.scalars(names.where(DomainName.name > last).limit(size)).all():
        last = found[-1]
        yield found[0], last
        size = min(2 * size, _MOST)


def _entries(session: Session) -> Iterator[tuple[int, int]]:
    """Give the first and the last number of some entries at a time, the newest first."""
    eldest = session.scalar(sa.select(sa.func.min(AuditEntry.id)))
    last = session.scalar(sa.select(sa.func.max(AuditEntry.id)))
    size = _FEWEST_ENTRIES
    while eldest is not None and last is not None and last >= eldest:
        yield last - size + 1, last
        last -= size
        size = min(2 * size, _MOST_ENTRIES)


def _spans(days: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Give the first and the last day of some at a time, the newest first."""
    size = 1
    while some := list(islice(days, size)):
        yield some[-1], some[0]
        size = min(2 * size, _MOST_DAYS)


def _days(
    session: Session, newest: Sequence[tuple[sa.Select[Any], InstrumentedAttribute[datetime]]]
) -> Iterator[str]:
    """Give the days on which something happened, the newest first.

    :param newest: for each kind of thing the query for when the newest was, and that column.
    """
    before = None
    while True:
        found = [
            session.scalar(query if before is None else query.where(at < before))
            for query, at in newest
        ]
        times = [each for each in found if each is not None]
        if not times:
            return
        last = max(times).astimezone(UTC)
        yield last.date().isoformat()
        before = datetime(last.year, last.month, last.day, tzinfo=UTC)


def _idle_times(
    session: Session, until: datetime | None
) -> Iterator[tuple[datetime, datetime | None]]:
    """Give the bounds of times at which somebody logged in last or was made, the oldest first."""
    times = (
        sa.select(LastAuth.at).where(_LOGGED_IN).order_by(LastAuth.at),
        sa.select(Mailbox.created_at)
        .where(Mailbox.created_at.is_not(None))
        .order_by(Mailbox.created_at),
    )
    columns = (LastAuth.at, Mailbox.created_at)
    oldest = [found for query in times if (found := session.scalar(query.limit(1))) is not None]
    first, size = min(oldest, default=None), _FEWEST_TIMES
    while first is not None and (until is None or first <= until):
        later = [
            session.scalar(query.where(column > first).offset(size).limit(1))
            for query, column in zip(times, columns, strict=True)
        ]
        end = min((each for each in later if each is not None), default=None)
        yield first, end
        first, size = end, min(2 * size, _MOST_TIMES)
