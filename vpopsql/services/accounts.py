"""Mailboxes, the "users" of the protocol: finding, listing, logging in."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, func, select
from sqlalchemy.orm import Session

from vpopsql import passwords
from vpopsql.errors import InvalidLogin, NoSuchUser
from vpopsql.model import Domain, DomainName, Flag, LastAuth, Mailbox, SiteSetting
from vpopsql.prepared import Paged, Prepared, is_far
from vpopsql.services.rights import Actor, Level

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
_DOMAIN_ID = Prepared(select(DomainName.domain_id).where(DomainName.name == bindparam("domain")))
# A mailbox is looked up by its key alone, and what belongs to it by subqueries: SQLite compiles a
# join anew for each value of a name, to see whether the index of administrators holds it. That
# takes 17 µs where looking up takes 7.
OF_NAME = and_(
    Mailbox.domain_id == _DOMAIN_ID.statement.scalar_subquery(),
    Mailbox.name == bindparam("name"),
)
"""Of a mailbox ``name`` of ``domain``, which may be an alias domain: both are parameters."""
_REAL_NAME = (
    select(DomainName.name)
    .where(DomainName.domain_id == Mailbox.domain_id, ~DomainName.is_alias)
    .scalar_subquery()
)
_FIND = Prepared(select(*_COLUMNS, _REAL_NAME).where(OF_NAME))
_SITE_DIRECTORY = (
    select(SiteSetting.value).where(SiteSetting.key == "vpopmail_dir").scalar_subquery()
)
_LOGIN = Prepared(
    select(
        *_COLUMNS,
        _REAL_NAME,
        Mailbox.created_at,
        Mailbox.domain_id,
        *(
            select(column).where(Domain.id == Mailbox.domain_id).scalar_subquery()
            for column in (Domain.directory, Domain.uid, Domain.gid)
        ),
        _SITE_DIRECTORY,
    ).where(OF_NAME)
)
_RIGHTS = Prepared(
    select(Mailbox.flags).where(
        Mailbox.id == bindparam("id"),
        Mailbox.name == bindparam("name"),
        Mailbox.created_at.is_not_distinct_from(
            bindparam("created_at", type_=Mailbox.created_at.type)
        ),
    )
)
# By the id, so that the index on (domain, name) gives the order: a page costs a page.
_LIST = Paged(
    select(*_COLUMNS).where(Mailbox.domain_id == bindparam("domain_id")).order_by(Mailbox.name)
)
_COUNT = Prepared(
    select(func.count())
    .select_from(Mailbox)
    .where(Mailbox.domain_id == _DOMAIN_ID.statement.scalar_subquery())
)
_LAST_AUTH = Prepared(
    select(LastAuth.at, LastAuth.remote_ip)
    .where(LastAuth.mailbox_id == bindparam("mailbox_id"))
    .order_by(LastAuth.at.desc())
    .limit(1)
)


class Account(NamedTuple):
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
    row = _FIND.first(session, domain=domain, name=name)
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
    domain_id = _DOMAIN_ID.value(session, domain=domain)
    rows = _LIST.page(session, page, per_page, domain_id=domain_id)
    return list(itertools.starmap(Account, rows))


def count_accounts(session: Session, domain: str) -> int:
    """Return how many mailboxes ``domain`` has; 0 when there is no such domain."""
    return _COUNT.value(session, domain=domain) or 0


def find_login(
    session: Session,
    name: str,
    domain: str,
    site_directory: str,
    *,
    remote_ip: str = "",
    request_id: str = "",
) -> Login | None:
    """Return what a login as ``name@domain`` would tell, before its password is verified.

    :param site_directory: vpopmail's home for a database that does not know it.
    :param remote_ip, request_id: what the audit log would say of who logs in.
    """
    row: Any = _LOGIN.first(session, domain=domain, name=name)
    if row is None:
        return None
    found = Account(*row[:-6])
    created_at, domain_id, directory, uid, gid, site = row[-6:]
    actor = Actor(
        mailbox_id=found.id,
        name=found.name,
        domain_id=domain_id,
        domain=found.domain,
        domain_directory=directory,
        directory=found.directory,
        flags=Flag(found.flags),
        site_directory=site or site_directory,
        created_at=created_at,
        remote_ip=remote_ip,
        request_id=request_id,
    )
    return Login(actor, found, uid, gid)


def verify_login(
    found: Login | None,
    password: str,
    verify: Callable[[str, str | None], bool] = passwords.verify,
) -> Login:
    """Return ``found`` if ``password`` is its password; no transaction should be open.

    :param verify: as `passwords.verify`; what it is given does not tell whether there is a user.
    :raises InvalidLogin: it is not, or nobody was found; both take the same time.
    """
    is_right = verify(password, found.account.password_hash if found else None)
    if found and is_right:
        return found
    raise InvalidLogin


def with_present_rights(session: Session, actor: Actor) -> Actor:
    """Return ``actor``, who has logged in before, with the rights that he has by now.

    Source: vpopmaild, where who administers a domain that is gone still finds nobody there.
    """
    return ask_present_rights(session, actor)()


def ask_present_rights(
    session: Session, actor: Actor, *, may_be_gone: bool = False
) -> Callable[[], Actor]:
    """Return what `with_present_rights` does once it is called, asked ahead where that is quicker.

    It returns ``actor`` himself if his rights are the same.

    :param may_be_gone: ask ahead for all that there is to know then, too.
    """
    if actor.deleted_himself:
        return lambda: actor
    if may_be_gone:
        _DOMAIN_ID.expect(session, domain=actor.domain)
    him = {"id": actor.mailbox_id, "name": actor.name, "created_at": actor.created_at}
    if is_far(session):
        ask = _RIGHTS.ahead(session, **him)
    else:
        ask = partial(_RIGHTS.first, session, **him)

    def answer() -> Actor:
        row = ask()
        if row is not None:
            return actor if row[0] == actor.flags else replace(actor, flags=Flag(row[0]))
        is_domain_left = _DOMAIN_ID.value(session, domain=actor.domain) is not None
        if actor.is_gone or not (is_domain_left or actor.level is Level.SYSTEM):
            return actor
        return replace(actor, flags=Flag(0), is_gone=True)

    return answer


def last_auth(session: Session, mailbox_id: int) -> tuple[datetime, str] | None:
    """Return when and from which address an account last logged in, by whatever service."""
    row = _LAST_AUTH.first(session, mailbox_id=mailbox_id)
    return None if row is None else (row[0], row[1])
