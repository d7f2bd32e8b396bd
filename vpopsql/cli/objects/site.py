"""What a command works on, and how it changes it: rows first, then files, or neither.

A change is a job, a function of a session and of `Effects`. What it leaves in the audit log is
what is said of it; of a dry run as well, which is rolled back before any file is touched.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, TypeVar

import click
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vpopsql import caller, homes, moves
from vpopsql.cli import load_config
from vpopsql.cli.objects.refusals import as_refusal
from vpopsql.config import Config
from vpopsql.db import Database
from vpopsql.errors import Conflict, ExportFailed, VpopsqlError
from vpopsql.model import AuditEntry
from vpopsql.moves import Move
from vpopsql.services.account_changes import Home
from vpopsql.services.dotqmail_changes import Rules
from vpopsql.services.rights import Actor, operator
from vpopsql.services.sites import site_directory
from vpopsql.touched import Touched
from vpopsql.trash import Kept
from vpopsql.tree import Tree, UnsafePath

T = TypeVar("T")


class Directory(NamedTuple):
    """What happens to a directory."""

    what: str
    """``made``, ``renamed`` or ``moved to the trash``."""
    path: str
    to: str | None = None


@dataclass(slots=True)
class Effects:
    """What a job wants done to files."""

    touched: Touched = field(default_factory=Touched)
    homes: list[Home] = field(default_factory=list)
    """Made last before the commit."""
    domains: list[tuple[str, int, int]] = field(default_factory=list)
    """Directories of new domains, with user and group id; made before the homes."""
    moves: list[Move] = field(default_factory=list)
    """Begun before the commit, ended when the files have followed."""
    trashed: list[Kept] = field(default_factory=list)
    """Moved when the files have followed."""
    quotas: list[Home] = field(default_factory=list)
    """Mailboxes whose use is to be measured anew, when the files have followed."""

    def directories(self) -> list[Directory]:
        """Return what happens to directories."""
        return [
            *(Directory("made", path) for path, _, _ in self.domains),
            *(Directory("made", home.directory) for home in self.homes),
            *(Directory("renamed", move.source, move.target) for move in self.moves),
            *(Directory("moved to the trash", kept.source, kept.target) for kept in self.trashed),
        ]


@dataclass(frozen=True, slots=True)
class Change:
    """An entry of the audit log."""

    action: str
    type: str
    object: str
    fields: dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What a change did, or would do."""

    result: T
    changes: list[Change]
    effects: Effects
    is_dry_run: bool


class _RolledBack(Exception):
    """Ends the transaction of a dry run."""


class Site:
    """A site, as a command has it."""

    def __init__(self, config: Config, database: Database) -> None:
        self.config = config
        self.database = database
        self.tree = Tree(config.paths.root, config.paths.places)
        with database.reader() as session:
            self.directory = site_directory(session, config.paths.vpopmail)
        self.actor: Actor = replace(
            operator(f"vpopsql ({caller.asked_by() or caller.login_name()})", self.directory),
            remote_ip=caller.remote_ip(),
            request_id=f"cli-{secrets.token_hex(8)}",
        )

    @property
    def rules(self) -> Rules:
        """Return how the lines of dot-qmail files are read."""
        from vpopsql.daemon.delivery import make_rules

        return make_rules(self.directory, self.config.dotqmail.programs)

    def change(
        self, job: Callable[[Session, Effects], T], *, dry_run: bool, tells_hooks: bool = True
    ) -> Outcome[T]:
        """Carry out a job: commit it, bring the files to it, and tell the hooks.

        :raises ExportFailed: it is committed, but the files are behind.
        """
        if not dry_run:
            self.finish_moves()
        try:
            outcome = self._commit(job, dry_run=dry_run)
        except Conflict:
            # Another session was quicker; a second look sees what it did.
            outcome = self._commit(job, dry_run=dry_run)
        if not dry_run:
            self._bring_files(outcome.effects)
            if tells_hooks:
                self.tell_hooks()
        return outcome

    def print_each(
        self,
        job: Callable[[Session, Effects, T], object],
        things: Sequence[T],
        options: Mapping[str, Any],
    ) -> None:
        """Carry out a job for all of several things, or for none; say what was done."""
        from vpopsql.cli.objects.output import print_outcome

        def all_of_them(session: Session, effects: Effects) -> None:
            for each in things:
                job(session, effects, each)

        outcome = self.change(all_of_them, dry_run=options["dry_run"])
        print_outcome(options["output"], outcome)

    def tell_hooks(self) -> None:
        """Let the site's hooks hear of changed files; what goes wrong is said, and no error."""
        from vpopsql.cli.hooks import tell

        tell(self.database, self.config)

    def finish_moves(self) -> None:
        """Finish what renamings left that were cut off."""
        if moves.has_unfinished(self.tree, self.directory):
            from vpopsql.exporter.moving import finish

            finish(self.database, self.config)

    def _commit(self, job: Callable[[Session, Effects], T], *, dry_run: bool) -> Outcome[T]:
        effects = Effects()
        outcome: Outcome[T] | None = None
        try:
            with self.database.writer() as session:
                newest = session.scalar(select(func.max(AuditEntry.id))) or 0
                result = job(session, effects)
                changes = self._changes_since(session, newest)
                outcome = Outcome(result, changes, effects, dry_run)
                self._prepare(effects, dry_run=dry_run)
        except _RolledBack:
            pass
        except BaseException:
            if effects.moves:
                # Whether it was committed only the database can tell; till then links lead on.
                with contextlib.suppress(VpopsqlError, OSError):
                    self.finish_moves()
            raise
        assert outcome is not None  # noqa: S101 - for the type checker
        return outcome

    def _changes_since(self, session: Session, newest: int) -> list[Change]:
        query = (
            select(AuditEntry)
            .where(AuditEntry.id > newest, AuditEntry.request_id == self.actor.request_id)
            .order_by(AuditEntry.id)
        )
        return [
            Change(entry.action, entry.object_type, entry.object, entry.changes)
            for entry in session.scalars(query)
        ]

    def _prepare(self, effects: Effects, *, dry_run: bool) -> None:
        """Do what comes before the commit; of a dry run, say whether it could be done."""
        if not dry_run:
            self._make_directories(effects)
            return
        for move in effects.moves:
            move.require_room(self.tree)
        for home in effects.homes:
            homes.require_room(self.tree, home)
        raise _RolledBack

    def _make_directories(self, effects: Effects) -> None:
        for path, uid, gid in effects.domains:
            homes.make_domain_directory(self.tree, path, uid, gid)
        homes.make_homes(self.tree, effects.homes)
        for move in effects.moves:
            move.begin(self.tree, self.directory)

    def _bring_files(self, effects: Effects) -> None:
        self._follow(effects.touched)
        for home in effects.quotas:
            homes.set_quota_file(self.tree, home)
        for move in effects.moves:
            move.end(self.tree, self.directory)
        for kept in effects.trashed:
            kept.move(self.tree)

    def _follow(self, touched: Touched) -> None:
        from vpopsql.exporter.projector import Projector

        try:
            Projector(self.database, self.config).follow(touched)
        except ExportFailed as error:
            raise ExportFailed(
                f"saved in the database, but not in all files: {error}; see `vpopsql verify`"
            ) from error


@contextlib.contextmanager
def opened(ctx: click.Context) -> Iterator[Site]:
    """Give the site of a command, and say of a refusal what the case is.

    :raises Refused: with exit code 1.
    """
    config = load_config(ctx)
    settings = config.database
    database = Database(
        settings.url,
        busy_timeout_s=settings.busy_timeout_s,
        key_file=config.passwords.key_file,
    )
    try:
        database.require_schema()
        yield Site(config, database)
    except BrokenPipeError:
        raise  # whoever reads what is printed has seen enough
    except (UnsafePath, OSError) as error:
        raise ExportFailed(_of_file(config, error)) from error
    except VpopsqlError as error:
        raise as_refusal(error, database) from error
    finally:
        database.close()


def _of_file(config: Config, error: UnsafePath | OSError) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{config.paths.root}{error.filename}: {error.strerror}"
    return str(error)
