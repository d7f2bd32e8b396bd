"""The exact lines of a site, made by two processes."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests import factories
from vpopsql.config import Export
from vpopsql.crew import Pair
from vpopsql.db import Database
from vpopsql.exporter import direct, sharing
from vpopsql.exporter.routes import Routes
from vpopsql.exporter.rows import Foreign
from vpopsql.exporter.snapshot import at_once

EXACT = Export(delivery="exact")
ROUTES = Routes(
    ["h0.example", "h0.example-x.org"],
    {"users/assign": [Foreign("=h1.example-alice:joe:1:1:/home/joe:::", "h1.example")]},
)
"""Two domains have addresses that others have."""


@pytest.fixture
def site(database: Database) -> Database:
    """Sixty domains with three mailboxes each, and an alias domain."""
    with database.writer() as session:
        for number in range(60):
            aliases = ["alias.example"] if number == 7 else []
            domain = factories.domain(session, f"h{number}.example", *aliases)
            for user in ("alice", "bob", "x.org-carol"):
                factories.mailbox(session, domain, user)
    return database


def alone(database: Database) -> dict[str, str]:
    """Return the lines that one process makes in one go."""
    with database.snapshot() as session:
        return decoded(direct.lines(session, EXACT, ROUTES))


def decoded(lines: Any) -> dict[str, str]:
    return {name: bytes(text).decode() for name, text in lines.items()}


def in_two(database: Database, **how: bool) -> tuple[dict[str, str], int]:
    """Return the lines that two processes make, and how many ranges the second had."""
    url = database.url.render_as_string(hide_password=False)
    call = f"import tests.exporter.test_sharing as it; it.share({url!r}, **{how!r})"
    done = subprocess.run(
        [sys.executable, "-c", call],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    lines, by_other = json.loads(done.stdout)
    return lines, by_other


def share(url: str, *, disturbed: bool = False) -> None:
    """Make the lines of a site as if it were large; a test reads what is printed.

    :param disturbed: something is written between the moments at which the two begin.
    """
    database, parent, own = Database(url), os.getpid(), []
    make, start = direct.lines, Pair.start

    def slowly(*arguments: Any) -> dict[str, bytes]:
        if os.getpid() == parent and isinstance(arguments[-1], range):
            own.append(arguments[-1])
            time.sleep(0.05)  # so that the other one gets some
        return make(*arguments)

    def late(*arguments: Any) -> None:
        with Database(url).writer() as session:
            factories.mailbox(session, factories.domain(session, "late.example"))
        start(*arguments)

    sharing.WORTH_IT = 1
    direct.lines = slowly  # type: ignore[assignment]
    if disturbed:
        Pair.start = late  # type: ignore[method-assign,assignment]
    with sharing.moment_of(database, EXACT) as (session, lines):
        made = decoded(lines(session, EXACT, ROUTES)())
    print(json.dumps([made, sharing.RANGES - len(own)]))  # noqa: T201


def test_two_processes_make_the_lines_that_one_makes(site: Database) -> None:
    lines, by_other = in_two(site)

    assert lines == alone(site)
    assert by_other > 0


def test_both_see_the_same_moment(site: Database) -> None:
    before = alone(site)

    lines, _ = in_two(site, disturbed=True)

    assert lines == before
    assert lines != alone(site)


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_who_does_not_see_the_same_moment_does_nothing(site: Database) -> None:
    _, by_other = in_two(site, disturbed=True)

    assert by_other == 0


def test_a_small_site_is_left_to_one_process(site: Database) -> None:
    with sharing.moment_of(site, EXACT) as (_, lines):
        assert lines is at_once


def test_so_is_a_large_one_where_there_are_other_threads(
    site: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "WORTH_IT", 1)
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()

    with sharing.moment_of(site, EXACT) as (_, lines):
        over.set()

    other.join()
    assert lines is at_once


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_so_is_a_large_one_whose_database_is_in_use(
    site: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "WORTH_IT", 1)
    monkeypatch.setattr(Pair, "is_possible", lambda: True)

    with site.reader() as session, session.begin():
        session.connection()
        with sharing.moment_of(site, EXACT) as (_, lines):
            assert lines is at_once
