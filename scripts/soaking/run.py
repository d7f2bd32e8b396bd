"""A run: warm up, rest, go on, rest again, and measure all the while."""

import contextlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from scripts.benchmarks.memory import processor_time_of
from scripts.serving import DaemonFailed
from scripts.soaking import Wrong
from scripts.soaking.crowd import PATIENCE_S, Crowd, Member, Owner
from scripts.soaking.flatness import Bounds, Row, judge
from scripts.soaking.ours import Domain
from scripts.soaking.site import Served, served
from scripts.soaking.strangers import (
    Deaf,
    Guesser,
    Idlers,
    SlowReader,
    SlowWriter,
    Vanisher,
    require_untouched,
)
from vpopsql.client import ClientError
from vpopsql.daemon.server import THREADS
from vpopsql.daemon.workers import usual_workers

_WARM_UP = 1 / 5
_SAMPLES_MIN = 25
_PURGE_S = 60.0
_POLL_S = 0.2
_POKES = 16
"""Connections, one after the other, that wake the threads of each worker, so that those which are
not needed any more end."""

_DESCRIPTORS_OF_SQLITE = 3
"""Of one connection: the database, its log, and the log's index."""
_POOL = 10
"""`database.pool_size` unless it is configured."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What to do."""

    database: str = "sqlite"
    seconds: float = 60.0
    rate: float = 100.0
    """Steps a second of all clients together; a step is a command, or some of them."""
    busy: int = 200
    idle: int = 2000
    every_s: float = 10.0
    memory_percent: float = 5.0
    seed: int = 1


@dataclass(slots=True)
class Result:
    """What came of a run."""

    samples: list[dict[str, float]] = field(default_factory=list)
    rests: list[dict[str, int]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    slowest_s: float = 0.0
    rows: list[Row] = field(default_factory=list)
    defect: str | None = None

    @property
    def is_good(self) -> bool:
        """Tell whether all answers were right, and nothing grew."""
        return self.defect is None and all(row.is_flat for row in self.rows)


def run(options: Options, directory: Path, say: Say) -> Result:
    """Carry out a run below ``directory``, which must be empty."""
    result = Result()
    domains = [Domain(f"d{number:03}.example", number) for number in range(options.busy)]
    connections = options.idle + options.busy
    try:
        with served(directory, options.database, domains, connections) as there:
            _Run(options, there, domains, result, say).carry_out()
    except (Wrong, DaemonFailed, ClientError) as error:
        result.defect = f"{type(error).__name__}: {error}"
    return result


class _Run:
    def __init__(
        self, options: Options, there: Served, domains: list[Domain], result: Result, say: Say
    ) -> None:
        self._options = options
        self._there = there
        self._domains = domains
        self._result = result
        self._say = say
        self._crowd = Crowd(there.daemon.port, options.busy / options.rate, options.seed)
        self._every_s = min(options.every_s, options.seconds / _SAMPLES_MIN)
        self._loaded_s = 0.0
        """How long there has been load so far."""

    def carry_out(self) -> None:
        """Do it. :raises Wrong, DaemonFailed: the first that is found."""
        result, seconds = self._result, self._options.seconds
        for part in (seconds * _WARM_UP, seconds * (1 - _WARM_UP)):
            self._load(part)
            result.counts = dict(self._crowd.counts)
            result.slowest_s = self._crowd.slowest_s
            if self._crowd.defect:
                raise Wrong(self._crowd.defect)
            require_untouched(self._there.daemon.port)
            result.rests.append(self._rest())
            self._say(f"at rest: {result.rests[-1]}")
        pools = usual_workers() * (3 * max(2, -(-_POOL // usual_workers())) + 3)
        is_sqlite = self._options.database == "sqlite"
        bounds = Bounds(
            memory_percent=self._options.memory_percent,
            threads_made_up=THREADS * usual_workers(),
            pool_descriptors=pools * (_DESCRIPTORS_OF_SQLITE if is_sqlite else 1),
        )
        result.rows = judge(result.samples, result.rests, bounds)

    def _members(self) -> list[Member]:
        crowd = self._crowd
        few = max(1, self._options.busy // 50)
        return [
            *(Owner(crowd, domain) for domain in self._domains),
            *(SlowWriter(crowd, number) for number in range(2 * few)),
            *(SlowReader(crowd, number) for number in range(few)),
            *(Guesser(crowd, number) for number in range(few)),
            *(Vanisher(crowd, f"vanisher {number}") for number in range(few)),
            Deaf(crowd, 0),
        ]

    def _load(self, seconds: float) -> None:
        """Let all come, and measure until they leave."""
        before_s = self._loaded_s
        idlers = Idlers(self._crowd, self._options.idle)
        with self._crowd.present([idlers, *self._members()]):
            idlers.have_come.wait(PATIENCE_S)
            began = purged = time.monotonic()
            due = began + self._every_s
            while self._loaded_s < before_s + seconds and not self._crowd.defect:
                time.sleep(max(0.0, due - time.monotonic()))
                due += self._every_s
                self._loaded_s = before_s + time.monotonic() - began
                self._measure()
                if time.monotonic() > purged + _PURGE_S:
                    self._there.purge()
                    purged = time.monotonic()

    def _measure(self) -> None:
        daemon, samples = self._there.daemon, self._result.samples
        daemon.require_sound()
        samples.append(
            {
                "at_s": round(self._loaded_s, 2),
                **daemon.measures(),
                **self._there.sizes(),
                "daemon_cpu_s": round(processor_time_of(daemon.process.pid), 2),
                "load_cpu_s": round(sum(os.times()[:2]), 2),
                "steps": self._crowd.counts["steps"],
            }
        )
        if len(samples) % _SAMPLES_MIN == 0:
            self._say(f"{samples[-1]}")

    def _rest(self) -> dict[str, int]:
        """Wait until the daemon has no more than it needs for nobody; return what that is."""
        least = self._there.daemon.measures()
        deadline = time.monotonic() + PATIENCE_S
        unchanged = 0
        while unchanged < 10 and time.monotonic() < deadline:  # noqa: PLR2004 - two seconds
            self._poke()
            time.sleep(_POLL_S)
            found = self._there.daemon.measures()
            is_less = any(found[what] < least[what] for what in ("threads", "descriptors"))
            unchanged = 0 if is_less else unchanged + 1
            least = found if is_less else least
        # What was measured last, so that memory is that of the end, too.
        found = self._there.daemon.measures()
        self._there.daemon.require_sound()
        return found

    def _poke(self) -> None:
        for _ in range(_POKES):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self._there.daemon.port), PATIENCE_S) as it,
            ):
                it.sendall(b"quit\n")
                while it.recv(1 << 12):
                    pass
