"""What a daemon counts of its work, for Prometheus.

Counting takes a lock and about a microsecond; verbs that are none count as one, so that clients
cannot make up labels.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from enum import StrEnum

from vpopsql.exposition import Family, Histogram, Sample, gauge

_COMMAND_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_FILES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Result(StrEnum):
    """How a command ended."""

    OK = "ok"
    REFUSED = "refused"
    DATABASE_UNAVAILABLE = "database_unavailable"
    FILES_BEHIND = "files_behind"
    """Committed, but the files do not show it."""
    INTERNAL_ERROR = "internal_error"


class Metrics:
    """The counters of one process; all threads count here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began_at = time.time()
        self._commands: defaultdict[tuple[str, Result], int] = defaultdict(int)
        self._latencies: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(_COMMAND_S))
        self._logins = {True: 0, False: 0}
        self._connections = {True: 0, False: 0}
        self._open = 0
        self._database_errors = 0
        self._writings = {True: 0, False: 0}
        self._writing = Histogram(_FILES_S)

    def command(self, verb: str, result: Result, seconds: float) -> None:
        """Count a command that was answered.

        :param verb: a known one, or ``unknown``.
        """
        with self._lock:
            self._commands[verb, result] += 1
            self._latencies[verb].observe(seconds)
            if result is Result.DATABASE_UNAVAILABLE:
                self._database_errors += 1

    def database_error(self) -> None:
        """Count an error of the database that the client did not hear of."""
        with self._lock:
            self._database_errors += 1

    def login(self, *, is_good: bool) -> None:
        """Count a login."""
        with self._lock:
            self._logins[is_good] += 1

    def opened(self, *, is_taken: bool) -> None:
        """Count a connection that came; one that is not taken is over."""
        with self._lock:
            self._connections[is_taken] += 1
            self._open += is_taken

    def closed(self) -> None:
        """Count the end of a connection that was taken."""
        with self._lock:
            self._open -= 1

    def files_written(self, seconds: float, *, is_good: bool) -> None:
        """Count a change whose files were brought to the database, or were not."""
        with self._lock:
            self._writings[is_good] += 1
            self._writing.observe(seconds)

    def families(self) -> list[Family]:
        """Return all of it as it is at one moment."""
        with self._lock:
            return list(self._families())

    def _families(self) -> Iterator[Family]:
        yield gauge(
            "vpopsql_daemon_start_time_seconds", "When the daemon was started.", self._began_at
        )
        yield Family(
            "vpopsql_daemon_commands_total",
            "counter",
            "Commands, by verb and how they ended.",
            [
                Sample(number, {"verb": verb, "result": result})
                for (verb, result), number in sorted(self._commands.items())
            ],
        )
        yield Family(
            "vpopsql_daemon_command_duration_seconds",
            "histogram",
            "From a command's line, or the last line of its body, to its answer.",
            [
                sample
                for verb, histogram in sorted(self._latencies.items())
                for sample in histogram.samples({"verb": verb})
            ],
        )
        yield _two("logins", "Logins.", self._logins, "ok", "failed")
        yield _two("connections", "Connections.", self._connections, "accepted", "refused")
        yield gauge("vpopsql_daemon_connections_open", "Connections now open.", self._open)
        yield Family(
            "vpopsql_daemon_database_errors_total",
            "counter",
            "How often the database did not answer.",
            [Sample(self._database_errors)],
        )
        yield _two(
            "file_updates",
            "Changes whose files were to be written.",
            self._writings,
            "ok",
            "failed",
        )
        yield Family(
            "vpopsql_daemon_file_update_duration_seconds",
            "histogram",
            "How long that took, waiting for others included.",
            list(self._writing.samples({})),
        )


def _two(what: str, help_: str, counted: dict[bool, int], good: str, bad: str) -> Family:
    return Family(
        f"vpopsql_daemon_{what}_total",
        "counter",
        help_,
        [Sample(counted[True], {"result": good}), Sample(counted[False], {"result": bad})],
    )
