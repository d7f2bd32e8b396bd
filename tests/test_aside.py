"""What is computed aside, and where: beside whoever asked for it, on another processor."""

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from vpopsql import aside
from vpopsql.aside import Helpers

PROCESSORS = os.sched_getaffinity(0)

needs_two = pytest.mark.skipif(len(PROCESSORS) < 2, reason="there is one processor")


class Work:
    """Something that can be watched while it is computed."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.ran_on: set[int] | None = None

    def __call__(self) -> str:
        self.ran_on = os.sched_getaffinity(0)
        assert self.may_end.wait(60)
        return "made"


@contextmanager
def computing(helpers: Helpers[str]) -> Iterator[Work]:
    """Have something computed during a block."""
    work = Work()
    made = helpers.begin(work)
    assert made is not None
    try:
        yield work
    finally:
        work.may_end.set()
        assert made.result(60) == "made"


def until(is_so: Callable[[], bool]) -> bool:
    """Tell whether something becomes so within a minute."""
    deadline = time.monotonic() + 60
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.001)
    return is_so()


@needs_two
def test_it_is_computed_on_another_processor_than_who_asked_stays_on() -> None:
    with computing(Helpers(1, "test")) as work:
        asking = os.sched_getaffinity(0)

        assert until(lambda: work.ran_on is not None)
        assert len(asking) == 1
        assert work.ran_on == PROCESSORS - asking


@needs_two
def test_who_asked_may_go_anywhere_when_it_is_over() -> None:
    with computing(Helpers(1, "test")):
        pass

    assert until(lambda: os.sched_getaffinity(0) == PROCESSORS)


@needs_two
def test_what_fails_is_told_and_binds_nobody_any_longer() -> None:
    made = Helpers[str](1, "test").begin(lambda: str(1 // 0))

    assert made is not None
    with pytest.raises(ZeroDivisionError):
        made.result(60)
    assert until(lambda: os.sched_getaffinity(0) == PROCESSORS)


@needs_two
def test_who_is_bound_to_other_processors_meanwhile_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aside, "_current_processor", lambda: max(PROCESSORS) + 1)

    with computing(Helpers(1, "test")):
        assert os.sched_getaffinity(0) == PROCESSORS


def test_where_it_has_no_choice_of_processors_it_is_computed_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)

    with computing(Helpers(1, "test")) as work:
        assert os.sched_getaffinity(0) == PROCESSORS
    assert work.ran_on == PROCESSORS


def test_a_processor_that_was_taken_away_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    helpers = Helpers[str](1, "test")

    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    with computing(helpers) as work:
        pass
    assert work.ran_on == PROCESSORS


def test_each_computes_one_thing_at_a_time_and_is_free_when_that_is_known() -> None:
    helpers = Helpers[str](2, "test")

    with computing(helpers), computing(helpers):
        assert helpers.begin(Work()) is None

    for _ in range(100):
        with computing(helpers):
            pass


def test_nothing_is_kept_of_what_was_computed() -> None:
    helpers = Helpers[str](1, "test")
    with computing(helpers) as work:
        watched = weakref.ref(work)
    del work

    assert until(lambda: gc.collect() >= 0 and watched() is None)
