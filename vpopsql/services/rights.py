"""Who may do what: the whole authorisation table.

The rights that vpopmaild's author documents decide; where the C daemon grants more or less, the
difference is a point of docs/compatibility.md.
"""

import enum
from dataclasses import dataclass
from datetime import datetime

from vpopsql.errors import NoSuchUser, NotAuthorized, NotAuthorizedForDomain
from vpopsql.model import Flag


class Level(enum.IntEnum):
    """What a caller administers; each level includes the ones below."""

    ANYBODY = 0
    USER = 1
    DOMAIN = 2
    SYSTEM = 3


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who has logged in."""

    mailbox_id: int
    name: str
    domain_id: int
    domain: str
    """The real domain, whatever alias domain he logged in with."""
    domain_directory: str
    directory: str
    flags: Flag
    site_directory: str
    """vpopmail's home, as a site path."""
    created_at: datetime | None = None
    """When his mailbox was made: another one may get its name, or even its id."""
    is_gone: bool = False
    """Whether somebody else has deleted his mailbox since."""
    deleted_himself: bool = False
    """Quirk: whoever deletes himself keeps his rights until he hangs up."""
    remote_ip: str = ""
    channel: str = "daemon"
    request_id: str = ""
    undoes: int | None = None
    """The entry of the audit log whose change he takes back."""

    @property
    def address(self) -> str:
        """Return ``name@domain``, or the name of an `operator`, who has no domain."""
        return f"{self.name}@{self.domain}" if self.domain else self.name

    @property
    def level(self) -> Level:
        """Return what he administers: ``postmaster`` is a domain administrator by name."""
        if self.is_gone:
            return Level.USER
        return level_of(self.name, self.flags)


def operator(name: str, site_directory: str, channel: str = "cli") -> Actor:
    """Return who works on the host itself, and may do everything there.

    :param name: what the audit log calls him.
    :param site_directory: vpopmail's home, as a site path.
    """
    nobody = 0
    return Actor(
        mailbox_id=nobody,
        name=name,
        domain_id=nobody,
        domain="",
        domain_directory="",
        directory="",
        flags=_SYSTEM_ONLY,
        site_directory=site_directory,
        channel=channel,
    )


_SA_ADMIN = int(Flag.SA_ADMIN)
_QA_ADMIN = int(Flag.QA_ADMIN)


def level_of(name: str, flags: int) -> Level:
    """Return the level of the mailbox ``name`` with its own ``flags``."""
    # Every command asks: an operation of integers takes a tenth of one of flags.
    bits = int(flags)
    if bits & _SA_ADMIN:
        return Level.SYSTEM
    if bits & _QA_ADMIN or name == "postmaster":
        return Level.DOMAIN
    return Level.USER


def administers(actor: Actor, domain: str) -> bool:
    """Tell whether ``actor`` administers the domain called ``domain``.

    Quirk: a domain administrator has to say the real name of his domain, not an alias's.
    """
    return actor.level is Level.SYSTEM or (actor.level is Level.DOMAIN and domain == actor.domain)


def require_system(actor: Actor) -> None:
    """Refuse anybody but system administrators. :raises NotAuthorized: he is none."""
    if actor.level is not Level.SYSTEM:
        raise NotAuthorized(f"{actor.address} is no system administrator")


def require_domain(actor: Actor, domain: str) -> None:
    """Refuse unless `administers`.

    :raises NotAuthorizedForDomain: he does not.
    """
    if not administers(actor, domain):
        raise NotAuthorizedForDomain(f"{actor.address} does not administer {domain}")


def require_account(actor: Actor, name: str, domain: str) -> None:
    """Refuse unless ``actor`` administers the domain, or is the account ``name@domain`` himself.

    :raises NotAuthorized: a plain user asks for somebody else.
    :raises NotAuthorizedForDomain: a domain administrator asks for another domain.
    :raises NoSuchUser: he asks for himself, and is gone.
    """
    if actor.level is Level.USER:
        if (name, domain) != (actor.name, actor.domain):
            raise NotAuthorized(f"{actor.address} may ask for himself only")
        if actor.is_gone:
            raise NoSuchUser(actor.address)
        return
    require_domain(actor, domain)


def may_see_limits(actor: Actor, domain: str) -> bool:
    """Tell whether ``actor`` may read the limits of ``domain``: system administrators, members."""
    return actor.level is Level.SYSTEM or (domain == actor.domain and not actor.is_gone)


_SYSTEM_ONLY = Flag.SA_ADMIN | Flag.SA_EXPERT


def may_see_secrets(actor: Actor, flags: int) -> bool:
    """Tell whether ``actor`` may read hash and password of an account with ``flags``.

    A domain administrator who could, could become a system administrator, or run programs.
    """
    return actor.level is Level.SYSTEM or not flags & _SYSTEM_ONLY & ~actor.flags


def require_secrets(actor: Actor, flags: int) -> None:
    """Refuse changes of an account with ``flags`` unless `may_see_secrets`.

    :raises NotAuthorized: a domain administrator would take over rights that he has not.
    """
    if not may_see_secrets(actor, flags):
        raise NotAuthorized(f"{actor.address} does not administer whom the system trusts more")


def is_above_limits(actor: Actor) -> bool:
    """Tell whether a domain's limits do not hold for ``actor``."""
    return actor.level is Level.SYSTEM or bool(actor.flags & Flag.V_OVERRIDE)


class Permission(enum.IntFlag):
    """The bits of the ``perm_*`` limits: what domain administrators are denied."""

    CREATE = 1
    MODIFY = 2
    DELETE = 4


def require_permission(actor: Actor, denied: int, wanted: Permission) -> None:
    """Refuse what a ``perm_*`` limit denies to domain administrators other than postmaster.

    :raises NotAuthorized: it is denied.
    """
    if denied & wanted and actor.name != "postmaster" and not is_above_limits(actor):
        raise NotAuthorized(f"{actor.address} is denied to {wanted.name} here")


_ANYONE = Flag.NO_SPAMASSASSIN | Flag.DELETE_SPAM | Flag.NO_MAILDROP
_ALL_FLAGS = ~Flag(0)


def settable_flags(actor: Actor) -> Flag:
    """Return the flags that ``actor`` may set and clear on accounts that he may modify."""
    if actor.level is Level.SYSTEM:
        return _ALL_FLAGS
    if actor.level is Level.DOMAIN and actor.flags & Flag.V_OVERRIDE:
        return _ALL_FLAGS & ~_SYSTEM_ONLY
    return _ANYONE


def may_set_quota(actor: Actor) -> bool:
    """Tell whether ``actor`` may set quotas of accounts that he may modify."""
    return is_above_limits(actor) and actor.level is not Level.USER


def may_deliver_anywhere(actor: Actor) -> bool:
    """Tell whether ``actor`` may have dot-qmail lines that run programs or leave his home."""
    return actor.level is Level.SYSTEM or bool(actor.flags & Flag.SA_EXPERT)
