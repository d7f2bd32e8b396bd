"""Which snapshots are left, and that the newest of each mailbox always is."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from tests import factories
from vpopsql.config import Usage
from vpopsql.db import Database
from vpopsql.model import DomainUsage, MailboxUsage, UsageSource
from vpopsql.usage import prune as pruning
from vpopsql.usage.prune import Pruned, prune

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SETTINGS = Usage(keep_all_days=35, keep_weekly_days=365, keep_days=1095)


def measured(database: Database, *days: float, name: str = "alice") -> int:
    """Make a mailbox in a domain of its own with a snapshot so many days ago each."""
    with database.writer() as session:
        mailbox = factories.mailbox(session, factories.domain(session, f"{name}.example"), name)
    add(database, mailbox.id, *days)
    return mailbox.id


def add(database: Database, mailbox_id: int, *days: float) -> None:
    with database.writer() as session:
        session.add_all(
            MailboxUsage(
                mailbox_id=mailbox_id,
                measured_at=NOW - each * DAY,
                bytes=1,
                messages=1,
                source=UsageSource.COUNT,
            )
            for each in days
        )


def left(database: Database, mailbox_id: int) -> list[float]:
    """Return the ages in days of the snapshots of a mailbox, the newest first."""
    with database.reader() as session:
        times = session.scalars(
            select(MailboxUsage.measured_at)
            .where(MailboxUsage.mailbox_id == mailbox_id)
            .order_by(MailboxUsage.measured_at.desc())
        )
        return [(NOW - each) / DAY for each in times]


def test_all_of_the_last_weeks_stay(database: Database) -> None:
    mailbox = measured(database, 0.1, 0.2, 1, 34, 34.5)

    assert prune(database, SETTINGS, NOW) == Pruned(0, 0)
    assert left(database, mailbox) == [0.1, 0.2, 1, 34, 34.5]


def test_then_the_last_of_each_week_stays(database: Database) -> None:
    # Weeks begin on Thursday, 00:00 UTC, as seconds since 1970 do; NOW is a Wednesday's noon.
    mailbox = measured(database, 0, 41.4, 41.6, 47, 48.4, 48.6, 49)

    assert prune(database, SETTINGS, NOW) == Pruned(3, 0)
    assert left(database, mailbox) == [0, 41.4, 41.6, 48.6]


def test_then_the_last_of_each_month(database: Database) -> None:
    september, august = 421, 452  # days since the 30th of 2025, and the 30th
    mailbox = measured(database, 0, september, september + 20, august, august + 10)

    assert prune(database, SETTINGS, NOW) == Pruned(2, 0)
    assert left(database, mailbox) == [0, september, august]


def test_in_the_end_none_stays(database: Database) -> None:
    mailbox = measured(database, 0, 1094, 1096)

    prune(database, SETTINGS, NOW)

    assert left(database, mailbox) == [0, 1094]


def test_0_days_keep_one_a_month_for_ever(database: Database) -> None:
    mailbox = measured(database, 0, 1094, 9999)

    prune(database, Usage(keep_days=0), NOW)

    assert left(database, mailbox) == [0, 1094, 9999]


def test_the_newest_stays_however_old_it_is(database: Database) -> None:
    mailbox = measured(database, 5000, 5001)

    prune(database, SETTINGS, NOW)

    assert left(database, mailbox) == [5000]


def test_two_mailboxes_do_not_count_as_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_OWNERS_AT_ONCE", 1)
    alice = measured(database, 49, 50)
    bob = measured(database, 49.5, 51, name="bob")

    assert prune(database, SETTINGS, NOW) == Pruned(2, 0)
    assert (left(database, alice), left(database, bob)) == ([49], [49.5])


def test_snapshots_of_domains_are_thinned_alike(database: Database) -> None:
    with database.writer() as session:
        session.add_all(
            DomainUsage(
                domain=name,
                measured_at=NOW - days * DAY,
                mailboxes=1,
                measured=1,
                bytes=1,
                messages=1,
                aliases=0,
            )
            for name in ("a.example", "b.example")
            for days in (0, 49, 50)
        )

    assert prune(database, SETTINGS, NOW) == Pruned(0, 2)
    with database.reader() as session:
        rows = session.execute(
            select(DomainUsage.domain, DomainUsage.measured_at).order_by(
                DomainUsage.domain, DomainUsage.measured_at.desc()
            )
        ).all()
    assert [(row[0], (NOW - row[1]) / DAY) for row in rows] == [
        ("a.example", 0),
        ("a.example", 49),
        ("b.example", 0),
        ("b.example", 49),
    ]


def thinned(ages: list[int]) -> list[int]:
    """Return the ages that should be left: slowly, and as one would say it."""
    kept: list[int] = []
    seen: set[object] = set()
    for age in sorted(ages):
        at = NOW - age * DAY
        week, month = int(at.timestamp()) // 604_800, (at.year, at.month)
        period: object = age if age <= 35 else ("week", week) if age <= 365 else month
        if not kept or (period not in seen and age <= 1095):
            kept.append(age)
        seen.add(period)
    return kept


@pytest.fixture
def alice(database: Database) -> int:
    """A mailbox without snapshots."""
    return measured(database)


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(ages=st.lists(st.integers(0, 1300), unique=True, min_size=1))
def test_any_snapshots_are_thinned_as_one_would_by_hand(
    database: Database, alice: int, ages: list[int]
) -> None:
    with database.writer() as session:
        session.execute(delete(MailboxUsage))
    add(database, alice, *ages)

    prune(database, SETTINGS, NOW)

    assert left(database, alice) == thinned(ages)
