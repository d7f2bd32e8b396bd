"""The newest snapshots: what each domain and mailbox held when it was measured last."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ScalarSelect, select
from sqlalchemy.orm import Session, aliased

from vpopsql.errors import NoSuchDomain, NoSuchUser
from vpopsql.model import (
    DomainName,
    DomainUsage,
    LatestUsage,
    Mailbox,
    MailboxUsage,
    UsageSource,
)
from vpopsql.names import lower, split_address

_FETCH = 1000


@dataclass(frozen=True, slots=True)
class DomainFigures:
    """What a domain held; None where it was never measured."""

    domain: str
    measured_at: datetime | None
    mailboxes: int | None
    measured: int | None
    """Mailboxes of these that could be measured, and that the sums are of."""
    bytes: int | None
    messages: int | None
    aliases: int | None


@dataclass(frozen=True, slots=True)
class MailboxFigures:
    """What a mailbox held; None where it was never measured, and for no quota."""

    address: str
    measured_at: datetime | None
    bytes: int | None
    messages: int | None
    source: UsageSource | None
    quota_bytes: int | None
    quota_messages: int | None


def newest_of_domain() -> ScalarSelect[int]:
    """Return the key of the newest snapshot of the `DomainName` of the statement around it."""
    usage = aliased(DomainUsage)
    return (
        select(usage.id)
        .where(usage.domain == DomainName.name)
        .order_by(usage.measured_at.desc(), usage.id.desc())
        .limit(1)
        .correlate(DomainName)
        .scalar_subquery()
    )


def list_domains(session: Session) -> Iterator[DomainFigures]:
    """Return every real domain with its newest figures, in name order."""
    rows = session.execute(
        select(
            DomainName.name,
            DomainUsage.measured_at,
            DomainUsage.mailboxes,
            DomainUsage.measured,
            DomainUsage.bytes,
            DomainUsage.messages,
            DomainUsage.aliases,
        )
        .outerjoin(DomainUsage, DomainUsage.id == newest_of_domain())
        .where(~DomainName.is_alias)
        .order_by(DomainName.name),
        execution_options={"yield_per": _FETCH},
    )
    return (DomainFigures(*row) for row in rows)


def list_mailboxes(session: Session, domain: str) -> Iterator[MailboxFigures]:
    """Return the mailboxes of a domain with their newest figures, in name order.

    :param domain: its name, or that of an alias domain.
    :raises NoSuchDomain: it is not known.
    """
    return _mailboxes(session, domain, None)


def get_mailbox(session: Session, address: str) -> MailboxFigures:
    """Return the newest figures of a mailbox.

    :raises NoSuchDomain: its domain is not known.
    :raises NoSuchUser: the domain has no such mailbox.
    """
    name, domain = split_address(address)
    for figures in _mailboxes(session, domain, lower(name)):
        return figures
    raise NoSuchUser(f"{address}: no such mailbox")


def _mailboxes(session: Session, domain: str, name: str | None) -> Iterator[MailboxFigures]:
    known = aliased(DomainName)
    real = session.execute(
        select(DomainName.domain_id, DomainName.name)
        .join(known, known.domain_id == DomainName.domain_id)
        .where(known.name == lower(domain), ~DomainName.is_alias)
    ).first()
    if real is None:
        raise NoSuchDomain(f"{domain}: no such domain")
    wanted = (
        select(
            Mailbox.name,
            LatestUsage.measured_at,
            LatestUsage.bytes,
            LatestUsage.messages,
            MailboxUsage.source,
            Mailbox.quota_bytes,
            Mailbox.quota_messages,
        )
        .outerjoin_from(Mailbox, LatestUsage, LatestUsage.mailbox_id == Mailbox.id)
        .outerjoin(MailboxUsage, MailboxUsage.id == LatestUsage.usage_id)
        .where(Mailbox.domain_id == real[0])
        .order_by(Mailbox.name)
    )
    if name is not None:
        wanted = wanted.where(Mailbox.name == name)
    rows = session.execute(wanted, execution_options={"yield_per": _FETCH})
    return (MailboxFigures(f"{row[0]}@{real[1]}", *row[1:]) for row in rows)
