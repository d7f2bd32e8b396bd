"""What lists of domains and accounts show: everything about each of many, in few queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, case, func, select
from sqlalchemy.orm import Session, aliased

from vpopsql.model import Domain, DomainName, Flag, LastAuth, Mailbox
from vpopsql.services.account_changes import NEVER

FLAGS_OF_LIMITS: Mapping[str, Flag] = {
    "disable_imap": Flag.NO_IMAP,
    "disable_smtp": Flag.NO_SMTP,
    "disable_pop": Flag.NO_POP,
    "disable_webmail": Flag.NO_WEBMAIL,
    "disable_external_relay": Flag.NO_RELAY,
    "disable_dialup": Flag.NO_DIALUP,
    "disable_password_changing": Flag.NO_PASSWD_CHNG,
    "disable_spamassassin": Flag.NO_SPAMASSASSIN,
    "delete_spam": Flag.DELETE_SPAM,
    "disable_maildrop": Flag.NO_MAILDROP,
}
"""Limit of a domain -> the flag that it sets on all accounts that the limits hold for."""

_real = aliased(DomainName, name="real")


@dataclass(frozen=True, slots=True)
class DomainOverview:
    """One name of a domain."""

    name: str
    real: str
    """The name of the domain itself, which differs from `name` for an alias domain."""
    directory: str
    uid: int
    gid: int
    accounts: int

    @property
    def is_alias(self) -> bool:
        """Tell whether this is an alias domain."""
        return self.name != self.real


@dataclass(frozen=True, slots=True)
class AccountOverview:
    """A mailbox with everything that is known of it."""

    last_auth: tuple[datetime, str] | None
    """When and from where it last logged in, by whatever service; None: nothing is known. From
    `NEVER` it was made then, and has not logged in since."""
    name: str
    password_hash: str
    clear_text: str | None
    comment: str
    apop_uid: int
    flags: int
    """Its own bits, without those that the domain's limits add."""
    directory: str
    quota_text: str

    def effective_flags(self, limits: Mapping[str, int | bool]) -> int:
        """Return the flags that hold: its own, and those of its domain's ``limits``."""
        if self.flags & Flag.V_OVERRIDE:
            return self.flags
        added = sum(flag for name, flag in FLAGS_OF_LIMITS.items() if limits[name])
        return self.flags | added


def list_domain_overviews(session: Session) -> list[DomainOverview]:
    """Return every domain and alias domain, in the order of users/assign."""
    accounts = (
        select(Mailbox.domain_id, func.count().label("number"))
        .group_by(Mailbox.domain_id)
        .subquery()
    )
    query = (
        select(
            DomainName.name,
            _real.name,
            Domain.directory,
            Domain.uid,
            Domain.gid,
            func.coalesce(accounts.c.number, 0),
        )
        .join(Domain, Domain.id == DomainName.domain_id)
        .join(_real, (_real.domain_id == Domain.id) & ~_real.is_alias)
        .outerjoin(accounts, accounts.c.domain_id == Domain.id)
        .order_by(DomainName.sort_key)
    )
    return [DomainOverview(*row) for row in session.execute(query)]


def list_account_overviews(
    session: Session, domain_id: int, name: str | None = None
) -> list[AccountOverview]:
    """Return the mailboxes of a domain in name order.

    :param name: only this one.
    """
    of = [Mailbox.domain_id == domain_id]
    if name is not None:
        of.append(Mailbox.name == name)
    logins = (
        select(LastAuth.mailbox_id, LastAuth.at, LastAuth.remote_ip)
        .join(Mailbox, Mailbox.id == LastAuth.mailbox_id)
        .where(*of)
        .order_by(LastAuth.at)
    )
    # The last one of each stays.
    last = {mailbox_id: (at, ip) for mailbox_id, at, ip in session.execute(logins)}
    query = (
        select(
            Mailbox.id,
            Mailbox.name,
            Mailbox.password_hash,
            Mailbox.clear_text,
            Mailbox.comment,
            Mailbox.apop_uid,
            Mailbox.flags,
            Mailbox.directory,
            Mailbox.quota_text,
        )
        .where(*of)
        .order_by(Mailbox.name)
    )
    return [AccountOverview(last.get(id_), *rest) for id_, *rest in _rows(session, query)]


def _rows(session: Session, query: Select[*tuple[Any, ...]]) -> Sequence[Any]:
    return session.execute(query).all()


@dataclass(frozen=True, slots=True)
class OldAccount:
    """A mailbox that nobody has used for long."""

    name: str
    domain: str
    directory: str
    last_auth: datetime
    has_logged_in: bool
    """Whether that was a login; else it is when the mailbox was made."""


def list_old_accounts(
    session: Session, before: datetime, domains: Sequence[int] | None = None
) -> list[OldAccount]:
    """Return the mailboxes without a login since ``before``, by domain and name.

    Those of which no login is known, nor when they were made, are not old; nor is a postmaster.

    :param domains: only those of these; None: of all.
    Source: vpopmail ``vdeloldusers``.
    """
    last = (
        select(
            LastAuth.mailbox_id,
            func.max(LastAuth.at).label("at"),
            func.max(case((LastAuth.remote_ip == NEVER, 0), else_=1)).label("has_logged_in"),
        )
        .group_by(LastAuth.mailbox_id)
        .subquery()
    )
    query = (
        select(Mailbox.name, _real.name, Mailbox.directory, last.c.at, last.c.has_logged_in)
        .join(last, last.c.mailbox_id == Mailbox.id)
        .join(_real, (_real.domain_id == Mailbox.domain_id) & ~_real.is_alias)
        .where(last.c.at < before, Mailbox.name != "postmaster")
        .order_by(_real.sort_key, Mailbox.name)
    )
    if domains is not None:
        query = query.where(Mailbox.domain_id.in_(domains))
    return [
        OldAccount(name, of, directory, at, has_logged_in=bool(known))
        for name, of, directory, at, known in _rows(session, query)
    ]
