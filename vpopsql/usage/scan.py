"""Measuring the Maildirs of a site, or of a domain, into snapshots.

Several processes measure, a batch of mailboxes each at a time; this one writes down what they
found, some seconds' worth in a transaction, so that a scan that is killed has kept what came
before. With ``max_age`` the next one goes on where it was. Nothing of the database is held while
files are looked at, and nothing is written into Maildirs.

A mailbox that cannot be measured gets no snapshot: it is unknown what it holds. A domain gets one
when the last of its mailboxes was done; its sums are of those that could be measured.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Select, Table, func, null, select
from sqlalchemy.orm import Session

from vpopsql import bulk, config, crew, maildir
from vpopsql.columns import utc_now
from vpopsql.db import Database
from vpopsql.errors import NoSuchDomain
from vpopsql.model import (
    DomainName,
    DomainUsage,
    DotQmailFile,
    LatestUsage,
    Mailbox,
    MailboxUsage,
    UsageSource,
)
from vpopsql.names import lower
from vpopsql.quota import Quota
from vpopsql.tree import Tree, UnsafePath

_BATCH_MAX = 25
"""Mailboxes that a process measures at a time."""
_PARCELS = 100
"""Into so many parts for each process a small site is divided, so that all have work."""
_STORE_S = 3.0
"""How long what was found waits to be written down."""
_STORE_ROWS = 5000
"""How many rows wait at most."""
_FETCH = 10_000
_LOCKED_AT_ONCE = 500

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Takes the mailboxes that are done and those that there are."""

_MAILBOX_COLUMNS = ("id", "mailbox_id", "measured_at", "bytes", "messages", "source")
_DOMAIN_COLUMNS = (
    "id",
    "domain",
    "measured_at",
    "mailboxes",
    "measured",
    "bytes",
    "messages",
    "aliases",
)
_MAILBOX_TABLE: Table = MailboxUsage.__table__  # type: ignore[assignment]
_DOMAIN_TABLE: Table = DomainUsage.__table__  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure, and how gently."""

    domain: str | None = None
    """A domain, or one of its alias domains; None: the whole site."""
    max_age: timedelta | None = None
    """Mailboxes measured since are left out; None: none is."""
    jobs: int = 1
    """Processes, from 1."""
    rate: float | None = None
    """Mailboxes a second at most, of all processes together; None: as many as there can be."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A mailbox that could not be measured."""

    address: str
    reason: str


@dataclass(slots=True)
class Summary:
    """What a scan came to."""

    began_at: datetime
    ended_at: datetime
    mailboxes: int = 0
    """That there were to look at, those left out included."""
    skipped: int = 0
    """Left out, because they had been measured lately."""
    by_maildirsize: int = 0
    by_count: int = 0
    domains: int = 0
    """Domains that got a snapshot."""
    bytes: int = 0
    """Of the mailboxes that this scan measured."""
    messages: int = 0
    failures: list[Failure] = field(default_factory=list)

    @property
    def measured(self) -> int:
        """Return how many mailboxes this scan measured."""
        return self.by_maildirsize + self.by_count


@dataclass(frozen=True, slots=True)
class _Found:
    """What came of one mailbox."""

    mailbox_id: int
    at: datetime
    measured: maildir.Measured | None
    failure: Failure | None = None


class _Surveyor:
    """Measures batches of mailboxes, in a process of its own or not."""

    def __init__(self, settings: config.Database, paths: config.Paths, rate: float | None) -> None:
        self._database = Database(
            settings.url, pool_size=1, busy_timeout_s=settings.busy_timeout_s
        )
        self._tree = Tree(paths.root, paths.places)
        self._pause_s = 1 / rate if rate else 0.0
        self._next = time.monotonic()

    def __call__(self, ids: Sequence[int], /) -> list[_Found]:
        """Measure mailboxes; those that are no more are not among what is returned."""
        columns = select(
            Mailbox.id, Mailbox.name, DomainName.name, Mailbox.directory, Mailbox.quota_text
        )
        real = (DomainName.domain_id == Mailbox.domain_id) & ~DomainName.is_alias
        with self._database.reader() as session:
            found = session.execute(columns.join(DomainName, real).where(Mailbox.id.in_(ids)))
            rows = {row[0]: row for row in found}
        return [self._measure(*rows[each]) for each in ids if each in rows]

    def _measure(
        self, mailbox_id: int, name: str, domain: str, directory: str, quota_text: str
    ) -> _Found:
        if self._pause_s:
            time.sleep(max(0.0, self._next - time.monotonic()))
            # Time lost to a slow mailbox is not made up for.
            self._next = max(self._next, time.monotonic()) + self._pause_s
        path = f"{directory.rstrip('/')}/Maildir"
        at = utc_now()
        try:
            measured = maildir.measure(self._tree, path, Quota.parse(quota_text))
        except (OSError, UnsafePath) as error:
            failure = Failure(f"{name}@{domain}", _reason(error, path))
            return _Found(mailbox_id, at, None, failure)
        return _Found(mailbox_id, at, measured)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()


def _reason(error: OSError | UnsafePath, path: str) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or path}: {error.strerror}"
    return f"{path}: {error}"


@dataclass(slots=True)
class _DomainSum:
    """A domain's mailboxes, as far as they are done."""

    name: str
    aliases: int
    mailboxes: int = 0
    ids: list[int] = field(default_factory=list)
    """Those to measure."""
    is_known: bool = False
    """It has a snapshot of late already."""
    measured: int = 0
    bytes: int = 0
    messages: int = 0

    def add(self, size: int, messages: int) -> None:
        """Add one that was measured."""
        self.measured += 1
        self.bytes += size
        self.messages += messages


def scan(
    database: Database,
    settings: config.Config,
    wanted: Wanted,
    progress: Progress = lambda *_: None,
) -> Summary:
    """Measure mailboxes, and keep what was found.

    :raises NoSuchDomain: the domain is not known.
    :raises DatabaseUnavailable: the database went away; what was kept before stays.
    :raises ProcessKilled: one of the processes was.
    """
    summary = Summary(began_at := utc_now(), began_at)
    since = began_at - wanted.max_age if wanted.max_age is not None else None
    with database.snapshot() as session:
        domains = list(_domains(session, wanted.domain, since))
    summary.mailboxes = sum(each.mailboxes for each in domains)
    ids = [each for domain in domains for each in domain.ids]
    summary.skipped = summary.mailboxes - len(ids)
    batches = list(_in_batches(ids, _batch_size(len(ids), wanted)))
    processes = crew.processes(len(batches), wanted.jobs)
    rate = wanted.rate / processes if wanted.rate else None
    ledger = _Ledger(database, summary, domains)
    work = crew.work_in_order(
        partial(_Surveyor, settings.database, settings.paths, rate), batches, processes
    )
    done = summary.skipped
    progress(done, summary.mailboxes)
    with closing(work):
        for batch, found in zip(batches, work, strict=True):
            ledger.take(batch, found)
            done += len(batch)
            progress(done, summary.mailboxes)
    ledger.close()
    summary.ended_at = utc_now()
    return summary


def _in_batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _batch_size(mailboxes: int, wanted: Wanted) -> int:
    """Return how many mailboxes a process gets at a time: few, where they take long."""
    size = min(_BATCH_MAX, mailboxes // (wanted.jobs * _PARCELS))
    if wanted.rate:
        size = min(size, int(wanted.rate / wanted.jobs / 4))
    return max(size, 1)


def _domains(session: Session, name: str | None, since: datetime | None) -> Iterator[_DomainSum]:
    """Return domains with their mailboxes, both in the order of names."""
    names = select(DomainName.domain_id, DomainName.name).where(~DomainName.is_alias)
    aliases = (
        select(DotQmailFile.domain_id, func.count())
        .where(DotQmailFile.mailbox_id.is_(None), DotQmailFile.name.not_in(["", "default"]))
        .group_by(DotQmailFile.domain_id)
    )
    mailboxes = _mailboxes(since)
    if name is not None:
        domain_id = session.scalar(
            select(DomainName.domain_id).where(DomainName.name == lower(name))
        )
        if domain_id is None:
            raise NoSuchDomain(f"{name}: no such domain")
        names = names.where(DomainName.domain_id == domain_id)
        aliases = aliases.where(DotQmailFile.domain_id == domain_id)
        mailboxes = mailboxes.where(Mailbox.domain_id == domain_id)
    counts = {row[0]: row[1] for row in session.execute(aliases)}
    sums = {
        domain_id: _DomainSum(each, counts.get(domain_id, 0))
        for domain_id, each in session.execute(names.order_by(DomainName.name))
    }
    rows = session.execute(mailboxes, execution_options={"yield_per": _FETCH})
    for mailbox_id, domain_id, size, messages in rows:
        found = sums[domain_id]
        found.mailboxes += 1
        if size is None:
            found.ids.append(mailbox_id)
        else:
            found.add(size, messages)
    if since is not None:
        late = select(DomainUsage.domain).where(DomainUsage.measured_at >= since).distinct()
        known = set(session.scalars(late))
        for found in sums.values():
            found.is_known = found.name in known
    yield from sums.values()


def _mailboxes(since: datetime | None) -> Select[*tuple[Any, ...]]:
    """Select mailboxes, with what they held at the last look after ``since``."""
    order = (Mailbox.domain_id, Mailbox.name)
    if since is None:
        return select(Mailbox.id, Mailbox.domain_id, null(), null()).order_by(*order)
    late = (LatestUsage.mailbox_id == Mailbox.id) & (LatestUsage.measured_at >= since)
    columns = select(Mailbox.id, Mailbox.domain_id, LatestUsage.bytes, LatestUsage.messages)
    return columns.outerjoin_from(Mailbox, LatestUsage, late).order_by(*order)


class _Ledger:
    """Writes down what was found, and a domain when its last mailbox is done."""

    def __init__(
        self, database: Database, summary: Summary, domains: Sequence[_DomainSum]
    ) -> None:
        self._database = database
        self._summary = summary
        self._domains = iter(domains)
        self._current: _DomainSum | None = None
        self._left = 0
        self._mailboxes: list[_Found] = []
        self._finished: list[tuple[_DomainSum, datetime]] = []
        self._store_at = time.monotonic() + _STORE_S
        self._next_domain()

    def take(self, ids: Sequence[int], found: Sequence[_Found]) -> None:
        """Take what came of mailboxes, in their order."""
        by_id = {each.mailbox_id: each for each in found}
        for mailbox_id in ids:
            self._take_one(by_id.get(mailbox_id))
        waiting = len(self._mailboxes) + len(self._finished)
        if waiting >= _STORE_ROWS or time.monotonic() >= self._store_at:
            self._store()

    def close(self) -> None:
        """Write down the rest."""
        self._store()

    def _take_one(self, found: _Found | None) -> None:
        domain = self._current
        if domain is None:
            raise RuntimeError("more mailboxes than the domains have")
        if found is None:
            # Deleted while we were at it.
            domain.mailboxes -= 1
        elif found.failure:
            self._summary.failures.append(found.failure)
        elif found.measured:
            self._mailboxes.append(found)
            size, messages, source = found.measured
            domain.add(size, messages)
            self._summary.bytes += size
            self._summary.messages += messages
            self._summary.by_maildirsize += source is UsageSource.MAILDIRSIZE
            self._summary.by_count += source is UsageSource.COUNT
        self._left -= 1
        if not self._left:
            self._next_domain()

    def _next_domain(self) -> None:
        """Go on to the next domain of which there is something to measure."""
        if self._current is not None:
            self._finished.append((self._current, utc_now()))
        for domain in self._domains:
            if domain.ids:
                self._current, self._left = domain, len(domain.ids)
                return
            if not domain.is_known:
                self._finished.append((domain, utc_now()))
        self._current = None

    def _store(self) -> None:
        with self._database.writer() as session:
            _insert_mailboxes(session, self._mailboxes)
            _insert_domains(session, self._finished)
        self._summary.domains += len(self._finished)
        self._mailboxes, self._finished = [], []
        self._store_at = time.monotonic() + _STORE_S


def _insert_mailboxes(session: Session, found: Sequence[_Found]) -> None:
    ids = [each.mailbox_id for each in found]
    there: set[int] = set()
    for some in _in_batches(ids, _LOCKED_AT_ONCE):
        # None of them can be deleted before the commit.
        locked = select(Mailbox.id).where(Mailbox.id.in_(some))
        there.update(session.scalars(locked.with_for_update(read=True, key_share=True)))
    kept = [each for each in found if each.mailbox_id in there and each.measured]
    keys = bulk.take_ids(session, _MAILBOX_TABLE, len(kept))
    bulk.insert_rows(
        session,
        _MAILBOX_TABLE,
        _MAILBOX_COLUMNS,
        [(next(keys), each.mailbox_id, each.at, *each.measured) for each in kept if each.measured],
    )


def _insert_domains(session: Session, finished: Sequence[tuple[_DomainSum, datetime]]) -> None:
    keys = bulk.take_ids(session, _DOMAIN_TABLE, len(finished))
    bulk.insert_rows(
        session,
        _DOMAIN_TABLE,
        _DOMAIN_COLUMNS,
        [
            (
                next(keys),
                each.name,
                at,
                each.mailboxes,
                each.measured,
                each.bytes,
                each.messages,
                each.aliases,
            )
            for each, at in finished
        ],
    )
