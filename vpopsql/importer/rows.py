"""Rows of our tables from records of a site."""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

from sqlalchemy import Table
from sqlalchemy.orm import Session

from vpopsql import bulk, names
from vpopsql.columns import utc_now
from vpopsql.importer import site, stored
from vpopsql.importer.later import CHANNEL, IMPORTED, SITE
from vpopsql.model import (
    LIMIT_SETTINGS,
    AuditEntry,
    Base,
    DirCounter,
    Domain,
    DomainLimits,
    DomainName,
    DotQmailFile,
    DotQmailLine,
    LastAuth,
    Mailbox,
    Revision,
)

_DOMAIN = ("id", "directory", "uid", "gid", "created_at", "catchall", "catchall_target")
NAME = ("name", "domain_id", "is_alias", "sort_key", "in_morercpthosts")
_MAILBOX_FIELDS = (
    "name",
    "password_hash",
    "clear_text",
    "apop_uid",
    "flags",
    "comment",
    "directory",
    "quota_text",
    "quota_bytes",
    "quota_messages",
    "created_at",
)
_MAILBOX = ("id", "domain_id", *_MAILBOX_FIELDS, "password_changed_at")
_LOGIN = ("mailbox_id", "service", "at", "remote_ip")
_FILE = ("id", "domain_id", "mailbox_id", "name", "final_newline", "link_target")
_LINE = ("file_id", "position", "line", "kind")
_LIMITS = (*LIMIT_SETTINGS, "source_text")
_LEVELS = tuple(
    f"level_{part}{level}" for part in ("start", "end", "mod", "index") for level in range(3)
)
_COUNTER = ("cur_users", "level_cur", "level_max", *_LEVELS, "the_dir", "free_buckets")
_AUDIT = ("at", "actor", "channel", "action", "object_type", "object", "changes")
_REVISION = ("at", "domain", "topic")

_FIELDS = len(_MAILBOX_FIELDS)


def insert(
    session: Session, table: type[Base], columns: Sequence[str], rows: Iterable[bulk.Row]
) -> None:
    """Insert rows into the table of a class of the model."""
    bulk.insert_rows(session, _table(table), columns, rows)


def insert_domains(session: Session, domains: Sequence[site.Domain], source: str) -> None:
    """Insert whole domains, and write down that they came from ``source``."""
    ids = bulk.take_ids(session, _table(Domain), len(domains))
    placed = list(zip(ids, domains, strict=True))
    insert(session, Domain, _DOMAIN, (_domain(pk, domain) for pk, domain in placed))
    insert(session, DomainName, NAME, (row for pk, each in placed for row in _names(pk, each)))
    insert_mailboxes(session, [(pk, box) for pk, each in placed for box in each.mailboxes])
    insert_files(session, [(pk, None, file) for pk, each in placed for file in each.files])
    insert(
        session,
        DomainLimits,
        ("domain_id", *_LIMITS),
        ((pk, *limits(each.limits).values()) for pk, each in placed if each.limits is not None),
    )
    counted = [(pk, each.counter) for pk, each in placed if each.counter is not None]
    taken = bulk.take_ids(session, _table(DirCounter), len(counted))
    insert(
        session,
        DirCounter,
        ("id", "domain_id", *_COUNTER),
        ((next(taken), pk, *counter(each).values()) for pk, each in counted),
    )
    note(session, domains, source)


def insert_mailboxes(session: Session, placed: Sequence[tuple[int, site.Mailbox]]) -> None:
    """Insert mailboxes, each with the id of its domain, and what belongs to them."""
    ids = list(bulk.take_ids(session, _table(Mailbox), len(placed)))
    insert(
        session,
        Mailbox,
        _MAILBOX,
        (
            (pk, domain_id, *box[:_FIELDS], None)
            for pk, (domain_id, box) in zip(ids, placed, strict=True)
        ),
    )
    insert(
        session,
        LastAuth,
        _LOGIN,
        (
            (pk, stored.ANY_SERVICE, *box.last_auth)
            for pk, (_, box) in zip(ids, placed, strict=True)
            if box.last_auth is not None
        ),
    )
    insert_files(
        session,
        [
            (domain_id, pk, file)
            for pk, (domain_id, box) in zip(ids, placed, strict=True)
            for file in box.files
        ],
    )


def insert_files(
    session: Session, owned: Sequence[tuple[int, int | None, site.DotQmailFile]]
) -> None:
    """Insert dot-qmail files, each with the ids of its domain and, if it has one, its mailbox."""
    ids = list(bulk.take_ids(session, _table(DotQmailFile), len(owned)))
    insert(
        session,
        DotQmailFile,
        _FILE,
        (
            (pk, domain_id, mailbox_id, file.name, file.final_newline, file.link_target)
            for pk, (domain_id, mailbox_id, file) in zip(ids, owned, strict=True)
        ),
    )
    insert(
        session,
        DotQmailLine,
        _LINE,
        (
            (pk, position, *line)
            for pk, (_, _, file) in zip(ids, owned, strict=True)
            for position, line in enumerate(file.lines, 1)
        ),
    )


def note(
    session: Session, domains: Iterable[site.Domain], source: str, action: str = IMPORTED
) -> None:
    """Write down that domains are as ``source`` has them, and that their files may change."""
    now = utc_now()
    domains = list(domains)
    insert(
        session,
        AuditEntry,
        _AUDIT,
        (
            (now, CHANNEL, CHANNEL, action, "domain", each.name.name, _counted(each, source))
            for each in domains
        ),
    )
    insert(session, Revision, _REVISION, ((now, each.name.name, CHANNEL) for each in domains))


def note_removed(session: Session, domain: str) -> None:
    """Write down that a domain was removed because its source has it no more."""
    now = utc_now()
    entry: bulk.Row = (now, CHANNEL, CHANNEL, "remove_domain", "domain", domain, {})
    insert(session, AuditEntry, _AUDIT, [entry])
    insert(session, Revision, _REVISION, [(now, domain, CHANNEL)])


def note_site(session: Session, source: str | None = None, action: str = "") -> None:
    """Write down that files of the whole site may change.

    :param source: where what belongs to no domain came from; None: it has not changed.
    """
    now = utc_now()
    if source is not None:
        entry: bulk.Row = (now, CHANNEL, CHANNEL, action, SITE, source, {})
        insert(session, AuditEntry, _AUDIT, [entry])
    insert(session, Revision, _REVISION, [(now, None, CHANNEL)])


def limits(settings: site.Limits) -> dict[str, Any]:
    """Return the columns of limits, in the order of `_LIMITS`."""
    values: dict[str, Any] = {name: settings.values[name] for name in LIMIT_SETTINGS}
    return values | {"source_text": settings.source_text}


def counter(found: site.Counter) -> dict[str, Any]:
    """Return the columns of a counter, in the order of `_COUNTER`."""
    control = found.control
    levels = (*control.starts, *control.ends, *control.mods, *control.indexes)
    values = (
        control.cur_users,
        control.level_cur,
        control.level_max,
        *levels,
        control.the_dir,
        found.free_buckets,
    )
    return dict(zip(_COUNTER, values, strict=True))


def ip_mapping(address: str, domain_id: int) -> dict[str, Any]:
    """Return the columns of the mapping of an address."""
    parsed = ipaddress.ip_address(address)
    return {
        "address": address,
        "family": parsed.version,
        "packed": parsed.packed,
        "domain_id": domain_id,
    }


def name_row(name: site.Name, domain_id: int, *, is_alias: bool) -> bulk.Row:
    """Return the values of a name's columns."""
    key = names.sort_key(name.name)
    return (name.name, domain_id, is_alias, key, name.in_morercpthosts)


def _domain(pk: int, domain: site.Domain) -> bulk.Row:
    ids = (pk, domain.directory, domain.uid, domain.gid)
    return (*ids, None, domain.catchall, domain.catchall_target)


def _names(domain_id: int, domain: site.Domain) -> Iterator[bulk.Row]:
    for name in domain.names:
        yield name_row(name, domain_id, is_alias=name is not domain.name)


def _counted(domain: site.Domain, source: str) -> dict[str, list[Any]]:
    counts = {what: [0, number] for what, number in domain.counts().items()}
    return {"source": [None, source]} | counts


def _table(table: type[Base]) -> Table:
    return cast("Table", table.__table__)
