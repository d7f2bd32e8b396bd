"""Adding and deleting domains and alias domains, by system administrators."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from vpopsql.columns import utc_now
from vpopsql.errors import (
    DomainExists,
    DomainNameTooLong,
    InvalidDomainName,
    NoSuchDomain,
)
from vpopsql.model import CatchAll, Domain, DomainName, ForeignLine, Mailbox, table_of
from vpopsql.names import DOMAIN_MAX, new_domain_name_problem, sort_key, to_a_label
from vpopsql.prepared import Change, Prepared
from vpopsql.quota import Quota
from vpopsql.services import buckets
from vpopsql.services.account_changes import Home, Secret, home_in, insert_account, leave
from vpopsql.services.changes import MASKED, record
from vpopsql.services.domains import FoundDomain, expect_find, find_domain, lock_domain
from vpopsql.services.rights import Actor, require_system

RCPTHOSTS_MAX = 50
"""Lines of control/rcpthosts; further names go to morercpthosts.  Source: vpopmail."""

_DOMAIN = Prepared(insert(table_of(Domain)).returning(Domain.id))
_NAME = Change(insert(table_of(DomainName)))
_RCPTHOSTS_LINES = Prepared(
    select(
        select(func.count()).where(~DomainName.in_morercpthosts).scalar_subquery()
        + select(func.count()).where(ForeignLine.file == "control/rcpthosts").scalar_subquery()
    )
)


@dataclass(frozen=True, slots=True)
class NewDomains:
    """What new domains are like."""

    owner: tuple[int, int]
    """User and group id of their files."""
    catchall: CatchAll


@dataclass(frozen=True, slots=True)
class Deleted:
    """A domain that is gone."""

    name: str
    directory: str | None
    """What is to go when this is committed; None for an alias domain."""
    names: frozenset[str]
    """All names that are gone."""


def expect_new(session: Session, name: str) -> None:
    """Say that `add_domain` will be called, see `Prepared.expect`."""
    # Locked before it is looked for names, as by `lock_names`.
    buckets.expect(session, None)
    _RCPTHOSTS_LINES.expect(session)
    expect_find(session, name)


def add_domain(
    session: Session,
    actor: Actor,
    name: str,
    secret: Secret,
    new: NewDomains,
    make: Callable[[FoundDomain, Home], None] | None = None,
) -> tuple[FoundDomain, Home]:
    """Add a domain with its postmaster; return it and the postmaster's home.

    :param make: makes their directories, before the hash is waited for.
    :raises DomainExists: there is a domain or alias domain of this name.
    :raises DomainNameTooLong, InvalidDomainName: no domain may be called so.
    """
    require_system(actor)
    expect_new(session, name)
    name = new_name(session, name)
    in_morercpthosts = _is_rcpthosts_full(session)
    parent = f"{actor.site_directory}/domains"
    bucket = buckets.take_bucket(session, None)
    directory = "/".join(filter(None, (parent, bucket, name)))
    uid, gid = new.owner
    domain_id = _DOMAIN.value(
        session,
        directory=directory,
        uid=uid,
        gid=gid,
        created_at=utc_now(),
        catchall=new.catchall,
    )
    _insert_name(session, name, domain_id, is_alias=False, in_morercpthosts=in_morercpthosts)
    domain = FoundDomain(domain_id, name, directory, uid, gid)
    changes = {
        "directory": (None, directory),
        "catchall": (None, new.catchall.value),
        "password": (None, MASKED),
    }
    record(session, actor, "add_domain", ("domain", name), changes, domain=name)
    home = home_in(domain, buckets.begin(session, domain_id), "postmaster", Quota())
    make_home = partial(make, domain) if make else leave
    insert_account(session, domain_id, "postmaster", secret, home, make_home)
    return domain, home


def add_alias_domain(session: Session, actor: Actor, first: str, second: str) -> str:
    """Make one of two names an alias of the other, which exists; return the real domain.

    :raises NoSuchDomain: neither name exists.
    :raises DomainExists: both do.
    :raises DomainNameTooLong, InvalidDomainName: no domain may be called so.
    """
    require_system(actor)
    # The documentation wishes for it: whichever of the two exists is the real one.
    real, alias = (first, second) if find_domain(session, first) else (second, first)
    if real == second and find_domain(session, second) is None:
        raise NoSuchDomain(first)
    domain = lock_domain(session, real)
    lock_names(session)
    alias = new_name(session, alias)
    insert_alias(session, alias, domain.id)
    changes = {"alias": (None, alias)}
    record(session, actor, "add_alias_domain", ("domain", domain.name), changes, domain=None)
    return domain.name


def delete_domain(session: Session, actor: Actor, name: str) -> Deleted:
    """Delete an alias domain, or a domain with all its aliases and everything in it.

    :raises NoSuchDomain: there is none.
    :raises DomainNameTooLong: there cannot be one.
    """
    require_system(actor)
    if len(name) > DOMAIN_MAX:
        raise DomainNameTooLong(name)
    domain = lock_domain(session, name)
    if name != domain.name:
        session.execute(delete(DomainName).where(DomainName.name == name))
        alias = {"alias": (name, None)}
        record(session, actor, "del_alias_domain", ("domain", domain.name), alias, domain=None)
        return Deleted(name, None, frozenset({name}))
    parent = f"{actor.site_directory}/domains"
    all_names = select(DomainName.name).where(DomainName.domain_id == domain.id)
    gone = frozenset(session.scalars(all_names))
    accounts = session.scalar(select(func.count()).where(Mailbox.domain_id == domain.id))
    session.execute(delete(Domain).where(Domain.id == domain.id))
    buckets.free_bucket(session, None, buckets.bucket_of(domain.directory, parent))
    changes: dict[str, tuple[object, object]] = {
        "directory": (domain.directory, None),
        "aliases": (", ".join(sorted(gone - {name})), None),
        "users": (accounts, None),
    }
    record(session, actor, "del_domain", ("domain", name), changes, domain=name)
    return Deleted(name, domain.directory, gone)


def lock_names(session: Session) -> None:
    """Let no other session take a name for a domain until this transaction ends.

    Who finds a name free has it then. The lock is that of the site's counter, which new domains
    need anyway; whoever locks a domain as well does that first.
    """
    buckets.lock(session, None)


def new_name(session: Session, text: str) -> str:
    """Return a name for a domain as it is stored, if it may be used; names are locked.

    :raises DomainNameTooLong, InvalidDomainName: no domain may be called so.
    :raises DomainExists: one is.
    """
    if len(text) > DOMAIN_MAX:
        raise DomainNameTooLong(text)
    if new_domain_name_problem(text):
        raise InvalidDomainName(text)
    name = to_a_label(text)
    if find_domain(session, name):
        raise DomainExists(name)
    return name


def insert_alias(session: Session, name: str, domain_id: int) -> None:
    """Write the row of a new alias domain; whether it may be there, the caller has asked."""
    is_full = _is_rcpthosts_full(session)
    _insert_name(session, name, domain_id, is_alias=True, in_morercpthosts=is_full)


def _insert_name(
    session: Session, name: str, domain_id: int, *, is_alias: bool, in_morercpthosts: bool
) -> None:
    _NAME.run(
        session,
        name=name,
        domain_id=domain_id,
        is_alias=is_alias,
        sort_key=sort_key(name),
        in_morercpthosts=in_morercpthosts,
    )


def _is_rcpthosts_full(session: Session) -> bool:
    return bool(_RCPTHOSTS_LINES.value(session) >= RCPTHOSTS_MAX)
