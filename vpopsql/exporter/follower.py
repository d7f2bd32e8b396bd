"""Keeping the files of one host at the revision of a database that may be on another one.

A pass compares where the host stands with how far the database has come, and writes the files of
the domains that the revisions in between name, as the daemon does for its own changes. Many
changes share one pass. A host that the database cannot place (a new one, or one that stands at a
revision that is not there, because revisions were pruned or the database is an older one) gets
everything written. Files that are equal are left alone, so that several writers on one host, the
daemon among them, are harmless.

The files that a deletion leaves without rows are found in the audit log; homes that were deleted
elsewhere go to the trash here; see `directories`.

While the database is away, or cannot be used, the files stay as they are; it is tried again and
again, ever more slowly. What fails is logged once, not at each try.
"""

import contextlib
import os
import select as select_
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from vpopsql.config import Config
from vpopsql.db import Database, Mark
from vpopsql.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    ExportFailed,
    SchemaError,
    VpopsqlError,
)
from vpopsql.exporter import directories, hosts, moving, position
from vpopsql.exporter.apply import Applied, apply, follow, relay, shown
from vpopsql.exporter.hooks import Courier, hooks_in_background
from vpopsql.exporter.locking import explained
from vpopsql.exporter.position import Position
from vpopsql.exporter.reading import is_stranger
from vpopsql.exporter.removals import owners_of, removed_since
from vpopsql.model import HostRole, Revision
from vpopsql.touched import Touched
from vpopsql.tree import Tree
from vpopsql.watch import Watch

RETRY_FIRST_S = 0.25
RETRY_LONGEST_S = 15.0

UNSETTLED_S = 0.5
"""When to look again while a transaction is open that may have an older revision."""

_OF_ONE_DOMAIN = frozenset(
    {
        *("add_user", "mod_user", "del_user", "rename_user", "mailboxes"),
        *("add_alias", "remove_alias", "delete_alias"),
        *("write_file", "rm_file", "rename_file"),
        *("add_list", "mod_list", "del_list"),
        *("set_limits", "del_limits"),
    }
)
"""The topics of revisions that change no file of the whole site."""

_OF_SETTINGS = frozenset({"add_ip_map", "del_ip_map", "set_default_limits"})
"""Those of revisions that change vpopmail's own files of the site, and no others."""


class Stop:
    """Says when to end; may be set from a signal handler."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def set(self) -> None:
        """Say so."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self.descriptor, 1)

    def wait(self, timeout_s: float = 0) -> bool:
        """Return whether it is time to end, at the latest after ``timeout_s``."""
        return bool(select_.select([self.descriptor], [], [], timeout_s)[0])

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)


@dataclass(frozen=True, slots=True)
class _Due:
    """What a pass has to do."""

    revisions: frozenset[int]
    """Those that the files do not show, as far as they can be seen."""
    touched: Touched | None
    """None: everything."""
    topics: frozenset[str] = frozenset()
    audit: int | None = None
    """The newest entry of the audit log that the files show; None: it is not known."""
    renamed: tuple[moving.Renamed, ...] = ()


class Follower:
    """What brings one host up to date.

    :param host: its name, as `hosts` shows it.
    :param adopts: whether names that the database does not know may be dropped from the files of
        a host that was never seen before.
    """

    def __init__(
        self,
        database: Database,
        config: Config,
        host: str,
        role: HostRole,
        *,
        adopts: bool = False,
    ) -> None:
        self._database = database
        self._config = config
        self._tree = Tree(config.paths.root, config.paths.places)
        self._host = host.lower()
        self._role = role
        self._adopts = adopts
        self._shown: set[int] = set()
        """Revisions that the files show, later than some that they may not."""
        self._made: set[str] = set()
        """Directories that were made for what these revisions are about."""
        self._has_whole = False
        """Whether all files show those, and none that is older is known to be missing."""
        self.revision = 0
        """Where the host stands; 0: not known."""
        self.is_settled = True
        """Whether no revision can come to light that is older than where the host stands."""

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """See to it that this is the only follower of the host's files.

        :raises ExportFailed: there is another one.
        """
        paths = self._config.paths
        with explained(paths):
            self._tree.make_dir(paths.users, 0o755, parents=True)
        try:
            with self._tree.lock(f"{paths.users}/{position.FILE}", 0.1):
                yield
        except TimeoutError as error:
            raise ExportFailed(
                f"{paths.root}{paths.users}: another follower keeps these files up to date"
            ) from error

    def catch_up(self) -> Applied | None:
        """Bring the files to what is committed by now; None: there was nothing to do.

        :raises ExportFailed: they are not, or not all; the host stands where it stood.
        :raises DatabaseUnavailable, DatabaseRefused: likewise.
        """
        with explained(self._config.paths):
            stands = position.read(self._tree, self._config.paths)
        mark = self._database.mark()
        with self._database.snapshot() as session:
            due = self._due(session, stands, mark)
            at = session.scalar(select(Revision.at).where(Revision.id == mark.revision))
        applied = self._carry_out(due, may_drop=self._may_drop(stands, due))
        self.is_settled = mark.is_settled
        self._has_whole = not mark.is_settled and (self._has_whole or due.touched is None)
        if mark.is_settled:
            self._shown = {each for each in self._shown | due.revisions if each > mark.revision}
            self._made.clear()
            new = Position(self._role, mark.revision, at, mark.audit)
            if new != stands:
                with explained(self._config.paths):
                    position.write(self._tree, self._config.paths, new)
            self.revision = new.revision
        else:
            self._shown |= due.revisions
        return applied

    def report(self, error: str | None = None) -> int:
        """Write into the database where the host stands, and return it.

        :raises DatabaseUnavailable, DatabaseRefused: it cannot be written.
        """
        stands = position.read(self._tree, self._config.paths)
        revision = stands.revision if stands and stands.role is self._role else 0
        with self._database.writer() as session:
            hosts.report(session, self._host, self._role, revision, error)
        return revision

    def _due(self, session: Session, stands: Position | None, mark: Mark) -> _Due:
        if self._has_whole:
            stands = Position(self._role, 0, None, 0)
        elif stands is None or not self._is_known(session, stands, mark):
            # Only those count of which older ones may come to light.
            since = mark.revision if mark.is_settled else 0
            later = session.scalars(select(Revision.id).where(Revision.id > since))
            topics = directories.DELETED | directories.RESTORED
            ever = moving.renamed_since(session, 0)
            return _Due(frozenset(later), None, topics, renamed=ever)
        query = select(Revision.id, Revision.domain, Revision.topic)
        rows = session.execute(query.where(Revision.id > stands.revision)).all()
        ids = frozenset(row.id for row in rows)
        new = [row for row in rows if row.id not in self._shown]
        topics = frozenset(row.topic for row in new)
        renamed: tuple[moving.Renamed, ...] = ()
        if topics & moving.RENAMED:
            renamed = moving.renamed_since(session, stands.audit)
        # Three sets, as they are added to.
        accounts, dotqmail, limits = (
            {row.domain for row in new if row.domain is not None} for _ in range(3)
        )
        touched = Touched(
            accounts,
            dotqmail,
            limits,
            site=not topics <= _OF_ONE_DOMAIN | _OF_SETTINGS,
            settings=not topics.isdisjoint(_OF_SETTINGS),
        )
        if touched:
            removed = removed_since(session, stands.audit)
            touched.removed = moving.where_they_are(removed, renamed)
        return _Due(ids, touched, topics, stands.audit, renamed)

    def _may_drop(self, stands: Position | None, due: _Due) -> bool:
        """Tell whether names that the database does not know may go from this host's files."""
        if self._has_whole or due.touched is not None:
            return True
        if stands is None:
            return self._adopts
        # It is not where the host was before: perhaps a backup, perhaps a mistaken URL.
        return not is_stranger(self._database)

    def _carry_out(self, due: _Due, *, may_drop: bool) -> Applied | None:
        if self._role is HostRole.RELAY:
            if due.touched is None or due.touched.site:
                return relay(self._database, self._config, is_known=may_drop)
            return None
        with explained(self._config.paths):
            self._make_directories(due)
        if due.touched is None:
            applied = apply(self._database, self._config, is_known=may_drop, is_recorded=False)
            self._remove_left_behind()
        elif due.touched:
            applied = follow(self._database, self._config, shown(due.touched, self._config))
        else:
            return None
        with explained(self._config.paths):
            moving.end(self._database, self._config, self._tree)
            if due.topics & directories.DELETED:
                directories.move_away(self._database, self._tree)
                self._make_place(due)
        return applied

    def _make_directories(self, due: _Due) -> None:
        """See to it that nothing leads where there is no directory."""
        moving.begin(self._database, self._config, self._tree, due.renamed)
        if due.topics & directories.RESTORED:
            directories.bring_back(self._database, self._tree)
        if due.topics & directories.DELETED and due.topics & directories.MADE:
            self._displace(due)
        if due.touched and due.topics & directories.MADE:
            self._make_homes(due.touched)

    def _displace(self, due: _Due) -> bool:
        if due.audit is None:
            return False
        return directories.displace(self._database, self._tree, due.audit, self._made)

    def _make_homes(self, touched: Touched) -> None:
        self._made |= directories.make_homes(self._database, self._tree, touched.accounts)

    def _make_place(self, due: _Due) -> None:
        """Do again what went to the place of something that was made anew meanwhile.

        The files show what is committed by the time they are read, so they may be those of a
        domain that is younger than the deletion which this pass is about.
        """
        if due.touched and self._displace(due):
            self._make_homes(due.touched)
            follow(self._database, self._config, shown(due.touched, self._config))

    def _remove_left_behind(self) -> None:
        """Remove files whose rows were deleted while nobody knew where this host stands."""
        with self._database.reader() as session:
            paths = {path for path in removed_since(session, 0) if self._tree.exists(path)}
            domains = owners_of(session, paths)
        if domains:
            touched = Touched(dotqmail=domains, limits=set(domains), removed=paths)
            follow(self._database, self._config, touched)

    def _is_known(self, session: Session, stands: Position, mark: Mark) -> bool:
        """Tell whether the database has the revision that the host stands at, in this role."""
        if stands.role is not self._role:
            return False
        if stands.revision == 0:
            return mark.revision == 0
        at = session.scalar(select(Revision.at).where(Revision.id == stands.revision))
        return at is not None and at == stands.at


class Service:
    """A follower that goes on until it is stopped."""

    def __init__(self, follower: Follower, database: Database, config: Config) -> None:
        self._follower = follower
        self._database = database
        self._settings = config.follow
        self._log = structlog.get_logger("vpopsql.follow")
        self._trouble: str | None = None
        self._reported: int | None = None
        self._report_by = 0.0

    def run(self, stop: Stop, courier: Courier) -> None:
        """Keep the host up to date until ``stop``, and its hooks informed."""
        delay_s = RETRY_FIRST_S
        with hooks_in_background(courier) as tell:
            while not stop.wait():
                try:
                    with self._database.watch(stop.descriptor, self._settings.poll_s) as watch:
                        self._database.require_schema()
                        while not stop.wait():
                            self._pass(tell)
                            delay_s = RETRY_FIRST_S
                            self._wait(watch, stop)
                except (VpopsqlError, OSError) as error:
                    self._trouble_with(error)
                    stop.wait(delay_s)
                    delay_s = min(2 * delay_s, RETRY_LONGEST_S)

    def _pass(self, tell: Callable[[], object]) -> None:
        applied = self._follower.catch_up()
        if applied is not None and applied.extra:
            self._log.warning("files without rows", count=len(applied.extra))
        is_over = self._trouble is not None
        is_due = time.monotonic() >= self._report_by or self._follower.revision != self._reported
        if applied is not None or is_over or is_due:
            # Every now and then, for what others have written on this host.
            tell()
            self._reported = revision = self._follower.report()
            self._report_by = time.monotonic() + self._settings.report_s
            changed = 0 if applied is None else len(applied.changed)
            log = self._log.info if changed or is_over else self._log.debug
            log("up to date", revision=revision, files_changed=changed)
        self._trouble = None

    def _wait(self, watch: Watch, stop: Stop) -> None:
        """Return when there is something to do, once no more comes or it has waited enough."""
        left_s = max(self._report_by - time.monotonic(), 0)
        if not watch.wait(left_s if self._follower.is_settled else UNSETTLED_S):
            return
        deadline = time.monotonic() + self._settings.wait_s
        while (left_s := deadline - time.monotonic()) > 0 and not stop.wait():
            if not watch.wait(min(self._settings.quiet_s, left_s)):
                return

    def _trouble_with(self, error: VpopsqlError | OSError) -> None:
        if isinstance(error, DatabaseUnavailable | DatabaseRefused | SchemaError):
            # Its words change while a server goes down and comes up; it is one outage.
            event = trouble = "database away, files stay"
            self._database.forget_connections()
        else:
            event, trouble = "files behind", str(error)
            with contextlib.suppress(VpopsqlError, OSError):
                self._follower.report(trouble)
        log = self._log.debug if trouble == self._trouble else self._log.error
        log(event, error=str(error))
        self._trouble = trouble
