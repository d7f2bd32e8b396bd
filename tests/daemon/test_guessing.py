"""How failed logins are counted, and what they cost those who come next."""

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vpopsql.daemon import guessing
from vpopsql.daemon.guessing import ADDRESS_FREE, HALF_LIFE_S, CannotShare, Pacer

ALICE, HERE = "alice@example.com", "192.0.2.1"
LONGEST_S = 8.0


class Clock:
    """A time that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Return it."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pacer(clock: Clock) -> Iterator[Pacer]:
    made = Pacer(LONGEST_S, clock=clock)
    yield made
    made.close()


def test_failures_make_an_account_slower_and_slower_up_to_the_longest(pacer: Pacer) -> None:
    waits = [pacer.begin(ALICE, "")[0] for _ in range(12)]

    assert waits == [0, 0, 0, 0, 0.25, 0.5, 1, 2, 4, 8, 8, 8]


def test_other_accounts_and_addresses_are_not_to_blame(pacer: Pacer) -> None:
    for _ in range(12):
        pacer.begin(ALICE, HERE)

    assert pacer.begin("bob@example.com", "192.0.2.2") == (0, 0)


def test_an_address_has_more_failures_free(pacer: Pacer) -> None:
    waits = [pacer.begin(f"user{number}@example.com", HERE)[1] for number in range(24)]

    assert waits[: int(ADDRESS_FREE)] == [0] * int(ADDRESS_FREE)
    assert waits[int(ADDRESS_FREE) :] == [0.25, 0.5, 1, 2]


@pytest.mark.parametrize(
    "first, second, is_same",
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_an_address_of_ipv6_stands_for_its_network(
    pacer: Pacer, first: str, second: str, is_same: bool
) -> None:
    for number in range(30):
        pacer.begin(f"user{number}@example.com", first)

    assert bool(pacer.begin(ALICE, second)[1]) is is_same


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "", "x"])
def test_loopback_brings_everybodys_logins(pacer: Pacer, address: str) -> None:
    for number in range(60):
        pacer.begin(f"user{number}@example.com", address)

    assert pacer.begin(ALICE, address) == (0, 0)


def test_good_logins_cost_nothing_however_many(pacer: Pacer) -> None:
    for _ in range(200):
        assert pacer.begin(ALICE, HERE) == (0, 0)
        pacer.succeed(ALICE, HERE)


def test_a_good_login_does_not_give_others_free_tries(pacer: Pacer) -> None:
    for _ in range(9):
        pacer.begin(ALICE, "")
    pacer.succeed(ALICE, "")

    assert pacer.begin(ALICE, "")[0] == 4


def test_failures_fade(pacer: Pacer, clock: Clock) -> None:
    for _ in range(8):
        pacer.begin(ALICE, "")
    clock.now += HALF_LIFE_S

    assert [pacer.begin(ALICE, "")[0] for _ in range(2)] == [0.25, 0.5]

    clock.now += 12 * HALF_LIFE_S
    assert pacer.begin(ALICE, "")[0] == 0


def test_what_was_done_for_hours_is_forgiven_within_one(pacer: Pacer, clock: Clock) -> None:
    for _ in range(5000):
        pacer.begin(ALICE, "")
    clock.now += 3600

    assert pacer.begin(ALICE, "")[0] == 0


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0 * 400])
def test_a_clock_that_jumps_does_no_harm(pacer: Pacer, clock: Clock, jump_s: float) -> None:
    for _ in range(6):
        pacer.begin(ALICE, "")
    clock.now += jump_s

    waits = [pacer.begin(ALICE, "")[0] for _ in range(30)]

    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_S


def test_nothing_is_counted_when_it_is_switched_off() -> None:
    pacer = Pacer(0)

    assert {pacer.begin(ALICE, HERE) for _ in range(100)} == {(0, 0)}


def test_no_number_of_names_makes_it_larger_or_forgets_who_failed_most(pacer: Pacer) -> None:
    for _ in range(12):
        pacer.begin(ALICE, "")
    for number in range(100_000):
        pacer.begin(f"{number}@example.com", "")

    assert pacer.begin(ALICE, "")[0] == LONGEST_S


def test_names_of_people_are_not_in_the_file(tmp_path: Path) -> None:
    pacer = Pacer.on_file(str(tmp_path / "guessing"), LONGEST_S)
    pacer.begin(ALICE, HERE)

    data = (tmp_path / "guessing").read_bytes()
    assert any(data)
    assert b"alice" not in data
    assert b"192.0.2" not in data


def _fail(pacer: Pacer, times: int) -> None:
    for _ in range(times):
        pacer.begin(ALICE, "")


def test_processes_that_are_forked_later_count_together() -> None:
    pacer = Pacer(LONGEST_S, clock=Clock())
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_fail, args=(pacer, 4)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert [worker.exitcode for worker in workers] == [0, 0]
    assert pacer.begin(ALICE, "")[0] == 4


def test_processes_with_the_same_file_count_together(tmp_path: Path, clock: Clock) -> None:
    path = str(tmp_path / "guessing")
    first = Pacer.on_file(path, LONGEST_S)
    second = Pacer.on_file(path, LONGEST_S)
    _fail(first, 8)

    assert second.begin(ALICE, "")[0] == pytest.approx(4, rel=0.1)
    assert (tmp_path / "guessing").stat().st_mode & 0o777 == 0o600


def test_a_file_of_another_size_is_made_one_of_ours(tmp_path: Path) -> None:
    (tmp_path / "guessing").write_bytes(b"x" * 100)
    (tmp_path / "guessing").chmod(0o600)

    pacer = Pacer.on_file(str(tmp_path / "guessing"), LONGEST_S)

    assert pacer.begin(ALICE, HERE) == (0, 0)


def test_a_file_that_others_can_change_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").write_bytes(b"")
    (tmp_path / "open").chmod(0o620)
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe", 0o600)

    for name in ("open", "link", "pipe", "missing/file"):
        with pytest.raises(CannotShare, match=r"daemon\.guessing_file"):
            Pacer.on_file(str(tmp_path / name), LONGEST_S)


def test_what_damages_the_file_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "guessing"
    Pacer.on_file(str(path), LONGEST_S).close()
    path.write_bytes(b"\xff" * path.stat().st_size)

    waits = Pacer.on_file(str(path), LONGEST_S).begin(ALICE, HERE)

    assert all(0 <= wait <= LONGEST_S for wait in waits)
    assert guessing.ACCOUNT_FREE < ADDRESS_FREE
