"""Domains: finding and listing them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, bindparam, case, cast, exists, func, select
from sqlalchemy.orm import Session, aliased

from vpopsql.errors import Conflict, NoSuchDomain
from vpopsql.model import Domain, DomainName, DomainNameCount, SiteSetting
from vpopsql.names import sort_key
from vpopsql.prepared import Paged, Prepared, is_far
from vpopsql.services import ipmaps

_asked = aliased(DomainName, name="asked")
_real = aliased(DomainName, name="real")

_FIND = Prepared(
    select(Domain.id, _real.name, Domain.directory, Domain.uid, Domain.gid)
    .join(_asked, _asked.domain_id == Domain.id)
    .join(_real, (_real.domain_id == Domain.id) & ~_real.is_alias)
    .where(_asked.name == bindparam("name"))
)
_LOCK = Prepared(_FIND.statement.with_for_update(of=Domain))
_NAMES = Prepared(
    select(_asked.domain_id, _real.name)
    .join(_real, (_real.domain_id == _asked.domain_id) & ~_real.is_alias)
    .where(_asked.name == bindparam("name"))
)
_ID = Prepared(select(DomainName.domain_id).where(DomainName.name == bindparam("name")))
_ALIASES = Prepared(
    select(DomainName.name)
    .where(DomainName.domain_id == bindparam("domain_id"), DomainName.is_alias)
    .order_by(DomainName.sort_key)
)
# The real name is looked up for aliases alone: of ten thousand names that saves a third.
_LIST = Paged(
    select(
        case(
            (
                _asked.is_alias,
                select(_real.name)
                .where(_real.domain_id == _asked.domain_id, ~_real.is_alias)
                .scalar_subquery(),
            ),
            else_=_asked.name,
        ),
        _asked.name,
    ).order_by(_asked.sort_key)
)
# Names are counted already, part by part: only within its own part one is looked for.
_sum = cast(func.coalesce(func.sum(DomainNameCount.names), 0), BigInteger)
_COUNT = Prepared(select(_sum))
_key = bindparam("sort_key", type_=DomainName.sort_key.type)
_own = aliased(DomainNameCount, name="own")
_part = select(func.max(_own.from_key)).where(_own.from_key <= _key).scalar_subquery()
_BEFORE = Prepared(
    select(
        select(_sum).where(DomainNameCount.from_key < _part).scalar_subquery()
        + select(func.count())
        .where(DomainName.sort_key >= _part, DomainName.sort_key < _key)
        .scalar_subquery()
    ).where(exists().where(DomainName.name == bindparam("name")))
)
_DEFAULT = Prepared(select(SiteSetting.value).where(SiteSetting.key == "default_domain"))


@dataclass(frozen=True, slots=True)
class FoundDomain:
    """A real domain."""

    id: int
    name: str
    directory: str
    uid: int
    gid: int


def find_domain(session: Session, name: str) -> FoundDomain | None:
    """Return the domain that ``name``, its own or an alias's, stands for."""
    row = _FIND.first(session, name=name)
    return None if row is None else FoundDomain(*row)


def get_domain(session: Session, name: str) -> FoundDomain:
    """Return the domain that ``name``, its own or an alias's, stands for.

    :raises NoSuchDomain: there is none.
    """
    found = find_domain(session, name)
    if found is None:
        raise NoSuchDomain(name)
    return found


def lock_domain(session: Session, name: str) -> FoundDomain:
    """Return a domain that no other session changes until this transaction ends.

    :raises NoSuchDomain: there is none.
    :raises Conflict: while its lock was waited for, names have changed.
    """
    if is_far(session):
        expect_lock(session, name)
    row = _LOCK.first(session, name=name)
    if row is None:
        raise NoSuchDomain(name)
    found = FoundDomain(*row)
    # Who waited has its directory as it is by now, and names as they were before. On SQLite nobody
    # waits in the middle of a transaction.
    if is_far(session) and _NAMES.first(session, name=name) != (found.id, found.name):
        raise Conflict(f"the names of the domain {name} have just changed: try again")
    return found


def expect_find(session: Session, name: str) -> None:
    """Say that `find_domain` will be called, see `Prepared.expect`."""
    _FIND.expect(session, name=name)


def expect_lock(session: Session, name: str) -> None:
    """Say that `lock_domain` will be called, see `Prepared.expect`."""
    _LOCK.expect(session, name=name)
    _NAMES.expect(session, name=name)


def is_name_of(session: Session, name: str, domain_id: int) -> bool:
    """Tell whether ``name`` is the domain's own name or an alias of it."""
    return bool(_ID.value(session, name=name) == domain_id)


def alias_domains(session: Session, domain_id: int) -> list[str]:
    """Return the alias domains of a domain, in the order of vpopmail's files."""
    return [name for (name,) in _ALIASES.all(session, domain_id=domain_id)]


def list_domains(session: Session, page: int = 0, per_page: int = 0) -> Sequence[tuple[str, str]]:
    """Return ``(real name, name)`` of every domain and alias domain.

    :param page: 1-based; pages beyond the last are empty, not an error; 0: everything.
    :param per_page: names a page.
    Source: vpopmaild ``list_domains``: in the order of users/assign.
    """
    return _LIST.page(session, page, per_page)


def page_of_domain(session: Session, name: str, per_page: int) -> int | None:
    """Return the page of `list_domains` that ``name`` is on; None when there is no such name.

    :param per_page: names a page; 0: all on the first.
    """
    if per_page <= 0:
        return None if _ID.value(session, name=name) is None else 1
    before = _BEFORE.value(session, name=name, sort_key=sort_key(name))
    return None if before is None else int(before) // per_page + 1


def count_domains(session: Session) -> int:
    """Return how many domains and alias domains there are."""
    return int(_COUNT.value(session))


def default_domain(session: Session, local_ip: str) -> str | None:
    """Return the domain of an address that names none.

    :param local_ip: the address that the client connected to; its mapping comes first.
    """
    mapped = ipmaps.find_mapping(session, local_ip)
    if mapped is not None:
        return mapped[1]
    found: str | None = _DEFAULT.value(session)
    return found
