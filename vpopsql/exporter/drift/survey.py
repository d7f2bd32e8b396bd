"""Comparing a whole site, or one domain, with the database.

The first look takes its time and locks nothing: one snapshot of the database, then every file.
While it lasts others go on changing rows, and files follow them, so what it finds is a suspicion.
Each is looked at twice more, under the lock of the site's files, with a pause before each look in
which whoever waits for the lock gets it. What has not been the same every time is not reported.
So a change in flight is no finding, whatever the order in which rows and files were read; and a
difference that somebody makes during the last second is left to the next verification.

A directory that no row has may be one whose row is not committed yet: it must be a minute old. One
that was just deleted is on its way to the trash: that may take a minute, too.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from vpopsql import trash
from vpopsql.columns import utc_now
from vpopsql.config import Config
from vpopsql.crew import work_in_order
from vpopsql.db import Database
from vpopsql.errors import ExportFailed, NoSuchDomain
from vpopsql.exporter import render
from vpopsql.exporter.apply import LOCK_TIMEOUT_S
from vpopsql.exporter.drift.codes import Code, Severity
from vpopsql.exporter.drift.domain import GRACE_S, DomainLook
from vpopsql.exporter.drift.finding import Finding, in_order, persisting
from vpopsql.exporter.drift.site import look_at_relay, look_at_site
from vpopsql.exporter.snapshot import EVERY_NAME, Snapshot, take
from vpopsql.model import UNFINISHED_IMPORT, Domain, Mailbox, SiteSetting
from vpopsql.services.domains import find_domain
from vpopsql.touched import Touched
from vpopsql.tree import Tree, UnsafePath

_PAUSES_S = (0.1, 0.3)
"""Before each look that is taken again; others poll for the lock every 0.01 s."""

_AT_ONCE = 100
"""Domains that are looked at again before somebody else gets the lock."""

NOBODYS = frozenset({Code.ORPHAN_DOMAIN, Code.ORPHAN_HOME, Code.UNKNOWN_DIR})
"""What is said of directories that no row has."""

Progress = Callable[[int, int], None]
"""Is told how many domains have been looked at, and how many there are."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found."""

    revision: int
    """The newest revision of the database that was compared."""
    domains: int
    """How many were looked at."""
    findings: Sequence[Finding]
    """The worst first, then by code and path."""

    @property
    def worst(self) -> Severity:
        """The severity of the worst finding; a note if there is none."""
        return max((each.code.severity for each in self.findings), default=Severity.NOTE)

    def counts(self) -> dict[Severity, int]:
        """Return how many findings of each severity there are, the worst first; of some."""
        found = [each.code.severity for each in self.findings]
        return {each: found.count(each) for each in sorted(set(found), reverse=True)}


def verify(
    database: Database,
    config: Config,
    *,
    domain: str | None = None,
    is_relay: bool = False,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Report:
    """Compare the files of a host with the database.

    :param domain: the name of one, or of an alias of it: look at its directory, and at what the
        site's files say of it.
    :param is_relay: the host only takes mail for others: it has rcpthosts and morercpthosts.
    :param jobs: processes that look at domains, from 1.
    :raises NoSuchDomain: there is none of this name.
    :raises ExportFailed: somebody had the site's lock all the time.
    :raises ProcessKilled: one of the processes was.
    """
    return _Survey(database, config, domain, is_relay=is_relay).run(jobs, progress)


class _Survey:
    """One verification."""

    def __init__(
        self, database: Database, config: Config, domain: str | None, *, is_relay: bool
    ) -> None:
        self._database = database
        self._paths = config.paths
        self._owner = (config.export.uid, config.export.gid)
        self._export = config.export
        if is_relay:
            # What users/assign is made of is not asked for.
            self._export = replace(config.export, delivery="vdelivermail")
        self._tree = Tree(config.paths.root, config.paths.places)
        self._only = domain
        self._is_relay = is_relay

    def run(self, jobs: int, progress: Progress | None) -> Report:
        with self._database.snapshot() as session:
            if session.get(SiteSetting, UNFINISHED_IMPORT):
                return Report(0, 0, [Finding(Code.UNFINISHED_IMPORT, self._paths.vpopmail)])
            if self._only is not None:
                self._only = _real_name(session, self._only)
            touched = None
            if self._is_relay or self._only is not None:
                mine = [self._only] if self._only and not self._is_relay else []
                touched = _all_of(mine, site=True)
            snapshot = take(session, self._paths, touched, EVERY_NAME, self._export)
            deleted = _deleted(session, self._tree)
        findings = self._look_at_site(snapshot)
        work = partial(DomainLook, snapshot.paths)
        looked = work_in_order(work, snapshot.domains, jobs)
        for done, found in enumerate(looked, 1):
            findings += found
            if progress:
                progress(done, len(snapshot.domains))
        findings = _settled(findings, deleted)
        for pause_s in _PAUSES_S:
            if findings:
                time.sleep(pause_s)
                findings = persisting(findings, self._look_again(findings))
        if nobodys := {each.path for each in findings if each.code in NOBODYS}:
            with self._database.reader() as session:
                used = homes_among(session, nobodys)
            findings = [each for each in findings if each.path not in used]
        domains = {each.name for each in snapshot.domains}
        if self._is_relay:
            domains = {each.real for each in snapshot.names}
        return Report(snapshot.revision, len(domains), in_order(findings))

    def _look_at_site(self, snapshot: Snapshot) -> list[Finding]:
        if self._is_relay:
            return look_at_relay(self._tree, snapshot)
        only = None
        if self._only is not None:
            only = {name.name for name in snapshot.names if name.real == self._only}
        return look_at_site(self._tree, snapshot, self._owner, only)

    def _look_again(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Look once more at all that something was found of, under the lock."""
        suspected = {each.domain for each in findings}
        of_site = "" in suspected
        named = sorted(suspected - {""})
        for start in range(0, max(len(named), 1), _AT_ONCE):
            yield from self._look_under_lock(named[start : start + _AT_ONCE], site=of_site)
            of_site = False

    def _look_under_lock(self, domains: Sequence[str], *, site: bool) -> list[Finding]:
        with self._locked():
            with self._database.snapshot() as session:
                touched = _all_of(domains, site=site)
                snapshot = take(session, self._paths, touched, EVERY_NAME, self._export)
                deleted = _deleted(session, self._tree)
            findings = self._look_at_site(snapshot) if site else []
            look = DomainLook(snapshot.paths)
            for domain in snapshot.domains:
                findings += look(domain)
        return _settled(findings, deleted)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        path = f"{self._paths.qmail}/{render.ASSIGN}"
        with ExitStack() as held:
            try:
                held.enter_context(self._tree.lock(path, LOCK_TIMEOUT_S))
            except TimeoutError as error:
                raise ExportFailed(f"{self._paths.root}{path}: {error.strerror}") from error
            except (OSError, UnsafePath):
                # Nothing was ever exported, or he may only look: it has to do without.
                pass
            yield


def _real_name(session: Session, name: str) -> str:
    found = find_domain(session, name.lower())
    if found is None:
        raise NoSuchDomain(f"the database has no domain {name}")
    return found.name


def homes_among(session: Session, paths: Collection[str]) -> set[str]:
    """Return which directories are, or have in them, that of a domain or mailbox, whosever."""
    used: set[str] = set()
    for column in (Domain.directory, Mailbox.directory):
        for directory in session.scalars(select(column), execution_options={"yield_per": 10_000}):
            place = directory.rstrip("/")
            while place:
                if place in paths:
                    used.add(place)
                place = place.rpartition("/")[0]
    return used


def _all_of(domains: Iterable[str], *, site: bool) -> Touched:
    of = set(domains)
    return Touched(of, of, of, site=site)


def _deleted(session: Session, tree: Tree) -> dict[str, bool]:
    """Return where the files still are of what was deleted, and whether that is a while ago."""
    before = utc_now() - timedelta(seconds=GRACE_S)
    return {path: at < before for path, at in trash.unmoved(session, tree).items()}


def _settled(findings: Iterable[Finding], deleted: dict[str, bool]) -> list[Finding]:
    """Return findings without what is on its way to the trash, and with what is stuck there."""
    settled = []
    for each in findings:
        if each.code not in NOBODYS or each.path not in deleted:
            settled.append(each)
        elif deleted[each.path]:
            settled.append(replace(each, code=Code.UNMOVED, details=()))
    return settled
