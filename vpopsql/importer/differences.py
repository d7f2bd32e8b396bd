"""How a domain of the source differs from the one that the database has, thing by thing.

What the database's own administrators changed since the last import stays as they left it; that
is a difference, too, and said.
"""

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from vpopsql.importer import site
from vpopsql.importer.later import Later
from vpopsql.model import CatchAll

T = TypeVar("T")

_NOT_COMPARED = {"created_at", "last_auth", "files"}
_FIELDS = [name for name in site.Mailbox._fields if name not in _NOT_COMPARED]


class Action(enum.StrEnum):
    """What an update does to a thing."""

    ADD = "add"
    CHANGE = "change"
    REMOVE = "remove"
    KEEP = "keep"
    """Nothing: it was changed in the database since, or the source may just have lost it."""


class Kind(enum.StrEnum):
    """The things that a domain consists of."""

    DOMAIN = "domain"
    """Its directory, ids and catch-all; as a whole, when it is removed."""
    ALIAS = "alias domain"
    MAILBOX = "mailbox"
    LOGIN = "last login"
    FILE = "dot-qmail file"
    LIMITS = "limits"
    COUNTER = "directory counter"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference and what becomes of it. Values are never shown."""

    action: Action
    kind: Kind
    domain: str
    name: str
    """Of the thing in its domain; of a mailbox's file ``MAILBOX/.qmail-NAME``."""
    difference: Action
    """What it would take for the database to be as the source."""
    fields: tuple[str, ...] = ()
    """What differs; empty if it is the thing as a whole."""

    def as_dict(self) -> dict[str, Any]:
        """Return the change for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        fields = f" ({', '.join(self.fields)})" if self.fields else ""
        return f"{self.action} {self.kind} {self.name}{fields}"


@dataclass(frozen=True, slots=True)
class Read:
    """How much of the source could be read: what could not may be there, and is not removed."""

    domain: bool = True
    """All lines of the domain's own files or tables."""
    names: bool = True
    """All lines that name domains and alias domains."""
    homes: bool = True
    """The dot-qmail files of mailboxes, if they were looked at."""


def compare(ours: site.Domain, theirs: site.Domain, later: Later, read: Read) -> list[Change]:
    """Return what differs between the source and the database.

    Of two last logins the later one counts; that the database knows a later one is no difference.
    """
    return list(_Comparison(ours, theirs, later, read).changes())


class _Comparison:
    """The comparison of one domain."""

    def __init__(self, ours: site.Domain, theirs: site.Domain, later: Later, read: Read) -> None:
        self._ours = ours
        self._theirs = theirs
        self._later = later
        self._read = read
        self._name = ours.name.name
        self._is_new = later.has_made(self._name)

    def changes(self) -> Iterator[Change]:
        yield from self._domain()
        yield from self._aliases()
        yield from self._mailboxes()
        yield from self._files(None, self._ours.files, self._theirs.files, self._ours.directory)
        ours, theirs = self._ours, self._theirs
        yield from self._part(
            Kind.LIMITS, ours.limits, theirs.limits, was_changed=self._later.has_limits(self._name)
        )
        # Of a damaged counter only a new one is left, and the database's own count is better if
        # accounts came or went there.
        was_changed = self._later.has_accounts(self._name) or not self._read.domain
        yield from self._part(Kind.COUNTER, ours.counter, theirs.counter, was_changed=was_changed)

    def _domain(self) -> Iterator[Change]:
        ours, theirs = self._ours, self._theirs
        fields = [
            name for name in ("name", "directory", "uid", "gid") if _differ(ours, theirs, name)
        ]
        if fields:
            yield self._change(Action.CHANGE, Kind.DOMAIN, self._name, tuple(fields))
        if (ours.catchall, ours.catchall_target) != (theirs.catchall, theirs.catchall_target):
            was_changed = self._later.has_file(self._name, theirs.directory, "default")
            was_lost = ours.catchall is CatchAll.NONE and not self._read.domain
            yield self._change(
                Action.CHANGE,
                Kind.DOMAIN,
                self._name,
                ("catch-all",),
                was_changed=was_changed or was_lost,
            )

    def _aliases(self) -> Iterator[Change]:
        ours = {name.name: name for name in self._ours.aliases}
        theirs = {name.name: name for name in self._theirs.aliases}
        later = self._later.has_aliases(self._name)
        yield from self._each(Kind.ALIAS, ours, theirs, lambda _: later)

    def _mailboxes(self) -> Iterator[Change]:
        ours = {mailbox.name: mailbox for mailbox in self._ours.mailboxes}
        theirs = {mailbox.name: mailbox for mailbox in self._theirs.mailboxes}
        only = ours.keys() ^ theirs.keys()
        yield from self._each(
            Kind.MAILBOX,
            {name: ours[name] for name in only & ours.keys()},
            {name: theirs[name] for name in only & theirs.keys()},
            self._has_account,
        )
        for name in sorted(ours.keys() & theirs.keys()):
            yield from self._mailbox(ours[name], theirs[name])

    def _mailbox(self, ours: site.Mailbox, theirs: site.Mailbox) -> Iterator[Change]:
        if ours == theirs:
            return
        name = ours.name
        fields = tuple(field for field in _FIELDS if _differ(ours, theirs, field))
        if fields:
            yield self._change(
                Action.CHANGE, Kind.MAILBOX, name, fields, was_changed=self._has_account(name)
            )
        is_other = self._later.has_made_account(self._name, name)
        if _has_other_login(ours, theirs):
            yield self._change(Action.CHANGE, Kind.LOGIN, name, was_changed=is_other)
        home = theirs.directory
        yield from self._files(name, ours.files, theirs.files, home, is_other=is_other)

    def _files(
        self,
        mailbox: str | None,
        our_files: tuple[site.DotQmailFile, ...],
        their_files: tuple[site.DotQmailFile, ...],
        home: str,
        *,
        is_other: bool = False,
    ) -> Iterator[Change]:
        if our_files == their_files or (mailbox and not self._read.homes):
            return
        prefix = f"{mailbox}/" if mailbox else ""

        def shown(file: site.DotQmailFile) -> str:
            return f"{prefix}.qmail{file.name and '-'}{file.name}"

        def was_changed(name: str) -> bool:
            name = name.removeprefix(prefix).removeprefix(".qmail").removeprefix("-")
            return is_other or self._later.has_file(self._name, home, name)

        yield from self._each(
            Kind.FILE,
            {shown(file): file for file in our_files},
            {shown(file): file for file in their_files},
            was_changed,
        )

    def _part(
        self, kind: Kind, ours: object, theirs: object, *, was_changed: bool
    ) -> Iterator[Change]:
        if ours == theirs:
            return
        action = Action.ADD if theirs is None else Action.CHANGE
        action = Action.REMOVE if ours is None else action
        yield self._change(action, kind, self._name, was_changed=was_changed)

    def _each(
        self,
        kind: Kind,
        ours: Mapping[str, T],
        theirs: Mapping[str, T],
        was_changed: Callable[[str], bool],
    ) -> Iterator[Change]:
        for name in sorted(ours.keys() | theirs.keys()):
            if name not in theirs:
                action = Action.ADD
            elif name not in ours:
                action = Action.REMOVE
            elif ours[name] != theirs[name]:
                action = Action.CHANGE
            else:
                continue
            yield self._change(action, kind, name, was_changed=was_changed(name))

    def _change(
        self,
        action: Action,
        kind: Kind,
        name: str,
        fields: tuple[str, ...] = (),
        *,
        was_changed: bool = False,
    ) -> Change:
        complete = self._read.names if kind is Kind.ALIAS else self._read.domain
        lost = action is Action.REMOVE and not complete
        keep = was_changed or self._is_new or lost
        return Change(Action.KEEP if keep else action, kind, self._name, name, action, fields)

    def _has_account(self, name: str) -> bool:
        return self._later.has_account(self._name, name)


def _differ(ours: object, theirs: object, name: str) -> bool:
    different: bool = getattr(ours, name) != getattr(theirs, name)
    return different


def _has_other_login(ours: site.Mailbox, theirs: site.Mailbox) -> bool:
    """Say whether the source knows of a login that the database has not or has otherwise."""
    if ours.last_auth is None:
        return False
    if theirs.last_auth is None or ours.last_auth.at > theirs.last_auth.at:
        return True
    if ours.last_auth.at < theirs.last_auth.at:
        return False
    return ours.last_auth.remote_ip != theirs.last_auth.remote_ip
