"""Rows of all, of some and of many, on sessions that go to the driver and on others."""

from collections.abc import Callable, Collection

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests import factories
from vpopsql.db import Database
from vpopsql.exporter.rows import Selection, some_names
from vpopsql.model import DomainName

NAMES = Selection(select(DomainName.name).order_by(DomainName.name), DomainName.name)
SITE = ("a.example", "b.example", "c.example")
FEW = ["b.example", "c.example"]
SEVERAL = [*FEW, *(f"{number}.net" for number in range(99))]
MANY = [*FEW, *(f"{number}.net" for number in range(2000))]


def by_session(database: Database, work: Callable[[Session], list[str]]) -> list[str]:
    with database.reader() as session:
        return work(session)


def by_driver(database: Database, work: Callable[[Session], list[str]]) -> list[str]:
    return database.read(work, one_moment=True)


@pytest.fixture
def site(database: Database) -> Database:
    with database.writer() as session:
        factories.domain(session, SITE[0], SITE[1])
        factories.domain(session, SITE[2])
    return database


@pytest.mark.parametrize("ask", [by_session, by_driver])
@pytest.mark.parametrize(
    "wanted, found",
    [
        pytest.param(None, SITE, id="all"),
        pytest.param([], (), id="none"),
        pytest.param(FEW, SITE[1:], id="few"),
        pytest.param(SEVERAL, SITE[1:], id="more than go to the driver"),
        pytest.param(MANY, SITE, id="so many that the rest comes as well"),
    ],
)
def test_a_selection_has_what_is_wanted(
    site: Database,
    ask: Callable[[Database, Callable[[Session], list[str]]], list[str]],
    wanted: Collection[str] | None,
    found: tuple[str, ...],
) -> None:
    rows = ask(site, lambda session: [name for (name,) in NAMES.of(session, wanted)])

    assert tuple(rows) == found


@pytest.mark.parametrize("ask", [by_session, by_driver])
@pytest.mark.parametrize("names", [["c.example"], [*MANY[1:]]], ids=["few", "many"])
def test_some_names_are_those_of_some_domains_and_others(
    site: Database,
    ask: Callable[[Database, Callable[[Session], list[str]]], list[str]],
    names: list[str],
) -> None:
    none = ask(site, lambda session: [each.name for each in some_names(session, [], names)])
    ids = ask(site, lambda session: [str(n.age) for n in some_names(session, [], [SITE[0]])])

    found = ask(
        site,
        lambda session: [each.name for each in some_names(session, [int(ids[0])], names)],
    )

    assert (none, sorted(found)) == (["c.example"], [*SITE])
