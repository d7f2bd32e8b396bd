"""Logins: who may use which service, when he last did, and by what kind of hash."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from types import MappingProxyType

from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from vpopsql import passwords
from vpopsql.columns import utc_now
from vpopsql.config import Deadlines
from vpopsql.errors import HashExpired, NoSuchDomain
from vpopsql.model import Flag, LastAuth, Mailbox
from vpopsql.services import limits
from vpopsql.services.changes import MASKED, record
from vpopsql.services.domains import lock_domain
from vpopsql.services.rights import Actor

SERVICES: Mapping[str, tuple[Flag, str]] = MappingProxyType(
    {
        "pop3": (Flag.NO_POP, "disable_pop"),
        "imap": (Flag.NO_IMAP, "disable_imap"),
        "smtp": (Flag.NO_SMTP, "disable_smtp"),
        "webmail": (Flag.NO_WEBMAIL, "disable_webmail"),
        "dialup": (Flag.NO_DIALUP, "disable_dialup"),
    }
)
"""Service -> the bit that forbids it, and the limit by which a domain sets it for everybody."""


def may_use(session: Session, service: str, domain_id: int, flags: int) -> bool:
    """Tell whether an account with ``flags`` may use a service.

    The domain's limits do not hold for accounts with V_OVERRIDE.

    :param service: a key of `SERVICES`.
    """
    flag, limit = SERVICES[service]
    if flags & flag:
        return False
    return bool(flags & Flag.V_OVERRIDE) or not limits.get_limits(session, domain_id)[limit]


def require_good_hash(stored: str, deadlines: Deadlines, today: date) -> None:
    """Refuse a login by a hash of a scheme that is not good any more.

    :raises HashExpired: it is of one.
    """
    scheme = passwords.scheme_of(stored)
    last_day = deadlines.last_day_of(scheme)
    if last_day is not None and today > last_day:
        raise HashExpired(scheme, last_day)


def replace_hash(session: Session, actor: Actor, old: str, new: str) -> str | None:
    """Store another hash of the password that ``actor`` has; return his domain if it is stored.

    It is not if his hash is not ``old`` any more, whoever has changed it, or he is gone. When the
    password was set stays as it is: it is the same one.
    """
    try:
        domain = lock_domain(session, actor.domain)
    except NoSuchDomain:
        return None
    mine = (Mailbox.id == actor.mailbox_id) & (Mailbox.password_hash == old)
    changed = session.execute(
        update(Mailbox)
        .where(mine, Mailbox.domain_id == domain.id)
        .values(password_hash=new)
        .returning(Mailbox.id)
    )
    if changed.first() is None:
        return None
    changes = {
        "password_hash": (MASKED, MASKED),
        "scheme": (passwords.scheme_of(old), passwords.scheme_of(new)),
    }
    record(
        session,
        replace(actor, channel="login"),
        "rehash",
        ("user", actor.address),
        changes,
        # It may have another name since he logged in.
        domain=domain.name,
    )
    return domain.name


def record_login(session: Session, mailbox_id: int, service: str, remote_ip: str) -> None:
    """Write down that an account has logged in now.

    :raises Conflict: when this is committed, the account is gone, or logs in for the second time
        in its life at this very moment.
    """
    seen = {"at": utc_now(), "remote_ip": remote_ip}
    mine = (LastAuth.mailbox_id == mailbox_id) & (LastAuth.service == service)
    changed = session.execute(update(LastAuth).where(mine).values(**seen).returning(LastAuth.at))
    if changed.first() is None:
        session.execute(insert(LastAuth).values(mailbox_id=mailbox_id, service=service, **seen))
