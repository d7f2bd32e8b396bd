"""The paths of the file commands: what they mean, and whether the caller may go there.

A path is absolute, or begins with an address (that mailbox's directory) or a domain (its
directory). This module only reads names; whoever opens the file must not follow symbolic links.
"""

import re
from dataclasses import dataclass

from sqlalchemy.orm import Session

from vpopsql.errors import (
    DotsInPath,
    ForeignAddressInPath,
    NoSlashInPath,
    PercentInPath,
    SlashBeforeAt,
    UnauthorizedPath,
    UnknownAddressInPath,
    UnknownDomainInPath,
    UnparsableAddressInPath,
)
from vpopsql.names import is_address, split_address
from vpopsql.services import accounts, domains
from vpopsql.services.rights import Actor, Level

_OURS = re.compile(
    r"vpasswd(\..*)?|\.vpasswd\.lock|\.qmailadmin-limits|\.dir[-_]control.*|ip_alias_map.*"
)
"""Files that the database writes; a client that wrote them would be overruled, or worse."""


@dataclass(frozen=True, slots=True)
class OwnedPath:
    """A path below a directory that its caller may work in."""

    root: str
    """A site path; symbolic links on the way to it are the administrator's own."""
    below: str
    """The rest as an absolute path inside ``root``; ``/``: the root itself."""


def resolve(session: Session, actor: Actor, text: str) -> OwnedPath:
    """Return what the path ``text`` of a file command means.

    :raises InvalidPath: the path makes no sense; a subclass says why.
    :raises NotAuthorized: it leads out of what ``actor`` may touch.
    Source: vpopmaild's file commands. differs: whole components are compared, not prefixes.
    """
    if ".." in text:
        raise DotsInPath(text)
    if "%" in text:
        raise PercentInPath(text)
    if "/" not in text:
        raise NoSlashInPath(text)
    start, _, rest = text.partition("/")
    if "@" in start:
        start = _mailbox_directory(session, actor, start)
    elif "@" in text:
        raise SlashBeforeAt(text)
    elif start:
        start = _domain_directory(session, start)
    return _own(actor, f"{start}/{rest}")


def _mailbox_directory(session: Session, actor: Actor, address: str) -> str:
    name, domain = split_address(address)
    if not is_address(name, domain):
        raise UnparsableAddressInPath(address)
    if actor.level is Level.USER and not _is_own(session, actor, name, domain):
        # Before the look-up, so that users cannot find out who exists.
        raise ForeignAddressInPath(address)
    account = accounts.find_account(session, name, domain)
    if account is None:
        raise UnknownAddressInPath(address)
    return account.directory


def _is_own(session: Session, actor: Actor, name: str, domain: str) -> bool:
    if name != actor.name:
        return False
    if domain == actor.domain:
        return True
    found = domains.find_domain(session, domain)
    return found is not None and found.id == actor.domain_id


def _domain_directory(session: Session, name: str) -> str:
    found = domains.find_domain(session, name.lower())
    if found is None:
        raise UnknownDomainInPath(name)
    return found.directory


def _own(actor: Actor, path: str) -> OwnedPath:
    root = {
        Level.USER: actor.directory,
        Level.DOMAIN: actor.domain_directory,
        Level.SYSTEM: f"{actor.site_directory}/domains",
    }[actor.level]
    parts, owned = _components(path), _components(root)
    below = parts[len(owned) :]
    if parts[: len(owned)] != owned or any(_OURS.fullmatch(part) for part in below):
        raise UnauthorizedPath(actor.level)
    return OwnedPath(root, "/" + "/".join(below))


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]
