"""Prepared statements that change something do what ordinary ones do."""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import (
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session

from tests.prepared import (
    ALL,
    COMMENTS,
    COUNT,
    CREATED_AT,
    LOCK,
    SOME,
    WAITS,
    counting_ways,
    cut,
    fill,
    require_server,
)
from vpopsql import bulk
from vpopsql.db import Database
from vpopsql.errors import Conflict, DatabaseUnavailable
from vpopsql.model import (
    AuditEntry,
    CatchAll,
    Domain,
    DomainName,
    Mailbox,
    TrashEntry,
    TrashKind,
    table_of,
)
from vpopsql.prepared import Change, Prepared, settle, start

DOMAIN = Prepared(insert(table_of(Domain)).returning(Domain.id, Domain.catchall))
NEW = Prepared(insert(table_of(Mailbox)).returning(Mailbox.id))
APART = Change(insert(table_of(TrashEntry)), is_apart=True)
UPDATE = Change(update(table_of(Mailbox)).where(Mailbox.id == bindparam("mailbox_id")))
DELETE = Change(delete(table_of(Mailbox)).where(Mailbox.id == bindparam("mailbox_id")))
ENTRY = Change(insert(table_of(AuditEntry)))


@pytest.fixture
def site(database: Database) -> Database:
    return fill(database)


@pytest.fixture
def server(site: Database) -> Database:
    return require_server(site)


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


@pytest.mark.parametrize("is_prepared", [True, False])
def test_what_was_expected_before_a_change_is_asked_again(
    site: Database, is_prepared: bool
) -> None:
    with site.writer() as session:
        COUNT.expect(session)
        ALL.first(session)
        if is_prepared:
            UPDATE.run(session, mailbox_id=added(session), flags=1)
        else:
            session.execute(delete(Mailbox).where(Mailbox.name == "ann"))
        assert COUNT.value(session) == (5 if is_prepared else 3)


def test_what_is_apart_changes_nothing_of_what_was_expected(server: Database) -> None:
    with server.writer() as session:
        COUNT.expect(session)
        ALL.first(session)
        APART.run(
            session,
            at=CREATED_AT,
            actor="",
            kind=TrashKind.USER,
            name="",
            original_path="",
            trash_path="",
            payload={},
        )
        with counting_ways() as ways:
            found = COUNT.value(session)

        assert (found, ways) == (4, [])
        assert session.scalar(select(func.count()).select_from(TrashEntry)) == 1


def same(session: Session) -> None:
    """Go on with a statement that is carried out already."""
    COUNT.value(session)


def other(session: Session) -> None:
    """Go on with a statement that is not prepared yet."""
    Prepared(select(Mailbox.name).where(Mailbox.flags == 9).limit(2)).first(session)


def foreign(session: Session) -> None:
    """Go on past the driver."""
    session.execute(text("SELECT 1"))


def nested(session: Session) -> None:
    """Go on in a savepoint."""
    with session.begin_nested():
        UPDATE.run(session, mailbox_id=0, flags=1)


def again(session: Session) -> None:
    """Begin with more."""
    UPDATE.run(session, mailbox_id=0, flags=1)
    start(session)


def nothing(_: Session) -> None:
    """Come to the end."""


GOING_ON = [same, other, foreign, nested, again, settle, start, nothing]


@pytest.mark.parametrize("go_on", GOING_ON)
def test_what_was_begun_is_carried_out(site: Database, go_on: Callable[[Session], object]) -> None:
    with site.writer() as session:
        same(session)
        mailbox_id = added(session)
        UPDATE.run(session, mailbox_id=mailbox_id, flags=9)
        start(session)
        go_on(session)

    with site.reader() as session:
        assert mailbox_of(session, mailbox_id).flags == 9


@pytest.mark.parametrize("go_on", GOING_ON)
def test_what_was_begun_and_fails_is_told_once(
    site: Database, go_on: Callable[[Session], object]
) -> None:
    values = {"domain_id": 1, "password_hash": "", "directory": "/", "quota_text": ""}
    insert_ann = Change(insert(table_of(Mailbox)))

    def fail(session: Session) -> None:
        same(session)
        insert_ann.run(session, name="ann", **values)
        start(session)
        go_on(session)

    for _ in range(2):
        with pytest.raises(Conflict), site.writer() as session:
            fail(session)
    with site.writer() as session:
        assert COUNT.value(session) == 4


def test_what_was_begun_is_taken_back_with_the_rest(site: Database) -> None:
    def fail(session: Session) -> None:
        UPDATE.run(session, mailbox_id=added(session), flags=1)
        start(session)
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError), site.writer() as session:
            fail(session)
    with site.writer() as session:
        assert COUNT.value(session) == 4


def test_the_server_works_on_what_was_begun(server: Database) -> None:
    lock = text("SELECT 1 FROM mailboxes WHERE name = 'ann' FOR UPDATE SKIP LOCKED")
    with server.writer() as session:
        COUNT.value(session)
        rename = Change(update(table_of(Mailbox)).where(Mailbox.name == bindparam("old")))
        rename.run(session, old="ann", flags=1)
        with server.writer() as second:
            assert second.scalar(lock) == 1
        start(session)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with server.writer() as second:
                if second.scalar(lock) is None:
                    break
        else:
            pytest.fail("nobody changed the row")


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

    with ThreadPoolExecutor(1) as thread:
        with server.writer() as session:
            session.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            waiting = thread.submit(work)
            while not session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
                assert not waiting.done()

        waiting.result(20)
