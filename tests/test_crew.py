"""Work that several processes share."""

from collections.abc import Iterator

from vpopsql.crew import work_in_order, work_on_stream


class Doubling:
    """Doubles numbers."""

    def __call__(self, task: int, /) -> int:
        return 2 * task

    def close(self) -> None:
        pass


def test_a_stream_is_worked_on_in_order_and_only_a_little_is_taken_ahead() -> None:
    taken = []

    def tasks() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    work = work_on_stream(Doubling, tasks(), 2)
    first = next(work)

    assert (first, len(taken)) == (0, 200)
    assert list(work) == [2 * number for number in range(1, 1000)]


def test_one_process_takes_nothing_ahead() -> None:
    tasks = iter(range(10))

    assert next(work_on_stream(Doubling, tasks, 1)) == 0
    assert next(tasks) == 1


def test_few_tasks_are_done_here() -> None:
    assert list(work_in_order(Doubling, range(64), 2)) == list(range(0, 128, 2))
