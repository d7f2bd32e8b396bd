"""The rows that lines of the site's shared files are made of, and how rows are asked for."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Select, Text, bindparam, or_, select, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from vpopsql.model import Domain, DomainName, ForeignLine
from vpopsql.prepared import Prepared

RCPTHOSTS_LINES = 50
"""Lines of rcpthosts from which on a new name goes to morercpthosts.  Source: vpopmail."""

STREAMED = {"yield_per": 1000}
"""So that a long table is never held twice, as rows and as tuples."""

_MANY = 1000
"""Where a query by keys stops being quicker than the whole table; databases take 32,766 keys."""


class Selection:
    """A select of rows that all belong to something: of all of them, or of those of some."""

    __slots__ = ("_all", "_some")

    def __init__(
        self, statement: Select[*tuple[Any, ...]], column: InstrumentedAttribute[Any]
    ) -> None:
        self._all = statement
        wanted = column.in_(bindparam("wanted", expanding=True))
        self._some: Prepared[*tuple[Any, ...]] = Prepared(statement.where(wanted), ["wanted"])

    def of(self, session: Session, wanted: Collection[Any] | None) -> Iterable[Sequence[Any]]:
        """Return the rows of those wanted; of many, those of the rest come as well.

        :param wanted: None: all.
        """
        if wanted is None or len(wanted) > _MANY:
            return session.connection().execute(self._all, execution_options=STREAMED)
        return self._some.all(session, wanted=[*wanted]) if wanted else ()

    def expect(self, session: Session, wanted: Collection[Any] | None) -> None:
        """Say that the rows of those wanted will be asked for, see `Prepared.expect`."""
        if wanted and len(wanted) <= _MANY:
            self._some.expect(session, wanted=[*wanted])


class Name(NamedTuple):
    """A name that mail arrives for, with what users/assign says of it."""

    name: str
    real: str
    sort_key: str
    uid: int
    gid: int
    directory: str
    in_morercpthosts: bool
    age: int
    """The domain's id: its place in the order in which domains came into the database."""
    is_imported: bool
    """Whether the domain was found on a site, not made here."""


class Foreign(NamedTuple):
    """A line of a shared file that is not made of our rows."""

    line: str
    sort_key: str


_REAL_NAME = aliased(DomainName)

# Past the ORM and without escapes, which names have not: a site may have many. SQLite would
# take longer to sort them than all the rest takes.
_NAMES: Select[*tuple[Any, ...]] = (
    select(
        type_coerce(DomainName.name, Text),
        type_coerce(_REAL_NAME.name, Text),
        type_coerce(DomainName.sort_key, Text),
        Domain.uid,
        Domain.gid,
        Domain.directory,
        DomainName.in_morercpthosts,
        Domain.id,
        Domain.created_at.is_(None),
    )
    .join(Domain, Domain.id == DomainName.domain_id)
    .join(_REAL_NAME, (_REAL_NAME.domain_id == Domain.id) & ~_REAL_NAME.is_alias)
)
_SOME_NAMES: Prepared[*tuple[Any, ...]] = Prepared(
    _NAMES.where(
        or_(
            DomainName.domain_id.in_(bindparam("ids", expanding=True)),
            DomainName.name.in_(bindparam("names", expanding=True)),
        )
    ),
    ["ids", "names"],
)
_FOREIGN_LINES = Prepared(
    select(ForeignLine.file, ForeignLine.line, ForeignLine.sort_key).order_by(
        ForeignLine.file, ForeignLine.position
    )
)


def all_names(session: Session) -> list[Name]:
    """Return every name of the site, by sort key."""
    return _by_sort_key(session.connection().execute(_NAMES, execution_options=STREAMED))


def some_names(session: Session, ids: Collection[int], names: Collection[str]) -> list[Name]:
    """Return the names of some domains, and others, by sort key."""
    if len(ids) + len(names) <= _MANY:
        return _by_sort_key(_SOME_NAMES.all(session, ids=[*ids], names=[*names]))
    return [each for each in all_names(session) if each.age in ids or each.name in names]


def _by_sort_key(rows: Iterable[Sequence[Any]]) -> list[Name]:
    return sorted(map(Name._make, rows), key=attrgetter("sort_key"))


def foreign_lines(session: Session) -> dict[str, Sequence[Foreign]]:
    """Return the lines of others, by file below qmail's directory, each by sort key."""
    files: defaultdict[str, list[Foreign]] = defaultdict(list)
    for file, *values in _FOREIGN_LINES.all(session):
        files[file].append(Foreign(*values))
    return {file: by_key(lines) for file, lines in files.items()}


def expect_foreign_lines(session: Session) -> None:
    """Say that these will be asked for."""
    _FOREIGN_LINES.expect(session)


def by_key(lines: Iterable[Foreign]) -> list[Foreign]:
    """Return lines in the order of a file; those of one key stay in the order they have."""
    return sorted(lines, key=attrgetter("sort_key"))
