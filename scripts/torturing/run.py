"""A run: let clients work, kill somebody, start him again, look, over and over."""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scripts.torturing import Defect
from scripts.torturing.ledger import Facts, Key, compare
from scripts.torturing.load import SHARED, Pause, Told, Worker
from scripts.torturing.looking import Rows, read_files, read_rows, require_files
from scripts.torturing.nursery import Nursery
from scripts.torturing.postgresql import Server
from scripts.torturing.reader import TightReader
from scripts.torturing.site import ADMIN, ALWAYS, DAEMON, HOSTS, Site
from scripts.torturing.watcher import Watcher
from vpopsql import trash
from vpopsql.exporter.drift.codes import Severity
from vpopsql.exporter.drift.repair import repair
from vpopsql.tree import Tree

EXPORT = "export"

_LOAD_S = (0.02, 0.25)
"""How long clients work before somebody is killed."""
_EXPORT_S = 0.25
"""About how long an export takes, so that a kill hits it anywhere."""
_AGAIN = 0.15
"""How often somebody is killed once more while he starts."""
_AGAIN_S = 0.3
_ROUNDS = 3

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What to do."""

    database: str
    kills: int
    seed: int
    clients: int


@dataclass(slots=True)
class Result:
    """What came of a run."""

    kills: Counter[str] = field(default_factory=Counter)
    told: Told = field(default_factory=Told)
    checks: int = 0
    open_done: int = 0
    """Changes without an answer that had been carried out."""
    open_undone: int = 0
    mended: Counter[str] = field(default_factory=Counter)
    """Findings of verify that its --fix has mended, by code."""
    files_read: int = 0
    rcpthosts: int = 0
    """Versions of rcpthosts that the watchers have seen."""
    rcpthosts_reads: int = 0
    """How often a reader in a tight loop has read it meanwhile."""
    seconds: float = 0.0
    defect: str | None = None

    @property
    def killed(self) -> int:
        """Return how many kills there were in all."""
        return self.kills.total()


def run(options: Options, directory: Path, say: Say) -> Result:
    """Carry out a run below ``directory``, which must be empty.

    :returns: with the first defect, if one was found; ``directory`` has the evidence then.
    """
    result = Result()
    began = time.monotonic()
    try:
        with ExitStack() as stack:
            nursery = Nursery()
            stack.callback(nursery.close)
            server = None
            if options.database == "postgresql":
                place = directory / "server"
                place.mkdir()
                directory.chmod(0o755)
                server = Server(place)
                stack.callback(server.stop)
            site = Site(directory, nursery, server)
            stack.callback(site.database.close)
            _Run(options, site, result, say).carry_out()
    except Defect as defect:
        result.defect = str(defect)
    result.seconds = time.monotonic() - began
    return result


class _Run:
    def __init__(self, options: Options, site: Site, result: Result, say: Say) -> None:
        self._options = options
        self._site = site
        self._result = result
        self._say = say
        self._rng = random.Random(f"{options.seed} kills")  # noqa: S311 - must be repeatable
        self._pause = Pause(options.clients)
        self._workers = [
            Worker(number, options.seed, lambda: site.port, ADMIN, self._pause, result.told)
            for number in range(options.clients)
        ]
        self._watchers: list[Watcher | TightReader] = []
        victims = {DAEMON: 5, HOSTS[0]: 2, HOSTS[1]: 2, EXPORT: 3}
        if site.server:
            victims |= {"postgresql": 2, "backend": 2}
        self._victims = [name for name, weight in victims.items() for _ in range(weight)]

    def carry_out(self) -> None:
        """Do it. :raises Defect: the first that is found."""
        for name in (DAEMON, *HOSTS):
            self._site.start(name)
        self._site.await_daemon()
        # A host gets homes only of mailboxes that are made while it follows.
        self._site.settle()
        with self._watching(), self._working():
            while self._result.killed < self._options.kills:
                self._round()
                if self._result.checks % 100 == 0:
                    self._say(f"{self._result.killed} kills, {self._result.told.answers}")
            self._end()

    @contextmanager
    def _watching(self) -> Iterator[None]:
        paths = [root / "var/qmail/control/rcpthosts" for root in self._site.roots.values()]
        watchers = [Watcher(path, ALWAYS) for path in paths]
        reader = TightReader(paths, ALWAYS)
        self._watchers = [*watchers, reader]
        try:
            yield
        finally:
            for watcher in self._watchers:
                watcher.close()
            self._result.rcpthosts = sum(watcher.versions for watcher in watchers)
            self._result.rcpthosts_reads = reader.reads

    @contextmanager
    def _working(self) -> Iterator[None]:
        for worker in self._workers:
            worker.start()
        try:
            yield
        finally:
            self._pause.finish()
            for worker in self._workers:
                worker.join()

    # --- killing --------------------------------------------------------------------------------

    def _round(self) -> None:
        site, rng = self._site, self._rng
        exports = rng.random() < 0.5  # noqa: PLR2004 - every other time
        if exports:
            site.start_export("another export", rng.choice(HOSTS))
        self._pause.end()
        time.sleep(rng.uniform(*_LOAD_S))
        victim = rng.choice(self._victims)
        self._kill(victim)
        if exports:
            self._finish_export(victim)
        site.await_daemon()
        self._pause.begin()
        self._check()

    def _finish_export(self, victim: str) -> None:
        if victim in {"postgresql", "backend"}:
            # It may have met the outage, and say so; what matters is what it leaves.
            self._site.abandon("another export")
        else:
            self._site.finish("another export")

    def _kill(self, victim: str) -> None:
        site, rng, server = self._site, self._rng, self._site.server
        if victim == EXPORT:
            site.start_export(EXPORT, rng.choice(HOSTS))
            time.sleep(rng.uniform(0, _EXPORT_S))
            self._result.kills[EXPORT] += site.kill(EXPORT)
        elif server and victim == "postgresql":
            server.kill()
            self._result.kills[victim] += 1
            time.sleep(rng.uniform(0, 0.1))
            server.start()
            site.database.forget_connections()
        elif server and victim == "backend":
            self._result.kills[victim] += server.kill_backend(rng.randrange(1000))
            server.await_answer()
            site.database.forget_connections()
        else:
            self._kill_and_start(victim)

    def _kill_and_start(self, name: str) -> None:
        while True:
            if not self._site.kill(name):
                raise Defect(f"{name} had ended by itself")
            self._result.kills[name] += 1
            self._site.start(name)
            if self._rng.random() >= _AGAIN:
                return
            time.sleep(self._rng.uniform(0, _AGAIN_S))

    # --- looking --------------------------------------------------------------------------------

    def _check(self) -> None:
        """Compare what clients know with what is. :raises Defect: it is not the same."""
        self._require_peace()
        self._site.settle()
        self._finish_deletions()
        self._verify()
        rows = self._rows()
        for root in self._site.roots.values():
            self._result.files_read += require_files(root, rows)
        found = rows.facts | read_files(self._site.roots[HOSTS[0]], rows)
        self._compare({key: value for key, value in found.items() if key.domain != ALWAYS})
        self._result.checks += 1
        self._require_peace()

    def _finish_deletions(self) -> None:
        """Do what `vpopsql trash finish` does: a deletion may be committed, and no more."""
        if any(worker.ledger.open for worker in self._workers):
            with self._site.database.writer() as session:
                trash.finish(session, Tree(self._site.roots[HOSTS[0]]))

    def _compare(self, found: Facts) -> None:
        known: Facts = {Key("domain", SHARED): ("postmaster",)}
        for worker in self._workers:
            if worker.ledger.open:
                done = worker.ledger.settle(found)
                self._result.open_done += done
                self._result.open_undone += not done
            known |= worker.ledger.facts
        compare(known, found)

    def _rows(self) -> Rows:
        with self._site.database.snapshot() as session:
            return read_rows(session)

    def _require_peace(self) -> None:
        for watcher in self._watchers:
            if watcher.defect:
                raise Defect(watcher.defect)
        if self._result.told.defect:
            raise Defect(self._result.told.defect)

    def _verify(self) -> None:
        """Let verify mend what does no harm, with its own --fix. :raises Defect: it cannot."""
        for host in HOSTS:
            config = self._site.config(host)
            repaired = repair(self._site.database, config, ())
            for _ in range(_ROUNDS):
                found = repaired.report.findings
                harm = [each for each in found if each.code.severity is Severity.HARM]
                if harm:
                    raise Defect(f"verify finds harm on {host}: {harm}")
                codes = {each.code for each in found if each.code.severity is Severity.WARNING}
                if not codes:
                    break
                repaired = repair(self._site.database, config, codes)
                self._result.mended.update(f"{each.code} {host}" for each in repaired.mended)
            else:
                raise Defect(f"verify cannot mend: {found} {repaired.refused}")

    def _end(self) -> None:
        """Look once more, as if a minute had passed: verify waits so long for what is new."""
        for root in self._site.roots.values():
            _age(root / "home/vpopmail/domains")
        self._check()


def _age(domains: Path) -> None:
    for pattern in ("*/", "*/*/"):
        for place in domains.glob(pattern):
            os.utime(place, (0, 0))
