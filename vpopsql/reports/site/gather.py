"""All that the pages show, asked in one snapshot of the database, each report once.

Most reports have rows for many domains, and each domain's page shows its own. So these come in
the order of the domains, side by side, and each domain takes what is its own: 100,000 domains cost
a dozen queries. The page of such a report gets its first rows on the way. The other reports are
asked for their first rows, and counted.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import groupby, islice
from operator import itemgetter
from types import MappingProxyType
from typing import Any, cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vpopsql.model import DomainName, to_database_text
from vpopsql.reports import query
from vpopsql.reports.query import Question
from vpopsql.reports.registry import REPORTS
from vpopsql.reports.report import (
    DOMAIN,
    LAST_AUTH_AT,
    USED_BYTES,
    Report,
    Source,
    number,
    percent,
    size,
    text,
    truth,
)
from vpopsql.reports.site.figures import Figures, Measurement, Timeline

Row = Sequence[object]
Progress = Callable[[str, int, int], None]
"""Takes what is asked, and how many of how many questions are answered."""

MAILBOXES = Report(
    "mailboxes",
    "Which mailboxes are there?",
    (
        text("name", "the mailbox"),
        DOMAIN,
        size("quota_bytes", "how many it may hold", "no limit"),
        USED_BYTES,
        number("quota_msgs", "messages that it may hold", "no limit"),
        number("used_msgs", "messages, when it was last measured"),
        LAST_AUTH_AT,
        text("scheme", "how the password is hashed"),
        truth("has_forward", "whether its `.qmail` forwards"),
        truth("is_admin", "whether it administers its domain or the site"),
        text("flags", "the account's own bits by name, with blanks between them"),
    ),
    ("domain", "name"),
)
"""No report by name, for the reports on mailboxes have it all, but a view like theirs."""

MAILBOX_COLUMNS = (
    MAILBOXES.column("name"),
    USED_BYTES,
    MAILBOXES.column("quota_bytes"),
    percent("pct", "of the quota that is in use, bytes or messages, the higher", "-"),
    MAILBOXES.column("used_msgs"),
    MAILBOXES.column("quota_msgs"),
    LAST_AUTH_AT,
    *MAILBOXES.columns[7:],
)
"""What the pages of domains show of it."""

SECTIONS = MappingProxyType(
    {
        "domain-limits": "Limits nearly reached, or exceeded",
        "dangling-aliases": "Forwards that lead to nobody",
        "alias-loops": "Forwards in circles",
        "shadowed": "Mailboxes hidden by an alias",
        "duplicate-forwards": "Messages that somebody gets twice",
        "external-forwards": "Mail that leaves the site",
        "clear-text": "Passwords stored in clear",
        "admins": "Administrators",
        "flags": "Services that are shut",
        "alias-domains": "Other names of the domain",
        "ip-map": "IP addresses that mean this domain",
        "name-clashes": "Names that cannot be told apart",
    }
)
"""The reports that a domain's page has a part of, if there are rows, with its heading."""

_STREAMED = ("domain-overview", "catchall", "growth", *SECTIONS)
_WALKS = frozenset({"alias-depth"})
"""Reports that cost as much to count as to read."""
_NOTED = {
    "domain-limits": ("over", True),
    "external-forwards": ("owner_is_admin", True),
    "catchall": ("target_exists", False),
}
"""Of which reports those rows are counted, too, that have a value in a column."""
_SPARE = 4
"""So many times the rows that are wanted wait to be sorted."""


@dataclass(frozen=True, slots=True)
class Found:
    """The first rows of a report, and how many there are."""

    rows: Sequence[Row]
    total: int


@dataclass(frozen=True, slots=True)
class DomainRows:
    """What a domain's page shows."""

    overview: Row
    """Of ``domain-overview``."""
    catchall: Row | None
    mailboxes: Found
    """Of `MAILBOX_COLUMNS`."""
    sections: Sequence[tuple[str, Found]]
    """By the names of `SECTIONS`; those without rows are left out."""
    growth: Sequence[Measurement]
    """The oldest first."""

    @property
    def name(self) -> str:
        """Return the domain's name."""
        return str(self.overview[0])


@dataclass(slots=True)
class Gathering:
    """Asks, and adds up.

    :param rows: at most so many are kept of each report, and of each section of a page.
    :param domain: everything of this one only.
    """

    session: Session
    as_of: datetime
    rows: int
    domain: str | None = None
    figures: Figures = field(default_factory=Figures)
    timeline: Timeline = field(default_factory=Timeline)
    found: dict[str, Found] = field(default_factory=dict)
    """What the pages of reports show; complete when all domains have been given."""
    noted: dict[str, int] = field(default_factory=dict)
    """Of some reports how many rows are worse than the others."""

    def ask(self, progress: Progress) -> None:
        """Ask the reports that no domain's page has a part of, and begin with the others.

        :raises NoSuchDomain: there is none of the name that was asked for.
        """
        asked = [
            each
            for each in REPORTS.values()
            if each.source is Source.VIEW and each.name not in _STREAMED
        ]
        for done, report in enumerate(asked):
            progress(report.name, done, len(asked))
            self.found[report.name] = self._first(report)

    def count_domains(self) -> int:
        """Return how many domains there will be."""
        if self.domain is not None:
            return 1
        count = select(func.count()).select_from(DomainName).where(~DomainName.is_alias)
        return self.session.scalar(count) or 0

    def domains(self) -> Iterator[DomainRows]:
        """Give the domains in the order of their names.

        :raises NoSuchDomain: there is none of the name that was asked for.
        """
        streams = {name: self._stream(REPORTS[name]) for name in _STREAMED}
        mailboxes = self._stream(MAILBOXES)
        growth, catchalls = streams["growth"], streams["catchall"]
        for _, overviews in streams["domain-overview"].all():
            (overview,) = overviews
            name = str(overview[0])
            self.figures.add_domain(overview)
            for gone in growth.before(name):
                self.timeline.add(_measurements(gone), is_gone=True)
            measured = _measurements(growth.of(name))
            self.timeline.add(measured, is_gone=False)
            parts = ((section, self._found(streams[section].of(name))) for section in SECTIONS)
            yield DomainRows(
                overview,
                next(iter(catchalls.of(name)), None),
                self._found(map(self._mailbox, mailboxes.of(name))),
                [(section, part) for section, part in parts if part.total],
                measured,
            )
        for _, gone in growth.all():
            self.timeline.add(_measurements(gone), is_gone=True)
        for report, stream in streams.items():
            self.found[report] = stream.finish()
        self.figures.sort()

    def _first(self, report: Report) -> Found:
        """Return the first rows of a report, and count the others."""
        everything = Question(domain=self.domain)
        if report.name in _WALKS:
            return self._found(query.rows(self.session, report, everything))
        one_more = Question(domain=self.domain, limit=self.rows + 1)
        rows = list(query.rows(self.session, report, one_more))
        if len(rows) <= self.rows:
            return Found(rows, len(rows))
        return Found(rows[: self.rows], query.count(self.session, report, everything))

    def _found(self, rows: Iterable[Row]) -> Found:
        """Keep the first of some rows, and count the others."""
        rows = iter(rows)
        first = list(islice(rows, self.rows))
        return Found(first, len(first) + sum(1 for _ in rows))

    def _stream(self, report: Report) -> "_Stream":
        question = Question(domain=self.domain, sort=("domain", False))
        rows: Iterator[Row] = query.rows(self.session, report, question)
        if report.name in _NOTED:
            rows = self._note(report, rows)
        return _Stream(report, rows, self.rows)

    def _note(self, report: Report, rows: Iterator[Row]) -> Iterator[Row]:
        column, value = _NOTED[report.name]
        place = [each.name for each in report.columns].index(column)
        self.noted[report.name] = 0
        for row in rows:
            if row[place] is value:
                self.noted[report.name] += 1
            yield row

    def _mailbox(self, row: Row) -> Row:
        """Count a row of `MAILBOXES`, and make one of `MAILBOX_COLUMNS` of it."""
        name, _, quota, used, quota_messages, messages, at, *others = row
        has_quota = quota is not None or quota_messages is not None
        pct = _fill(used, quota, messages, quota_messages) if has_quota else None
        self.figures.add_mailbox(used, pct, at, others[0], has_quota=has_quota)
        return name, used, quota, pct, messages, quota_messages, at, *others


class _Stream:
    """The rows of a report in the order of the domains, of which the first are kept.

    Rows whose percentages are the same when they are rounded are in the order of what else the
    report is sorted by.
    """

    def __init__(self, report: Report, rows: Iterator[Row], limit: int) -> None:
        self._report = report
        self._limit = limit
        self._total = 0
        self._first: list[Row] = []
        self._is_in_order = report.sort[0] == "domain"
        place = [each.name for each in report.columns].index("domain")
        self._groups = groupby(self._pass(rows), itemgetter(place))
        self._next = next(self._groups, None)

    def of(self, domain: str) -> Iterable[Row]:
        """Return the rows of a domain; those of domains before it are passed over."""
        for gone in self.before(domain):
            _exhaust(gone)
        if self._next is None or self._next[0] != domain:
            return ()
        return self._take()

    def before(self, domain: str) -> Iterator[Iterable[Row]]:
        """Give the rows of each domain that comes before one, and that nobody has asked for."""
        key = to_database_text(domain)
        while self._next is not None:
            name = self._next[0]
            # What is of no domain comes last.
            if name is None or to_database_text(name) >= key:
                return
            yield self._take()

    def all(self) -> Iterator[tuple[str | None, Iterable[Row]]]:
        """Give the rows of each domain that is left."""
        while self._next is not None:
            yield self._next[0], self._take()

    def finish(self) -> Found:
        """Read what is left, and return the first rows in the report's own order."""
        for _, rows in self.all():
            _exhaust(rows)
        self._cut()
        return Found(self._first, self._total)

    def _take(self) -> Iterator[Row]:
        if self._next is not None:
            yield from self._next[1]
            self._next = next(self._groups, None)

    def _pass(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Give the same rows, and keep the first of them."""
        for row in rows:
            self._total += 1
            if not self._is_in_order or len(self._first) < self._limit:
                self._first.append(row)
                if len(self._first) > _SPARE * self._limit:
                    self._cut()
            yield row

    def _cut(self) -> None:
        if self._is_in_order:
            return
        for name in reversed(self._report.sort):
            self._sort_by(name.removeprefix("-"), is_down=name.startswith("-"))
        del self._first[self._limit :]

    def _sort_by(self, name: str, *, is_down: bool) -> None:
        place = [each.name for each in self._report.columns].index(name)

        def key(row: Row) -> Any:  # noqa: ANN401 - whatever the column has
            value = row[place]
            return to_database_text(value) if isinstance(value, str) else value

        known = [row for row in self._first if row[place] is not None]
        known.sort(key=key, reverse=is_down)
        self._first = known + [row for row in self._first if row[place] is None]


def _exhaust(rows: Iterable[object]) -> None:
    deque(rows, maxlen=0)


def _measurements(rows: Iterable[Row]) -> list[Measurement]:
    """Return what was measured of a domain, from rows of ``growth``, the newest first."""
    return [
        Measurement(date.fromisoformat(on), 1, mailboxes, size)
        for on, _, mailboxes, _, _, _, size, _ in cast("list[Any]", list(rows)[::-1])
        if mailboxes is not None
    ]


def _fill(used: Any, quota: Any, messages: Any, quota_messages: Any) -> float | None:  # noqa: ANN401
    """Return how full a mailbox is, in percent of bytes or messages, the higher."""
    if used is None:
        return None
    parts: list[float] = [
        part * 100 / whole
        for part, whole in ((used, quota), (messages, quota_messages))
        if whole is not None
    ]
    return round(max(parts), 1)
