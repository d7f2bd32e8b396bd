"""What a workload is, and the ways in which one is measured over the wire."""

import contextlib
import enum
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from scripts.benchmarks.client import Client
from scripts.benchmarks.load import Job, Step, drive
from scripts.benchmarks.memory import processor_time_of
from scripts.benchmarks.site import PASSWORD
from scripts.benchmarks.stage import DatabaseStage, Measured, Options, Run, Stage, repeat

_MANY = 1_000
"""Questions whose time is measured at once: the clock of processes has hundredths of seconds."""


class Unit(enum.StrEnum):
    """What a figure counts."""

    PER_SECOND = "per_second"
    SECONDS = "seconds"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Workload:
    """Something to measure."""

    name: str
    what: str
    unit: Unit
    run: Callable[[DatabaseStage], list[Run]]
    size: Callable[[Options], int] = lambda options: options.users
    """How large what it is about is; the C daemon's figure is one of that size."""
    c_name: str = ""
    """What the C daemon's figure is called, if not like the workload."""
    on_stub: Callable[[Stage], list[Run]] | None = None
    """How the driver shows what it can do by itself, for workloads where that may matter."""
    cold: Callable[[DatabaseStage], list[float]] | None = None
    """Takes the seconds of the first step after a start, again and again."""
    is_bulk: bool = False
    """Whether it handles every mailbox of the site, so that mailboxes a second make sense."""
    is_large: bool = False
    """Whether it is left out unless it is asked for: its site takes minutes to make."""
    base: str = ""
    """The same on a small site, which its time is compared with."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Workers in a closed loop, on one server."""

    site: str
    make_job: Callable[[Stage, int], Job]
    """Given the port, returns what a worker does."""
    workers: int = 1
    variant: str = ""
    is_rate: bool = True
    """Whether steps a second count, or the seconds that a step usually takes."""
    prepare: Callable[[DatabaseStage], object] = lambda _stage: None

    def run(self, stage: DatabaseStage) -> list[Run]:
        """Measure a daemon."""
        self.prepare(stage)
        return self.on_stub(stage)

    def on_stub(self, stage: Stage) -> list[Run]:
        """Measure whatever answers."""
        server = stage.server(self.site, self.variant)
        job = self.make_job(stage, server.port)

        def take() -> Measured:
            before = processor_time_of(server.pid) if server.pid else 0
            load = drive(job, self.workers, stage.options.seconds)
            # Each worker has taken one step before the clock started.
            steps = len(load.latencies_s) + self.workers
            used = (processor_time_of(server.pid) - before) / steps if server.pid else None
            value = load.per_second if self.is_rate else statistics.median(load.latencies_s)
            return Measured(value, load.latencies_s, used)

        return repeat(stage.options, take)

    def cold(self, stage: DatabaseStage) -> list[float]:
        """Time the first step of a daemon that has just been started."""
        self.prepare(stage)
        found = []
        for _ in range(stage.options.repeat):
            with (
                stage.fresh(self.site, self.variant) as daemon,
                self.make_job(stage, daemon.port)(0) as step,
            ):
                begin = time.perf_counter()
                step()
                found.append(time.perf_counter() - begin)
        return found


def login(client: Client, stage: Stage, site: str, verb: str = "slogin") -> None:
    """Log in as a system administrator of a site."""
    administrator = stage.sites.get(site).main.addresses[0]
    client.ask(f"{verb} {administrator} {PASSWORD}".encode())


def with_files(stage: DatabaseStage, site: str) -> None:
    """Have a site in a database, and its files on the disk."""
    stage.imported(site)
    stage.write_files(site)


@dataclass(frozen=True, slots=True)
class Change:
    """A change that is made again and again, and undone each time outside of the clock."""

    site: str
    make: Callable[[Client, int], object]
    """Given the number of the change, makes it."""
    undo: Callable[[Client, int], object]
    is_undone_first: bool = False
    """Whether what is undone has to be made once before: what is measured takes away."""
    prepare: Callable[[DatabaseStage, str], object] = with_files
    """Makes the site."""
    log_in: Callable[[Client, Stage, str], object] = login
    variant: str = ""
    """Which of `stage.VARIANTS` is measured."""

    def run(self, stage: DatabaseStage) -> list[Run]:
        """Measure a daemon, alone on one connection."""
        self.prepare(stage, self.site)
        server = stage.server(self.site, self.variant)
        with Client(server.port) as client:
            self.log_in(client, stage, self.site)
            changing = _Changing(self, client, server.pid)

            def take() -> Measured:
                latencies = changing.latencies(stage.options.seconds)
                used = changing.processor_time(stage.options.seconds / 2)
                return Measured(statistics.median(latencies), latencies, used)

            return repeat(stage.options, take)


class _Changing:
    """A change, made and undone on one connection.

    :param pid: of the daemon's first process.
    """

    def __init__(self, change: Change, client: Client, pid: int) -> None:
        self._change = change
        self._client = client
        self._pid = pid
        self._numbers = iter(range(1_000_000))
        self._settling_s = self._used_by(lambda: [self._settle() for _ in range(_MANY)]) / _MANY
        if change.is_undone_first:
            self._undo(-1)

    def latencies(self, seconds: float) -> list[float]:
        """Go on for some time; return the seconds until each answer."""
        found = []
        for number in self._for(seconds):
            begin = time.perf_counter()
            self._change.make(self._client, number)
            found.append(time.perf_counter() - begin)
            self._undo(number)
        return found

    def processor_time(self, seconds: float) -> float:
        """Go on for some time; return the seconds that processors work for one change.

        What the daemon does after the answer is part of it. To look at that time takes half as
        long as a change, and leaves nothing of it in the caches: no latency is measured meanwhile.
        """
        found = []
        for number in self._for(seconds):
            found.append(self._used_by(partial(self._make, number)))
            self._undo(number)
        return statistics.mean(found) - self._settling_s

    def _make(self, number: int) -> None:
        self._change.make(self._client, number)
        self._settle()

    def _undo(self, number: int) -> None:
        self._change.undo(self._client, number)
        self._settle()

    def _settle(self) -> None:
        """Wait until nothing is left to do for what came before."""
        self._client.ask(b"domain_count")

    def _used_by(self, step: Callable[[], object]) -> float:
        before = processor_time_of(self._pid)
        step()
        return processor_time_of(self._pid) - before

    def _for(self, seconds: float) -> Iterator[int]:
        """Give numbers for some time, at least one."""
        deadline = time.perf_counter() + seconds
        for number in self._numbers:
            yield number
            if time.perf_counter() > deadline:
                return


def commands(
    site: str, make_lines: Callable[[Stage], Iterator[bytes]], verb: str = "slogin"
) -> Callable[[Stage, int], Job]:
    """Ask for one line after the other on one connection of a system administrator."""

    def make_job(stage: Stage, port: int) -> Job:
        @contextlib.contextmanager
        def job(_worker: int) -> Iterator[Step]:
            with Client(port) as client:
                login(client, stage, site, verb)
                turn = make_lines(stage)
                yield lambda: client.ask(next(turn))

        return job

    return make_job
