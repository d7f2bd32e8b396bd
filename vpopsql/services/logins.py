"""Logins to the services of a site: who may use which, and when he last did."""

from collections.abc import Mapping
from types import MappingProxyType

from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from vpopsql.model import Flag, LastAuth, utc_now
from vpopsql.services import limits

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
