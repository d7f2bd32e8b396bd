"""Passwords that were right are known again, and nothing else is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import factories
from tests.daemon.conftest import settings
from tests.daemon.files import NoFiles
from vpopsql import passwords, remembered
from vpopsql.daemon.conversation import Conversation, Peer, Service
from vpopsql.db import Database
from vpopsql.model import Flag
from vpopsql.remembered import Remembered

PASSWORD, HASH = factories.PASSWORD, factories.PASSWORD_HASH
OTHER_HASH = "$1$0therSa1$" + "x" * 22


class Computed:
    """What is asked of `passwords.verify`."""

    def __init__(self, verify: Callable[..., bool]) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self._verify = verify

    def __call__(self, password: str, stored: str | None, made: object = None) -> bool:
        self.asked.append((password, stored))
        return self._verify(password, stored, made)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Computed:
    watched = Computed(passwords.verify)
    monkeypatch.setattr(passwords, "verify", watched)
    return watched


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic time, to be set."""
    now = [1000.0]
    monkeypatch.setattr("vpopsql.remembered.time.monotonic", lambda: now[0])
    return now


def test_a_password_that_was_right_is_known_again(computed: Computed) -> None:
    known = Remembered(300)

    found = [known.verify(PASSWORD, HASH) for _ in range(3)]

    assert found == [True, True, True]
    assert len(computed.asked) == 1


def test_a_wrong_password_costs_a_hash_each_time(computed: Computed) -> None:
    known = Remembered(300)
    known.verify(PASSWORD, HASH)

    found = [known.verify("wrong", HASH) for _ in range(3)]

    assert found == [False, False, False]
    assert computed.asked[1:] == [("wrong", HASH)] * 3


def test_a_user_that_does_not_exist_costs_a_hash_each_time(computed: Computed) -> None:
    known = Remembered(300)

    found = [known.verify(PASSWORD, None) for _ in range(2)]

    assert found == [False, False]
    assert computed.asked == [(PASSWORD, None)] * 2


def test_another_hash_makes_the_password_unknown(computed: Computed) -> None:
    known = Remembered(300)
    known.verify(PASSWORD, HASH)

    found = known.verify(PASSWORD, OTHER_HASH)

    assert found is False
    assert computed.asked[-1] == (PASSWORD, OTHER_HASH)


def test_it_is_forgotten_in_time(computed: Computed, clock: list[float]) -> None:
    known = Remembered(300)
    known.verify(PASSWORD, HASH)

    clock[0] += 299
    known.verify(PASSWORD, HASH)
    clock[0] += 1
    known.verify(PASSWORD, HASH)

    assert len(computed.asked) == 2


def test_what_is_forgotten_does_not_stay_in_memory(computed: Computed, clock: list[float]) -> None:
    known = Remembered(300)
    known.verify(PASSWORD, HASH)
    old = set(known._until)

    clock[0] += 301
    computed._verify = lambda *_: True
    known.verify("another", HASH)

    assert len(known._until) == 1
    assert not old & set(known._until)


def test_nothing_is_remembered_for_no_time(computed: Computed) -> None:
    known = Remembered(0)

    found = [known.verify(PASSWORD, HASH) for _ in range(2)]

    assert found == [True, True]
    assert len(computed.asked) == 2


def test_of_too_many_the_oldest_is_forgotten(
    computed: Computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "_AT_MOST", 2)
    monkeypatch.setattr(computed, "_verify", lambda *_: True)
    known = Remembered(300)

    for password in ("one", "two", "three", "two", "three", "one"):
        known.verify(password, HASH)

    assert [password for password, _ in computed.asked] == ["one", "two", "three", "one"]


def test_what_is_kept_shows_neither_password_nor_hash() -> None:
    known = Remembered(300)
    known.verify(PASSWORD, HASH)

    (kept,) = known._until

    assert len(kept) == 32
    assert PASSWORD.encode() not in kept
    assert Remembered(300)._digest(PASSWORD, HASH) != kept


@pytest.mark.parametrize("password", ["no\0nul", "\udcff"])
def test_no_password_is_too_strange_to_be_refused(password: str) -> None:
    assert Remembered(300).verify(password, HASH) is False


def test_a_password_that_was_changed_does_not_log_in_any_more(
    database: Database, tmp_path: Path
) -> None:
    with database.writer() as session:
        root = factories.domain(session, "root.example")
        factories.mailbox(session, root, "postmaster", Flag.SA_ADMIN)
    config = settings(str(database.url), tmp_path)
    service = Service(database, config, NoFiles(), verify=Remembered(300).verify)
    administrator, later = Conversation(service, Peer()), Conversation(service, Peer())
    login = f"slogin postmaster@root.example {PASSWORD}".encode()
    administrator.receive(login)

    administrator.receive(b"mod_user postmaster@root.example")
    administrator.receive(b"clear_text_password new one")
    (changed,) = administrator.receive(b".")
    (old,) = later.receive(login)
    (new,) = later.receive(b"slogin postmaster@root.example new one")

    assert [changed.status, old.status, new.status] == ["+OK ", "-ERR 8.207 Invalid Login", "+OK "]
