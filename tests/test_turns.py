import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from vpopsql.turns import Turns


def test_the_longest_waiting_thread_is_next() -> None:
    turns, order = Turns(), list[int]()

    def take(number: int) -> None:
        with turns.turn(60):
            order.append(number)

    with ThreadPoolExecutor(8) as threads, turns.turn(60):
        for number in range(8):
            threads.submit(take, number)
            while len(turns._waiting) <= number:
                threading.Event().wait(0.001)

    assert order == [*range(8)]


def test_one_thread_has_it_at_a_time() -> None:
    turns, inside, most = Turns(), list[int](), list[int]()

    def take(number: int) -> None:
        for _ in range(50):
            with turns.turn(60):
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(take, range(8)))

    assert most == [1] * 400


def test_who_waits_too_long_gives_up_and_the_others_go_on() -> None:
    turns = Turns()

    with turns.turn(0), ThreadPoolExecutor(1) as threads:
        impatient = threads.submit(lambda: turns.turn(0.01).__enter__())
        with pytest.raises(TimeoutError, match=r"for 0\.01 s"):
            impatient.result()

    with turns.turn(0):
        assert not turns._waiting


def test_an_error_hands_it_on() -> None:
    turns = Turns()

    with pytest.raises(ZeroDivisionError), turns.turn(0):
        raise ZeroDivisionError

    with turns.turn(0):
        pass
