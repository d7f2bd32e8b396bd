"""All that the pages show, asked in one snapshot of the database, each report once.

Most reports have rows for many domains, and each domain's page shows its own. So these come in
the order of the domains, side by side, and each domain takes what is its own: 100,000 domains cost
a dozen queries. The page of such a report gets its first rows on the way. The other reports are
asked for their first rows, and counted, most of them on the way, too. Nearly all the time goes
into finding first rows, so that several sessions are asked at once.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import date, datetime
from queue import SimpleQueue
from types import MappingProxyType
from typing import Any, cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vpopsql.model import DomainName
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
from vpopsql.reports.site.streams import Found, Row, Stream, first_of

Progress = Callable[[int, int], None]
"""Takes how many reports have answered, and how many there are."""

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
        number("days_idle", "whole days since the last login, or since it was made if never"),
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
    *MAILBOXES.columns[7:-1],
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
_COUNTED = frozenset(
    {"inactive-mailboxes", "never-logged-in", "over-quota"}
    | {"password-schemes", "password-scheme-mailboxes"}
)
"""Reports of which the rows are counted on the way through all mailboxes."""
_READ = frozenset({"alias-depth", "auth-activity"})
"""Reports that cost as much to count as to read."""
_SORTED = MappingProxyType({"alias-depth": ("depth", True)})
"""Reports whose first rows are to be the worst, although each is quicker in another order."""
_NOTED = {
    "domain-limits": ("over", True),
    "external-forwards": ("owner_is_admin", True),
    "catchall": ("target_exists", False),
}
"""Of which reports those rows are counted, too, that have a value in a column."""
_POSTMASTER = "postmaster"


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


class Gathering:
    """Asks, and adds up.

    :param sessions: that see the same moment, at least one; each is asked something at a time.
    :param as_of: that moment.
    :param rows: at most so many are kept of each report, and of each section of a page.
    :param domain: everything of this one only.
    """

    def __init__(
        self, sessions: Sequence[Session], as_of: datetime, rows: int, domain: str | None = None
    ) -> None:
        self.as_of = as_of
        self.domain = domain
        self.figures = Figures()
        self.timeline = Timeline()
        self.found: dict[str, Found] = {}
        """What the pages of reports show; complete when all domains have been given."""
        self.noted: dict[str, int] = dict.fromkeys(_NOTED, 0)
        """Of some reports how many rows are worse than the others."""
        self._rows = rows
        self._sessions = sessions
        self._free: SimpleQueue[Session] = SimpleQueue()
        for session in sessions:
            self._free.put(session)
        self._streams: dict[str, Stream] = {}
        self._counts: Counter[str] = Counter()
        self._schemes: set[object] = set()

    def ask(self, progress: Progress) -> None:
        """Ask all reports, some at once, until each has its first row.

        :raises NoSuchDomain: there is none of the name that was asked for.
        """
        views = (each for each in REPORTS.values() if each.source is Source.VIEW)
        # Those that have most to read come first, so that none is left alone at the end.
        asked = sorted((MAILBOXES, *views), key=lambda each: each.name not in _STREAMED)
        pool = ThreadPoolExecutor(len(self._sessions))
        try:
            answers = [pool.submit(self._ask, each) for each in asked]
            for done, answer in enumerate(as_completed(answers), 1):
                answer.result()
                progress(done, len(asked))
        finally:
            pool.shutdown(cancel_futures=True)

    def count_domains(self) -> int:
        """Return how many domains there will be."""
        if self.domain is not None:
            return 1
        count = select(func.count()).select_from(DomainName).where(~DomainName.is_alias)
        return self._sessions[0].scalar(count) or 0

    def domains(self) -> Iterator[DomainRows]:
        """Give the domains in the order of their names, once all has been asked."""
        streams = self._streams
        mailboxes = streams.pop(MAILBOXES.name)
        growth, catchalls = streams["growth"], streams["catchall"]
        for _, overviews in streams["domain-overview"].all():
            (overview,) = overviews
            name = str(overview[0])
            self.figures.add_domain(overview)
            for gone in growth.before(name):
                self.timeline.add(_measurements(gone), is_gone=True)
            measured = _measurements(growth.of(name))
            self.timeline.add(measured, is_gone=False)
            boxes = first_of(map(self._mailbox, mailboxes.of(name)), self._rows)
            self._counts["password-schemes"] += len(self._schemes)
            self._schemes.clear()
            parts = (
                (section, first_of(streams[section].of(name), self._rows)) for section in SECTIONS
            )
            yield DomainRows(
                overview,
                next(iter(catchalls.of(name)), None),
                boxes,
                [(section, part) for section, part in parts if part.total],
                measured,
            )
        for _, gone in growth.all():
            self.timeline.add(_measurements(gone), is_gone=True)
        for report, stream in streams.items():
            self.found[report] = stream.finish()
        self._counts["password-scheme-mailboxes"] = self.figures.mailboxes
        for report in _COUNTED:
            self.found[report] = Found(self.found[report].rows, self._counts[report])
        self.figures.sort()

    def _ask(self, report: Report) -> None:
        session = self._free.get()
        try:
            if report is MAILBOXES or report.name in _STREAMED:
                self._streams[report.name] = self._stream(session, report)
            else:
                self.found[report.name] = self._first(session, report)
        finally:
            self._free.put(session)

    def _first(self, session: Session, report: Report) -> Found:
        """Return the first rows of a report, and count the others."""
        everything = Question(domain=self.domain, sort=_SORTED.get(report.name))
        if report.name in _READ:
            return first_of(query.rows(session, report, everything), self._rows)
        one_more = replace(everything, limit=self._rows + 1)
        rows = list(query.rows(session, report, one_more))
        if len(rows) <= self._rows or report.name in _COUNTED:
            return Found(rows[: self._rows], len(rows))
        return Found(rows[: self._rows], query.count(session, report, everything))

    def _stream(self, session: Session, report: Report) -> Stream:
        question = Question(domain=self.domain, sort=("domain", False))
        rows: Iterable[Row] = query.rows(session, report, question)
        if report.name in _NOTED:
            rows = self._note(report, rows)
        return Stream(report, rows, self._rows)

    def _note(self, report: Report, rows: Iterable[Row]) -> Iterator[Row]:
        column, value = _NOTED[report.name]
        place = [each.name for each in report.columns].index(column)
        for row in rows:
            if row[place] is value:
                self.noted[report.name] += 1
            yield row

    def _mailbox(self, row: Row) -> Row:
        """Count a row of `MAILBOXES`, and make one of `MAILBOX_COLUMNS` of it."""
        name, _, quota, used, quota_messages, messages, login, scheme, *others, idle = row
        has_quota = quota is not None or quota_messages is not None
        pct = _fill(used, quota, messages, quota_messages) if has_quota else None
        self.figures.add_mailbox(used, pct, login, scheme, has_quota=has_quota)
        self._schemes.add(scheme)
        if pct is not None and pct >= _FULL:
            self._counts["over-quota"] += 1
        if name != _POSTMASTER:
            if login is None:
                self._counts["never-logged-in"] += 1
            if not isinstance(idle, int) or idle >= _IDLE:
                self._counts["inactive-mailboxes"] += 1
        shown = None if pct is None else round(pct, 1)
        return name, used, quota, shown, messages, quota_messages, login, scheme, *others


def _least(report: str) -> int:
    threshold = REPORTS[report].threshold
    return threshold.default if threshold else 0


_FULL, _IDLE = _least("over-quota"), _least("inactive-mailboxes")


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
        float(part) * 100 / whole
        for part, whole in ((used, quota), (messages, quota_messages))
        if whole is not None
    ]
    return max(parts)
