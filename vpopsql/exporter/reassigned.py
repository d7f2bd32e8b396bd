"""What the site's shared files need to know of some names, when only these have changed.

The rest of the files is copied, see `partial`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVarTuple

from sqlalchemy import BigInteger, Select, cast, func, select
from sqlalchemy.orm import Session

from vpopsql.config import Export
from vpopsql.exporter import direct
from vpopsql.exporter.routes import Routes
from vpopsql.exporter.rows import (
    RCPTHOSTS_LINES,
    Foreign,
    Name,
    Selection,
    expect_foreign_lines,
    foreign_lines,
    some_names,
)
from vpopsql.model import Domain, DomainName, DomainNameCount
from vpopsql.names import lower
from vpopsql.prepared import Prepared

Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class Placed:
    """Which of some names qmail-smtpd finds where, and what belongs to the file locals."""

    in_rcpthosts: frozenset[str]
    rcpthosts: int
    """How many names of the whole site rcpthosts has."""
    in_locals: frozenset[str]
    """The site's names among the lines of others in locals."""


@dataclass(frozen=True, slots=True)
class Reassigned:
    """What the lines of some names in the site's files are made of; see `partial`."""

    names: Sequence[Name]
    """By sort key."""
    gone: frozenset[str]
    """Names that the site has not."""
    foreign: dict[str, Sequence[Foreign]]
    """By file below qmail's directory, each by sort key."""
    exact: Mapping[str, bytes]
    """As `direct.lines` returns them."""
    number: int
    """How many names the whole site has."""
    placed: Placed | None
    """None: names have neither come nor gone."""
    others: frozenset[str] = frozenset()
    """Those of all these names that only their place is asked of."""


def _in_rcpthosts(query: Select[*Ts], *, is_imported: bool) -> Select[*Ts]:
    # There are few of them, and they have an index; joined, PostgreSQL would read all domains.
    created_at = (
        select(Domain.created_at).where(Domain.id == DomainName.domain_id).scalar_subquery()
    )
    of_them = created_at.is_(None) if is_imported else created_at.is_not(None)
    return query.where(~DomainName.in_morercpthosts, of_them)


# They are counted as they come and go.
_NUMBER = Prepared(select(cast(func.coalesce(func.sum(DomainNameCount.names), 0), BigInteger)))
_HOW_MANY_IMPORTED = Prepared(
    _in_rcpthosts(select(func.count()).select_from(DomainName), is_imported=True)
)
_IMPORTED = Prepared(
    _in_rcpthosts(select(DomainName.name), is_imported=True).limit(RCPTHOSTS_LINES + 1)
)
_ELDEST = Prepared(
    _in_rcpthosts(select(DomainName.name), is_imported=False)
    .order_by(DomainName.domain_id, DomainName.is_alias, DomainName.sort_key)
    .limit(RCPTHOSTS_LINES)
)
_LOCALS = "control/locals"
_OF_NAMES = Selection(select(DomainName.name), DomainName.name)


def take(
    session: Session,
    export: Export,
    touched: Collection[str],
    domain_ids: Collection[int],
    rcpthosts: Collection[str],
) -> Reassigned:
    """Return what the lines of some names are made of.

    :param touched: names that came or went.
    :param domain_ids: domains whose own lines are wanted as well.
    :param rcpthosts: the names that this file has.
    """
    is_exact = export.delivery == "exact"
    foreign = foreign_lines(session)
    lines_of = set(touched).union(_shorter(touched))
    wanted = set(lines_of)
    few, number, of_others = set[str](), 0, frozenset[str]()
    if touched:
        few, number = _imported(session)
        others = number + len(foreign.get("control/rcpthosts", ()))
        eldest = _eldest(session, RCPTHOSTS_LINES - others)
        few.update(eldest)
        number += len(eldest)
        if others <= RCPTHOSTS_LINES:
            # Nothing becomes of those that it has and is to have.
            wanted |= few.symmetric_difference(rcpthosts)
        of_others = frozenset(lower(each.line.strip()) for each in foreign.get(_LOCALS, ()))
        _OF_NAMES.expect(session, of_others)
    names = some_names(session, domain_ids, wanted)
    placed = None
    if touched:
        few.update(n.name for n in names if n.is_imported and not n.in_morercpthosts)
        placed = Placed(
            in_rcpthosts=frozenset(few),
            rcpthosts=number,
            in_locals=of_others.intersection(name for (name,) in _OF_NAMES.of(session, of_others)),
        )
    ids = {name.age for name in names}
    routes = Routes(_alike(session, names) if is_exact else (), foreign)
    assigned = {name.name for name in names if name.age in domain_ids}.union(lines_of)
    return Reassigned(
        names=names,
        gone=frozenset(wanted.difference(name.name for name in names)),
        foreign=foreign,
        exact=direct.lines(session, export, routes, ids) if is_exact else {},
        number=_NUMBER.value(session),
        placed=placed,
        others=frozenset(wanted - assigned),
    )


def expect(session: Session, touched: Collection[str]) -> None:
    """Say that `take` will be asked, see `Prepared.expect`."""
    expect_foreign_lines(session)
    _NUMBER.expect(session)
    if touched:
        _IMPORTED.expect(session)
        _ELDEST.expect(session)


def _imported(session: Session) -> tuple[set[str], int]:
    """Return the imported names of rcpthosts, if it has room for all, and how many there are."""
    found = {name for (name,) in _IMPORTED.all(session)}
    if len(found) <= RCPTHOSTS_LINES:
        return found, len(found)
    return set(), _HOW_MANY_IMPORTED.value(session)


def _eldest(session: Session, number: int) -> list[str]:
    """Return the names made here that rcpthosts has room for; see `render`."""
    return [name for (name,) in _ELDEST.all(session)[:number]] if number > 0 else []


def _shorter(longer: Iterable[str]) -> Iterator[str]:
    """Return the names whose addresses may begin like a name: of ``a.b-c.d``, ``a.b``."""
    for name in longer:
        yield from (name[:at] for at, character in enumerate(name) if character == "-")


def _alike(session: Session, names: Iterable[Name]) -> list[str]:
    alike = {name.name for name in names}
    for name in [*alike]:
        # A dot is the character behind a dash.
        beginning = (DomainName.name >= f"{name}-", DomainName.name < f"{name}.")
        alike.update(session.scalars(select(DomainName.name).where(*beginning)))
    return sorted(alike)
