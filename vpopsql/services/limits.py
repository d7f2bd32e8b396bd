"""Limits of domains, with the site's defaults behind them: reading and changing."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from vpopsql.model import LIMIT_SETTINGS, DefaultLimits, DomainLimits
from vpopsql.prepared import Prepared
from vpopsql.services.changes import record
from vpopsql.services.domains import FoundDomain, lock_domain
from vpopsql.services.rights import Actor, require_system

BUILT_IN: Mapping[str, int | bool] = {
    name: -1 if name.startswith("max_") and name != "max_msgcount" else 0
    for name in LIMIT_SETTINGS
}
"""What holds where neither the domain nor the site has limits."""

OWN = "own_limits"
"""In the audit log, the field that says whether a domain has limits of its own."""

_OF_DOMAIN: Prepared[*tuple[Any, ...]] = Prepared(
    select(*(getattr(DomainLimits, name) for name in LIMIT_SETTINGS)).where(
        DomainLimits.domain_id == bindparam("domain_id")
    )
)
_DEFAULT: Prepared[*tuple[Any, ...]] = Prepared(
    select(*(getattr(DefaultLimits, name) for name in LIMIT_SETTINGS))
)


def get_limits(session: Session, domain_id: int) -> Mapping[str, int | bool]:
    """Return every setting that holds for a domain: its own, else the site's, else none.

    ``disk_quota`` is in megabytes, ``default_quota`` in bytes, 0 meaning none; ``max_*`` are
    numbers of objects, -1 meaning unlimited.
    """
    _DEFAULT.expect(session)
    row = _OF_DOMAIN.first(session, domain_id=domain_id) or _DEFAULT.first(session)
    return BUILT_IN if row is None else dict(zip(LIMIT_SETTINGS, row, strict=True))


def has_own(session: Session, domain_id: int) -> bool:
    """Tell whether a domain has limits of its own."""
    query = select(DomainLimits.domain_id).where(DomainLimits.domain_id == domain_id)
    return session.scalar(query) is not None


def set_limits(
    session: Session, actor: Actor, domain: str, settings: Mapping[str, int | bool]
) -> FoundDomain:
    """Change the named settings of a domain; the others keep what held so far.

    :raises NotAuthorized: ``actor`` is no system administrator.
    :raises NoSuchDomain: there is no such domain.
    """
    found = _locked(session, actor, domain)
    before = get_limits(session, found.id)
    values = {**before, **settings}
    own = DomainLimits.domain_id == found.id
    changes: dict[str, tuple[object, object]] = {
        name: (before[name], value) for name, value in settings.items() if before[name] != value
    }
    if not has_own(session, found.id):
        session.execute(insert(DomainLimits).values(domain_id=found.id, **values))
        changes[OWN] = (False, True)
    else:
        session.execute(update(DomainLimits).where(own).values(**values))
    record(session, actor, "set_limits", ("domain", found.name), changes, domain=found.name)
    return found


def delete_limits(session: Session, actor: Actor, domain: str) -> FoundDomain:
    """Let a domain fall back to the site's limits; without limits of its own nothing changes.

    :raises NotAuthorized: ``actor`` is no system administrator.
    :raises NoSuchDomain: there is no such domain.
    """
    found = _locked(session, actor, domain)
    before = get_limits(session, found.id)
    own = delete(DomainLimits).where(DomainLimits.domain_id == found.id)
    changes: dict[str, tuple[object, object]] = {}
    if session.scalar(own.returning(DomainLimits.domain_id)) is not None:
        usual = get_default_limits(session)
        changes = {
            name: (value, usual[name]) for name, value in before.items() if value != usual[name]
        }
        changes[OWN] = (True, False)
    # Without any as well: a file that stands there all the same is to go.
    record(session, actor, "del_limits", ("domain", found.name), changes, domain=found.name)
    return found


def get_default_limits(session: Session) -> Mapping[str, int | bool]:
    """Return the settings that hold for domains without limits of their own."""
    row = _DEFAULT.first(session)
    return BUILT_IN if row is None else dict(zip(LIMIT_SETTINGS, row, strict=True))


def set_default_limits(session: Session, actor: Actor, settings: Mapping[str, int | bool]) -> None:
    """Change the named settings of the site's default limits.

    :raises NotAuthorized: ``actor`` is no system administrator.
    """
    require_system(actor)
    before = get_default_limits(session)
    values = {**before, **settings}
    if session.scalar(select(DefaultLimits.id)) is None:
        session.execute(insert(DefaultLimits).values(id=1, **values))
    else:
        session.execute(update(DefaultLimits).values(**values))
    changes = {
        name: (before[name], value) for name, value in settings.items() if before[name] != value
    }
    record(session, actor, "set_default_limits", ("site", "limits"), changes, domain=None)


def _locked(session: Session, actor: Actor, domain: str) -> FoundDomain:
    require_system(actor)
    return lock_domain(session, domain)
