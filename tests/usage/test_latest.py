"""The newest snapshot of each mailbox is kept beside all of them, whatever happens to them."""

from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

from tests import factories
from vpopsql.db import Database
from vpopsql.model import Domain, LatestUsage, Mailbox, MailboxUsage, UsageSource

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)

hours = st.integers(0, 5)
boxes = st.integers(0, 1)
steps = st.lists(
    st.tuples(st.just("add"), boxes, st.lists(hours, min_size=1, max_size=3))
    | st.tuples(st.sampled_from(["remove", "move"]), boxes, hours),
    max_size=8,
)


def snapshot(mailbox_id: int, hour: int, size: int) -> MailboxUsage:
    return MailboxUsage(
        mailbox_id=mailbox_id,
        measured_at=NOW + timedelta(hours=hour),
        bytes=size,
        messages=1,
        source=UsageSource.COUNT,
    )


def take(database: Database, step: tuple[str, int, object], ids: list[int], number: int) -> None:
    """Add snapshots, remove those of an hour, or let them be later ones."""
    what, box, hour = step
    at = MailboxUsage.measured_at
    with database.writer() as session:
        if isinstance(hour, list):
            session.add_all(snapshot(ids[box], each, 10 * number + each) for each in hour)
            return
        of_hour = (MailboxUsage.mailbox_id == ids[box]) & (at == NOW + timedelta(hours=hour))  # type: ignore[arg-type]
        if what == "remove":
            session.execute(delete(MailboxUsage).where(of_hour))
        else:
            later = {"measured_at": NOW + timedelta(hours=7), "bytes": number}
            session.execute(update(MailboxUsage).where(of_hour).values(later))


def newest(database: Database) -> list[tuple[object, ...]]:
    """Find them as anybody would: the last of each mailbox's, sorted by time and number."""
    with database.reader() as session:
        order = (MailboxUsage.measured_at, MailboxUsage.id)
        every = session.scalars(select(MailboxUsage).order_by(*order)).all()
    last = {each.mailbox_id: each for each in every}
    return sorted(
        (each.mailbox_id, each.id, each.measured_at, each.bytes, each.messages)
        for each in last.values()
    )


def kept(database: Database) -> list[tuple[object, ...]]:
    columns = LatestUsage.__table__.columns
    with database.reader() as session:
        return sorted(tuple(row) for row in session.execute(select(*columns)))


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=steps)
def test_it_is_always_the_newest(database: Database, steps: list[tuple[str, int, object]]) -> None:
    with database.writer() as session:
        session.execute(delete(Domain))
        domain = factories.domain(session)
        ids = [factories.mailbox(session, domain, name).id for name in ("a", "b")]

    for number, step in enumerate(steps):
        take(database, step, ids, number)

    assert kept(database) == newest(database)


def test_it_goes_with_its_mailbox(database: Database) -> None:
    with database.writer() as session:
        box = factories.mailbox(session, factories.domain(session))
        session.add_all(snapshot(box.id, hour, 1) for hour in (1, 3, 2))

    with database.writer() as session:
        session.execute(delete(Mailbox))

    assert kept(database) == newest(database) == []
