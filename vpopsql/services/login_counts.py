"""How often somebody logs in, and fails to, by account, by address and by hour."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, exists, literal, or_, select, text
from sqlalchemy.orm import Session

from vpopsql.model import DomainName, LastAuth, LoginCount, Mailbox

_DOMAIN_MAX = 255


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


# The domain is the real one of an account, or what is behind the @ of what is none.
_ADD = text("""
    INSERT INTO login_counts
        (hour, account, remote_ip, service, domain, ok, failed, last_at)
    VALUES (
        :hour, :account, :remote_ip, :service,
        COALESCE((
            SELECT of_it.name FROM domain_names asked
            JOIN domain_names of_it ON of_it.domain_id = asked.domain_id AND NOT of_it.is_alias
            WHERE asked.name = :domain
        ), :domain),
        :ok, :failed, :last_at
    )
    ON CONFLICT (hour, account, remote_ip, service) DO UPDATE SET
        ok = login_counts.ok + excluded.ok,
        failed = login_counts.failed + excluded.failed,
        last_at = excluded.last_at
    """).bindparams(
    *(bindparam(column.key, type_=column.type) for column in LoginCount.__table__.columns)
)


def add(session: Session, counted: Iterable[Counted]) -> None:
    """Add to what is counted; whoever counts the same elsewhere waits until this is committed."""
    rows = [
        {
            "hour": each.hour,
            "account": each.account,
            "remote_ip": each.remote_ip,
            "service": each.service,
            "domain": each.account.rpartition("@")[2][:_DOMAIN_MAX] or None,
            "ok": each.ok,
            "failed": each.failed,
            "last_at": each.last_at,
        }
        for each in counted
    ]
    if rows:
        session.execute(_ADD, rows)


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
