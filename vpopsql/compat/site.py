"""The site that a command works on: its database, its files, and the one way to change them."""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from vpopsql import caller
from vpopsql.compat.program import warn
from vpopsql.config import Config, load
from vpopsql.db import Database
from vpopsql.errors import Conflict, ExportFailed, VpopsqlError
from vpopsql.names import lower, to_a_label

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from vpopsql.daemon.call import Effects
    from vpopsql.services.dotqmail_changes import Rules
    from vpopsql.services.rights import Actor
    from vpopsql.touched import Touched
    from vpopsql.tree import Tree

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change:
    """A change being made: in one write transaction, by somebody, with what follows it."""

    session: "Session"
    actor: "Actor"
    effects: "Effects"
    tree: "Tree"

    @property
    def touched(self) -> "Touched":
        """The files to be written when it is committed."""
        return self.effects.touched

    def afterwards(self, action: Callable[[], object]) -> None:
        """Have something done when those are written."""
        self.effects.actions.append(action)


class Site:
    """What a command works on."""

    def __init__(self, program: str, config: Config, database: Database) -> None:
        self.program = program
        self.config = config
        self._database = database

    # --- reading --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def reader(self) -> "Iterator[Session]":
        """Give a session in a transaction that only reads."""
        with self._database.reader() as session:
            yield session

    def address(self, text: str) -> tuple[str, str]:
        """Return name and domain of an address.

        One without a domain gets that of ``VPOPMAIL_DOMAIN``, else the one that the address in
        ``TCPLOCALIP`` is mapped to, else the site's default, else none.

        :raises InvalidAddress: it has characters that no address has.
        """
        from vpopsql.daemon.call import parse_address

        if not {"@", "%", "/"} & set(text) and (domain := os.environ.get("VPOPMAIL_DOMAIN")):
            text = f"{text}@{domain}"
        with self.reader() as session:
            return parse_address(session, text, os.environ.get("TCPLOCALIP", ""))

    def tree(self) -> "Tree":
        """Return the site's files."""
        from vpopsql.tree import Tree

        return Tree(self.config.paths.root, self.config.paths.places)

    # --- changing -------------------------------------------------------------------------------

    @cached_property
    def actor(self) -> "Actor":
        """Who makes the changes: whoever may open the database, as system administrator."""
        from vpopsql.services.rights import operator
        from vpopsql.services.sites import site_directory

        with self.reader() as session:
            home = site_directory(session, self.config.paths.vpopmail)
        who = operator(f"{self.program} ({_user()})", home)
        request = f"cli-{secrets.token_hex(8)}"
        return replace(who, remote_ip=caller.remote_ip(), request_id=request)

    @cached_property
    def rules(self) -> "Rules":
        """How the lines of its dot-qmail files are read."""
        from vpopsql.daemon.delivery import make_rules

        return make_rules(self.actor.site_directory, self.config.dotqmail.programs)

    def change(self, job: Callable[[Change], T]) -> T:
        """Make a change: commit it, then bring the files to it, as the daemon does.

        The job may run twice, if it loses a race with another session.

        :raises ExportFailed: it is saved, but not all files could be written.
        """
        try:
            result, effects = self._commit(job)
        except Conflict:
            # Another session was quicker; a second look sees what it did.
            result, effects = self._commit(job)
        try:
            self.follow(effects.touched)
            for action in effects.actions:
                action()
        except (OSError, VpopsqlError) as error:
            raise ExportFailed(f"saved, but not all files could be written: {error}") from error
        return result

    def follow(self, touched: "Touched") -> None:
        """Write the files that ``touched`` names, and tell the hooks."""
        from vpopsql.exporter.projector import Projector

        Projector(self._database, self.config).follow(touched)
        self._tell_hooks()

    def _commit(self, job: Callable[[Change], T]) -> "tuple[T, Effects]":
        from vpopsql.daemon.call import Effects

        actor, effects, tree = self.actor, Effects(), self.tree()
        with self._database.writer() as session:
            result = job(Change(session, actor, effects, tree))
        return result, effects

    def _tell_hooks(self) -> None:
        if not self.config.hooks.commands:
            return
        from vpopsql.exporter.hooks import Courier

        try:
            failures = Courier(self._database, self.config).deliver_patiently()
        except VpopsqlError as error:
            failures = [f"hooks wait: {error}"]
        for failure in failures:
            warn(self.program, f"{failure}; see `vpopsql export hooks list`")


@contextlib.contextmanager
def opened(program: str) -> Iterator[Site]:
    """Give the site that the configuration names.

    :raises ConfigError, SchemaError, DatabaseUnavailable: it cannot be used.
    """
    config = load()
    settings = config.database
    database = Database(
        settings.url,
        pool_size=1,
        busy_timeout_s=settings.busy_timeout_s,
        key_file=config.passwords.key_file,
    )
    with contextlib.closing(database):
        database.require_schema()
        yield Site(program, config, database)


def domain_name(text: str) -> str:
    """Return the name of a domain as it is stored; of what cannot be one, as it is looked up."""
    with contextlib.suppress(ValueError):
        return to_a_label(text)
    return lower(text)


def _user() -> str:
    """Return who runs the process, and for whom sudo does."""
    name, by = caller.login_name(), caller.asked_by()
    return f"{by} as {name}" if by and by != name else name
