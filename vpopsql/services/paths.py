"""The paths of the file commands: what they mean, and whether the caller may go there.

A path is absolute, or begins with an address (that mailbox's directory) or a domain (its
directory). This module only reads names; whoever opens the file must not follow symbolic links.
"""

import errno
import re
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import InstrumentedAttribute, Session

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
from vpopsql.model import Domain, DomainName, Mailbox
from vpopsql.names import is_address, split_address
from vpopsql.services import accounts, domains
from vpopsql.services.domains import FoundDomain
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

    @property
    def site_path(self) -> str:
        """Return the whole of it, in its plainest form."""
        return "/" + "/".join(_components(self.root + self.below))


@dataclass(frozen=True, slots=True)
class Owner:
    """The innermost directory of a mailbox or domain that a path is in, and whose it is."""

    domain: FoundDomain
    mailbox_id: int | None
    """None: the directory is the domain's own."""
    directory: str
    below: str
    """The rest of the path, relative; empty: the directory itself."""


def resolve(session: Session, actor: Actor, text: str) -> OwnedPath:
    """Return what the path ``text`` of a file command means.

    :raises InvalidPath: the path makes no sense; a subclass says why.
    :raises NotAuthorized: it leads out of what ``actor`` may touch.
    :raises FileNotFoundError: it is in the directory that ``actor`` had before he was deleted.
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


def owner_of(session: Session, actor: Actor, owned: OwnedPath) -> Owner | None:
    """Return whose a path is; None: it is below the domains' directory, but nobody's.

    The domain is locked until the transaction ends, so what is said here stays true.
    """
    path = owned.site_path
    is_user = actor.level is Level.USER
    if is_user:
        of_domain = DomainName.domain_id == actor.domain_id
    else:
        of_domain = Domain.directory.in_(_prefixes(path))
    name = session.scalar(
        select(DomainName.name)
        .join(Domain, Domain.id == DomainName.domain_id)
        .where(of_domain, ~DomainName.is_alias)
        .order_by(Domain.directory.desc())
    )
    if name is None:
        return None
    domain = domains.lock_domain(session, name)
    mailbox = session.execute(
        select(Mailbox.id, Mailbox.directory)
        .where(
            Mailbox.id == actor.mailbox_id if is_user else Mailbox.domain_id == domain.id,
            Mailbox.directory.in_(_prefixes(path)),
        )
        .order_by(Mailbox.directory.desc(), Mailbox.id)
    ).first()
    if mailbox is not None:
        return _owner(domain, mailbox[0], mailbox[1], path)
    return _owner(domain, None, domain.directory, path)


def _owner(domain: FoundDomain, mailbox_id: int | None, directory: str, path: str) -> Owner:
    directory = directory.rstrip("/")
    return Owner(domain, mailbox_id, directory, path[len(directory) + 1 :])


def _prefixes(path: str) -> list[str]:
    """Return every directory that ``path`` is or is in, each also with a slash at its end."""
    ends = [found.start() for found in re.finditer("/", path)][1:]
    plain = [path[:end] for end in (*ends, len(path))]
    return [*plain, *(f"{each}/" for each in plain)]


def require_nobodys_home(
    session: Session, actor: Actor, owned: OwnedPath, owner: Owner | None
) -> None:
    """Refuse a path that the directory of a domain or mailbox is at, or below.

    Only deleting the domain or mailbox may take its directory away.

    :raises UnauthorizedPath: there is one.
    """
    homes = [select(Domain.id).where(_is_at_or_below(Domain.directory, owned))]
    if owner:
        of_domain = Mailbox.domain_id == owner.domain.id
        homes.append(
            select(Mailbox.id).where(of_domain, _is_at_or_below(Mailbox.directory, owned))
        )
    if any(session.scalar(query.limit(1)) is not None for query in homes):
        raise UnauthorizedPath(actor.level)


def _is_at_or_below(column: InstrumentedAttribute[str], owned: OwnedPath) -> ColumnElement[bool]:
    path = owned.site_path
    return (column == path) | column.startswith(f"{path}/", autoescape=True)


def is_home(session: Session, path: str) -> bool:
    """Tell whether a domain or mailbox lives at ``path``, a site path without a slash at its end.

    Mailboxes have no index for it: it takes a look at each.
    """
    spellings = (path, f"{path}/")
    return any(
        session.scalar(select(table.id).where(table.directory.in_(spellings)).limit(1)) is not None
        for table in (Domain, Mailbox)
    )


def is_ours(name: str) -> bool:
    """Tell whether a file of this name is the database's, wherever it is."""
    return _OURS.fullmatch(name) is not None


def _mailbox_directory(session: Session, actor: Actor, address: str) -> str:
    name, domain = split_address(address)
    if not is_address(name, domain):
        raise UnparsableAddressInPath(address)
    if actor.level is Level.USER and not _is_own(session, actor, name, domain):
        # Before the look-up, so that users cannot find out who exists.
        raise ForeignAddressInPath(address)
    account = accounts.find_account(session, name, domain)
    if account is None or actor.is_gone:
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
    if parts[: len(owned)] != owned or any(map(is_ours, below)):
        raise UnauthorizedPath(actor.level)
    if actor.is_gone:
        # So is his directory; what is in its place now is somebody else's.
        raise FileNotFoundError(errno.ENOENT, "gone with its owner", path)
    return OwnedPath(root, "/" + "/".join(below))


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]
