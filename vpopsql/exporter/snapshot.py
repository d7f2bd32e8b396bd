"""What the files are made of: the rows of one moment, sorted as the files are.

A fixed number of queries whatever the size of the site, each over a whole table or, when only
some domains' files are wanted, over their rows; rows become plain tuples. Nothing of the database
is held once `take` has returned.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Flag, auto
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Row,
    Text,
    and_,
    bindparam,
    func,
    or_,
    select,
    true,
    type_coerce,
)
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from vpopsql.config import Export, Paths
from vpopsql.exporter import direct
from vpopsql.exporter.history import History, Mark
from vpopsql.exporter.routes import Routes
from vpopsql.exporter.rows import Foreign as Foreign  # noqa: PLC0414 - others take them from here
from vpopsql.exporter.rows import Name as Name  # noqa: PLC0414 - the same
from vpopsql.model import (
    LIMIT_SETTINGS,
    Base,
    CatchAll,
    DefaultLimits,
    DirCounter,
    Domain,
    DomainLimits,
    DomainName,
    DotQmailFile,
    DotQmailLine,
    ForeignLine,
    IpMapping,
    Mailbox,
    Revision,
    SiteSetting,
)
from vpopsql.names import lower
from vpopsql.pieces import Buffer
from vpopsql.qmail.dircontrol import DirControl, Levels
from vpopsql.touched import Touched

RCPTHOSTS_LINES = 50
"""Lines of rcpthosts from which on a new name goes to morercpthosts.  Source: vpopmail."""

VPOPMAIL_DIR = "vpopmail_dir"
"""The `SiteSetting` with vpopmail's home as the paths in the database have it."""

# So that a long table is never held twice, as rows and as tuples.
_STREAMED = {"yield_per": 1000}

# Where a query by keys stops being quicker than the whole table; databases take 32,766 keys.
_MANY = 1000


_OF_SITE = select(
    select(SiteSetting.value).where(SiteSetting.key == VPOPMAIL_DIR).scalar_subquery(),
    select(func.max(Revision.id)).scalar_subquery(),
)

Exact = Callable[[], Mapping[str, Buffer]]
"""Returns what `direct.lines` does, of all domains."""

ExactLines = Callable[[Session, Export, Routes], Exact]
"""Makes the exact lines of a whole site, perhaps only when they are asked for."""


def at_once(session: Session, export: Export, routes: Routes) -> Exact:
    """Make them now; what is returned may be asked for at any time."""
    made = direct.lines(session, export, routes)
    return lambda: made


class Part(Flag):
    """A part of a domain's files, in the terms of `Touched`."""

    ACCOUNTS = auto()
    DOTQMAIL = auto()
    LIMITS = auto()
    MAILBOXES = auto()
    """Some of the accounts."""


WHOLE = Part.ACCOUNTS | Part.DOTQMAIL | Part.LIMITS

_Scope = Mapping[int, Part]
"""The wanted parts by domain id; a domain that is not named is not wanted."""


class Account(NamedTuple):
    """A mailbox, as vpasswd has it."""

    name: str
    password_hash: str
    apop_uid: int
    flags: int
    comment: str
    directory: str
    quota_bytes: int | None
    quota_messages: int | None
    quota_text: str
    clear_text: str | None


@dataclass(frozen=True, slots=True)
class DotQmail:
    """A dot-qmail file of a domain or, with ``home``, of a mailbox."""

    home: str | None
    name: str
    lines: tuple[str, ...]
    final_newline: bool
    link_target: str | None


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits, and the text they came from."""

    values: dict[str, int | bool]
    source_text: str | None


@dataclass(frozen=True, slots=True)
class Counter:
    """A directory counter, and the freed buckets beside it."""

    control: DirControl
    free_buckets: str | None


@dataclass(frozen=True, slots=True)
class DomainState:
    """Everything that the files of one domain's directory are made of."""

    name: str
    directory: str
    uid: int
    gid: int
    catchall: CatchAll
    catchall_target: str | None
    accounts: Sequence[Account]
    """By name."""
    dotqmails: Sequence[DotQmail]
    limits: Limits | None
    counter: Counter | None
    parts: Part = WHOLE
    """What was asked for; what the other fields have says nothing."""
    changed: frozenset[str] = frozenset()
    """Of some of the accounts, their names; those that ``accounts`` has not are gone."""
    mark: Mark | None = None
    """The newest revision of the domain's; None: it is not known."""


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
    """As `Snapshot` has it."""
    exact: Mapping[str, bytes]
    """As `direct.lines` returns them."""
    number: int
    """How many names the whole site has."""
    placed: Placed | None
    """None: names have neither come nor gone."""
    others: frozenset[str] = frozenset()
    """Those of all these names that only their place is asked of."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A site at one moment, or as much of it as was asked for."""

    revision: int
    """The newest `Revision` that is contained; 0: none."""
    paths: Paths
    """vpopmail's home is the one that the database's paths begin with."""
    names: Sequence[Name]
    """By sort key."""
    foreign: dict[str, Sequence[Foreign]]
    """By file below qmail's directory, each by sort key."""
    domains: Sequence[DomainState]
    """In the order they were made."""
    ip_mappings: Sequence[tuple[str, str]]
    """Address and domain, by address."""
    default_limits: Limits | None
    counter: Counter | None
    looked_up: Mapping[str, Part] = field(default_factory=dict)
    """The parts read of each directory, if files are to be removed: of domains and mailboxes."""
    export: Export = field(default_factory=Export)
    """How the files are to be written."""
    exact: Exact = dict
    """With exact delivery: the lines of each name that has exact ones, as `direct.lines` does."""
    reassigned: Reassigned | None = None
    """Without the whole site's files: the lines that are needed of them."""


_REAL_NAME = aliased(DomainName)

_DOMAINS = (
    select(
        Domain.id,
        DomainName.name,
        Domain.directory,
        Domain.uid,
        Domain.gid,
        Domain.catchall,
        Domain.catchall_target,
    )
    .join(DomainName, (DomainName.domain_id == Domain.id) & ~DomainName.is_alias)
    .order_by(Domain.id)
)

_SOME_ACCOUNTS = (
    select(*(getattr(Mailbox, name) for name in Account._fields))
    .join(DomainName, DomainName.domain_id == Mailbox.domain_id)
    .where(
        DomainName.name == bindparam("domain"),
        Mailbox.name.in_(bindparam("names", expanding=True)),
    )
)


class _EveryName:
    """Contains whatever is asked for."""

    def __contains__(self, _: object) -> bool:
        return True


EVERY_NAME = _EveryName()
"""For `take`: as if the site's files had all names, so that no domain is taken for a new one."""


def take(
    session: Session,
    paths: Paths,
    touched: Touched | None = None,
    known: Container[str] = frozenset(),
    export: Export | None = None,
    rcpthosts: Collection[str] = (),
    written: Mapping[str, Mark] = MappingProxyType({}),
    exact_lines: ExactLines = at_once,
) -> Snapshot:
    """Return the site as ``session`` sees it.

    :param session: in one transaction that sees one moment; see `Database.reader`.
    :param paths: where qmail and vpopmail are, unless the database says otherwise.
    :param touched: only what these files need; None: everything. Without ``site`` in it, what the
        files of the whole site are made of is empty.
    :param known: the names that those files have. The domains of others are taken whole, named
        in ``touched`` or not.
    :param rcpthosts: the names that this file has, if only some names' lines are wanted.
    :param export: how the files are to be written; None: as by default.
    :param written: domains with a vpasswd that is known to show all revisions of theirs up to this
        one: only the lines of the mailboxes touched are read of them, if nothing else changed.
    :param exact_lines: what makes the exact lines of the whole site.
    """
    export = export or Export()
    home, newest = session.connection().execute(_OF_SITE).one()
    revision = newest or 0
    site = touched is None or touched.site
    settings = site or bool(touched and touched.names)
    names = _names(session) if site else []
    scope = None
    foreign = _foreign_lines(session) if site else {}
    routes = None
    if site and export.delivery == "exact":
        routes = Routes(map(attrgetter("name"), names), foreign)
    history = History(session, revision, touched, written)
    if touched is not None:
        new = (name for name in names if name.name not in known)
        scope = _scope(session, touched, new, history)
    return Snapshot(
        revision=revision,
        paths=replace(paths, vpopmail=home) if home else paths,
        names=names,
        foreign=foreign,
        domains=_domains(session, scope, touched, history),
        ip_mappings=_ip_mappings(session) if settings else [],
        default_limits=_default_limits(session) if settings else None,
        counter=_site_counter(session) if settings else None,
        looked_up=_looked_up(session, touched, scope),
        export=export,
        exact=exact_lines(session, export, routes) if routes else dict,
        reassigned=_reassigned(session, export, touched, scope, rcpthosts),
    )


def _reassigned(
    session: Session,
    export: Export,
    touched: Touched | None,
    scope: _Scope | None,
    rcpthosts: Collection[str],
) -> Reassigned | None:
    is_exact = export.delivery == "exact"
    if touched is None or touched.site or not (touched.names or (is_exact and scope)):
        return None
    scope = scope or {}
    foreign = _foreign_lines(session)
    lines_of = set(touched.names).union(_shorter(touched.names))
    wanted = set(lines_of)
    eldest: Collection[str] = ()
    imported = _count(session, _is_imported())
    if touched.names:
        others = imported + len(foreign.get("control/rcpthosts", ()))
        eldest = _eldest(session, RCPTHOSTS_LINES - others)
        wanted.update(eldest, rcpthosts if others <= RCPTHOSTS_LINES else ())
    names = _names(session, or_(_among(DomainName.domain_id, scope), DomainName.name.in_(wanted)))
    names = [name for name in names if name.age in scope or name.name in wanted]
    placed = None
    if touched.names:
        few = {n.name for n in names if n.is_imported and not n.in_morercpthosts}
        placed = Placed(
            in_rcpthosts=frozenset(few.union(eldest)),
            rcpthosts=imported + len(eldest),
            in_locals=_own_locals(session, foreign.get("control/locals", ())),
        )
    ids = {name.age for name in names}
    routes = Routes(_alike(session, names) if is_exact else (), foreign)
    assigned = {name.name for name in names if name.age in scope}.union(lines_of)
    return Reassigned(
        names=names,
        gone=frozenset(wanted.difference(name.name for name in names)),
        foreign=foreign,
        exact=direct.lines(session, export, routes, ids) if is_exact else {},
        number=_count(session),
        placed=placed,
        others=frozenset(wanted - assigned),
    )


def _count(session: Session, condition: ColumnElement[bool] | None = None) -> int:
    query = select(func.count()).select_from(DomainName)
    if condition is not None:
        query = query.join(Domain, Domain.id == DomainName.domain_id).where(condition)
    return session.scalar(query) or 0


def _is_imported() -> ColumnElement[bool]:
    return and_(~DomainName.in_morercpthosts, Domain.created_at.is_(None))


def _eldest(session: Session, number: int) -> list[str]:
    """Return the names made here that rcpthosts has room for; see `render`."""
    query = (
        select(DomainName.name)
        .join(Domain, Domain.id == DomainName.domain_id)
        .where(~DomainName.in_morercpthosts, Domain.created_at.is_not(None))
        .order_by(Domain.id, DomainName.is_alias, DomainName.sort_key)
        .limit(max(0, number))
    )
    return [*session.scalars(query)]


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


def _own_locals(session: Session, lines: Iterable[Foreign]) -> frozenset[str]:
    lowered = {lower(line.line.strip()) for line in lines}
    return frozenset(session.scalars(select(DomainName.name).where(DomainName.name.in_(lowered))))


def _scope(session: Session, touched: Touched, new: Iterable[Name], history: History) -> _Scope:
    parts: defaultdict[str, Part] = defaultdict(lambda: Part(0))
    for part, named in (
        (Part.ACCOUNTS, touched.accounts),
        (Part.DOTQMAIL, touched.dotqmail),
        (Part.LIMITS, touched.limits),
    ):
        for name in named:
            parts[name] |= part
    for name in {domain for domain, _ in touched.mailboxes} - touched.accounts:
        parts[name] |= Part.ACCOUNTS if history.has_others(name) else Part.MAILBOXES
    for each in new:
        parts[each.real] = WHOLE
    query = select(DomainName.domain_id, DomainName.name).where(
        ~DomainName.is_alias, _among(DomainName.name, parts)
    )
    rows = session.connection().execute(query) if parts else ()
    return {id_: parts[name] for id_, name in rows if name in parts}


def _among(column: InstrumentedAttribute[Any], wanted: Collection[Any]) -> ColumnElement[bool]:
    """Return a condition that leaves all that is wanted; of many, it leaves the rest as well."""
    return column.in_(wanted) if len(wanted) <= _MANY else true()


def _with(
    scope: _Scope | None, part: Part, column: InstrumentedAttribute[Any]
) -> ColumnElement[bool] | None:
    """Return the condition for the domains that one of these parts is wanted of; None: of none."""
    if scope is None:
        return true()
    wanted = [id_ for id_, parts in scope.items() if part & parts]
    return _among(column, wanted) if wanted else None


def _looked_up(session: Session, touched: Touched | None, scope: _Scope | None) -> dict[str, Part]:
    if not (touched and touched.removed and scope):
        return {}
    wanted = Part.DOTQMAIL | Part.LIMITS
    ids = [id_ for id_, parts in scope.items() if parts & wanted]
    homes = select(Mailbox.domain_id, Mailbox.directory).where(_among(Mailbox.domain_id, ids))
    domains = select(Domain.id, Domain.directory).where(_among(Domain.id, ids))
    return {
        directory.rstrip("/"): scope[id_]
        for query in (homes, domains)
        for id_, directory in session.execute(query)
        if id_ in scope
    }


def _domains(
    session: Session, scope: _Scope | None, touched: Touched | None, history: History
) -> list[DomainState]:
    if scope is not None and not scope:
        # Not even asked for: relays may do without the right to see password hashes.
        return []
    accounts = _accounts(session, _with(scope, Part.ACCOUNTS, Mailbox.domain_id))
    changed = _changed(touched)
    dotqmails = _dotqmails(session, _with(scope, Part.DOTQMAIL, DotQmailFile.domain_id))
    limited = _with(scope, Part.LIMITS, DomainLimits.domain_id)
    limits = {row.domain_id: _limits(row) for row in _rows_of(session, DomainLimits, limited)}
    counted = _with(scope, Part.ACCOUNTS | Part.MAILBOXES, DirCounter.domain_id)
    counters = {row.domain_id: _counter(row) for row in _rows_of(session, DirCounter, counted)}
    query = _DOMAINS.where(true() if scope is None else _among(Domain.id, scope))
    domains = [
        DomainState(
            name=row.name,
            directory=row.directory,
            uid=row.uid,
            gid=row.gid,
            catchall=row.catchall,
            catchall_target=row.catchall_target,
            accounts=accounts.get(row.id, ()),
            dotqmails=dotqmails.get(row.id, ()),
            limits=limits.get(row.id),
            counter=counters.get(row.id),
            parts=WHOLE if scope is None else scope[row.id],
            changed=changed.get(row.name, frozenset()),
            mark=history.newest_of(row.name),
        )
        for row in session.connection().execute(query)
        if scope is None or row.id in scope
    ]
    return [
        replace(domain, accounts=_some_accounts(session, domain))
        if Part.MAILBOXES in domain.parts
        else domain
        for domain in domains
    ]


def _rows_of(
    session: Session, table: type[Base], condition: ColumnElement[bool] | None
) -> Iterable[Row[Any]]:
    if condition is None:
        return ()
    return session.connection().execute(select(*table.__table__.columns).where(condition))


def _changed(touched: Touched | None) -> dict[str, frozenset[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for domain, name in touched.mailboxes if touched else ():
        found[domain].add(name)
    return {domain: frozenset(accounts) for domain, accounts in found.items()}


def _some_accounts(session: Session, domain: DomainState) -> Sequence[Account]:
    wanted = {"domain": domain.name, "names": [*domain.changed]}
    return [Account(*row) for row in session.connection().execute(_SOME_ACCOUNTS, wanted)]


def _accounts(session: Session, condition: ColumnElement[bool] | None) -> dict[int, list[Account]]:
    if condition is None:
        return {}
    columns = [getattr(Mailbox, name) for name in Account._fields]
    query = (
        select(Mailbox.domain_id, *columns)
        .where(condition)
        .order_by(Mailbox.domain_id, Mailbox.name)
    )
    accounts = defaultdict(list)
    for row in session.execute(query, execution_options=_STREAMED):
        accounts[row[0]].append(Account(*row[1:]))
    return accounts


def _dotqmails(
    session: Session, condition: ColumnElement[bool] | None
) -> dict[int, list[DotQmail]]:
    if condition is None:
        return {}
    lines = defaultdict(list)
    in_order = (
        select(DotQmailLine.file_id, DotQmailLine.line)
        .join(DotQmailFile, DotQmailFile.id == DotQmailLine.file_id)
        .where(condition)
        .order_by(DotQmailLine.file_id, DotQmailLine.position)
    )
    for file_id, line in session.execute(in_order, execution_options=_STREAMED):
        lines[file_id].append(line)
    query = (
        select(
            DotQmailFile.domain_id,
            DotQmailFile.id,
            Mailbox.directory,
            DotQmailFile.name,
            DotQmailFile.final_newline,
            DotQmailFile.link_target,
        )
        .outerjoin(Mailbox, Mailbox.id == DotQmailFile.mailbox_id)
        .where(condition)
        .order_by(DotQmailFile.domain_id, DotQmailFile.id)
    )
    files = defaultdict(list)
    for domain_id, file_id, home, name, final_newline, link_target in session.execute(
        query, execution_options=_STREAMED
    ):
        file_lines = tuple(lines.pop(file_id, ()))
        files[domain_id].append(DotQmail(home, name, file_lines, final_newline, link_target))
    return files


def _names(session: Session, condition: ColumnElement[bool] | None = None) -> list[Name]:
    # Past the ORM and without escapes, which names have not: a site may have many. SQLite would
    # take longer to sort them than all the rest takes.
    query = (
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
        .where(true() if condition is None else condition)
    )
    rows = session.connection().execute(query, execution_options=_STREAMED)
    return sorted(map(Name._make, rows), key=attrgetter("sort_key"))


def _foreign_lines(session: Session) -> dict[str, Sequence[Foreign]]:
    query = select(ForeignLine.file, ForeignLine.line, ForeignLine.sort_key).order_by(
        ForeignLine.file, ForeignLine.position
    )
    files: defaultdict[str, list[Foreign]] = defaultdict(list)
    for file, *values in session.execute(query):
        files[file].append(Foreign(*values))
    return {file: by_key(lines) for file, lines in files.items()}


def by_key(lines: Iterable[Foreign]) -> list[Foreign]:
    """Return lines in the order of a file; those of one key stay in the order they have."""
    return sorted(lines, key=attrgetter("sort_key"))


def _ip_mappings(session: Session) -> list[tuple[str, str]]:
    query = (
        select(IpMapping.address, DomainName.name)
        .join(DomainName, (DomainName.domain_id == IpMapping.domain_id) & ~DomainName.is_alias)
        .order_by(IpMapping.family, IpMapping.packed)
    )
    return [(address, name) for address, name in session.execute(query)]


def _default_limits(session: Session) -> Limits | None:
    row = session.execute(select(*DefaultLimits.__table__.columns)).one_or_none()
    return None if row is None else _limits(row)


def _site_counter(session: Session) -> Counter | None:
    query = select(*DirCounter.__table__.columns).where(DirCounter.domain_id.is_(None))
    row = session.execute(query).one_or_none()
    return None if row is None else _counter(row)


def _limits(row: Row[Any]) -> Limits:
    return Limits({name: getattr(row, name) for name in LIMIT_SETTINGS}, row.source_text)


def _counter(row: Row[Any]) -> Counter:
    def levels(field: str) -> Levels:
        first, second, third = (getattr(row, f"level_{field}{level}") for level in range(3))
        return first, second, third

    control = DirControl(
        cur_users=row.cur_users,
        level_cur=row.level_cur,
        level_max=row.level_max,
        starts=levels("start"),
        ends=levels("end"),
        mods=levels("mod"),
        indexes=levels("index"),
        the_dir=row.the_dir,
    )
    return Counter(control, row.free_buckets)
