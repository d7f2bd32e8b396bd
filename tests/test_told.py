"""The watch for secrets finds what was planted, and nothing else."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import databases, factories, listening, telling
from tests.told import BY_DESIGN, FORMS, WORD, Watch
from vpopsql.db import Database

ROOT = Path(__file__).parents[1]
_FOUND = re.compile(rf"^(?:E +)?(\S.*): ({'|'.join((*FORMS, WORD))}): (b['\"].*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def report() -> str:
    """What pytest says of the tests that tell secrets."""
    words = ("-p", "no:randomly", "-p", "no:cacheprovider", "-rA", "--color=no", telling.__file__)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    return done.stdout


def test_whoever_tells_a_secret_fails_and_nobody_else(report: str) -> None:
    passed, failed = (
        set(re.findall(rf"^{outcome} tests/telling.py::(\S+)", report, re.MULTILINE))
        for outcome in ("PASSED", "ERROR")
    )

    # Each does what it is there for, and is found out only then.
    assert failed < passed
    assert passed - failed == {
        "test_innocent_texts",
        "test_innocent_places",
        "test_innocent_rows[sqlite]",
        "test_innocent_after_a_test_that_knew_a_word",
    }
    assert "FAILED" not in report


def test_it_is_said_where_it_stood_and_not_what_it_is(report: str) -> None:
    found = _FOUND.findall(report)

    places = {place for place, *_ in found}
    assert places >= {
        "stdout of the test's call",
        "log of the test's call",
        "answer of the daemon",
        "metrics of the daemon",
        "event at level warning",
        "refusal NoSuchUser",
        "arguments of a program",
        "file log",
        "file site/index.html",
        "file core",
        "table audit_log.changes",
        "output of vpopsql",
    }
    assert {kind for _, kind, _ in found} == {*FORMS, WORD}
    told = "".join(excerpt for *_, excerpt in found)
    assert telling.HASH not in told
    assert telling.WORD not in told
    assert not re.search("[A-Za-z0-9+/]{43}", told)


def test_the_tables_of_both_databases_are_looked_into(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    watch = Watch()
    with database.writer() as session:
        example = factories.domain(session)
        factories.mailbox(session, example, comment=factories.PASSWORD_HASH)
        factories.mailbox(session, example, "bob", clear_text=factories.PASSWORD)

    watch.look_below(tmp_path)
    watch.look_into(database_url)

    assert {(each.place, each.kind) for each in watch.findings()} == {
        ("table mailboxes.comment", "hash")
    }


@pytest.mark.parametrize("_backend", ["postgresql"], indirect=True)
def test_a_database_is_looked_into_before_it_is_dropped(
    database: Database, _backend: databases.PostgreSQL
) -> None:
    with database.writer() as session:
        factories.domain(session, directory=telling.HASH)
    database.close()

    _backend.drop_all()

    assert ("table domains.directory", telling.HASH.encode()) in listening.WATCH._told


def test_every_exemption_says_why() -> None:
    assert all(each.why for each in BY_DESIGN)
    assert len({each.place for each in BY_DESIGN}) == len(BY_DESIGN)
