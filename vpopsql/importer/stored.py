"""Reading a site back from the database, as the records that the importer made it from.

Used to see what an import would add, and to prove that what it added is what it read.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Any, TypeVar, cast

from sqlalchemy import Row, Select, Table, select
from sqlalchemy.orm import Session

from vpopsql.importer import site
from vpopsql.model import (
    LIMIT_SETTINGS,
    Base,
    DefaultLimits,
    DirCounter,
    Domain,
    DomainLimits,
    DomainName,
    DotQmailFile,
    DotQmailLine,
    ForeignLine,
    IpMapping,
    LastAuth,
    Mailbox,
    SiteSetting,
)
from vpopsql.qmail.dircontrol import DirControl
from vpopsql.qmail.lines import encode

ANY_SERVICE = "any"
"""The service of a login whose source does not tell."""

SITE_COUNTER = 0
"""The id of the counter of the domains' own directories."""

# Domains, or names, of one query: SQLite takes 32,766 parameters, and memory has a say as well.
_AT_ONCE = 500

T = TypeVar("T")

FileKey = tuple[int, int | None, str]
"""A dot-qmail file by the ids of its domain and, if it has one, its mailbox, and by name."""

# The fields of a mailbox that are columns of its table, in order; two more follow.
_MAILBOX_FIELDS = list(site.Mailbox._fields[:-2])

# The files of each domain's mailboxes by id; under None those of the domain itself.
_Files = defaultdict[int, defaultdict[int | None, list[site.DotQmailFile]]]


def read_domains(session: Session, names: Collection[str]) -> Iterator[site.Domain]:
    """Return the real domains among ``names`` that the database has, in no order."""
    for ids in _chunks(domain_ids(session, names).values()):
        yield from _read_chunk(session, ids)


def domain_ids(session: Session, names: Collection[str]) -> dict[str, int]:
    """Return the ids of the real domains among ``names``."""
    query = select(DomainName.name, DomainName.domain_id).where(~DomainName.is_alias)
    return {
        row.name: row.domain_id
        for chunk in _chunks(names)
        for row in session.execute(query.where(DomainName.name.in_(chunk)))
    }


def directory_ids(session: Session, directories: Collection[str]) -> dict[str, int]:
    """Return the ids of the domains with these directories."""
    query = select(Domain.directory, Domain.id)
    return {
        row.directory: row.id
        for chunk in _chunks(directories)
        for row in session.execute(query.where(Domain.directory.in_(chunk)))
    }


def held_names(session: Session, domain_id: int) -> list[str]:
    """Return the names of a domain and its directory."""
    names = select(DomainName.name).where(DomainName.domain_id == domain_id)
    directory = select(Domain.directory).where(Domain.id == domain_id)
    return [*session.scalars(names), *session.scalars(directory)]


def mailbox_ids(session: Session, domains: Collection[int]) -> dict[tuple[int, str], int]:
    """Return the ids of the mailboxes of some domains, by domain id and name."""
    table = _table(Mailbox)
    query = select(table.c.domain_id, table.c.name, table.c.id)
    return {
        (domain_id, name): pk
        for chunk in _chunks(domains)
        for domain_id, name, pk in session.execute(query.where(table.c.domain_id.in_(chunk)))
    }


def dotqmail_ids(session: Session, domains: Collection[int]) -> dict[FileKey, int]:
    """Return the ids of the dot-qmail files of some domains and of their mailboxes."""
    table = _table(DotQmailFile)
    query = select(table.c.domain_id, table.c.mailbox_id, table.c.name, table.c.id)
    return {
        (domain_id, mailbox_id, name): pk
        for chunk in _chunks(domains)
        for domain_id, mailbox_id, name, pk in session.execute(
            query.where(table.c.domain_id.in_(chunk))
        )
    }


def _read_chunk(session: Session, ids: Collection[int]) -> Iterator[site.Domain]:
    names: defaultdict[int, list[site.Name]] = defaultdict(list)
    real: dict[int, site.Name] = {}
    columns = DomainName.domain_id, DomainName.name, DomainName.in_morercpthosts
    query = select(*columns, DomainName.is_alias).where(DomainName.domain_id.in_(ids))
    for domain_id, text, in_more, is_alias in session.execute(query):
        name = site.Name(text, in_more)
        if is_alias:
            names[domain_id].append(name)
        else:
            real[domain_id] = name
    files = _files(session, ids)
    mailboxes = _mailboxes(session, ids, files)
    limits = {
        row.domain_id: _limits(row)
        for row in session.execute(_rows(DomainLimits).where(DomainLimits.domain_id.in_(ids)))
    }
    counters = {
        row.domain_id: _counter(row)
        for row in session.execute(_rows(DirCounter).where(DirCounter.domain_id.in_(ids)))
    }
    for row in session.execute(_rows(Domain).where(Domain.id.in_(ids))):
        yield site.Domain(
            name=real[row.id],
            aliases=tuple(sorted(names[row.id])),
            directory=row.directory,
            uid=row.uid,
            gid=row.gid,
            catchall=row.catchall,
            catchall_target=row.catchall_target,
            mailboxes=tuple(sorted(mailboxes[row.id], key=lambda mailbox: mailbox.name)),
            files=_by_name(files[row.id][None]),
            limits=limits.get(row.id),
            counter=counters.get(row.id),
        )


def _mailboxes(
    session: Session, ids: Collection[int], files: _Files
) -> defaultdict[int, list[site.Mailbox]]:
    found: defaultdict[int, list[site.Mailbox]] = defaultdict(list)
    boxes, logins = _table(Mailbox), _table(LastAuth)
    newest = (logins.c.mailbox_id == boxes.c.id) & (logins.c.service == ANY_SERVICE)
    query = (
        select(boxes.c.domain_id, boxes.c.id, logins.c.at, logins.c.remote_ip)
        .add_columns(*(boxes.c[name] for name in _MAILBOX_FIELDS))
        .select_from(boxes.outerjoin(logins, newest))
        .where(boxes.c.domain_id.in_(ids))
    )
    for domain_id, pk, at, remote_ip, *values in session.execute(query):
        last_auth = None if at is None else site.LastAuth(at, remote_ip)
        own_files = _by_name(files[domain_id].get(pk, ()))
        found[domain_id].append(_mailbox((*values, last_auth, own_files)))
    return found


def _mailbox(values: tuple[Any, ...]) -> site.Mailbox:
    return site.Mailbox(*values)


def _files(session: Session, ids: Collection[int]) -> _Files:
    lines: defaultdict[int, list[site.DotQmailLine]] = defaultdict(list)
    columns = DotQmailLine.file_id, DotQmailLine.line, DotQmailLine.kind
    query = (
        select(*columns)
        .join(DotQmailFile, DotQmailFile.id == DotQmailLine.file_id)
        .where(DotQmailFile.domain_id.in_(ids))
        .order_by(DotQmailLine.file_id, DotQmailLine.position)
    )
    for file_id, line, kind in session.execute(query):
        lines[file_id].append(site.DotQmailLine(line, kind))
    found: _Files = defaultdict(lambda: defaultdict(list))
    for row in session.execute(_rows(DotQmailFile).where(DotQmailFile.domain_id.in_(ids))):
        found[row.domain_id][row.mailbox_id].append(
            site.DotQmailFile(
                name=row.name,
                lines=tuple(lines[row.id]),
                final_newline=row.final_newline,
                link_target=row.link_target,
            )
        )
    return found


def _by_name(files: Collection[site.DotQmailFile]) -> tuple[site.DotQmailFile, ...]:
    if not files:
        return ()
    return tuple(sorted(files, key=lambda file: encode(file.name)))


def _limits(row: Row[Any]) -> site.Limits:
    return site.Limits({name: getattr(row, name) for name in LIMIT_SETTINGS}, row.source_text)


def _counter(row: Row[Any]) -> site.Counter:
    control = DirControl(
        cur_users=row.cur_users,
        level_cur=row.level_cur,
        level_max=row.level_max,
        starts=(row.level_start0, row.level_start1, row.level_start2),
        ends=(row.level_end0, row.level_end1, row.level_end2),
        mods=(row.level_mod0, row.level_mod1, row.level_mod2),
        indexes=(row.level_index0, row.level_index1, row.level_index2),
        the_dir=row.the_dir,
    )
    return site.Counter(control, row.free_buckets)


def _rows(table: type[Base]) -> Select[Any]:
    """Return a query for the columns of a table, without objects that a session would track."""
    return select(*_table(table).columns)


def _table(table: type[Base]) -> Table:
    return cast("Table", table.__table__)


# --- the site as a whole ----------------------------------------------------------------------


def read_foreign_lines(session: Session) -> dict[str, tuple[site.ForeignLine, ...]]:
    """Return the foreign lines of each file, in their order."""
    found: defaultdict[str, list[site.ForeignLine]] = defaultdict(list)
    query = _rows(ForeignLine).order_by(ForeignLine.file, ForeignLine.position)
    for row in session.execute(query):
        found[row.file].append(site.ForeignLine(row.position, row.line, row.sort_key))
    return {file: tuple(lines) for file, lines in found.items()}


def read_ip_mappings(session: Session) -> dict[str, str]:
    """Return the real domain of every mapped address."""
    query = select(IpMapping.address, DomainName.name).join(
        DomainName, DomainName.domain_id == IpMapping.domain_id
    )
    return {row.address: row.name for row in session.execute(query.where(~DomainName.is_alias))}


def read_default_limits(session: Session) -> site.Limits | None:
    """Return the site's default limits, None if it has none."""
    row = session.execute(_rows(DefaultLimits)).one_or_none()
    return None if row is None else _limits(row)


def read_site_counter(session: Session) -> site.Counter | None:
    """Return the counter of the domains' own directories, None if there is none."""
    row = session.execute(_rows(DirCounter).where(DirCounter.id == SITE_COUNTER)).one_or_none()
    return None if row is None else _counter(row)


def read_settings(session: Session) -> dict[str, str]:
    """Return the facts about the whole site."""
    return {row.key: row.value for row in session.execute(_rows(SiteSetting))}


def taken_names(session: Session, names: Collection[str]) -> set[str]:
    """Return which of ``names`` the database has, as a domain or as an alias domain."""
    return {
        name
        for chunk in _chunks(names)
        for name in session.scalars(select(DomainName.name).where(DomainName.name.in_(chunk)))
    }


def _chunks(values: Iterable[T]) -> Iterator[list[T]]:
    """Cut ``values`` into lists that one statement can take."""
    wanted = list(values)
    for start in range(0, len(wanted), _AT_ONCE):
        yield wanted[start : start + _AT_ONCE]
