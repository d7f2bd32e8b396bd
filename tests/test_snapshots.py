"""Several sessions see the database of one moment."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests import factories
from vpopsql.db import Database
from vpopsql.model import DomainName


def domains(session: Session) -> int | None:
    return session.scalar(select(func.count()).select_from(DomainName))


def test_sessions_see_the_same_moment_whatever_is_written(database: Database) -> None:
    with database.writer() as session:
        factories.domain(session, "before.example")

    with database.snapshots(3) as sessions:
        with database.writer() as session:
            factories.domain(session, "after.example")
        found = [domains(session) for session in sessions]

    assert found == [1, 1, 1]


def test_one_session_is_enough_to_see_it(database: Database) -> None:
    with database.snapshots(1) as sessions:
        assert [domains(session) for session in sessions] == [0]


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_where_others_write_all_the_time_there_is_one_session(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, number = database.snapshot, iter(range(1000))

    @contextmanager
    def disturbed() -> Iterator[Session]:
        with usual() as session:
            domains(session)
            with database.writer() as other:
                factories.domain(other, f"{next(number)}.example")
            yield session

    monkeypatch.setattr(database, "snapshot", disturbed)
    with database.snapshots(2) as sessions:
        assert len(sessions) == 1


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_a_moment_that_was_missed_is_followed_by_another(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, number = database.snapshot, iter(range(3))

    @contextmanager
    def disturbed() -> Iterator[Session]:
        with usual() as session:
            domains(session)
            if (now := next(number, None)) is not None:
                with database.writer() as other:
                    factories.domain(other, f"{now}.example")
            yield session

    monkeypatch.setattr(database, "snapshot", disturbed)
    with database.snapshots(2) as sessions:
        assert [domains(session) for session in sessions] == [3, 3]
