"""The map from IP addresses to the domains that logins without one belong to."""

import ipaddress
from collections.abc import Sequence

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.orm import Session

from vpopsql.errors import InvalidIp, NoSuchDomain, NoSuchMapping
from vpopsql.model import DomainName, IpMapping
from vpopsql.prepared import Prepared
from vpopsql.services.changes import record
from vpopsql.services.rights import Actor, require_system

_LIST = Prepared(
    select(IpMapping.address, DomainName.name)
    .join(DomainName, (DomainName.domain_id == IpMapping.domain_id) & ~DomainName.is_alias)
    .order_by(IpMapping.family, IpMapping.packed)
)
_FIND = Prepared(_LIST.statement.where(IpMapping.address == bindparam("address")))


def find_mapping(session: Session, address: str) -> tuple[str, str] | None:
    """Return ``(address, domain)`` for an IP address; None also for what is no address."""
    ip = _parse(address)
    if ip is None:
        return None
    row = _FIND.first(session, address=str(ip))
    return None if row is None else (row[0], row[1])


def get_mapping(session: Session, address: str) -> tuple[str, str]:
    """Return ``(address, domain)`` for an IP address.

    :raises NoSuchMapping: nothing is mapped to it, or it is no IP address.
    """
    found = find_mapping(session, address)
    if found is None:
        raise NoSuchMapping(address)
    return found


def list_mappings(session: Session) -> Sequence[tuple[str, str]]:
    """Return every ``(address, domain)``, IPv4 before IPv6, by number."""
    return _LIST.all(session)


def add_mapping(session: Session, actor: Actor, address: str, domain: str) -> None:
    """Map an IP address to a domain, instead of any other that it is mapped to.

    :raises NotAuthorized: ``actor`` is no system administrator.
    :raises NoSuchDomain, InvalidIp: what is missing or malformed.
    """
    require_system(actor)
    domain_id = session.scalar(select(DomainName.domain_id).where(DomainName.name == domain))
    if domain_id is None:
        raise NoSuchDomain(domain)
    ip = _parse(address)
    if ip is None:
        raise InvalidIp(address)
    before = find_mapping(session, str(ip))
    session.execute(delete(IpMapping).where(IpMapping.address == str(ip)))
    session.execute(
        insert(IpMapping).values(
            address=str(ip), family=ip.version, packed=ip.packed, domain_id=domain_id
        )
    )
    changes = {"domain": (before[1] if before else None, domain)}
    record(session, actor, "add_ip_map", ("ip", str(ip)), changes, domain=None)


def delete_mapping(session: Session, actor: Actor, address: str, domain: str) -> None:
    """Forget that an IP address is mapped to ``domain``; what is not so stays, silently.

    :raises NotAuthorized: ``actor`` is no system administrator.
    """
    require_system(actor)
    found = find_mapping(session, address)
    domain_id = session.scalar(select(DomainName.domain_id).where(DomainName.name == domain))
    if found is None or domain_id is None:
        return
    mine = (IpMapping.address == found[0]) & (IpMapping.domain_id == domain_id)
    if session.execute(delete(IpMapping).where(mine).returning(IpMapping.address)).first():
        changes = {"domain": (found[1], None)}
        record(session, actor, "del_ip_map", ("ip", found[0]), changes, domain=None)


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address; None for what is none or has a scope, which only one host knows."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    return None if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id is not None else ip
