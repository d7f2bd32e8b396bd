"""Waiting for revisions, and knowing which of them are settled."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from vpopsql.db import Database, Mark
from vpopsql.errors import DatabaseUnavailable
from vpopsql.watch import Watch

LONG_S = 20.0
WRITE = sa.text(
    "INSERT INTO revisions (at, domain, topic) VALUES ('2026-11-25 10:00:00', NULL, 'sql')"
)


@pytest.fixture
def interrupt() -> Iterator[int]:
    """A descriptor that says nothing."""
    made = os.eventfd(0)
    yield made
    os.close(made)


@pytest.fixture
def watch(database: Database, interrupt: int) -> Iterator[Watch]:
    with database.watch(interrupt, 0.02) as made:
        yield made


@pytest.fixture
def elsewhere(database: Database) -> Iterator[sa.Connection]:
    """A connection of a program that knows SQL only."""
    engine = sa.create_engine(database.url)
    with contextlib.closing(engine.connect()) as connection:
        yield connection
    engine.dispose()


def write(connection: sa.Connection) -> None:
    connection.execute(WRITE)
    connection.commit()


def test_a_revision_written_in_plain_sql_ends_the_wait(
    watch: Watch, elsewhere: sa.Connection
) -> None:
    writer = threading.Timer(0.1, write, [elsewhere])
    writer.start()

    came = watch.wait(LONG_S)
    writer.join()

    assert came


def test_what_came_before_the_wait_is_not_missed_and_not_seen_twice(
    watch: Watch, elsewhere: sa.Connection
) -> None:
    write(elsewhere)

    assert [watch.wait(LONG_S), watch.wait(0.1)] == [True, False]


def test_what_was_not_committed_is_nothing(watch: Watch, elsewhere: sa.Connection) -> None:
    elsewhere.execute(WRITE)
    elsewhere.rollback()

    assert not watch.wait(0.1)


def test_an_interrupt_ends_the_wait(watch: Watch, interrupt: int) -> None:
    begin = time.monotonic()
    os.eventfd_write(interrupt, 1)

    came = watch.wait(LONG_S)

    assert not came
    assert time.monotonic() - begin < LONG_S / 2


@pytest.mark.parametrize("_backend", ["postgresql"], indirect=True)
def test_a_connection_that_is_cut_ends_the_wait(watch: Watch, elsewhere: sa.Connection) -> None:
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"
    elsewhere.execute(sa.text(f"{cut} AND datname = current_database()"))

    with pytest.raises(DatabaseUnavailable, match="server closed the connection"):
        watch.wait(LONG_S)


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_file_that_is_gone_or_another_one_ends_the_wait(
    database: Database, watch: Watch, is_replaced: bool
) -> None:
    path = Path(str(database.url.database))
    path.rename(path.with_suffix(".old"))
    (path if is_replaced else path.with_suffix(".new")).touch()

    with pytest.raises(DatabaseUnavailable, match="another file now, or none"):
        watch.wait(LONG_S)


def test_nobody_waits_for_a_database_that_is_away(interrupt: int) -> None:
    away = Database("postgresql://nobody@127.0.0.1:1/none")

    with (
        contextlib.closing(away),
        pytest.raises(DatabaseUnavailable),
        away.watch(interrupt, 0.02),
    ):
        pass


# --- what is settled --------------------------------------------------------------------------


def test_a_mark_is_the_newest_of_each(database: Database, elsewhere: sa.Connection) -> None:
    empty = database.mark()
    write(elsewhere)
    write(elsewhere)

    assert (empty, database.mark()) == (Mark(0, 0, is_settled=True), Mark(2, 0, is_settled=True))


@pytest.mark.parametrize("_backend", ["postgresql"], indirect=True)
def test_a_mark_is_not_settled_while_somebody_may_come_with_an_older_number(
    database: Database, elsewhere: sa.Connection
) -> None:
    elsewhere.execute(WRITE)
    with database.writer() as session:
        session.execute(WRITE)

    during = database.mark(0.05)
    elsewhere.commit()
    after = database.mark(0.05)

    assert (during, after) == (Mark(2, 0, is_settled=False), Mark(2, 0, is_settled=True))


@pytest.mark.parametrize("_backend", ["postgresql"], indirect=True)
def test_those_who_are_quick_are_waited_for(database: Database, elsewhere: sa.Connection) -> None:
    elsewhere.execute(WRITE)
    writer = threading.Timer(0.1, elsewhere.commit)
    writer.start()

    mark = database.mark(LONG_S)
    writer.join()

    assert mark.is_settled
