"""Lists of what a site has, for people: rows of plain values, while they still come."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, func, select
from sqlalchemy.orm import Session

from vpopsql.model import (
    LIMIT_SETTINGS,
    CatchAll,
    Domain,
    DomainLimits,
    DomainName,
    DotQmailFile,
    DotQmailLine,
    Flag,
    LastAuth,
    LineKind,
    Mailbox,
)
from vpopsql.services.account_changes import NEVER

_AT_ONCE = 1000

_real = and_(DomainName.domain_id == Domain.id, ~DomainName.is_alias)
_of_mailbox = and_(DomainName.domain_id == Mailbox.domain_id, ~DomainName.is_alias)


class DomainRow(NamedTuple):
    """A domain."""

    name: str
    mailboxes: int
    aliases: int
    """Alias domains."""
    catchall: CatchAll
    catchall_target: str | None
    directory: str
    created_at: datetime | None


class MailboxRow(NamedTuple):
    """A mailbox."""

    name: str
    domain: str
    comment: str
    quota_bytes: int | None
    quota_messages: int | None
    flags: int
    directory: str
    created_at: datetime | None
    last_auth_at: datetime | None
    """None: never."""


class LoginRow(NamedTuple):
    """When a mailbox last logged in by one service."""

    name: str
    domain: str
    service: str
    at: datetime | None
    """None: never."""
    remote_ip: str | None


class LineRow(NamedTuple):
    """A line of a dot-qmail file."""

    name: str
    """The alias, or the mailbox that the file is of."""
    domain: str
    line: str
    kind: LineKind


def list_domains(session: Session, pattern: str | None = None) -> Iterator[DomainRow]:
    """Give the domains in name order, without alias domains.

    :param pattern: only those whose name has it.
    """
    mailboxes = (
        select(Mailbox.domain_id, func.count().label("number"))
        .group_by(Mailbox.domain_id)
        .subquery()
    )
    aliases = (
        select(DomainName.domain_id, func.count().label("number"))
        .where(DomainName.is_alias)
        .group_by(DomainName.domain_id)
        .subquery()
    )
    query = (
        select(
            DomainName.name,
            func.coalesce(mailboxes.c.number, 0),
            func.coalesce(aliases.c.number, 0),
            Domain.catchall,
            Domain.catchall_target,
            Domain.directory,
            Domain.created_at,
        )
        .join(Domain, _real)
        .outerjoin(mailboxes, mailboxes.c.domain_id == Domain.id)
        .outerjoin(aliases, aliases.c.domain_id == Domain.id)
        .order_by(DomainName.name)
    )
    if pattern:
        query = query.where(DomainName.name.contains(pattern, autoescape=True))
    return (DomainRow(*row) for row in _rows(session, query))


def list_alias_domains(
    session: Session, domain_id: int | None = None
) -> Iterator[tuple[str, str]]:
    """Give ``(alias, real name)`` of alias domains in name order."""
    alias = DomainName.__table__.alias("alias")
    query = (
        select(alias.c.name, DomainName.name)
        .join(Domain, Domain.id == alias.c.domain_id)
        .join(DomainName, _real)
        .where(alias.c.is_alias)
        .order_by(alias.c.name)
    )
    if domain_id is not None:
        query = query.where(alias.c.domain_id == domain_id)
    return ((name, real) for name, real in _rows(session, query))


def list_mailboxes(
    session: Session,
    domain_id: int | None = None,
    *,
    pattern: str | None = None,
    flags: Flag | None = None,
    name: str | None = None,
) -> Iterator[MailboxRow]:
    """Give mailboxes by domain and name.

    :param pattern: only those whose name has it.
    :param flags: only those that have one of these.
    :param name: only the one that is called so.
    """
    last = (
        select(LastAuth.mailbox_id, func.max(LastAuth.at).label("at"))
        .where(LastAuth.remote_ip != NEVER)
        .group_by(LastAuth.mailbox_id)
        .subquery()
    )
    if domain_id is not None:
        # Asked of one domain's mailboxes alone, not of all.
        of_it = select(Mailbox.id).where(Mailbox.domain_id == domain_id)
        last = (
            select(LastAuth.mailbox_id, func.max(LastAuth.at).label("at"))
            .where(LastAuth.remote_ip != NEVER, LastAuth.mailbox_id.in_(of_it))
            .group_by(LastAuth.mailbox_id)
            .subquery()
        )
    query = (
        select(
            Mailbox.name,
            DomainName.name,
            Mailbox.comment,
            Mailbox.quota_bytes,
            Mailbox.quota_messages,
            Mailbox.flags,
            Mailbox.directory,
            Mailbox.created_at,
            last.c.at,
        )
        .join(DomainName, _of_mailbox)
        .outerjoin(last, last.c.mailbox_id == Mailbox.id)
        .order_by(DomainName.name, Mailbox.name)
    )
    if domain_id is not None:
        query = query.where(Mailbox.domain_id == domain_id)
    if pattern:
        query = query.where(Mailbox.name.contains(pattern, autoescape=True))
    if name is not None:
        query = query.where(Mailbox.name == name)
    if flags is not None:
        query = query.where(Mailbox.flags.bitwise_and(int(flags)) != 0)
    return (MailboxRow(*row) for row in _rows(session, query))


def list_logins(
    session: Session, domain_id: int | None = None, name: str | None = None
) -> Iterator[LoginRow]:
    """Give the last login of each mailbox and service, by domain, name and service.

    :param name: only of the mailbox that is called so.
    """
    query = (
        select(Mailbox.name, DomainName.name, LastAuth.service, LastAuth.at, LastAuth.remote_ip)
        .join(Mailbox, Mailbox.id == LastAuth.mailbox_id)
        .join(DomainName, _of_mailbox)
        .order_by(DomainName.name, Mailbox.name, LastAuth.service)
    )
    if domain_id is not None:
        query = query.where(Mailbox.domain_id == domain_id)
    if name is not None:
        query = query.where(Mailbox.name == name)
    for user, domain, service, at, ip in _rows(session, query):
        if ip == NEVER:
            yield LoginRow(user, domain, service, None, None)
        else:
            yield LoginRow(user, domain, service, at, ip)


def list_alias_lines(
    session: Session, domain_id: int | None = None, name: str | None = None
) -> Iterator[LineRow]:
    """Give the lines of aliases, without catch-alls and blank lines, by domain, name and place.

    :param name: only of the alias that is called so.
    """
    query = (
        select(DotQmailFile.name, DomainName.name, DotQmailLine.line, DotQmailLine.kind)
        .join(DotQmailLine, DotQmailLine.file_id == DotQmailFile.id)
        .join(
            DomainName,
            and_(DomainName.domain_id == DotQmailFile.domain_id, ~DomainName.is_alias),
        )
        .where(
            DotQmailFile.mailbox_id.is_(None),
            DotQmailFile.name.not_in(("", "default")),
            DotQmailLine.kind != LineKind.BLANK,
        )
        .order_by(DomainName.name, DotQmailFile.name, DotQmailLine.position)
    )
    if domain_id is not None:
        query = query.where(DotQmailFile.domain_id == domain_id)
    if name is not None:
        query = query.where(DotQmailFile.name == name)
    return (LineRow(*row) for row in _rows(session, query))


def list_forward_lines(
    session: Session, domain_id: int | None = None, name: str | None = None
) -> Iterator[LineRow]:
    """Give the lines of mailboxes' own ``.qmail``, by domain, mailbox and place.

    :param name: only of the mailbox that is called so.
    """
    query = (
        select(Mailbox.name, DomainName.name, DotQmailLine.line, DotQmailLine.kind)
        .join(DotQmailFile, DotQmailFile.mailbox_id == Mailbox.id)
        .join(DotQmailLine, DotQmailLine.file_id == DotQmailFile.id)
        .join(DomainName, _of_mailbox)
        .where(DotQmailFile.name == "", DotQmailLine.kind != LineKind.BLANK)
        .order_by(DomainName.name, Mailbox.name, DotQmailLine.position)
    )
    if domain_id is not None:
        query = query.where(Mailbox.domain_id == domain_id)
    if name is not None:
        query = query.where(Mailbox.name == name)
    return (LineRow(*row) for row in _rows(session, query))


def list_limits(session: Session) -> Iterator[tuple[Any, ...]]:
    """Give the name of each domain with limits of its own, and its `LIMIT_SETTINGS`."""
    columns = [getattr(DomainLimits, each) for each in LIMIT_SETTINGS]
    query = (
        select(DomainName.name, *columns)
        .join(
            DomainLimits,
            and_(DomainLimits.domain_id == DomainName.domain_id, ~DomainName.is_alias),
        )
        .order_by(DomainName.name)
    )
    return _rows(session, query)


def _rows(session: Session, query: Select[*tuple[Any, ...]]) -> Iterator[Any]:
    return iter(session.execute(query, execution_options={"yield_per": _AT_ONCE}))
