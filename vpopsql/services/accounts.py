"""Mailboxes, the "users" of the protocol: finding, listing, logging in."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from vpopsql import passwords
from vpopsql.errors import InvalidLogin, NoSuchUser
from vpopsql.model import Domain, DomainName, Flag, LastAuth, Mailbox, SiteSetting
from vpopsql.services.domains import paged
from vpopsql.services.rights import Actor

_asked = aliased(DomainName, name="asked")
_real = aliased(DomainName, name="real")

_COLUMNS = (
    Mailbox.id,
    Mailbox.name,
    Mailbox.comment,
    Mailbox.quota_text,
    Mailbox.directory,
    Mailbox.password_hash,
    Mailbox.clear_text,
    Mailbox.flags,
)
_FIND = (
    select(*_COLUMNS, _real.name)
    .select_from(_asked)
    .join(_real, (_real.domain_id == _asked.domain_id) & ~_real.is_alias)
    .join(Mailbox, Mailbox.domain_id == _asked.domain_id)
)
_SITE_DIRECTORY = (
    select(SiteSetting.value).where(SiteSetting.key == "vpopmail_dir").scalar_subquery()
)
_LOGIN = (
    select(
        *_COLUMNS,
        _real.name,
        Domain.id,
        Domain.directory,
        Domain.uid,
        Domain.gid,
        _SITE_DIRECTORY,
    )
    .select_from(_asked)
    .join(_real, (_real.domain_id == _asked.domain_id) & ~_real.is_alias)
    .join(Domain, Domain.id == _asked.domain_id)
    .join(Mailbox, Mailbox.domain_id == _asked.domain_id)
)
_LIST = select(*_COLUMNS).join(DomainName, DomainName.domain_id == Mailbox.domain_id)


@dataclass(frozen=True, slots=True)
class Account:
    """A mailbox as the protocol shows it."""

    id: int
    name: str
    comment: str
    quota_text: str
    directory: str
    password_hash: str
    clear_text: str | None
    flags: int
    """Its own bits, without those that the domain's limits add."""
    domain: str = ""
    """The real domain; empty in lists of one domain."""


@dataclass(frozen=True, slots=True)
class Login:
    """What a good login tells."""

    actor: Actor
    account: Account
    uid: int
    gid: int


def find_account(session: Session, name: str, domain: str) -> Account | None:
    """Return the mailbox ``name`` of ``domain``, which may be an alias domain."""
    query = _FIND.where(_asked.name == domain, Mailbox.name == name)
    row = session.execute(query).first()
    return None if row is None else Account(*row)


def get_account(session: Session, name: str, domain: str) -> Account:
    """Return the mailbox ``name`` of ``domain``, which may be an alias domain.

    :raises NoSuchUser: there is none.
    """
    account = find_account(session, name, domain)
    if account is None:
        raise NoSuchUser(f"{name}@{domain}")
    return account


def list_accounts(
    session: Session, domain: str, page: int = 0, per_page: int = 0
) -> list[Account]:
    """Return the mailboxes of ``domain`` in name order; none when there is no such domain.

    :param page: 1-based; pages beyond the last are empty, not an error; 0: everything.
    :param per_page: mailboxes a page.
    Source: vpopmaild ``list_users``.
    """
    query = _LIST.where(DomainName.name == domain).order_by(Mailbox.name)
    return [Account(*row) for row in session.execute(paged(query, page, per_page))]


def count_accounts(session: Session, domain: str) -> int:
    """Return how many mailboxes ``domain`` has; 0 when there is no such domain."""
    query = (
        select(func.count())
        .select_from(Mailbox)
        .join(DomainName, DomainName.domain_id == Mailbox.domain_id)
        .where(DomainName.name == domain)
    )
    return session.scalar(query) or 0


def find_login(session: Session, name: str, domain: str, site_directory: str) -> Login | None:
    """Return what a login as ``name@domain`` would tell, before its password is verified.

    :param site_directory: vpopmail's home for a database that does not know it.
    """
    query = _LOGIN.where(_asked.name == domain, Mailbox.name == name)
    row: Any = session.execute(query).first()
    if row is None:
        return None
    found = Account(*row[:-5])
    domain_id, directory, uid, gid, site = row[-5:]
    actor = Actor(
        mailbox_id=found.id,
        name=found.name,
        domain_id=domain_id,
        domain=found.domain,
        domain_directory=directory,
        directory=found.directory,
        flags=Flag(found.flags),
        site_directory=site or site_directory,
    )
    return Login(actor, found, uid, gid)


def verify_login(found: Login | None, password: str) -> Login:
    """Return ``found`` if ``password`` is its password; no transaction should be open.

    :raises InvalidLogin: it is not, or nobody was found; both take the same time.
    """
    if found is None:
        passwords.burn(password)
    elif passwords.verify(password, found.account.password_hash):
        return found
    raise InvalidLogin


def last_auth(session: Session, mailbox_id: int) -> tuple[datetime, str] | None:
    """Return when and from which address an account last logged in, by whatever service."""
    query = (
        select(LastAuth.at, LastAuth.remote_ip)
        .where(LastAuth.mailbox_id == mailbox_id)
        .order_by(LastAuth.at.desc())
        .limit(1)
    )
    row = session.execute(query).first()
    return None if row is None else (row[0], row[1])
