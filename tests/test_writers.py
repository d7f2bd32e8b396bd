"""Sessions that write: their connections are kept, and nothing else of them is."""

from collections.abc import Iterator

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from tests import factories
from tests.prepared import COUNT, cut, fill, require_server
from vpopsql.db import Database
from vpopsql.errors import Conflict, DatabaseUnavailable
from vpopsql.model import Mailbox, table_of
from vpopsql.prepared import _KEY, Change, commit

INSERT = Change(insert(table_of(Mailbox)))


@pytest.fixture
def site(database: Database) -> Database:
    return fill(database)


def connection_of(session: Session) -> object:
    return session.connection().connection.driver_connection


def used_by(database: Database) -> object:
    with database.writer() as session:
        return connection_of(session)


def add(session: Session, name: str, domain_id: int | None = None) -> None:
    """Add a mailbox, by the driver."""
    INSERT.run(
        session,
        domain_id=domain_id or session.scalars(select(Mailbox.domain_id)).first(),
        name=name,
        password_hash="",
        comment="",
        quota_text="NOQUOTA",
        directory=f"/d/{name}",
        created_at=factories.at(2026, 1, 2),
    )


def test_the_next_one_has_the_same_connection_and_another_session(site: Database) -> None:
    first = used_by(site)
    with site.writer() as session:
        session.info["note"] = 1
        assert connection_of(session) is first
        mailbox = session.scalars(select(Mailbox)).first()
    with site.writer() as session:
        assert connection_of(session) is first
        assert "note" not in session.info
        assert mailbox not in session


@pytest.mark.parametrize("by_the_driver", [True, False])
def test_a_block_that_fails_changes_nothing_and_keeps_the_connection(
    site: Database, *, by_the_driver: bool
) -> None:
    def fail(session: Session) -> None:
        add(session, "eve")
        if not by_the_driver:
            session.execute(text("UPDATE mailboxes SET comment = 'x'"))
        raise ZeroDivisionError

    first = used_by(site)
    with pytest.raises(ZeroDivisionError), site.writer() as session:
        fail(session)
    with site.writer() as session:
        assert connection_of(session) is first
        assert COUNT.value(session) == 4
        assert "x" not in session.scalars(select(Mailbox.comment))


def test_both_ways_of_a_transaction_are_committed_together(site: Database) -> None:
    with site.writer() as session:
        add(session, "eve")
        session.execute(text("UPDATE mailboxes SET comment = 'x'"))
        add(session, "fay")
    with site.reader() as session:
        assert session.scalar(select(func.count()).where(Mailbox.comment == "x")) == 5
        assert session.scalar(select(func.count(Mailbox.id))) == 6


def test_what_is_committed_within_the_block_stays_so(site: Database) -> None:
    with site.writer() as session:
        add(session, "eve")
        commit(session)
    assert site.read(COUNT.value) == 5


def test_a_lost_race_leaves_the_connection_as_good_as_before(site: Database) -> None:
    first = used_by(site)
    with pytest.raises(Conflict), site.writer() as session:
        add(session, "ann")
    with site.writer() as session:
        assert connection_of(session) is first
        add(session, "eve")
    assert site.read(COUNT.value) == 5


@pytest.mark.parametrize("by_the_driver", [True, False])
def test_what_the_commit_refuses_is_told_and_undone(
    site: Database, *, by_the_driver: bool
) -> None:
    if not site.is_sqlite:
        pytest.skip("no constraint is looked at only then")

    def orphan(session: Session) -> None:
        later = "PRAGMA defer_foreign_keys = ON"
        if by_the_driver:
            session.info[_KEY].run(later)
        else:
            session.execute(text(later))
        add(session, "eve", domain_id=999_999)

    with pytest.raises(Conflict, match="FOREIGN KEY"), site.writer() as session:
        orphan(session)
    assert site.read(COUNT.value) == 4
    with site.writer() as session:
        add(session, "eve")
    assert site.read(COUNT.value) == 5


def test_a_connection_that_breaks_is_an_outage_and_the_next_one_is_good(site: Database) -> None:
    def work(session: Session) -> None:
        cut(session)
        add(session, "eve")

    require_server(site)
    first = used_by(site)
    with pytest.raises(DatabaseUnavailable), site.writer() as session:
        work(session)
    with site.writer() as session:
        assert connection_of(session) is not first
        assert COUNT.value(session) == 4


def test_one_that_was_cut_meanwhile_is_not_used_any_more(site: Database) -> None:
    require_server(site)
    used_by(site)
    with site.writer() as session:
        cut(session)
        session.rollback()
    with site.writer() as session:
        add(session, "eve")
    assert site.read(COUNT.value) == 5


def test_whoever_writes_is_not_at_rest(site: Database) -> None:
    with site.writer():
        assert not site.forget_connections()
    assert site.read(lambda _session: site.forget_connections()) is False
    assert site.forget_connections()


@pytest.fixture
def hurried(database_url: str) -> Iterator[Database]:
    database = Database(database_url, pool_size=1, patience_s=0.3)
    yield database
    database.close()


def test_there_are_twice_as_many_as_are_kept_and_no_more(hurried: Database) -> None:
    require_server(hurried)
    with hurried.writer() as one, hurried.writer() as two:
        assert connection_of(one) is not connection_of(two)
        with pytest.raises(DatabaseUnavailable, match="free"), hurried.writer():
            pass
    with hurried.writer() as one:
        COUNT.value(one)
