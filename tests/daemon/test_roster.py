"""Who is connected, over several processes."""

import fcntl
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from vpopsql.daemon.guessing import Pacer
from vpopsql.daemon.roster import Roster
from vpopsql.errors import TooManyConnections

FORK = multiprocessing.get_context("fork")
CLIENT = "192.0.2.1"


def in_a_child(work: Callable[[], object]) -> None:
    """Do something in a process that is killed while it goes on."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        work()
        os.write(writer, b"x")
        while True:
            time.sleep(60)
    assert os.read(reader, 1) == b"x"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)


def test_there_are_no_more_rows_than_connections_allowed() -> None:
    roster = Roster(2)
    first = roster.enter(0).row
    roster.enter(0)

    with pytest.raises(TooManyConnections):
        roster.enter(0)

    roster.leave(first)
    assert roster.enter(0).row == first


def test_the_rows_of_a_killed_worker_are_freed_and_only_those() -> None:
    roster = Roster(3, workers=2)
    kept = roster.enter(0).row
    roster.place(kept, CLIENT, 2)

    def enter_twice() -> None:
        roster.place(roster.enter(1).row, CLIENT, 2)
        roster.enter(1)

    in_a_child(enter_twice)

    with pytest.raises(TooManyConnections):
        roster.enter(0)
    roster.forget(1)
    roster.place(roster.enter(1).row, CLIENT, 2)
    third = roster.enter(1).row
    with pytest.raises(TooManyConnections, match=CLIENT):
        roster.place(third, CLIENT, 2)


def test_a_worker_that_is_killed_with_the_lock_does_not_keep_it() -> None:
    roster = Roster(3, workers=2)

    in_a_child(roster._locked().__enter__)

    assert roster.enter(0).row == 0


@pytest.mark.parametrize(
    "addresses",
    [
        ["192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"],
        ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1:ffff::"],
    ],
)
def test_clients_of_one_network_are_counted_together(addresses: list[str]) -> None:
    roster = Roster(10)
    rows = [roster.enter(0).row for _ in range(4)]
    roster.place(rows[0], addresses[0], 2)
    roster.place(rows[1], addresses[1], 2)

    with pytest.raises(TooManyConnections):
        roster.place(rows[2], addresses[2], 2)

    roster.place(rows[3], "198.51.100.1", 2)
    roster.leave(rows[0])
    roster.place(rows[2], addresses[2], 2)


def test_this_host_itself_is_not_counted() -> None:
    roster = Roster(10)

    for address in ("127.0.0.1", "127.0.0.1", "::1", "::1"):
        roster.place(roster.enter(0).row, address, 1)

    assert roster.enter(0).row == 4


def test_accounts_are_counted_apart_from_addresses() -> None:
    roster = Roster(10)
    rows = [roster.enter(0).row for _ in range(3)]
    roster.place(rows[0], CLIENT, 1)
    roster.name(rows[0], CLIENT, 1)
    roster.name(rows[1], "other@example.com", 1)

    with pytest.raises(TooManyConnections, match=r"other@example\.com"):
        roster.name(rows[2], "other@example.com", 1)


def test_new_connections_go_to_the_worker_with_the_fewest() -> None:
    roster = Roster(10, workers=3)
    for worker in (0, 0, 1, 1):
        roster.join(worker)
        roster.enter(worker)

    without = [roster.enter(0, spread=True).worker for _ in range(2)]
    roster.join(2)

    owners = [roster.enter(0, spread=True).worker for _ in range(4)]

    assert without == [0, 1]
    assert owners == [2, 2, 2, 0]


def test_a_row_that_was_taken_for_a_killed_worker_is_not_its_successors() -> None:
    roster = Roster(2, workers=2)
    roster.join(1)
    roster.enter(0)
    place = roster.enter(0, spread=True)
    assert (place.worker, roster.is_held(place)) == (1, True)

    roster.forget(1)

    assert not roster.is_held(place)
    assert roster.enter(0, spread=True)[:2] == (place.row, 0)


def test_it_is_not_in_the_way_of_those_who_wait_for_another_lock() -> None:
    roster, pacer = Roster(10, workers=2), Pacer(8.0)
    has_pacer, goes_on = FORK.Event(), FORK.Event()

    def enter_with_pacer() -> None:
        fcntl.lockf(pacer._descriptor, fcntl.LOCK_EX)
        has_pacer.set()
        assert goes_on.wait(20)
        with ThreadPoolExecutor(1) as threads:
            threads.submit(roster.enter, 1).result(20)

    process = FORK.Process(target=enter_with_pacer)
    process.start()
    with ThreadPoolExecutor(1) as threads, roster._locked():
        assert has_pacer.wait(20)
        counted = threads.submit(pacer.begin, "joe@example.com", CLIENT)
        time.sleep(0.2)
        goes_on.set()
        # Each has what a thread of the other waits for, which is no deadlock.
        time.sleep(0.2)
        assert process.is_alive()
    process.join(20)

    assert process.exitcode == 0
    assert counted.result(20) == (0.0, 0.0)
