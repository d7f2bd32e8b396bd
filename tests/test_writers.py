"""Sessions that write: their connections are kept, and nothing else of them is."""

import contextlib
import os
import signal
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Integer, bindparam, func, insert, select, text
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import DetachedInstanceError

from tests import factories
from tests.prepared import COUNT, analyze, cut, fill, plan, require_server
from vpopsql.db import Database, engines
from vpopsql.errors import Conflict, DatabaseRefused, DatabaseUnavailable
from vpopsql.model import Mailbox, table_of
from vpopsql.prepared import _KEY, Change, Prepared, commit

INSERT = Change(insert(table_of(Mailbox)))
WRONG = Prepared(select(func.max(Mailbox.id) % bindparam("by", type_=Integer)))


@pytest.fixture
def site(database: Database) -> Database:
    return fill(database)


@pytest.fixture
def hurried(database_url: str) -> Iterator[Database]:
    database = Database(database_url, pool_size=1, patience_s=0.3)
    yield database
    database.close()


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
    with site.writer() as session:
        add(session, "eve")
    assert site.read(COUNT.value) == 5


def test_a_break_that_nobody_told_of_is_an_outage(site: Database) -> None:
    def work(session: Session) -> None:
        add(session, "eve", domain_id=1)
        COUNT.value(session)
        session.info[_KEY].connection.close()

    require_server(site)
    with pytest.raises(DatabaseUnavailable), site.writer() as session:
        work(session)
    assert site.read(COUNT.value) == 4


@pytest.mark.parametrize("by_the_driver", [True, False])
def test_a_failure_that_nobody_told_of_is_no_success(
    site: Database, *, by_the_driver: bool
) -> None:
    def work(session: Session) -> None:
        add(session, "eve")
        with contextlib.suppress(DBAPIError):
            if by_the_driver:
                WRONG.first(session, by=0)
            else:
                session.execute(text("SELECT 1 / (count(*) - count(*)) FROM mailboxes"))

    require_server(site)  # SQLite undoes the statement alone
    with pytest.raises(DatabaseRefused, match="COMMIT"), site.writer() as session:
        work(session)
    assert site.read(COUNT.value) == 4


def test_a_block_neither_commits_nor_undoes(site: Database) -> None:
    with site.writer() as session:
        add(session, "eve")
        for end in (session.commit, session.rollback):
            with pytest.raises(RuntimeError, match="began it"):
                end()
    assert site.read(COUNT.value) == 5


def test_what_is_left_of_a_block_begins_no_transaction(site: Database) -> None:
    with site.writer() as session:
        mailbox = session.scalars(select(Mailbox).limit(1)).one()
        session.expire(mailbox)
    with pytest.raises(DetachedInstanceError):
        assert mailbox.comment


def test_a_writer_waits_once_for_another_process(
    site: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not site.is_sqlite:
        pytest.skip("PostgreSQL locks rows")
    deadlines, has_begun = set[float](), engines._has_begun

    def noting(driver: sqlite3.Connection, dialect: Dialect, deadline: float) -> bool:
        deadlines.add(deadline)
        return has_begun(driver, dialect, deadline)

    monkeypatch.setattr(engines, "_has_begun", noting)
    with (
        contextlib.closing(sqlite3.connect(str(site.url.database))) as other,
        contextlib.closing(Database(database_url, busy_timeout_s=0.3)) as hurried,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable, match="locked"), hurried.writer():
            pass
        assert len(deadlines) == 1
        other.rollback()
        with hurried.writer() as session:
            add(session, "eve")
    assert site.read(COUNT.value) == 5


def test_a_server_that_stops_is_not_waited_for_longer_than_a_client_may_wait(
    hurried: Database,
) -> None:
    require_server(hurried)
    with hurried.writer() as session:
        server = session.scalar(text("SELECT pg_backend_pid()"))
    if not Path(f"/proc/{server}/comm").exists():
        pytest.skip("the server is on another host")
    try:
        with contextlib.suppress(ZeroDivisionError), hurried.writer() as session:
            COUNT.value(session)
            os.kill(server, signal.SIGSTOP)
            raise ZeroDivisionError  # what undoes it is not answered
        with ThreadPoolExecutor(1) as thread:
            thread.submit(used_by, hurried).result(20)
    finally:
        os.kill(server, signal.SIGCONT)


def test_whose_client_waits_looks_a_row_up_by_its_index_however_few_there_are(
    site: Database, hurried: Database
) -> None:
    analyze(require_server(site))

    with hurried.writer() as session:
        quick = plan(session)
    with site.writer() as session:
        usual = plan(session)

    assert "Index" in quick
    assert "Index" not in usual


def test_whoever_writes_is_not_at_rest(site: Database) -> None:
    with site.writer():
        assert not site.forget_connections()
    assert site.read(lambda _session: site.forget_connections()) is False
    assert site.forget_connections()


def test_there_are_twice_as_many_as_are_kept_and_no_more(hurried: Database) -> None:
    require_server(hurried)
    with hurried.writer() as one, hurried.writer() as two:
        assert connection_of(one) is not connection_of(two)
        with pytest.raises(DatabaseUnavailable, match="free"), hurried.writer():
            pass
    with hurried.writer() as one:
        COUNT.value(one)
