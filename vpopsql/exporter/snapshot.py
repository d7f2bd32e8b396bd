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
from typing import Any, NamedTuple, cast

from sqlalchemy import Column, bindparam, exists, func, or_, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from vpopsql.config import Export, Paths
from vpopsql.exporter import direct, reassigned
from vpopsql.exporter.history import History
from vpopsql.exporter.reassigned import Reassigned
from vpopsql.exporter.routes import Routes
from vpopsql.exporter.rows import RCPTHOSTS_LINES as RCPTHOSTS_LINES  # noqa: PLC0414 - others take them from here
from vpopsql.exporter.rows import Foreign as Foreign  # noqa: PLC0414 - the same
from vpopsql.exporter.rows import Name as Name  # noqa: PLC0414 - the same
from vpopsql.exporter.rows import Selection, all_names, foreign_lines
from vpopsql.exporter.rows import by_key as by_key  # noqa: PLC0414 - the same
from vpopsql.model import (
    LIMIT_SETTINGS,
    UNFINISHED_IMPORT,
    CatchAll,
    DefaultLimits,
    DirCounter,
    Domain,
    DomainLimits,
    DomainName,
    DotQmailFile,
    DotQmailLine,
    IpMapping,
    Mailbox,
    Revision,
    SiteSetting,
    table_of,
)
from vpopsql.pieces import Buffer
from vpopsql.prepared import Prepared, is_far
from vpopsql.qmail.dircontrol import DirControl, Levels
from vpopsql.touched import Mark, Seen, Touched

VPOPMAIL_DIR = "vpopmail_dir"
"""The `SiteSetting` with vpopmail's home as the paths in the database have it."""

FILES_ARE_OURS = "files_are_ours"
"""The `SiteSetting` that says since when this database's files are the site's."""

IS_STRANGER = ~exists().where(
    or_(SiteSetting.key == FILES_ARE_OURS, SiteSetting.key == "imported_at")
)
"""Whether the database was neither filled from a site nor ever exported to one."""

_OF_SITE = Prepared(
    select(
        exists().where(SiteSetting.key == UNFINISHED_IMPORT),
        IS_STRANGER,
        select(SiteSetting.value).where(SiteSetting.key == VPOPMAIL_DIR).scalar_subquery(),
        func.coalesce(select(func.max(Revision.id)).scalar_subquery(), 0),
    )
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
    catchall: CatchAll = CatchAll.NONE
    catchall_target: str | None = None
    accounts: Sequence[Account] = ()
    """By name."""
    dotqmails: Sequence[DotQmail] = ()
    limits: Limits | None = None
    counter: Counter | None = None
    parts: Part = WHOLE
    """What was asked for; what the other fields have says nothing."""
    changed: frozenset[str] = frozenset()
    """Of some of the accounts, their names; those that ``accounts`` has not are gone."""
    mark: Mark | None = None
    """The newest revision of the domain's; None: it is not known."""
    has_accounts: bool = True
    """Whether the accounts are to be in files, or in the database alone."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A site at one moment, or as much of it as was asked for."""

    revision: int
    """The newest `Revision` that is contained; 0: none."""
    paths: Paths
    """vpopmail's home is the one that the database's paths begin with."""
    names: Sequence[Name] = ()
    """By sort key."""
    foreign: dict[str, Sequence[Foreign]] = field(default_factory=dict)
    """By file below qmail's directory, each by sort key."""
    domains: Sequence[DomainState] = ()
    """In the order they were made."""
    ip_mappings: Sequence[tuple[str, str]] = ()
    """Address and domain, by address."""
    default_limits: Limits | None = None
    counter: Counter | None = None
    looked_up: Mapping[str, Part] = field(default_factory=dict)
    """The parts read of each directory, if files are to be removed: of domains and mailboxes."""
    export: Export = field(default_factory=Export)
    """How the files are to be written."""
    exact: Exact = dict
    """With exact delivery: the lines of each name that has exact ones, as `direct.lines` does."""
    reassigned: Reassigned | None = None
    """Without the whole site's files: the lines that are needed of them."""
    is_stranger: bool = False
    """Whether the database was neither filled from a site nor ever exported to one."""
    is_unfinished: bool = False
    """Whether an import has begun and not come to its end."""


_DOMAINS = Selection(
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
    .order_by(Domain.id),
    Domain.id,
)
_IDS = Selection(
    select(DomainName.domain_id, DomainName.name).where(~DomainName.is_alias), DomainName.name
)

_ACCOUNT = [getattr(Mailbox, name) for name in Account._fields]
_ACCOUNTS = Selection(
    select(Mailbox.domain_id, *_ACCOUNT).order_by(Mailbox.domain_id, Mailbox.name),
    Mailbox.domain_id,
)
_SOME_ACCOUNTS = Prepared(
    select(*_ACCOUNT).where(
        Mailbox.domain_id == bindparam("domain_id"),
        Mailbox.name.in_(bindparam("names", expanding=True)),
    ),
    ["names"],
)
_DOTQMAIL_LINES = Selection(
    select(DotQmailLine.file_id, DotQmailLine.line)
    .join(DotQmailFile, DotQmailFile.id == DotQmailLine.file_id)
    .order_by(DotQmailLine.file_id, DotQmailLine.position),
    DotQmailFile.domain_id,
)
_DOTQMAIL_FILES = Selection(
    select(
        DotQmailFile.domain_id,
        DotQmailFile.id,
        Mailbox.directory,
        DotQmailFile.name,
        DotQmailFile.final_newline,
        DotQmailFile.link_target,
    )
    .outerjoin(Mailbox, Mailbox.id == DotQmailFile.mailbox_id)
    .order_by(DotQmailFile.domain_id, DotQmailFile.id),
    DotQmailFile.domain_id,
)

_LIMITS = table_of(DomainLimits).columns
_LIMITED = Selection(select(*_LIMITS), DomainLimits.domain_id)
_DEFAULTS = table_of(DefaultLimits).columns
_DEFAULT_LIMITS = Prepared(select(*_DEFAULTS))
_COUNTER = table_of(DirCounter).columns
_COUNTERS = Selection(select(*_COUNTER), DirCounter.domain_id)
_SITE_COUNTER = Prepared(select(*_COUNTER).where(DirCounter.domain_id.is_(None)))

_IP_MAPPINGS = Prepared(
    select(IpMapping.address, DomainName.name)
    .join(DomainName, (DomainName.domain_id == IpMapping.domain_id) & ~DomainName.is_alias)
    .order_by(IpMapping.family, IpMapping.packed)
)
_PARTS = {
    _ACCOUNTS: Part.ACCOUNTS,
    _DOTQMAIL_LINES: Part.DOTQMAIL,
    _DOTQMAIL_FILES: Part.DOTQMAIL,
    _LIMITED: Part.LIMITS,
    _COUNTERS: Part.ACCOUNTS | Part.MAILBOXES,
}
"""What the rows of a domain are wanted for."""

_LOOKED_UP = Part.DOTQMAIL | Part.LIMITS
"""What files may be removed of."""

_HOMES = Selection(select(Mailbox.domain_id, Mailbox.directory), Mailbox.domain_id)
_DIRECTORIES = Selection(select(Domain.id, Domain.directory), Domain.id)


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
    site = touched is None or touched.site
    settings = touched is None or bool(touched.site or touched.settings or touched.names)
    expects = touched is not None and not site and is_far(session)
    if touched and expects:
        _expect(session, touched, export)
    is_unfinished, is_stranger, home, revision = cast(
        "tuple[bool, bool, str | None, int]", _OF_SITE.first(session)
    )
    names = all_names(session) if site else []
    foreign = foreign_lines(session) if site else {}
    routes = None
    if site and export.delivery == "exact":
        routes = Routes(map(attrgetter("name"), names), foreign)
    scope = None
    if touched is None:
        history = History(session, revision, None, written)
    else:
        new = {name.real for name in names if name.name not in known}
        ids = dict[int, str](map(tuple, _IDS.of(session, _domains_of(touched, new))))
        if expects:
            guessed = _scope(ids, touched, new, export, lambda name: name not in written)
            _expect_rows(session, touched, ids, guessed)
        history = History(session, revision, touched, written)
        scope = _scope(ids, touched, new, export, history.has_others)
    some_names = None
    if touched and not site and (touched.names or (scope and export.delivery == "exact")):
        # Before the domains, whose rows are asked for together with them.
        some_names = reassigned.take(session, export, touched.names, scope or {}, rcpthosts)
    return Snapshot(
        revision=revision,
        paths=replace(paths, vpopmail=home) if home else paths,
        names=names,
        foreign=foreign,
        domains=_domains(session, scope, touched, history, export),
        ip_mappings=_ip_mappings(session) if settings else [],
        default_limits=_default_limits(session) if settings else None,
        counter=_site_counter(session) if settings else None,
        looked_up=_looked_up(session, touched, scope),
        export=export,
        exact=exact_lines(session, export, routes) if routes else dict,
        reassigned=some_names,
        is_stranger=is_stranger,
        is_unfinished=is_unfinished,
    )


def state_of(seen: Seen) -> DomainState:
    """Return of a domain what a change saw of the one mailbox that it made another."""
    columns = seen.columns
    account = None if columns is None else Account(*(columns[each] for each in Account._fields))
    return DomainState(
        seen.domain,
        seen.directory,
        *seen.owner,
        accounts=() if account is None else [account],
        counter=None if seen.counter is None else _counter(seen.counter),
        parts=Part.MAILBOXES,
        changed=frozenset({seen.mailbox}),
        mark=seen.mark,
    )


def _expect(session: Session, touched: Touched, export: Export) -> None:
    """Ask for what hangs on nothing else, together with the first question."""
    _OF_SITE.expect(session)
    _IDS.expect(session, _domains_of(touched))
    if touched.settings or touched.names:
        _IP_MAPPINGS.expect(session)
        _DEFAULT_LIMITS.expect(session)
        _SITE_COUNTER.expect(session)
    if touched.names or export.delivery == "exact":
        reassigned.expect(session, touched.names)


def _expect_rows(
    session: Session, touched: Touched, ids: Mapping[int, str], scope: _Scope
) -> None:
    """Ask for the rows of domains, together with the first question that is asked of them."""
    for rows, part in _PARTS.items():
        rows.expect(session, _with(scope, part))
    _DOMAINS.expect(session, scope)
    changed = _changed(touched)
    for id_, part in scope.items():
        if Part.MAILBOXES in part:
            _SOME_ACCOUNTS.expect(session, domain_id=id_, names=changed[ids[id_]])
    for rows in (_HOMES, _DIRECTORIES) if touched.removed else ():
        rows.expect(session, _with(scope, _LOOKED_UP))


def _domains_of(touched: Touched, new: Collection[str] = ()) -> list[str]:
    """Return the real domains whose files are wanted.

    :param new: those of them that are not in ``touched``.
    """
    of_mailboxes = {domain for domain, _ in touched.mailboxes}
    return sorted({*touched.accounts, *touched.dotqmail, *touched.limits, *of_mailboxes, *new})


def _scope(
    ids: Mapping[int, str],
    touched: Touched,
    new: Collection[str],
    export: Export,
    has_others: Callable[[str], bool],
) -> _Scope:
    parts: defaultdict[str, Part] = defaultdict(lambda: Part(0))
    for part, named in (
        (Part.ACCOUNTS, touched.accounts),
        (Part.DOTQMAIL, touched.dotqmail),
        (Part.LIMITS, touched.limits),
    ):
        for name in named:
            parts[name] |= part
    for name in {domain for domain, _ in touched.mailboxes} - touched.accounts:
        if not export.has_accounts:
            parts[name] |= Part(0)  # its exact lines may change
        else:
            parts[name] |= Part.ACCOUNTS if has_others(name) else Part.MAILBOXES
    parts |= dict.fromkeys(new, WHOLE)
    return {id_: parts[name] for id_, name in ids.items() if name in parts}


def _with(scope: _Scope | None, part: Part) -> Collection[int] | None:
    """Return the domains that one of these parts is wanted of; None: of all."""
    return None if scope is None else [id_ for id_, parts in scope.items() if part & parts]


def _looked_up(session: Session, touched: Touched | None, scope: _Scope | None) -> dict[str, Part]:
    if not (touched and touched.removed and scope):
        return {}
    wanted = _with(scope, _LOOKED_UP)
    return {
        directory.rstrip("/"): scope[id_]
        for directories in (_HOMES, _DIRECTORIES)
        for id_, directory in directories.of(session, wanted)
        if id_ in scope
    }


def _domains(
    session: Session,
    scope: _Scope | None,
    touched: Touched | None,
    history: History,
    export: Export,
) -> list[DomainState]:
    if scope is not None and not scope:
        # Not even asked for: relays may do without the right to see password hashes.
        return []
    accounts = _accounts(session, scope)
    changed = _changed(touched)
    dotqmails = _dotqmails(session, scope)
    limited = _named(_LIMITS, _rows(session, _LIMITED, scope))
    limits = {row["domain_id"]: _limits(row) for row in limited}
    counted = _named(_COUNTER, _rows(session, _COUNTERS, scope))
    counters = {row["domain_id"]: _counter(row) for row in counted}
    domains = []
    for id_, *columns in _DOMAINS.of(session, scope):
        if scope is not None and id_ not in scope:
            continue
        name, directory, uid, gid, catchall, catchall_target = columns
        parts = WHOLE if scope is None else scope[id_]
        of_domain: Sequence[Account] = accounts.get(id_, ())
        if Part.MAILBOXES in parts:
            of_domain = _some_accounts(session, id_, changed[name])
        domains.append(
            DomainState(
                name=name,
                directory=directory,
                uid=uid,
                gid=gid,
                catchall=catchall,
                catchall_target=catchall_target,
                accounts=of_domain,
                dotqmails=dotqmails.get(id_, ()),
                limits=limits.get(id_),
                counter=counters.get(id_),
                parts=parts,
                changed=frozenset(changed.get(name, ())),
                mark=history.newest_of(name),
                has_accounts=export.has_accounts,
            )
        )
    return domains


def _named(
    columns: ReadOnlyColumnCollection[str, Column[Any]], rows: Iterable[Sequence[Any]]
) -> Iterator[dict[str, Any]]:
    names = columns.keys()
    return (dict(zip(names, row, strict=True)) for row in rows)


def _changed(touched: Touched | None) -> dict[str, list[str]]:
    """Return the mailboxes that were touched, by domain, always in the same order."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for domain, name in sorted(touched.mailboxes) if touched else ():
        found[domain].append(name)
    return found


def _some_accounts(session: Session, domain_id: int, names: Collection[str]) -> Sequence[Account]:
    rows = _SOME_ACCOUNTS.all(session, domain_id=domain_id, names=names)
    return [Account(*row) for row in rows]


def _rows(session: Session, selection: Selection, scope: _Scope | None) -> Iterable[Sequence[Any]]:
    return selection.of(session, _with(scope, _PARTS[selection]))


def _accounts(session: Session, scope: _Scope | None) -> dict[int, list[Account]]:
    accounts = defaultdict(list)
    for row in _rows(session, _ACCOUNTS, scope):
        accounts[row[0]].append(Account(*row[1:]))
    return accounts


def _dotqmails(session: Session, scope: _Scope | None) -> dict[int, list[DotQmail]]:
    lines = defaultdict(list)
    for file_id, line in _rows(session, _DOTQMAIL_LINES, scope):
        lines[file_id].append(line)
    files = defaultdict(list)
    for row in _rows(session, _DOTQMAIL_FILES, scope):
        domain_id, file_id, home, name, final_newline, link_target = row
        file_lines = tuple(lines.pop(file_id, ()))
        files[domain_id].append(DotQmail(home, name, file_lines, final_newline, link_target))
    return files


def _ip_mappings(session: Session) -> list[tuple[str, str]]:
    return [(address, name) for address, name in _IP_MAPPINGS.all(session)]


def _default_limits(session: Session) -> Limits | None:
    row = _DEFAULT_LIMITS.first(session)
    return None if row is None else _limits(dict(zip(_DEFAULTS.keys(), row, strict=True)))


def _site_counter(session: Session) -> Counter | None:
    row = _SITE_COUNTER.first(session)
    return None if row is None else _counter(dict(zip(_COUNTER.keys(), row, strict=True)))


def _limits(row: Mapping[str, Any]) -> Limits:
    return Limits({name: row[name] for name in LIMIT_SETTINGS}, row["source_text"])


def _counter(row: Mapping[str, Any]) -> Counter:
    def levels(field: str) -> Levels:
        first, second, third = (row[f"level_{field}{level}"] for level in range(3))
        return first, second, third

    control = DirControl(
        cur_users=row["cur_users"],
        level_cur=row["level_cur"],
        level_max=row["level_max"],
        starts=levels("start"),
        ends=levels("end"),
        mods=levels("mod"),
        indexes=levels("index"),
        the_dir=row["the_dir"],
    )
    return Counter(control, row["free_buckets"])
