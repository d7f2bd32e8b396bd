"""Which mailboxes qmail may deliver to by itself: asked of the database, a domain at a time.

A mailbox is *direct* if vdelivermail, which gets the mail for it otherwise, would do nothing but
put the message into its Maildir. The conditions stand here once, as a query, because a site may
have a million mailboxes; `delivery` says in words why one is not direct.
"""

import re
from collections import defaultdict
from collections.abc import Collection

from sqlalchemy import ColumnElement, Text, and_, func, or_, select, true, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, Session

from vpopsql.config import Export
from vpopsql.model import (
    CatchAll,
    DefaultLimits,
    Domain,
    DomainLimits,
    DotQmailFile,
    Flag,
    Mailbox,
    from_database_text,
)

BY_VDELIVERMAIL = (CatchAll.BOUNCE, CatchAll.DELETE, CatchAll.ADDRESS, CatchAll.DIRECTORY)
"""The catch-alls with which every mailbox of a domain is vdelivermail's."""

_HAS_USABLE_DIRECTORY = re.compile(r"[^:]*:/[^:\0]*").fullmatch

Direct = dict[int, list[str]]
"""By domain id, the direct mailboxes of a domain: ``name:directory`` each, sorted."""


def find(session: Session, export: Export, domain_ids: Collection[int] | None = None) -> Direct:
    """Return the direct mailboxes, of all domains or of those named.

    What a million mailboxes are asked is asked of their own rows alone; whose mail goes elsewhere
    because of a file is asked of the files, which are fewer, and taken out again.
    """
    of_them = _Scope(domain_ids)
    item = _plain(Mailbox.name) + ":" + func.rtrim(_plain(Mailbox.directory), "/")
    never = int(Flag.BOUNCE_MAIL | Flag.DELETE_SPAM)
    query = select(Mailbox.domain_id, func.aggregate_strings(item, "\n")).where(
        of_them(Mailbox.domain_id),
        Mailbox.flags.bitwise_and(never) == 0,
        _keeps_spam(session),
        _plain(Mailbox.name) == func.lower(_plain(Mailbox.name)),
        _plain(Mailbox.directory).not_like("%\n%"),
    )
    if not export.exact_despite_quota:
        query = query.where(Mailbox.quota_bytes.is_(None), Mailbox.quota_messages.is_(None))
    elsewhere = _elsewhere(session, of_them)
    wildcards = _wildcards(session, of_them)
    domains = select(Domain.id).where(of_them(Domain.id), Domain.catchall.in_(BY_VDELIVERMAIL))
    usual = set(session.scalars(domains))
    found: Direct = {}
    rows = session.connection().execute(query.group_by(Mailbox.domain_id))
    for domain_id, text in rows:
        if domain_id not in usual:
            continue
        items = from_database_text(text).split("\n")
        items.sort()
        # Whether all directories are as they should be is told by two counts.
        if not (text.isascii() and text.count(":") == text.count(":/") == len(items)):
            items = [*filter(_HAS_USABLE_DIRECTORY, items)]
        if taken := elsewhere.get(domain_id):
            items = [item for item in items if item.partition(":")[0] not in taken]
        if begins := wildcards.get(domain_id):
            items = [item for item in items if not _is_served_by(item, begins)]
        if items:
            found[domain_id] = items
    return found


class _Scope:
    """The condition that a column has one of the ids wanted."""

    def __init__(self, ids: Collection[int] | None) -> None:
        self._ids = ids

    def __call__(self, column: InstrumentedAttribute[int]) -> ColumnElement[bool]:
        return true() if self._ids is None else column.in_(self._ids)


def _elsewhere(session: Session, of_them: _Scope) -> dict[int, set[str]]:
    """Return, by domain id, the mailboxes that have a .qmail, or whose name is an alias's."""
    own = (
        select(Mailbox.domain_id, Mailbox.name)
        .join(DotQmailFile, DotQmailFile.mailbox_id == Mailbox.id)
        .where(of_them(Mailbox.domain_id), DotQmailFile.name == "")
    )
    alias = (
        select(Mailbox.domain_id, Mailbox.name)
        .join(
            DotQmailFile,
            and_(
                DotQmailFile.domain_id == Mailbox.domain_id,
                DotQmailFile.name == type_coerce(Mailbox.name, DotQmailFile.name.type),
            ),
        )
        .where(of_them(Mailbox.domain_id), DotQmailFile.mailbox_id.is_(None))
    )
    found: defaultdict[int, set[str]] = defaultdict(set)
    for query in (own, alias):
        for domain_id, name in session.execute(query):
            found[domain_id].add(name)
    return found


def _plain(column: InstrumentedAttribute[str]) -> ColumnElement[str]:
    """Return a column whose values come as the database has them; see `from_database_text`."""
    return type_coerce(column, Text)


def _keeps_spam(session: Session) -> ColumnElement[bool]:
    """Return whether vdelivermail has no spam to throw away because of a domain's limits."""
    is_default = bool(session.scalar(select(DefaultLimits.delete_spam)))
    limits = select(DomainLimits.domain_id)
    keep = Mailbox.domain_id.in_(limits.where(~DomainLimits.delete_spam))
    if not is_default:
        keep = Mailbox.domain_id.not_in(limits.where(DomainLimits.delete_spam))
    return or_(Mailbox.flags.bitwise_and(int(Flag.V_OVERRIDE)) != 0, keep)


def _wildcards(session: Session, of_them: _Scope) -> dict[int, tuple[str, ...]]:
    """Return, by domain id, how the names begin that a file ``.qmail-BEGIN-default`` serves."""
    query = select(DotQmailFile.domain_id, DotQmailFile.name).where(
        of_them(DotQmailFile.domain_id),
        DotQmailFile.mailbox_id.is_(None),
        DotQmailFile.name.like("%-default"),
    )
    found: defaultdict[int, tuple[str, ...]] = defaultdict(tuple)
    for domain_id, name in session.execute(query):
        if name.endswith("-default"):  # LIKE takes capitals for small letters on SQLite
            found[domain_id] += (name.removesuffix("default"),)
    return found


def _is_served_by(item: str, begins: tuple[str, ...]) -> bool:
    return item.partition(":")[0].startswith(begins)
