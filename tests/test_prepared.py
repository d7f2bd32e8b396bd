"""Prepared statements do what ordinary ones do, on sessions that read or write."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import (
    Integer,
    String,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tests import factories
from vpopsql import bulk
from vpopsql.db import Database
from vpopsql.errors import Conflict, DatabaseUnavailable, VpopsqlError
from vpopsql.model import AuditEntry, CatchAll, Domain, DomainName, Mailbox, table_of
from vpopsql.prepared import Change, Paged, Prepared

# Bytes that no database text can hold, beside plain text; a time, a truth, a choice, a NULL.
COMMENTS = {"ann": "plain", "ben": "J\udcf6e\0", "cat": "Zo\xeb", "dan": ""}

MAILBOX = Prepared(
    select(
        *(Mailbox.name, Mailbox.comment, Mailbox.clear_text, Mailbox.created_at, Mailbox.flags),
        *(Domain.catchall, DomainName.is_alias),
    )
    .join(Domain, Domain.id == Mailbox.domain_id)
    .join(DomainName, DomainName.domain_id == Domain.id)
    .where(
        Mailbox.name == bindparam("name"),
        Mailbox.created_at.is_not_distinct_from(
            bindparam("created_at", type_=Mailbox.created_at.type)
        ),
        Domain.catchall == CatchAll.BOUNCE,
    )
)
ALL = Prepared(select(Mailbox.name, Mailbox.comment, Mailbox.clear_text).order_by(Mailbox.name))
PAGES = Paged(select(Mailbox.name).order_by(Mailbox.name))
COUNT = Prepared(select(func.count()).select_from(Mailbox))
CREATED_AT = factories.at(2026, 1, 2)


@pytest.fixture
def site(database: Database) -> Database:
    with database.writer() as session:
        example = factories.domain(session, "example.com")
        for name, comment in COMMENTS.items():
            factories.mailbox(
                session, example, name, comment=comment, clear_text=None, created_at=CREATED_AT
            )
    return database


def both(site: Database, query: Prepared[*tuple[object, ...]], **values: object) -> list[object]:
    """Return the rows by a kept connection, after making sure that they are what they should."""
    kept = [tuple(row) for row in site.read(lambda session: query.all(session, **values))]
    first = site.read(lambda session: query.first(session, **values))
    with site.reader() as session:
        usual = [tuple(row) for row in session.execute(query.statement, values)]
        assert [tuple(row) for row in query.all(session, **values)] == usual
    assert kept == usual
    assert (None if first is None else tuple(first)) == (usual[0] if usual else None)
    return list(kept)


@pytest.mark.parametrize("name", COMMENTS)
def test_a_row_is_the_same_as_that_of_a_session(site: Database, name: str) -> None:
    (row,) = both(site, MAILBOX, name=name, created_at=CREATED_AT)

    assert row == (name, COMMENTS[name], None, CREATED_AT, 0, CatchAll.BOUNCE, False)


def test_a_value_that_nothing_matches_gives_no_row(site: Database) -> None:
    assert both(site, MAILBOX, name="\udcff", created_at=CREATED_AT) == []
    assert both(site, MAILBOX, name="ann", created_at=None) == []


def test_many_rows_are_the_same_as_those_of_a_session(site: Database) -> None:
    assert both(site, ALL) == [(name, comment, None) for name, comment in COMMENTS.items()]


def test_a_page_has_its_rows_and_without_a_page_there_are_all(site: Database) -> None:
    def names(page: int, per_page: int) -> list[str]:
        return site.read(lambda session: [n for (n,) in PAGES.page(session, page, per_page)])

    assert names(2, 3) == ["dan"]
    assert names(3, 3) == []
    assert names(0, 3) == names(2, 0) == list(COMMENTS)


def test_other_statements_go_by_way_of_the_session_on_the_same_connection(site: Database) -> None:
    def work(session: Session) -> tuple[object, ...]:
        before = COUNT.value(session)
        name = session.scalar(select(Mailbox.name).where(Mailbox.comment == "plain"))
        return before, name, COUNT.value(session)

    assert site.read(work) == (4, "ann", 4)
    assert site.read(work) == (4, "ann", 4)


def test_nothing_can_be_written(site: Database) -> None:
    with pytest.raises(VpopsqlError):
        site.read(lambda session: session.execute(update(Mailbox).values(comment="changed")))

    assert len(both(site, ALL)) == 4
    assert site.read(ALL.all)[0][1] == "plain"


def test_what_was_committed_is_seen_by_the_next_read(site: Database) -> None:
    before = site.read(COUNT.value)
    with site.writer() as session:
        factories.mailbox(session, factories.domain(session, "b.example"), "eve")

    after = site.read(COUNT.value)

    assert (before, after) == (4, 5)


def test_on_sqlite_all_statements_of_a_read_see_one_state(site: Database) -> None:
    if not site.is_sqlite:
        pytest.skip("each statement has a state of its own on PostgreSQL")

    def work(session: Session) -> tuple[object, ...]:
        before = COUNT.value(session)
        with site.writer() as other:
            factories.mailbox(other, factories.domain(other, "b.example"), "eve")
        return before, COUNT.value(session), session.scalar(COUNT.statement)

    assert site.read(work) == (4, 4, 4)


def test_what_the_work_raises_comes_out_and_the_connection_stays(site: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        site.read(lambda session: COUNT.value(session) / 0)

    assert site.read(COUNT.value) == 4


def test_who_finds_no_connection_free_waits_and_is_told(database_url: str) -> None:
    with contextlib.closing(Database(database_url, pool_size=1, patience_s=0.2)) as database:
        is_over = threading.Event()
        inside = threading.Barrier(3)

        def hold(_session: Session) -> None:
            inside.wait()
            is_over.wait()

        threads = [threading.Thread(target=database.read, args=(hold,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        inside.wait()

        with pytest.raises(DatabaseUnavailable, match="no connection became free"):
            database.read(COUNT.value)

        is_over.set()
        for thread in threads:
            thread.join()
        # Those who held them did so for too long, and their connections may have been cut.
        with contextlib.suppress(DatabaseUnavailable):
            database.read(COUNT.value)
        assert database.read(COUNT.value) == 0


def test_what_the_driver_refuses_is_told_without_values_and_costs_one_connection(
    site: Database,
) -> None:
    nonsense = Prepared(
        select(Mailbox.id).where(literal_column("nonsense") == bindparam("word", type_=String))
    )

    with pytest.raises(VpopsqlError, match="nonsense") as refused:
        site.read(lambda session: nonsense.first(session, word="hunter2"))
    with pytest.raises(VpopsqlError):
        site.read(lambda session: nonsense.all(session, word="hunter2"))

    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert site.read(COUNT.value) == 4


def test_connections_that_were_forgotten_are_made_anew(site: Database) -> None:
    site.read(COUNT.value)

    site.forget_connections()

    assert site.read(COUNT.value) == 4


SOME = Prepared(
    select(Mailbox.name)
    .where(
        Mailbox.name.in_(bindparam("names", expanding=True)),
        Mailbox.comment != bindparam("comment"),
    )
    .order_by(Mailbox.name),
    ["names"],
)


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param([], id="none"),
        pytest.param(["ben"], id="one"),
        pytest.param(["ann", "ben", "\udcff"], id="three"),
        pytest.param([*COMMENTS, *map(str, range(100))], id="many"),
    ],
)
def test_a_list_finds_what_it_has(site: Database, wanted: list[str]) -> None:
    expected = [(name,) for name in COMMENTS if name in wanted and name != "dan"]

    assert both(site, SOME, names=wanted, comment="") == expected


def test_all_statements_of_a_moment_see_one_state(site: Database) -> None:
    def work(session: Session) -> tuple[object, ...]:
        before = COUNT.value(session)
        with site.writer() as other:
            factories.mailbox(other, factories.domain(other, "b.example"), "eve")
        return before, COUNT.value(session), session.scalar(COUNT.statement)

    assert site.read(work, one_moment=True) == (4, 4, 4)
    assert site.read(COUNT.value) == 5


# --- changes ------------------------------------------------------------------------------------

DOMAIN = Prepared(insert(table_of(Domain)).returning(Domain.id, Domain.catchall))
NEW = Prepared(insert(table_of(Mailbox)).returning(Mailbox.id))
UPDATE = Change(update(table_of(Mailbox)).where(Mailbox.id == bindparam("mailbox_id")))
DELETE = Change(delete(table_of(Mailbox)).where(Mailbox.id == bindparam("mailbox_id")))
ENTRY = Change(insert(table_of(AuditEntry)))


@contextlib.contextmanager
def usual(database: Database) -> Iterator[Session]:
    """Give a session that has to carry out everything itself."""
    with database.writer() as session, Session(session.connection()) as other:
        yield other
        other.commit()


def added(session: Session) -> int:
    row = DOMAIN.first(
        session,
        directory="/hunter2",
        uid=1,
        gid=2,
        catchall=CatchAll.DELETE,
        created_at=CREATED_AT,
    )
    assert row is not None
    domain_id, catchall = row
    assert catchall is CatchAll.DELETE
    found: int = NEW.value(
        session,
        domain_id=domain_id,
        name="eve",
        password_hash="",
        comment=COMMENTS["ben"],
        directory="/d/eve",
        quota_text="",
        created_at=CREATED_AT,
    )
    return found


def mailbox_of(session: Session, mailbox_id: int) -> Mailbox:
    return session.scalars(select(Mailbox).where(Mailbox.id == mailbox_id)).one()


@pytest.mark.parametrize("by", [Database.writer, usual])
def test_a_row_is_written_as_by_a_session(
    site: Database, by: Callable[[Database], contextlib.AbstractContextManager[Session]]
) -> None:
    with by(site) as session:
        mailbox_id = added(session)
        UPDATE.run(session, mailbox_id=mailbox_id, flags=7, clear_text=None)
        UPDATE.run(session, mailbox_id=mailbox_id, quota_bytes=5)

    with site.reader() as session:
        row = mailbox_of(session, mailbox_id)
        assert (row.comment, row.created_at) == (COMMENTS["ben"], CREATED_AT)
        assert (row.flags, row.quota_bytes, row.apop_uid) == (7, 5, 1)


@pytest.mark.parametrize("by", [Database.writer, usual])
def test_a_document_is_written_as_by_a_session(
    site: Database, by: Callable[[Database], contextlib.AbstractContextManager[Session]]
) -> None:
    changes = {"comment": [None, "Zo\xeb"], "flags": [1, 2]}
    entry = {"actor": "a", "channel": "daemon", "action": "b", "object_type": "c", "object": "d"}

    with by(site) as session:
        ENTRY.run(session, at=CREATED_AT, changes=changes, **entry)

    with site.reader() as session:
        assert session.scalar(select(AuditEntry.changes)) == changes


def test_what_was_not_committed_is_gone(site: Database) -> None:
    with pytest.raises(ZeroDivisionError), site.writer() as session:
        added(session) / 0

    assert site.read(COUNT.value) == 4


def test_statements_and_objects_of_a_session_see_each_other(site: Database) -> None:
    with site.writer() as session:
        mailbox_id = added(session)
        eve = mailbox_of(session, mailbox_id)
        eve.name = "zoe"
        found = [name for (name,) in SOME.all(session, names=["eve", "zoe"], comment="")]
        DELETE.run(session, mailbox_id=mailbox_id)
        left = session.scalar(select(func.count()).select_from(Mailbox))

    assert (found, left) == (["zoe"], 4)


def test_who_was_quicker_is_a_conflict_and_no_value_is_told(site: Database) -> None:
    with pytest.raises(Conflict) as refused, site.writer() as session:
        added(session), added(session)

    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert site.read(COUNT.value) == 4


def test_a_change_that_fails_last_is_a_conflict(site: Database) -> None:
    change = Change(update(table_of(Mailbox)).where(Mailbox.name == bindparam("old")))

    def fail(session: Session) -> None:
        change.run(session, old="ann", comment="changed")
        change.run(session, old="ben", name="cat")

    with pytest.raises(Conflict) as refused, site.writer() as session:
        fail(session)

    assert "UPDATE mailboxes" in str(refused.value)
    with site.reader() as session:
        assert set(session.scalars(select(Mailbox.comment))) == set(COMMENTS.values())


def test_a_change_that_was_taken_back_is_not_made_later(site: Database) -> None:
    def fail(session: Session) -> None:
        UPDATE.run(session, mailbox_id=added(session), flags=1)
        raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError), site.writer() as session:
            fail(session)
        with site.reader() as session:
            assert session.scalar(select(func.count()).select_from(Mailbox)) == 4
    with site.writer() as session:
        assert COUNT.value(session) == 4


def test_what_was_asked_ahead_keeps_its_place(site: Database) -> None:
    entry = Prepared(insert(table_of(AuditEntry)).returning(AuditEntry.id))
    values = {"at": CREATED_AT, "changes": {}, "actor": "a", "channel": "daemon", "action": "b"}
    with site.writer() as session:
        asked = [entry.ahead(session, object_type="user", object=name, **values) for name in "abc"]
        numbers = [row[0] for take in asked if (row := take())]
    assert numbers == sorted(numbers)


def test_a_change_without_values_keeps_its_place(site: Database) -> None:
    rename = Change(update(table_of(Mailbox)).where(Mailbox.name == bindparam("old")))
    with site.writer() as session:
        rename.run(session, old="ann", name="gone")
        Change(delete(table_of(Mailbox)).where(Mailbox.name == "gone")).run(session)
        Change(delete(table_of(Mailbox)).where(Mailbox.name != "zoe")).run(session)
        added(session)

    assert site.read(ALL.all)[0][0] == "eve"
    assert site.read(COUNT.value) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_savepoint_has_what_was_changed_in_its_block(site: Database, fails: bool) -> None:
    def change(session: Session) -> None:
        UPDATE.run(session, mailbox_id=ann, flags=7)
        if fails:
            raise ZeroDivisionError

    with site.reader() as session:
        ann = session.scalar(select(Mailbox.id).where(Mailbox.name == "ann"))
    with site.writer() as session:
        with contextlib.suppress(ZeroDivisionError), session.begin_nested():
            change(session)
        UPDATE.run(session, mailbox_id=ann, quota_bytes=5)
    with site.reader() as session:
        row = mailbox_of(session, ann or 0)
        assert (row.flags, row.quota_bytes) == (0 if fails else 7, 5)


def test_rows_in_bulk_come_after_what_was_changed_before(site: Database) -> None:
    with site.writer() as session:
        example = session.scalars(select(Domain)).one()
        change = Change(update(table_of(DomainName)).where(DomainName.name == "example.com"))
        change.run(session, name="was.example", sort_key="was.example")
        names = ("name", "domain_id", "is_alias", "sort_key")
        row = ("example.com", example.id, True, "example.com")
        bulk.insert_rows(session, table_of(DomainName), names, [row])

    with site.reader() as session:
        assert set(session.scalars(select(DomainName.name))) == {"example.com", "was.example"}


def test_statements_stay_prepared_when_transactions_are_rolled_back(site: Database) -> None:
    def fail(session: Session) -> None:
        session.execute(select(Mailbox.comment).where(Mailbox.name == "ann"))
        added(session) / 0

    for _ in range(8):
        with pytest.raises(ZeroDivisionError), site.writer() as session:
            fail(session)
    with site.writer() as session:
        UPDATE.run(session, mailbox_id=added(session), flags=1)

    assert site.read(COUNT.value) == 5


def test_what_a_session_asks_first_is_in_the_same_transaction(site: Database) -> None:
    def fail(session: Session) -> None:
        session.execute(update(Mailbox).values(comment="changed"))
        added(session) / 0

    with pytest.raises(ZeroDivisionError), site.writer() as session:
        fail(session)

    assert site.read(COUNT.value) == 4
    with site.reader() as session:
        assert set(session.scalars(select(Mailbox.comment))) == set(COMMENTS.values())


# --- asked ahead --------------------------------------------------------------------------------

BY_COMMENT = Prepared(
    select(func.count(), func.max(Mailbox.name)).where(Mailbox.comment != bindparam("comment"))
)
LOCK = 7
WAITS = Prepared(
    select(literal_column("1", Integer)).where(
        func.pg_advisory_xact_lock_shared(LOCK).is_not(None)
    )
)


def test_what_was_asked_ahead_has_its_own_answer(site: Database) -> None:
    def work(session: Session) -> tuple[object, ...]:
        ben = MAILBOX.ahead(session, name="ben", created_at=CREATED_AT)
        nobody = MAILBOX.ahead(session, name="nobody", created_at=CREATED_AT)
        count = COUNT.value(session)
        late = BY_COMMENT.ahead(session, comment="plain")
        found = ben()
        assert found is not None
        return found[:2], nobody(), count, late(), late(), len(ALL.all(session)), ben() == found

    wanted = (("ben", COMMENTS["ben"]), None, 4, (3, "dan"), (3, "dan"), 4, True)
    assert site.read(work) == wanted
    assert site.read(work) == wanted
    with site.reader() as session:
        assert work(session) == wanted


def test_selects_may_differ_in_the_names_of_their_parameters_alone(site: Database) -> None:
    by_name, by_word = (
        Prepared(select(Mailbox.name).where(Mailbox.name == bindparam(name)))
        for name in ("name", "word")
    )

    def work(session: Session) -> tuple[object, ...]:
        first, second = by_name.ahead(session, name="ann"), by_word.ahead(session, word="ben")
        return by_word.value(session, word="cat"), first(), second()

    assert site.read(work) == ("cat", ("ann",), ("ben",))


def test_what_is_never_taken_is_in_nobodys_way(site: Database) -> None:
    site.read(lambda session: BY_COMMENT.ahead(session, comment="plain"))

    assert site.read(COUNT.value) == 4


def test_what_fails_ahead_is_told_and_costs_one_connection(site: Database) -> None:
    divides = Prepared(select(func.max(Mailbox.id) % bindparam("by", type_=Integer)))

    def work(session: Session) -> object:
        wrong = divides.ahead(session, by=0)
        return COUNT.value(session), wrong()

    def work_on(session: Session) -> object:
        wrong = divides.ahead(session, by=0)
        with contextlib.suppress(DBAPIError):
            COUNT.value(session)
        return wrong()

    def outcome() -> contextlib.AbstractContextManager[object]:
        # What is divided by nothing is NULL on SQLite.
        return contextlib.nullcontext() if site.is_sqlite else pytest.raises(VpopsqlError)

    with outcome():
        assert site.read(work) == (4, (None,))
    with outcome():
        assert site.read(work_on) == (None,)

    assert site.read(COUNT.value) == 4


def cut(session: Session) -> None:
    """Let the connection end without a word."""
    connection: Any = session.connection().connection.driver_connection
    with socket.socket(fileno=os.dup(connection.pgconn.socket)) as wire:
        wire.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def server(site: Database) -> Database:
    """The site on a server."""
    if site.is_sqlite:
        pytest.skip("SQLite is no other process")
    return site


@pytest.mark.parametrize("is_ahead", [False, True])
def test_a_connection_that_was_cut_is_an_outage_and_the_next_one_is_good(
    server: Database, is_ahead: bool
) -> None:
    def work(session: Session) -> object:
        return (is_ahead and BY_COMMENT.ahead(session, comment="")), COUNT.value(session)

    server.read(work)
    with server.reader() as session:
        session.execute(
            text(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )

    with pytest.raises(DatabaseUnavailable):
        server.read(work)

    assert server.read(COUNT.value) == 4


@pytest.mark.parametrize("is_ahead", [False, True])
@pytest.mark.parametrize(
    "question", [COUNT, Prepared(select(func.min(Mailbox.name)))], ids=["known", "new"]
)
def test_so_is_one_whose_end_nobody_told_of(
    server: Database, question: Prepared[Any], is_ahead: bool
) -> None:
    def work(session: Session) -> object:
        return (is_ahead and BY_COMMENT.ahead(session, comment="")), question.value(session)

    server.read(lambda session: (COUNT.value(session), BY_COMMENT.first(session, comment="")))
    server.read(cut)

    with pytest.raises(DatabaseUnavailable):
        server.read(work)

    assert server.read(COUNT.value) == 4


@pytest.mark.parametrize("is_ahead", [False, True])
def test_other_threads_go_on_while_one_waits_for_its_answer(
    server: Database, is_ahead: bool
) -> None:
    def work(session: Session) -> object:
        count = COUNT.ahead(session) if is_ahead else lambda: (4,)
        return WAITS.first(session), count()

    with server.reader() as session, ThreadPoolExecutor(1) as thread:
        session.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        waiting = thread.submit(server.read, work)
        while not session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
            assert not waiting.done()
        session.rollback()

        assert waiting.result(20) == ((1,), (4,))


def test_a_question_may_be_larger_than_what_is_sent_at_once(server: Database) -> None:
    def work(session: Session) -> object:
        first = BY_COMMENT.ahead(session, comment="x" * 20_000_000)
        second = BY_COMMENT.first(session, comment="y" * 20_000_000)
        return first(), second

    assert server.read(work) == ((4, "dan"), (4, "dan"))


def test_a_writer_whose_connection_was_cut_has_changed_nothing(server: Database) -> None:
    def be_cut(session: Session) -> None:
        added(session)
        cut(session)
        COUNT.value(session)

    with server.writer() as session:
        COUNT.value(session)
    with pytest.raises(DatabaseUnavailable), server.writer() as session:
        be_cut(session)

    with server.writer() as session:
        assert COUNT.value(session) == 4
        added(session)
    assert server.read(COUNT.value) == 5


def test_other_threads_go_on_while_a_writer_waits_for_another_one(server: Database) -> None:
    def work() -> None:
        with server.writer() as session:
            WAITS.first(session)

    with server.writer() as session, ThreadPoolExecutor(1) as thread:
        session.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        waiting = thread.submit(work)
        while not session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
            assert not waiting.done()
        session.rollback()

        waiting.result(20)
