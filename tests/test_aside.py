"""What is computed aside, and where: beside whoever asked for it, on another processor."""

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from queue import Queue
from types import SimpleNamespace

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

    assert os.sched_getaffinity(0) == PROCESSORS


@needs_two
def test_what_fails_is_told_and_binds_nobody_any_longer() -> None:
    made = Helpers[str](1, "test").begin(lambda: str(1 // 0))

    assert made is not None
    with pytest.raises(ZeroDivisionError):
        made.result(60)
    assert os.sched_getaffinity(0) == PROCESSORS


@needs_two
def test_who_is_bound_to_a_processor_already_stays_so() -> None:
    helpers = Helpers[str](1, "test")
    bound = {max(PROCESSORS)}

    os.sched_setaffinity(0, bound)
    try:
        with computing(helpers) as work:
            pass
        left = os.sched_getaffinity(0)
    finally:
        os.sched_setaffinity(0, PROCESSORS)

    assert left == bound
    assert work.ran_on == PROCESSORS


@needs_two
def test_a_processor_that_is_none_of_ours_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "_current_processor", lambda: -1)

    with computing(Helpers(1, "test")) as work:
        assert os.sched_getaffinity(0) == PROCESSORS
    assert work.ran_on == PROCESSORS


def refuse(*_: object) -> None:
    """Choose no processor."""
    raise PermissionError


def test_where_it_has_no_choice_of_processors_it_is_computed_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_setaffinity", refuse)

    with computing(Helpers(1, "test")) as work:
        assert os.sched_getaffinity(0) == PROCESSORS
    assert work.ran_on == PROCESSORS


def test_a_processor_that_was_taken_away_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    helpers = Helpers[str](1, "test")
    monkeypatch.setattr(os, "sched_setaffinity", refuse)

    with computing(helpers) as work:
        pass
    assert work.ran_on == PROCESSORS


def test_each_computes_one_thing_at_a_time() -> None:
    helpers = Helpers[str](2, "test")

    with computing(helpers), computing(helpers):
        assert helpers.begin(Work()) is None


def test_who_hears_of_a_result_may_have_something_else_computed() -> None:
    helpers = Helpers[str](1, "test")
    work, others = Work(), Queue[object]()
    made = helpers.begin(work)
    assert made is not None

    made.add_done_callback(lambda _: others.put(helpers.begin(lambda: "other")))
    work.may_end.set()

    other = others.get(timeout=60)
    assert isinstance(other, Future)
    assert other.result(60) == "other"


def late(helper: aside._Helper, after_s: float) -> threading.Event:
    """Let a helper hear of what it is to do some time later; return what is set by then."""
    tasks, has_heard = helper.tasks, threading.Event()

    def put(task: Callable[[], object]) -> None:
        def tell() -> None:
            has_heard.set()
            tasks.put(task)

        threading.Timer(after_s, tell).start()

    helper.tasks = SimpleNamespace(put=put, get=tasks.get)  # type: ignore[assignment]
    return has_heard


def test_who_asked_goes_on_when_it_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "_PATIENCE_S", 60)
    helpers = Helpers[str](1, "test")
    has_heard = late(helpers._free[0], 0.1)

    with computing(helpers):
        assert has_heard.is_set()


def test_who_asked_does_not_wait_for_long_that_it_begins() -> None:
    helpers = Helpers[str](1, "test")
    has_heard = late(helpers._free[0], 1)

    with computing(helpers):
        assert not has_heard.is_set()


def fail(_watched: Work) -> str:
    """Compute nothing."""
    raise ValueError


@pytest.mark.parametrize("compute", [Work.__call__, fail])
def test_nothing_is_kept_of_what_was_computed(compute: Callable[[Work], str]) -> None:
    helpers, work = Helpers[str](1, "test"), Work()
    watched = weakref.ref(work)
    work.may_end.set()

    gc.disable()
    try:
        made = helpers.begin(partial(compute, work))
        assert made is not None
        made.exception(60)
        del made, work
        is_gone = until(lambda: watched() is None)
    finally:
        gc.enable()

    assert is_gone
