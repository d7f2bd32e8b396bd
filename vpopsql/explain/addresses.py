"""What somebody means who asks for an address."""

import re

from sqlalchemy.orm import Session

from vpopsql import names
from vpopsql.errors import InvalidAddress
from vpopsql.explain import rows
from vpopsql.explain.result import Address, Source, Step, StepKind
from vpopsql.explain.rows import Site

_LITERAL = re.compile(r"\[(?:ipv6:)?([0-9a-f.:]+)\]")
_ADDRESS_MAX = 900
"""Bytes of the longest address that qmail-smtpd takes."""


def understand(session: Session, text: str, site: Site) -> tuple[Address, list[Step]]:
    """Return the address that is meant, with what had to be done to find it.

    Source: qmail divides at the last ``@``; ``%`` and ``/`` are vpopmail's, at logins.

    :raises InvalidAddress: there is no name in it, or no mail can be sent to it.
    """
    plain = text.strip()
    if not plain or len(plain) > _ADDRESS_MAX or "\0" in plain or "\n" in plain:
        raise InvalidAddress(f"no address: {text!r}")
    address = _parse(plain, site)
    if not address.domain:
        raise InvalidAddress(f"{text!r} has no domain, and the site no default domain")
    steps = []
    if str(address) != plain:
        what = f"{plain} is asked for"
        steps.append(Step(StepKind.ADDRESS, address, what, f"it is {address}"))
    if literal := _LITERAL.fullmatch(address.domain):
        address, step = _from_ip(session, address, literal[1])
        steps.append(step)
    return address, steps


def _parse(text: str, site: Site) -> Address:
    if "@" in text:
        user, _, domain = text.rpartition("@")
    elif "%" in text or "/" in text:
        user, domain = names.split_address(text)
    elif "." in text:
        user, domain = "", text
    else:
        user, domain = text, site.default_domain or ""
    return Address(names.lower(user), _host(domain))


def _host(domain: str) -> str:
    try:
        return names.to_a_label(domain.rstrip("."))
    except ValueError:
        return names.lower(domain.rstrip("."))


def _from_ip(session: Session, address: Address, ip: str) -> tuple[Address, Step]:
    what = f"the domain that {ip} is mapped to"
    found = rows.find_ip_domain(session, ip)
    if found is None:
        return address, Step(StepKind.ADDRESS, address, what, "none: it is not in the IP map")
    mapped, domain = found
    meant = Address(address.user, domain)
    result = f"{domain}, for logins; qmail-smtpd itself puts control/localiphost in its place"
    return meant, Step(StepKind.ADDRESS, meant, what, result, Source("ip_mappings", mapped))
