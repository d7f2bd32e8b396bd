"""Where qmail sends an address: qmail-smtpd's, qmail-send's and qmail-lspawn's lookups. Pure.

Of the lines of the shared files, our names make the usual ones and `foreign` has the others; see
`vpopsql.exporter.render`. Names are compared without regard to case, as qmail does it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from vpopsql import names
from vpopsql.explain.result import Address
from vpopsql.qmail import assign, control
from vpopsql.qmail.assign import Assignment
from vpopsql.qmail.control import Host, VirtualDomain
from vpopsql.qmail.lines import encode

RCPTHOSTS = "control/rcpthosts"
MORERCPTHOSTS = "control/morercpthosts"
VIRTUALDOMAINS = "control/virtualdomains"
LOCALS = "control/locals"
ASSIGN = "users/assign"

HOST_FILES = (RCPTHOSTS, MORERCPTHOSTS, VIRTUALDOMAINS, LOCALS)

Foreign = Mapping[str, Sequence[str]]
"""Lines that are not made of our rows, by file below qmail's directory."""


class Way(Enum):
    """What qmail-send takes a domain for."""

    OURS = auto()
    """Virtual, as vpopmail makes it."""
    VIRTUAL = auto()
    """Virtual, by a line that vpopmail did not make."""
    LOCAL = auto()
    REMOTE = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """What qmail-send makes of an address."""

    way: Way
    local: str
    """What users/assign is asked for; empty for a remote address."""
    name: str = ""
    """What the line of virtualdomains or locals names; empty also for its catch-all."""
    prepend: str = ""
    line: str = ""
    """The foreign line that decides; empty: one that our rows make, or none."""


def host_patterns(host: str) -> Iterator[str]:
    """Give what names a host in a control file: itself, then ``.suffix``, the longest first."""
    yield host
    for position, character in enumerate(host):
        if character == "." and position:
            yield host[position:]


def accepting_line(foreign: Foreign, host: str) -> tuple[str, str] | None:
    """Return the file and the foreign line by which qmail-smtpd takes mail for ``host``."""
    for file in (RCPTHOSTS, MORERCPTHOSTS):
        hosts = _hosts(foreign, file)
        for pattern in host_patterns(host):
            if pattern in hosts:
                return file, hosts[pattern]
    return None


def route(foreign: Foreign, address: Address, *, is_ours: bool) -> Route:
    """Return what qmail-send makes of an address.

    :param is_ours: whether our rows make a line of virtualdomains for its domain.

    locals comes first; it never has our names, for an export leaves them out. Then virtualdomains
    is asked for the address, the domain, each suffix and the catch-all; an empty prepend makes
    the address a remote one. Our own line for a domain stands behind a foreign one, and of two
    lines qmail-send finds the later.
    """
    host = address.domain
    if not is_ours and (line := _hosts(foreign, LOCALS).get(host)):
        return Route(Way.LOCAL, address.user, host, line=line)
    virtual = _virtual(foreign)
    for name in (str(address), *host_patterns(host), ""):
        if name == host and is_ours:
            return Route(Way.OURS, f"{host}-{address.user}", host, host)
        if name in virtual:
            prepend, line = virtual[name]
            if not prepend:
                return Route(Way.REMOTE, "", name, line=line)
            return Route(Way.VIRTUAL, f"{prepend}-{address.user}", name, prepend, line)
    return Route(Way.REMOTE, "")


def prepends(lines: Iterable[str]) -> frozenset[str]:
    """Return what lines of virtualdomains put before an address, with the dash behind it."""
    found = _virtual({VIRTUALDOMAINS: list(lines)}).values()
    return frozenset(f"{prepend}-" for prepend, _ in found if prepend)


def is_shared(name: str, others: Collection[str]) -> bool:
    """Say whether mail of other domains may be looked up like that of the domain ``name``.

    :param others: what `prepends` returns. An export writes no exact lines for such a domain.
    """
    begin = f"{name}-"
    return any(other.startswith(begin) for other in others) or any(
        prefix in others for prefix in assign_prefixes(begin) if prefix.endswith("-")
    )


def assign_prefixes(local: str, least: int = 0) -> Iterator[str]:
    """Give what a wildcard line for ``local`` may begin with, the longest first.

    :param least: characters of the shortest one that is of interest.
    """
    for length in range(len(local), least - 1, -1):
        yield local[:length]


def domain_prefixes(local: str) -> Iterator[str]:
    """Give the domains whose line of users/assign ``local`` may begin with, the longest first."""
    for prefix in assign_prefixes(local):
        if prefix.endswith("-"):
            yield prefix[:-1]


def find_assignment(foreign: Foreign, local: str, least: int = 0) -> Assignment | None:
    """Return the foreign line of users/assign that ``local`` is found by.

    :param least: characters of the shortest wildcard that wins: our own is as long, and stands
        behind a foreign one.
    """
    exact: dict[str, Assignment] = {}
    wildcards: dict[str, Assignment] = {}
    for text in foreign.get(ASSIGN, ()):
        for line in assign.parse(encode(f"{text}\n.\n")):
            if isinstance(line, Assignment):
                chosen = wildcards if line.wildcard else exact
                chosen.setdefault(names.lower(line.local), line)
    if local in exact:
        return exact[local]
    prefixes = assign_prefixes(local, least)
    return next((wildcards[prefix] for prefix in prefixes if prefix in wildcards), None)


def _hosts(foreign: Foreign, file: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in foreign.get(file, ()):
        for line in control.parse_hosts(encode(text)):
            if isinstance(line, Host) and not line.comment:
                found.setdefault(names.lower(line.name), text)
    return found


def _virtual(foreign: Foreign) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for text in foreign.get(VIRTUALDOMAINS, ()):
        for line in control.parse_virtualdomains(encode(text)):
            if isinstance(line, VirtualDomain):
                # Of two lines for one name qmail-send finds the later one.
                found[names.lower(line.name)] = names.lower(line.prepend), text
    return found
