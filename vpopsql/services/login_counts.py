"""How often somebody logs in, and fails to, by account, by address and by hour."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, exists, insert, literal, or_, select, update
from sqlalchemy.orm import Session

from vpopsql.model import DomainName, LastAuth, LoginCount, Mailbox


@dataclass(frozen=True, slots=True)
class Counted:
    """Attempts of one hour that are alike."""

    hour: datetime
    account: str
    """As `LoginCount` has it."""
    remote_ip: str
    service: str
    ok: int
    failed: int
    last_at: datetime


_SAME = (
    (LoginCount.hour == bindparam("of_hour", type_=LoginCount.hour.type))
    & (LoginCount.account == bindparam("of_account"))
    & (LoginCount.remote_ip == bindparam("of_ip"))
    & (LoginCount.service == bindparam("of_service"))
)


def add(session: Session, counted: Iterable[Counted]) -> None:
    """Add to what is counted.

    :raises Conflict: when this is committed or before, another session was quicker with a row that
        there had not been.
    """
    for each in counted:
        changed = session.execute(
            update(LoginCount)
            .where(_SAME)
            .values(
                ok=LoginCount.ok + each.ok,
                failed=LoginCount.failed + each.failed,
                last_at=each.last_at,
            )
            .returning(LoginCount.ok),
            {
                "of_hour": each.hour,
                "of_account": each.account,
                "of_ip": each.remote_ip,
                "of_service": each.service,
            },
        )
        if changed.first() is None:
            session.execute(
                insert(LoginCount).values(
                    hour=each.hour,
                    account=each.account,
                    remote_ip=each.remote_ip,
                    service=each.service,
                    domain=_real_domain(session, each.account.rpartition("@")[2]),
                    ok=each.ok,
                    failed=each.failed,
                    last_at=each.last_at,
                )
            )


def _real_domain(session: Session, name: str) -> str | None:
    asked = select(DomainName.domain_id).where(DomainName.name == name).scalar_subquery()
    real = select(DomainName.name).where(DomainName.domain_id == asked, ~DomainName.is_alias)
    return session.scalar(real) or name[:255] or None


def has_been_here(session: Session, name: str, domain: str, remote_ip: str) -> bool:
    """Tell whether the account ``name`` of a real domain has ever logged in from an address."""
    counted = exists().where(
        LoginCount.account == f"{name}@{domain}",
        LoginCount.remote_ip == remote_ip,
        LoginCount.ok > 0,
    )
    mailbox = (
        select(Mailbox.id)
        .join(DomainName, DomainName.domain_id == Mailbox.domain_id)
        .where(DomainName.name == domain, Mailbox.name == name)
        .scalar_subquery()
    )
    last = exists().where(LastAuth.mailbox_id == mailbox, LastAuth.remote_ip == remote_ip)
    return bool(session.scalar(select(literal(1)).where(or_(counted, last))))


def forget(session: Session, before: datetime) -> int:
    """Delete what was counted before a time; return how many rows that were."""
    doomed = delete(LoginCount).where(LoginCount.hour < before).returning(LoginCount.service)
    return len(session.execute(doomed).all())
