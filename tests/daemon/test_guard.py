"""Logins are held up when they look like guessing, and counted."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from tests import factories
from tests.daemon.conftest import settings
from tests.daemon.conversations import EXAMPLE, Site
from vpopsql.checkpassword import PROTOCOL
from vpopsql.daemon.authentication import Authenticator
from vpopsql.daemon.conversation import Conversation, Peer, Service
from vpopsql.daemon.guard import Guard, guarding
from vpopsql.daemon.guessing import Pacer
from vpopsql.db import Database
from vpopsql.errors import DatabaseUnavailable
from vpopsql.exporter.projector import Projector
from vpopsql.model import LoginCount, Mailbox
from vpopsql.services import login_counts

HOME, ELSEWHERE = "192.0.2.7", "198.51.100.9"


@pytest.fixture
def site(database: Database, database_url: str, tmp_path: Path) -> Site:
    (tmp_path / EXAMPLE[1:]).mkdir(parents=True)
    with database.writer() as session:
        domain = factories.domain(session, "example.com", "alias.example.com")
        for name in ("alice", "bob"):
            factories.mailbox(session, domain, name)
    return Site(database, settings(database_url, tmp_path), tmp_path)


class Guarded:
    """A site with a guard, who says how long he would have held up whom."""

    def __init__(self, site: Site, pacer: Pacer, history_days: int = 90) -> None:
        self.site = site
        self.waits: list[float] = []
        self.guard = Guard(site.database, pacer, history_days, sleep=self.waits.append)
        files = Projector(site.database, site.config)
        self._service = Service(site.database, site.config, files, door=self.guard)

    def log_in(self, account: str, password: str, ip: str = ELSEWHERE) -> tuple[str, float]:
        """Try it on a new connection; return the answer, and how long it would have taken."""
        self.waits.clear()
        said = f"slogin {account} {password}".encode()
        reply, *_ = Conversation(self._service, Peer(ip)).receive(said)
        return reply.status, sum(self.waits)

    def fail(self, account: str, times: int, ip: str = ELSEWHERE) -> list[float]:
        """Guess wrong; return how long each guess would have taken."""
        tries = [self.log_in(account, "wrong", ip) for _ in range(times)]
        assert {status for status, _ in tries} == {WRONG}
        return [wait for _, wait in tries]

    def counts(self) -> list[tuple[str, str | None, str, str, int, int]]:
        """Return what is in the database."""
        with self.site.database.reader() as session:
            rows = session.scalars(
                select(LoginCount).order_by(LoginCount.account, LoginCount.remote_ip)
            )
            return [
                (row.account, row.domain, row.remote_ip, row.service, row.ok, row.failed)
                for row in rows
            ]


WRONG = "-ERR 8.207 Invalid Login"
PASSWORD = factories.PASSWORD
ANNE, BEN = "alice@example.com", "bob@example.com"


@pytest.fixture
def guarded(site: Site) -> Iterator[Guarded]:
    pacer = Pacer(8.0, clock=lambda: 1_800_000_000.0)
    yield Guarded(site, pacer)
    pacer.close()


def test_who_guesses_waits_longer_each_time(guarded: Guarded) -> None:
    assert guarded.fail(ANNE, 8) == [0, 0, 0, 0, 0.25, 0.5, 1, 2]


def test_an_unknown_account_is_held_up_like_one_that_there_is(guarded: Guarded) -> None:
    assert guarded.fail("nobody@example.com", 8, "") == guarded.fail(ANNE, 8, "")


def test_all_names_of_an_account_are_one(guarded: Guarded) -> None:
    guarded.fail(ANNE, 4, "")

    waits = guarded.fail("Alice@alias.EXAMPLE.com", 1, "") + guarded.fail("alice%example.com", 1)

    assert waits == [0.25, 0.5]


def test_the_owner_is_never_locked_out(guarded: Guarded) -> None:
    guarded.fail(ANNE, 40, "")

    assert guarded.log_in(ANNE, PASSWORD) == ("+OK ", 8.0)


def test_the_owner_does_not_wait_where_he_has_logged_in_from_before(guarded: Guarded) -> None:
    assert guarded.log_in(ANNE, PASSWORD, HOME) == ("+OK ", 0)
    guarded.guard.store()
    guarded.fail(ANNE, 40)

    assert guarded.log_in(ANNE, PASSWORD, HOME) == ("+OK ", 0)
    assert guarded.log_in(ANNE, PASSWORD, "198.51.100.10") == ("+OK ", 8.0)


def test_a_login_to_another_service_shows_where_he_is_as_well(guarded: Guarded) -> None:
    with guarded.site.database.writer() as session:
        box = session.scalars(select(Mailbox).where(Mailbox.name == "alice")).one()
        factories.last_auth(session, box, datetime.now(UTC), HOME, "imap")
    guarded.fail(ANNE, 40)

    assert guarded.log_in(ANNE, PASSWORD, HOME) == ("+OK ", 0)


def test_who_is_known_may_not_guess_at_others_for_it(guarded: Guarded) -> None:
    guarded.log_in(ANNE, PASSWORD, HOME)
    guarded.guard.store()

    assert guarded.fail(BEN, 6, HOME)[4:] == [0.25, 0.5]


def test_logins_and_failures_are_counted(guarded: Guarded) -> None:
    for _ in range(3):
        guarded.log_in(ANNE, PASSWORD, HOME)
    guarded.fail("alice@alias.example.com", 2)
    guarded.fail("nobody@elsewhere.example", 1)
    guarded.guard.store()
    guarded.log_in(ANNE, PASSWORD, HOME)
    guarded.guard.store()

    assert guarded.counts() == [
        (ANNE, "example.com", HOME, "vpopmaild", 4, 0),
        (ANNE, "example.com", ELSEWHERE, "vpopmaild", 0, 2),
        ("nobody@elsewhere.example", "elsewhere.example", ELSEWHERE, "vpopmaild", 0, 1),
    ]


def test_a_word_that_may_be_a_password_is_not_written_down(guarded: Guarded) -> None:
    guarded.fail("hunter2", 1)
    guarded.guard.store()

    assert guarded.counts() == [("", None, ELSEWHERE, "vpopmaild", 0, 1)]


def test_two_processes_count_the_same_things_together(guarded: Guarded) -> None:
    other = Guarded(guarded.site, Pacer(0))
    for each in (guarded, other):
        each.fail(ANNE, 2)
    for each in (guarded, other):
        each.guard.store()

    assert guarded.counts() == [(ANNE, "example.com", ELSEWHERE, "vpopmaild", 0, 4)]


def test_two_processes_that_store_at_the_same_moment_both_count(guarded: Guarded) -> None:
    now = datetime.now(UTC)
    same = login_counts.Counted(now, ANNE, HOME, "vpopmaild", 1, 2, now)
    other = Guarded(guarded.site, Pacer(0))

    def store() -> None:
        with guarded.site.database.writer() as session:
            login_counts.add(session, [same])

    with ThreadPoolExecutor(1) as thread:
        with other.site.database.writer() as session:
            login_counts.add(session, [same, replace(same, remote_ip=ELSEWHERE)])
            waiting = thread.submit(store)
            # It cannot be done, however long it is given.
            assert not wait([waiting], 0.1).done
        waiting.result(20)

    assert guarded.counts() == [
        (ANNE, "example.com", HOME, "vpopmaild", 2, 4),
        (ANNE, "example.com", ELSEWHERE, "vpopmaild", 1, 2),
    ]


def test_what_cannot_be_stored_is_kept_and_stored_later(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded.fail(ANNE, 2)
    with monkeypatch.context() as patched:
        patched.setattr(login_counts, "add", _be_away)
        guarded.guard.store()
    guarded.fail(ANNE, 1)
    guarded.guard.store()

    assert guarded.counts() == [(ANNE, "example.com", ELSEWHERE, "vpopmaild", 0, 3)]


def _be_away(*_args: object) -> None:
    raise DatabaseUnavailable("it is away")


def test_an_attack_makes_no_row_for_each_name(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpopsql.daemon.guard._KINDS_MAX", 3)
    for number in range(10):
        guarded.fail(f"user{number}@example.com", 1)
    guarded.guard.store()

    assert guarded.counts()[0] == ("", None, "", "vpopmaild", 0, 7)
    assert len(guarded.counts()) == 4


def test_counts_are_forgotten_after_their_days(guarded: Guarded) -> None:
    now = datetime.now(UTC)
    old, young = (
        login_counts.Counted(now - timedelta(days=days), ANNE, HOME, "vpopmaild", 1, 0, now)
        for days in (91, 89)
    )
    with guarded.site.database.writer() as session:
        login_counts.add(session, [old, young])
    guarded.guard.store()

    assert len(guarded.counts()) == 1


def test_nothing_is_counted_when_it_is_not_to_be_kept(site: Site) -> None:
    unkept = Guarded(site, Pacer(0), history_days=0)
    unkept.log_in(ANNE, PASSWORD)
    unkept.guard.store()

    assert unkept.counts() == []


def test_the_last_counts_are_stored_at_the_end(site: Site) -> None:
    with (
        guarding(site.database, site.config, Pacer(0)) as guard,
        guard.attempt(ANNE, HOME, "vpopmaild"),
    ):
        pass

    with site.database.reader() as session:
        assert session.scalars(select(LoginCount.ok)).all() == [1]


def test_checkpassword_programs_go_through_the_same_door(guarded: Guarded) -> None:
    authenticator = Authenticator(guarded.site.database, guarded.site.config, door=guarded.guard)

    def ask(password: str) -> bytes:
        words = ("imap", ELSEWHERE, "", "", ANNE, password, "")
        return authenticator.answer(PROTOCOL + b"\0" + b"\0".join(_encoded(words)) + b"\0")[0]

    answers = [ask("wrong") for _ in range(6)]
    waits = list(guarded.waits)
    granted = ask(PASSWORD)
    guarded.guard.store()

    assert len(set(answers)) == 1
    assert granted not in answers
    assert waits == [0.25, 0.5]
    assert guarded.counts() == [(ANNE, "example.com", ELSEWHERE, "imap", 1, 6)]


def _encoded(words: tuple[str, ...]) -> list[bytes]:
    return [word.encode() for word in words]
