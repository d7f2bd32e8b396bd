"""Which changes of the database, and by whom, stand behind the changes of a plan."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from vpopsql.exporter import render
from vpopsql.exporter.plan import Change
from vpopsql.model import AuditEntry, Export

MOST = 10_000
"""Audit entries that are looked at, the newest."""

_OF_THE_SITE = frozenset({"domain", "ip", "site"})
_OF_FILES = {
    "vpasswd": frozenset({"user", "domain"}),
    "vpasswd.cdb": frozenset({"user", "domain"}),
    render.DIR_CONTROL: frozenset({"user", "domain"}),
    render.FREE_BUCKETS: frozenset({"user", "domain"}),
    render.LIMITS: frozenset({"domain"}),
}
_OF_DOTQMAILS = frozenset({"dotqmail", "list", "user", "domain"})


class Reason(NamedTuple):
    """A change of the database."""

    at: datetime
    actor: str
    action: str
    object: str


class Why(NamedTuple):
    """Why a file is to change."""

    reasons: Sequence[Reason]
    """Changes of the database since the last export that can have made it; the newest first."""
    note: str
    """What else there is to say; empty: nothing."""


class Reasons:
    """The audit log since the newest export, by the files it may have changed."""

    def __init__(self, session: Session) -> None:
        newest = select(Export.at).order_by(Export.id.desc()).limit(1)
        self._since = session.scalar(newest)
        self._by_place: defaultdict[str, list[tuple[str, Reason]]] = defaultdict(list)
        self._of_the_site: list[Reason] = []
        query = select(
            AuditEntry.object_type,
            AuditEntry.at,
            AuditEntry.actor,
            AuditEntry.action,
            AuditEntry.object,
        ).order_by(AuditEntry.id.desc())
        if self._since is not None:
            query = query.where(AuditEntry.at >= self._since)
        for kind, at, actor, action, object_ in session.execute(query.limit(MOST)):
            reason = Reason(at, actor, action, object_)
            self._by_place[_place(kind, reason.object)].append((kind, reason))
            if kind in _OF_THE_SITE:
                self._of_the_site.append(reason)

    def of(self, change: Change) -> Why:
        """Return why a file is to change."""
        if change.after is None and change.path.rpartition("/")[2] in _OF_FILES:
            return Why((), "with export.accounts = database there is none")
        found = self._of_the_site
        if change.domain is not None:
            directory, _, name = change.path.rpartition("/")
            kinds = _OF_FILES.get(name, _OF_DOTQMAILS)
            places = (self._by_place.get(place, ()) for place in (change.domain, directory))
            found = [reason for each in places for kind, reason in each if kind in kinds]
            found.sort(key=attrgetter("at"), reverse=True)
        return Why(found, self._note(change, found))

    def _note(self, change: Change, found: Sequence[Reason]) -> str:
        if self._since is None:
            return "" if found else "nothing was exported yet"
        written = change.was and datetime.fromtimestamp(change.was.modified_at, UTC)
        if written and written > max((reason.at for reason in found), default=self._since):
            when = written.isoformat(timespec="seconds")
            return f"something other than the last export wrote the file at {when}"
        if found:
            return ""
        if change.before is None:
            return "the file was removed, or its directory is not the one that was written"
        return "no change of the database since the last export explains it"


def _place(kind: str, object_: str) -> str:
    """Return the directory of a dot-qmail file, the domain of anything else."""
    if kind == "dotqmail":
        return object_.rpartition("/")[0]
    return object_.rpartition("@")[2]
