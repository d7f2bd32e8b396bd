"""``vpopsql hosts`` and ``export follow --once`` as administrators and cron run them."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests import factories
from tests.exporter.following import Process
from vpopsql.cli import cli
from vpopsql.columns import utc_now
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.exporter.follower import Follower
from vpopsql.model import Host, HostRole, Revision

Run = Callable[..., Result]
Once = Callable[..., tuple[int, str, str]]

on_sqlite = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


@pytest.fixture
def run(database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs the command, over three revisions and two hosts."""
    monkeypatch.setenv("VPOPSQL_DATABASE_URL", database_url)
    now = utc_now()
    with database.writer() as session:
        session.add_all(Revision(topic="test", at=now - timedelta(seconds=9)) for _ in range(3))
        session.add_all(
            Host(name=name, role=role, revision=revision, reported_at=now, error=error)
            for name, role, revision, error in [
                ("mx1", HostRole.MAIL, 3, None),
                ("relay1", HostRole.RELAY, 1, None),
            ]
        )
    return lambda *words: CliRunner().invoke(cli, ["hosts", *words])


def test_the_hosts_are_shown_with_how_far_each_is_behind(run: Run) -> None:
    shown = run()

    assert shown.exit_code == 0
    assert shown.stdout == (
        "ok     mx1  mail  at 3, up to date, heard of 0 s ago\n"
        "ok     relay1  relay  at 1, 2 behind for 9 s, heard of 0 s ago\n"
    )


def test_where_no_host_follows_that_is_said(run: Run) -> None:
    run("--forget", "mx1")

    shown = run("--forget", "relay1")

    assert shown.stdout == ""
    assert shown.stderr == "no host follows this database: see `vpopsql export follow`\n"


def test_a_stale_host_makes_the_exit_status_1(run: Run) -> None:
    shown = run("--stale-after", "5", "--format", "json")

    assert shown.exit_code == 1
    hosts = {each["name"]: each for each in json.loads(shown.stdout)}
    assert {name: each["stale"] for name, each in hosts.items()} == {"mx1": False, "relay1": True}
    assert hosts["relay1"]["behind"] == 2
    assert 9 <= hosts["relay1"]["behind_s"] < 60
    assert hosts["mx1"]["reached_at"] is None


def test_a_host_with_an_error_is_stale_and_says_why(run: Run, database: Database) -> None:
    with database.writer() as session:
        session.get_one(Host, "mx1").error = "/var/qmail: No space left on device"

    shown = run()

    assert shown.exit_code == 1
    assert shown.stdout.splitlines()[0] == (
        "STALE  mx1  mail  at 3, up to date, heard of 0 s ago: /var/qmail: No space left on device"
    )


def test_a_host_that_is_no_more_is_forgotten(run: Run) -> None:
    forgotten = run("--forget", "Relay1", "--stale-after", "5")
    again = run("--forget", "relay1")

    assert (forgotten.exit_code, len(forgotten.stdout.splitlines())) == (0, 1)
    assert again.exit_code == 2
    assert "no host relay1 has reported" in again.stderr


# --- follow --once ----------------------------------------------------------------------------


@pytest.fixture
def once(database: Database, database_url: str, root: Path) -> Once:
    """A function that runs one pass in a process of its own, over one domain."""
    with database.writer() as session:
        factories.mailbox(session, factories.domain(session), "alice")
        session.add(Revision(domain="example.com", topic="add_domain"))

    def follow(**settings: str) -> tuple[int, str, str]:
        words = ("export", "follow", "--once", "--host", "MX1")
        return Process(database_url, root, *words, **settings).finish()

    return follow


@on_sqlite
def test_a_pass_that_fails_is_reported_and_its_exit_status_is_3(
    once: Once, root: Path, database: Database
) -> None:
    (root / "var/qmail/users/assign").mkdir(parents=True)

    code, out, err = once()

    assert (code, out) == (3, "")
    assert err == f"vpopsql: {root}/var/qmail/users/assign: Is a directory\n"
    with database.reader() as session:
        assert (
            session.get_one(Host, "mx1").error == f"{root}/var/qmail/users/assign: Is a directory"
        )


@on_sqlite
def test_a_hook_that_fails_makes_its_exit_status_1(once: Once, database: Database) -> None:
    code, out, err = once(VPOPSQL_HOOKS_COMMANDS="/bin/false", VPOPSQL_HOOKS_RETRIES="0")

    assert (code, out) == (1, "")
    assert err == "/bin/false ended with status 1; see `vpopsql export hooks list`\n"
    with database.reader() as session:
        assert session.get_one(Host, "mx1").revision == 1


@on_sqlite
def test_another_follower_of_the_same_files_is_refused(
    once: Once, root: Path, database: Database
) -> None:
    other = Follower(database, Config(paths=Paths(root=str(root))), "other", HostRole.MAIL)

    with other.alone():
        code, _, err = once()

    assert code == 3
    assert "another follower keeps these files up to date" in err


@on_sqlite
def test_without_a_database_a_pass_says_so(once: Once) -> None:
    code, _, err = once(VPOPSQL_DATABASE_URL="sqlite:////nowhere/at.all")

    assert code == 3
    assert "no such database file" in err
