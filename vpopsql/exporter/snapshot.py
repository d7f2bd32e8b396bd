"""What the files are made of: the rows of one moment, sorted as the files are.

A fixed number of queries whatever the size of the site, each over a whole table; rows become
plain tuples. Nothing of the database is held once `take` has returned.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from vpopsql.config import Paths
from vpopsql.model import (
    LIMIT_SETTINGS,
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
from vpopsql.qmail.dircontrol import DirControl, Levels

VPOPMAIL_DIR = "vpopmail_dir"
"""The `SiteSetting` with vpopmail's home as the paths in the database have it."""

# So that a long table is never held twice, as rows and as tuples.
_STREAMED = {"yield_per": 10_000}


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
    """The domain's place in the order in which domains came into the database."""
    is_imported: bool
    """Whether the domain was found on a site, not made here."""


class Foreign(NamedTuple):
    """A line of a shared file that is not made of our rows."""

    line: str
    sort_key: str


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


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A site at one moment."""

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


def take(session: Session, paths: Paths) -> Snapshot:
    """Return the site as ``session`` sees it.

    :param session: in one transaction that sees one moment; see `Database.reader`.
    :param paths: where qmail and vpopmail are, unless the database says otherwise.
    """
    home = session.scalar(select(SiteSetting.value).where(SiteSetting.key == VPOPMAIL_DIR))
    counters = {
        row.domain_id: _counter(row)
        for row in session.execute(select(*DirCounter.__table__.columns))
    }
    default_limits = session.execute(select(*DefaultLimits.__table__.columns)).one_or_none()
    return Snapshot(
        revision=session.scalar(select(func.max(Revision.id))) or 0,
        paths=replace(paths, vpopmail=home) if home else paths,
        names=_names(session),
        foreign=_foreign_lines(session),
        domains=_domains(session, counters),
        ip_mappings=_ip_mappings(session),
        default_limits=_limits(default_limits) if default_limits else None,
        counter=counters.get(None),
    )


def _domains(session: Session, counters: dict[int | None, Counter]) -> list[DomainState]:
    accounts = _accounts(session)
    dotqmails = _dotqmails(session)
    limits = {
        row.domain_id: _limits(row)
        for row in session.execute(select(*DomainLimits.__table__.columns))
    }
    query = (
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
    return [
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
        )
        for row in session.execute(query)
    ]


def _accounts(session: Session) -> dict[int, list[Account]]:
    columns = [getattr(Mailbox, field) for field in Account._fields]
    query = select(Mailbox.domain_id, *columns).order_by(Mailbox.domain_id, Mailbox.name)
    accounts = defaultdict(list)
    for row in session.execute(query, execution_options=_STREAMED):
        accounts[row[0]].append(Account(*row[1:]))
    return accounts


def _dotqmails(session: Session) -> dict[int, list[DotQmail]]:
    lines = defaultdict(list)
    in_order = select(DotQmailLine.file_id, DotQmailLine.line).order_by(
        DotQmailLine.file_id, DotQmailLine.position
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
        .order_by(DotQmailFile.domain_id, DotQmailFile.id)
    )
    files = defaultdict(list)
    for domain_id, file_id, home, name, final_newline, link_target in session.execute(
        query, execution_options=_STREAMED
    ):
        file_lines = tuple(lines.pop(file_id, ()))
        files[domain_id].append(DotQmail(home, name, file_lines, final_newline, link_target))
    return files


def _names(session: Session) -> list[Name]:
    real = DomainName.__table__.alias("real")
    query = (
        select(
            DomainName.name,
            real.c.name,
            DomainName.sort_key,
            Domain.uid,
            Domain.gid,
            Domain.directory,
            DomainName.in_morercpthosts,
            Domain.id,
            Domain.created_at.is_(None),
        )
        .join(Domain, Domain.id == DomainName.domain_id)
        .join(real, (real.c.domain_id == Domain.id) & ~real.c.is_alias)
        .order_by(DomainName.sort_key)
    )
    return [Name(*row) for row in session.execute(query)]


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
