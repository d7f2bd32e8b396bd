"""Verifying while others change the site: what is in flight is no finding, what is wrong is."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from tests import factories
from tests.exporter import verifying as v
from vpopsql.db import Database
from vpopsql.exporter.drift.codes import Code
from vpopsql.exporter.drift.content import Detail
from vpopsql.exporter.drift.finding import Finding, persisting
from vpopsql.exporter.projector import Projector
from vpopsql.homes import make_home
from vpopsql.model import Domain, DomainName, Mailbox
from vpopsql.quota import Quota
from vpopsql.services.account_changes import Home
from vpopsql.touched import Touched
from vpopsql.tree import Tree

Change = Callable[[int], Touched]


@pytest.fixture
def site(database: Database, root: Path) -> Database:
    """A site whose files are what the database says."""
    v.make_site(database, root)
    return database


@contextmanager
def changing(site: Database, root: Path, *changes: Change) -> Iterator[list[int]]:
    """Let threads change rows, and files follow as with the daemon; count the changes."""
    over = threading.Event()
    done = [0] * len(changes)
    projector = Projector(site, v.config_of(root))

    def work(which: int) -> None:
        while not over.is_set():
            projector.follow(changes[which](done[which]))
            done[which] += 1

    threads = [threading.Thread(target=work, args=(which,)) for which in range(len(changes))]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        over.set()
        for thread in threads:
            thread.join()


def come_and_go(site: Database, root: Path) -> Change:
    """Make a mailbox, and delete it with the next change."""

    def change(number: int) -> Touched:
        with site.writer() as session:
            if number % 2:
                session.execute(delete(Mailbox).where(Mailbox.name == f"u{number - 1}"))
            else:
                domain = session.scalars(select(Domain).order_by(Domain.id)).first()
                assert domain
                home = f"/{v.EXAMPLE}/u{number}"
                make_home(Tree(root), Home("", home, 89, 89, Quota()))
                factories.mailbox(session, domain, f"u{number}")
        return Touched(accounts={"example.com"})

    return change


def names_come_and_go(site: Database) -> Change:
    """Make an alias domain, and delete it with the next change."""

    def change(number: int) -> Touched:
        with site.writer() as session:
            if number % 2:
                session.execute(delete(DomainName).where(DomainName.name == f"n{number - 1}.org"))
            else:
                domain = session.scalars(select(Domain).order_by(Domain.id)).first()
                assert domain
                name = f"n{number}.org"
                session.add(
                    DomainName(name=name, domain_id=domain.id, is_alias=True, sort_key=name)
                )
        return Touched(site=True)

    return change


def test_what_is_in_flight_is_no_finding(site: Database, root: Path) -> None:
    with changing(site, root, come_and_go(site, root), names_come_and_go(site)) as done:
        wait_for_changes(done)
        reports = [v.look(site, root) for _ in range(8)]
        wait_for_changes(done)

    assert [v.found(report) for report in reports] == [[]] * 8


def wait_for_changes(done: list[int]) -> None:
    seen = sum(done)
    while sum(done) < seen + 2:
        time.sleep(0.01)


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_what_is_wrong_is_found_in_spite_of_all_changes(site: Database, root: Path) -> None:
    v.write(f"{v.EXAMPLE}/.qmail-info", "mine\n")(root)
    v.unlink(f"{v.DOMAINS}/test.com/vpasswd")(root)

    with changing(site, root, come_and_go(site, root)) as done:
        wait_for_changes(done)
        report = v.look(site, root)

    assert v.found(report) == [
        ("dotqmail-differs", f"/{v.EXAMPLE}/.qmail-info"),
        ("text-missing", f"/{v.DOMAINS}/test.com/vpasswd"),
    ]


def finding(*texts: str) -> Finding:
    return Finding.of(Code.TEXT_DIFFERS, "/x/vpasswd", [Detail("", text) for text in texts])


def test_of_a_file_that_differs_otherwise_each_time_what_stays_is_a_finding() -> None:
    earlier, later = finding("lacks u1", "has mallory"), finding("has mallory", "lacks u2")

    assert persisting([earlier], [later]) == [finding("has mallory")]


def test_of_a_file_that_differs_in_other_things_each_time_nothing_is_a_finding() -> None:
    assert persisting([finding("lacks u1")], [finding("lacks u2")]) == []


def test_what_is_found_of_another_file_or_by_another_code_does_not_stay() -> None:
    first = finding()

    assert persisting([first], [replace(first, path="/y")]) == []
    assert persisting([first], [replace(first, code=Code.TEXT_MISSING)]) == []
    assert persisting([first], [first]) == [first]
