"""What a daemon counts of its work, for Prometheus.

All workers count in one memory that they share, each in a part of its own, so a page made by any
of them shows the sum, and a worker that is killed takes nothing with it. Counting takes a lock and
about a microsecond; verbs that are none count as one, so that clients cannot make up labels.
"""

import mmap
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from enum import StrEnum

from vpopsql.daemon.commands import COMMANDS, LOGIN_VERBS, QUIT_VERBS
from vpopsql.exposition import Family, Histogram, Sample, gauge

_COMMAND_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_FILES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


_UNKNOWN = "unknown"
_VERBS = (*COMMANDS, *LOGIN_VERBS, *QUIT_VERBS, "help", _UNKNOWN)


class Result(StrEnum):
    """How a command ended."""

    OK = "ok"
    REFUSED = "refused"
    DATABASE_UNAVAILABLE = "database_unavailable"
    FILES_BEHIND = "files_behind"
    """Committed, but the files do not show it."""
    INTERNAL_ERROR = "internal_error"


class _Layout:
    """Where in a worker's part of the memory each number is."""

    def __init__(self) -> None:
        self.size = 0
        self.results = {(verb, result): self._take() for verb in _VERBS for result in Result}
        self.latencies = {verb: self._take(len(_COMMAND_S) + 2) for verb in _VERBS}
        self.logins = {True: self._take(), False: self._take()}
        self.connections = {True: self._take(), False: self._take()}
        self.open = self._take()
        self.database_errors = self._take()
        self.writings = {True: self._take(), False: self._take()}
        self.writing = self._take(len(_FILES_S) + 2)

    def _take(self, cells: int = 1) -> int:
        self.size += cells
        return self.size - cells


_LAYOUT = _Layout()
_CELL = 8  # bytes of a double


class Metrics:
    """The counters of a daemon; all threads count here, and all workers once they are forked.

    :param workers: how many there are; each calls `count_for` once it is forked.
    """

    def __init__(self, workers: int = 1) -> None:
        self._lock = threading.Lock()
        self._began_at = time.time()
        memory = memoryview(mmap.mmap(-1, workers * _LAYOUT.size * _CELL)).cast("d")
        self._parts = [
            memory[start : start + _LAYOUT.size]
            for start in range(0, len(memory), _LAYOUT.size)[:workers]
        ]
        self._cells = self._parts[0]

    def count_for(self, worker: int) -> None:
        """Count as a worker from now on, numbered from 0, on top of its forerunners."""
        self._cells = self._parts[worker]

    def count_out(self, worker: int) -> None:
        """Forget the open connections of a worker that has ended."""
        self._parts[worker][_LAYOUT.open] = 0

    def command(self, verb: str, result: Result, seconds: float) -> None:
        """Count a command that was answered.

        :param verb: a known one, or ``unknown``.
        """
        with self._lock:
            self._cells[_LAYOUT.results[verb, result]] += 1
            self._observe(_LAYOUT.latencies[verb], _COMMAND_S, seconds)
            if result is Result.DATABASE_UNAVAILABLE:
                self._cells[_LAYOUT.database_errors] += 1

    def database_error(self) -> None:
        """Count an error of the database that the client did not hear of."""
        self._add(_LAYOUT.database_errors)

    def login(self, *, is_good: bool) -> None:
        """Count a login."""
        self._add(_LAYOUT.logins[is_good])

    def came(self, *, is_taken: bool) -> None:
        """Count a connection, once it is known whether its client is served."""
        self._add(_LAYOUT.connections[is_taken])

    def opened(self) -> None:
        """Count the beginning of a connection, `closed` its end."""
        self._add(_LAYOUT.open)

    def closed(self) -> None:
        """Count the end of a connection."""
        self._add(_LAYOUT.open, -1)

    def files_written(self, seconds: float, *, is_good: bool) -> None:
        """Count a change whose files were brought to the database, or were not."""
        with self._lock:
            self._cells[_LAYOUT.writings[is_good]] += 1
            self._observe(_LAYOUT.writing, _FILES_S, seconds)

    def _add(self, cell: int, number: int = 1) -> None:
        with self._lock:
            self._cells[cell] += number

    def _observe(self, start: int, bounds: tuple[float, ...], value: float) -> None:
        """Count a value in the cells of a histogram: one a bound, one for the rest, the sum."""
        self._cells[start + bisect_left(bounds, value)] += 1
        self._cells[start + len(bounds) + 1] += value

    def families(self) -> list[Family]:
        """Return all of it, summed over the workers."""
        with self._lock:
            parts = [part.tolist() for part in self._parts]
        return list(self._families([sum(cells) for cells in zip(*parts, strict=True)]))

    def _families(self, cells: list[float]) -> Iterator[Family]:
        yield gauge(
            "vpopsql_daemon_start_time_seconds", "When the daemon was started.", self._began_at
        )
        yield Family(
            "vpopsql_daemon_commands_total",
            "counter",
            "Commands, by verb and how they ended.",
            [
                Sample(cells[cell], {"verb": verb, "result": result})
                for (verb, result), cell in sorted(_LAYOUT.results.items())
                if cells[cell]
            ],
        )
        yield Family(
            "vpopsql_daemon_command_duration_seconds",
            "histogram",
            "From a command's line, or the last line of its body, to its answer.",
            [
                sample
                for verb, start in sorted(_LAYOUT.latencies.items())
                for sample in _histogram(cells, start, _COMMAND_S).samples({"verb": verb})
                if any(cells[start : start + len(_COMMAND_S) + 1])
            ],
        )
        yield _two("logins", "Logins.", cells, _LAYOUT.logins, "ok", "failed")
        yield _two(
            "connections", "Connections.", cells, _LAYOUT.connections, "accepted", "refused"
        )
        yield gauge(
            "vpopsql_daemon_connections_open", "Connections now open.", cells[_LAYOUT.open]
        )
        yield Family(
            "vpopsql_daemon_database_errors_total",
            "counter",
            "How often the database did not answer.",
            [Sample(cells[_LAYOUT.database_errors])],
        )
        yield _two(
            "file_updates",
            "Changes whose files were to be written.",
            cells,
            _LAYOUT.writings,
            "ok",
            "failed",
        )
        yield Family(
            "vpopsql_daemon_file_update_duration_seconds",
            "histogram",
            "How long that took, waiting for others included.",
            list(_histogram(cells, _LAYOUT.writing, _FILES_S).samples({})),
        )


def _histogram(cells: list[float], start: int, bounds: tuple[float, ...]) -> Histogram:
    counts = cells[start : start + len(bounds) + 1]
    return Histogram(bounds, [int(each) for each in counts], cells[start + len(counts)])


def _two(
    what: str, help_: str, cells: list[float], places: dict[bool, int], good: str, bad: str
) -> Family:
    return Family(
        f"vpopsql_daemon_{what}_total",
        "counter",
        help_,
        [
            Sample(cells[places[True]], {"result": good}),
            Sample(cells[places[False]], {"result": bad}),
        ],
    )
