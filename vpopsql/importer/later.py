"""What was changed in the database since it was last imported: the audit log knows.

An import must not undo what people did with the database meanwhile. What was written past the
services, by hand in SQL, is not in the log and counts as never changed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from vpopsql.model import AuditEntry, Revision

CHANNEL = "import"
IMPORTED = "import_domain"
"""The action of audit entries that say that a domain is as its source was."""

UPDATED = "update_domain"
"""The action of those that say that it is, but for what was changed in the database."""

IMPORTED_SITE = "import_site"
"""The same of what belongs to no domain."""

UPDATED_SITE = "update_site"

SITE = "site"
"""The type of the object of `IMPORTED_SITE`; its name is where the site came from."""

_LIMITS = {"set_limits", "del_limits"}
_ALIASES = {"add_alias_domain", "del_alias_domain", "rename_alias_domain"}
_MADE = {"add_domain", "rename_domain"}
_UNMADE = {"del_domain", "rename_domain"}
_ACCOUNTS = {"add_user", "del_user", "rename_user", "restore"}


@dataclass(frozen=True, slots=True)
class Import:
    """The last import of a domain."""

    id: int
    """Of its audit entry: what has a higher one is later."""
    source: str | None
    """Where it came from, see `vpopsql.importer.origin.Origin`."""


@dataclass(frozen=True, slots=True)
class Later:
    """Changes since the last import, for as many domains as there are."""

    imports: Mapping[str, Import] = field(default_factory=dict)
    """By domain."""
    _site: int = 0
    """The audit entry of the last import of what belongs to no domain."""
    _domains: Collection[str] = ()
    """The domains whose files changed by a deed."""
    _deeds: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """The id of the last deed to each object, and of each kind of deed to it."""

    def is_only(self, source: str) -> bool:
        """Say whether everything that was ever imported came from ``source``."""
        return bool(self.imports) and all(last.source == source for last in self.imports.values())

    def is_deleted(self, domain: str) -> bool:
        """Say whether a domain was imported once and then deleted."""
        return self._last("domain", domain, domain, _UNMADE)

    def has_made(self, domain: str) -> bool:
        """Say whether a domain of this name was made anew since."""
        return self._last("domain", domain, domain, _MADE)

    def has_anything(self, domain: str) -> bool:
        """Say whether anything in a domain was changed."""
        return domain in self._domains or self.has_aliases(domain)

    def has_limits(self, domain: str) -> bool:
        """Say whether limits were set or deleted."""
        return self._last("domain", domain, domain, _LIMITS)

    def has_aliases(self, domain: str) -> bool:
        """Say whether an alias domain came or went."""
        return self._last("domain", domain, domain, _ALIASES)

    def has_account(self, domain: str, name: str) -> bool:
        """Say whether an account was added, changed or deleted."""
        return self._last("user", f"{name}@{domain}", domain)

    def has_made_account(self, domain: str, name: str) -> bool:
        """Say whether an account was deleted, made anew or restored: it is another one."""
        return self._last("user", f"{name}@{domain}", domain, _ACCOUNTS)

    def has_accounts(self, domain: str) -> bool:
        """Say whether any account of a domain came or went."""
        return self._last("user", domain, domain, _ACCOUNTS)

    def has_file(self, domain: str, home: str, name: str) -> bool:
        """Say whether a dot-qmail file was written or removed, by itself or as part of a list."""
        path = f"{home}/.qmail{name and '-'}{name}"
        lists = (name[:cut] for cut in [*_dashes(name), len(name)])
        return self._last("dotqmail", path, domain) or any(
            self._last("list", f"{each}@{domain}", domain) for each in lists
        )

    def has_mapping(self, address: str) -> bool:
        """Say whether the mapping of an IP address was changed."""
        return self._deeds.get(("ip", address), 0) > self._site

    def has_domains(self) -> bool:
        """Say whether any domain came or went."""
        return any(self._deeds.get((action, ""), 0) > self._site for action in _MADE | _UNMADE)

    def _last(self, kind: str, object_: str, domain: str, actions: set[str] | None = None) -> bool:
        last = self.imports.get(domain)
        deeds = (self._deeds.get((each, object_), 0) for each in actions or {kind})
        return max(deeds) > (last.id if last else 0)


def _dashes(name: str) -> list[int]:
    return [place for place, char in enumerate(name) if char == "-"]


def read_later(session: Session) -> Later:
    """Return what the audit log says; nothing if nothing was ever imported."""
    newest = _newest(session, IMPORTED)
    if not newest:
        return Later()
    site = max(_newest(session, IMPORTED_SITE).values(), default=min(newest.values()))
    deeds: dict[tuple[str, str], int] = {}
    since = (
        select(AuditEntry.id, AuditEntry.action, AuditEntry.object_type, AuditEntry.object)
        .where(AuditEntry.id > min(site, *newest.values()), AuditEntry.channel != CHANNEL)
        .order_by(AuditEntry.id)
        .execution_options(yield_per=10_000)
    )
    for id_, action, kind, object_ in session.execute(since):
        deeds[kind, object_] = id_
        deeds[action, object_] = id_
        if kind == "user":
            deeds[action, object_.rpartition("@")[2]] = id_
        elif kind == "domain":
            deeds[action, ""] = id_
    sources = _sources(session, set(newest.values()))
    imports = {name: Import(id_, sources.get(id_)) for name, id_ in newest.items()}
    return Later(imports, site, _changed_domains(session), deeds)


def _newest(session: Session, action: str) -> dict[str, int]:
    """Return the newest entry of an import's own for each object."""
    query = (
        select(func.max(AuditEntry.id), AuditEntry.object)
        .where(AuditEntry.action == action, AuditEntry.channel == CHANNEL)
        .group_by(AuditEntry.object)
    )
    return {object_: id_ for id_, object_ in session.execute(query)}


def _changed_domains(session: Session) -> set[str]:
    """Return the domains that have a newer revision than the one of their last import."""
    newest = func.max(case((Revision.topic == CHANNEL, Revision.id), else_=0))
    others = func.max(case((Revision.topic == CHANNEL, 0), else_=Revision.id))
    query = select(Revision.domain).where(Revision.domain.is_not(None)).group_by(Revision.domain)
    return {name for name in session.scalars(query.having(others > newest)) if name}


def _sources(session: Session, ids: set[int]) -> dict[int, str]:
    query = select(AuditEntry.id, AuditEntry.changes).where(
        AuditEntry.action == IMPORTED, AuditEntry.channel == CHANNEL
    )
    return {
        id_: changes["source"][1]
        for id_, changes in session.execute(query)
        if id_ in ids and "source" in changes
    }
