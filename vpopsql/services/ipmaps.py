"""The map from IP addresses to the domains that logins without one belong to."""

import ipaddress

from sqlalchemy import select
from sqlalchemy.orm import Session

from vpopsql.errors import NoSuchMapping
from vpopsql.model import DomainName, IpMapping

_LIST = (
    select(IpMapping.address, DomainName.name)
    .join(DomainName, (DomainName.domain_id == IpMapping.domain_id) & ~DomainName.is_alias)
    .order_by(IpMapping.family, IpMapping.packed)
)


def find_mapping(session: Session, address: str) -> tuple[str, str] | None:
    """Return ``(address, domain)`` for an IP address; None also for what is no address."""
    try:
        canonical = str(ipaddress.ip_address(address))
    except ValueError:
        return None
    row = session.execute(_LIST.where(IpMapping.address == canonical)).first()
    return None if row is None else (row[0], row[1])


def get_mapping(session: Session, address: str) -> tuple[str, str]:
    """Return ``(address, domain)`` for an IP address.

    :raises NoSuchMapping: nothing is mapped to it, or it is no IP address.
    """
    found = find_mapping(session, address)
    if found is None:
        raise NoSuchMapping(address)
    return found


def list_mappings(session: Session) -> list[tuple[str, str]]:
    """Return every ``(address, domain)``, IPv4 before IPv6, by number."""
    return [(address, domain) for address, domain in session.execute(_LIST)]
