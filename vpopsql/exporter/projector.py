"""Keeping the files of a site in step with the database while it is being changed.

Many threads change at once, and each must see its change on disk before it answers. They share
runs: whoever finds nobody writing takes all that is waiting and writes it, the others wait for the
first run that began after they asked. The more come, the more share one. Processes wait for each
other at the lock of users/assign, each for the time of one run; a run begins when it has the lock,
so whatever comes meanwhile is part of it.

A run that fails fails for all who waited for it, since nobody can tell whose file was to blame
for what was not written after it. What was not written is written by the next run that touches it,
by `retrying` in a daemon, or by an export; what a process left behind when it was killed, by
`Projector.catch_up`.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import select

from vpopsql.config import Config
from vpopsql.db import Database
from vpopsql.errors import ExportFailed, VpopsqlError
from vpopsql.exporter import position
from vpopsql.exporter.apply import follow, shown
from vpopsql.exporter.locking import explained
from vpopsql.exporter.reading import newest_export
from vpopsql.exporter.writing import Sweeping
from vpopsql.model import HostRole, Revision
from vpopsql.touched import Touched
from vpopsql.tree import Tree


@dataclass(slots=True)
class _Run:
    """One writing of files, which is yet to begin, or going on, or over."""

    touched: Touched = field(default_factory=Touched)
    is_over: bool = False
    error: BaseException | None = None


class Projector:
    """What keeps the files in step; one a process, shared by its threads.

    :param wrote: called after each run, outside the site's lock; must not take long.
    """

    def __init__(
        self, database: Database, config: Config, wrote: Callable[[], object] = lambda: None
    ) -> None:
        self._database = database
        self._config = config
        self._wrote = wrote
        self._sweeping = Sweeping()
        self._changed = threading.Condition()
        self._is_running = False
        self._next = _Run()

    def follow(self, touched: Touched) -> None:
        """Return once the files that ``touched`` names show all that was committed before.

        :raises ExportFailed: they do not, or not all of them; the text names the one that could
            not be written.
        """
        touched = shown(touched, self._config)
        if not touched:
            return
        with self._changed:
            run = self._next
            run.touched.add(touched)
            self._changed.wait_for(lambda: run.is_over or not self._is_running)
            leads = not run.is_over
            if leads:
                self._is_running = True
        if leads:
            self._carry_out(run)
        if isinstance(run.error, VpopsqlError):
            # Whatever it was, to the caller it means: saved, but not in the files.
            raise ExportFailed(str(run.error)) from run.error
        if run.error is not None:
            if leads:
                raise run.error
            raise ExportFailed(f"the export ended early: {run.error!r}") from run.error

    def follow_alone(self, touched: Touched) -> None:
        """Do the same in a run that nobody shares: what fails here, fails for nobody else.

        :raises ExportFailed: as `follow` does.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._is_running)
            self._is_running = True
        try:
            follow(self._database, self._config, touched, sweeping=self._sweeping)
        except VpopsqlError as error:
            raise ExportFailed(str(error)) from error
        finally:
            self._end()

    def _end(self) -> None:
        with self._changed:
            self._is_running = False
            self._changed.notify_all()
        self._wrote()

    def _begin(self) -> None:
        """Let those who come from now on wait for the next run."""
        with self._changed:
            self._next = _Run()

    def catch_up(self) -> None:
        """Follow what was committed since the files were known to be right: for a daemon's start.

        A process that was killed between a commit and its files leaves them behind. On a site that
        was never exported nothing is known to be behind.

        :raises ExportFailed: as `follow` does.
        """
        newest = self._stands_at()
        if newest is None:
            return
        with self._database.reader() as session:
            later = select(Revision.domain).where(Revision.id > newest).distinct()
            names = set(session.scalars(later))
        if names:
            # Which names the site has can have changed with any domain.
            of = {name for name in names if name is not None}
            self.follow(Touched(of, of, of, site=True))

    def _stands_at(self) -> int | None:
        """Return the revision that the files show, with all before it; None: it is not known."""
        paths = self._config.paths
        with explained(paths):
            here = position.read(Tree(paths.root, paths.places), paths)
        # An export may have been one of another host; what a follower notes is about this one.
        if here is not None and here.role is HostRole.MAIL:
            return here.revision
        return newest_export(self._database)

    def _carry_out(self, run: _Run) -> None:
        try:
            follow(
                self._database,
                self._config,
                run.touched,
                begin=self._begin,
                sweeping=self._sweeping,
            )
        except BaseException as error:  # noqa: BLE001 - all who wait must hear of it
            run.error = error
        finally:
            with self._changed:
                if self._next is run:  # it failed before it began
                    self._next = _Run()
                run.is_over = True
            self._end()
