"""Prepared statements do what ordinary ones do, on sessions that read or write."""

import contextlib
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Integer,
    String,
    bindparam,
    create_engine,
    event,
    func,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from tests import factories
from tests.prepared import (
    ALL,
    COMMENTS,
    COUNT,
    CREATED_AT,
    LOCK,
    SOME,
    WAITS,
    analyze,
    counting_ways,
    cut,
    cut_off,
    fill,
    plan,
    require_server,
)
from vpopsql.db import Database
from vpopsql.errors import DatabaseUnavailable, VpopsqlError
from vpopsql.libpq import looking_up
from vpopsql.model import CatchAll, Domain, DomainName, Mailbox
from vpopsql.prepared import Paged, Prepared
from vpopsql.watchdog import Watchdog

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
PAGES = Paged(select(Mailbox.name).order_by(Mailbox.name))


@pytest.fixture
def site(database: Database) -> Database:
    return fill(database)


@pytest.fixture
def server(site: Database) -> Database:
    return require_server(site)


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


def test_connections_that_nobody_needs_any_more_are_closed(site: Database) -> None:
    inside = threading.Barrier(4)
    idle = site._kept._idle

    def hold(_session: Session) -> None:
        inside.wait(20)

    with ThreadPoolExecutor(4) as threads:
        for held in [threads.submit(site.read, hold) for _ in range(4)]:
            held.result(20)
    site.read(COUNT.value)
    assert len(idle) == 4

    for each in idle:
        each.used_at -= 1000
    for _ in range(5):
        assert site.read(COUNT.value) == 4

    assert len(idle) == 1


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


@pytest.mark.parametrize("filling", [0, 20])
def test_a_list_may_have_whatever_a_text_may(site: Database, filling: int) -> None:
    odd = ['"', "{a,b}", "NULL", "back\\slash", "Zo\xeb", "J\udcf6e\0", "", "new\nline", "' or 1"]
    with site.writer() as session:
        domain = factories.domain(session, "odd.example")
        for number, comment in enumerate(odd):
            factories.mailbox(session, domain, f"odd{number}", comment=comment)
    query = Prepared(
        select(Mailbox.name)
        .where(
            Mailbox.comment.in_(bindparam("comments", expanding=True)),
            Mailbox.name.startswith("odd"),
        )
        .order_by(Mailbox.name),
        ["comments"],
    )
    wanted = [odd[number] for number in (0, 2, 3, 5, 6, 8)]
    others = [f"other {number}" for number in range(filling)]

    expected = [(f"odd{number}",) for number in (0, 2, 3, 5, 6, 8)]
    assert both(site, query, comments=[*wanted, *others]) == expected


def test_all_statements_of_a_moment_see_one_state(site: Database) -> None:
    def work(session: Session) -> tuple[object, ...]:
        before = COUNT.value(session)
        with site.writer() as other:
            factories.mailbox(other, factories.domain(other, "b.example"), "eve")
        return before, COUNT.value(session), session.scalar(COUNT.statement)

    assert site.read(work, one_moment=True) == (4, 4, 4)
    assert site.read(COUNT.value) == 5


# --- asked ahead --------------------------------------------------------------------------------

BY_COMMENT = Prepared(
    select(func.count(), func.max(Mailbox.name)).where(Mailbox.comment != bindparam("comment"))
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


def expected(session: Session) -> tuple[object, ...]:
    MAILBOX.expect(session, name="ben", created_at=CREATED_AT)
    SOME.expect(session, names=["dan", "ann"], comment="plain")
    ALL.expect(session)
    count = COUNT.value(session)
    ben = MAILBOX.first(session, name="ben", created_at=CREATED_AT)
    cat = MAILBOX.first(session, name="cat", created_at=CREATED_AT)
    some = [tuple(row) for row in SOME.all(session, names=["dan", "ann"], comment="plain")]
    assert ben is not None
    assert cat is not None
    return count, ben[0], cat[0], some, len(ALL.all(session)), len(ALL.all(session))


def test_what_was_expected_is_what_is_asked(site: Database) -> None:
    wanted = (4, "ben", "cat", [("dan",)], 4, 4)

    assert site.read(expected) == wanted
    assert site.read(expected, one_moment=True) == wanted
    with site.reader() as session:
        assert expected(session) == wanted


def test_what_is_expected_goes_with_the_next_question(server: Database) -> None:
    server.read(COUNT.value)  # the connection is there, and says what it is at first

    with counting_ways() as ways:
        server.read(expected)

    # One mailbox, and what is asked for a second time, were not.
    assert ways == [4, 1, 1]


def test_what_was_expected_of_another_moment_is_forgotten(site: Database) -> None:
    def work(session: Session) -> object:
        COUNT.expect(session)
        return ALL.first(session)

    site.read(work)
    with site.writer() as session:
        factories.mailbox(session, factories.domain(session, "b.example"), "eve")

    assert site.read(COUNT.value) == 5


def test_what_is_expected_and_fails_is_told(server: Database) -> None:
    divides = Prepared(select(func.max(Mailbox.id) % bindparam("by", type_=Integer)))

    def work(session: Session) -> object:
        divides.expect(session, by=0)
        return COUNT.value(session)

    with pytest.raises(VpopsqlError, match="division by zero"):
        server.read(work)

    assert server.read(COUNT.value) == 4


_OTHERS = text(
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize("is_ahead", [False, True])
@pytest.mark.parametrize("told", [False, True])
def test_a_connection_that_is_cut_is_an_outage_and_the_next_one_is_good(
    server: Database, *, told: bool, is_ahead: bool, is_new: bool
) -> None:
    question = Prepared(select(func.min(Mailbox.name))) if is_new else COUNT

    def work(session: Session) -> object:
        if told:
            with server.reader() as other:
                other.execute(_OTHERS)
        else:
            cut(session)
        return (is_ahead and BY_COMMENT.ahead(session, comment="")), question.value(session)

    server.read(lambda session: (COUNT.value(session), BY_COMMENT.first(session, comment="")))

    with pytest.raises(DatabaseUnavailable):
        server.read(work)

    assert server.read(COUNT.value) == 4


@pytest.mark.parametrize("told", [False, True])
def test_one_that_was_cut_meanwhile_is_not_used_any_more(server: Database, *, told: bool) -> None:
    server.read(COUNT.value)
    if told:
        with server.reader() as session:
            session.execute(_OTHERS)
    else:
        server.read(cut)

    assert server.read(COUNT.value) == 4


def test_one_that_is_cut_while_it_is_set_up_is_an_outage(server: Database) -> None:
    engine = create_engine(server.url)
    event.listen(engine, "connect", cut_off)

    with pytest.raises(OperationalError):
        looking_up(engine).connect()


def test_a_server_that_says_nothing_more_after_a_login_is_not_waited_for(
    server: Database,
) -> None:
    engine = create_engine(server.url)
    stopped: list[int] = []

    def stop(connection: Any, _record: object) -> None:
        pid = connection.info.backend_pid
        if not Path(f"/proc/{pid}/comm").exists():
            pytest.skip("the server is on another host")
        os.kill(pid, signal.SIGSTOP)
        stopped.append(pid)

    event.listen(engine, "connect", stop)
    watchdog = Watchdog(0.3)
    try:
        with ThreadPoolExecutor(1) as thread, pytest.raises(OperationalError):
            thread.submit(looking_up(engine, watchdog).connect).result(20)
    finally:
        watchdog.stop()
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def test_nor_is_one_of_those_that_are_not_kept(server: Database) -> None:
    with server.reader() as session:
        session.execute(text("SELECT 1"))
    with server.writer() as session:
        session.execute(_OTHERS)
    with server.reader() as session:
        assert COUNT.value(session) == 4


def test_a_row_is_looked_up_by_its_index_however_few_there_are(server: Database) -> None:
    analyze(server)

    prepared = server.read(plan)
    with server.reader() as session:
        usual = plan(session)

    assert "Index" in prepared
    assert "Index" not in usual


def test_nothing_that_is_asked_is_compiled(server: Database) -> None:
    assert server.read(lambda session: session.scalar(text("SHOW jit"))) == "off"


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
