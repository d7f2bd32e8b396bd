"""The exact lines of users/assign: delivery without vdelivermail.

::

    +example.com-:example.com:89:89:/…/example.com:-::              all names of the domain
    =example.com-alice:example.com:89:89:/…/example.com/alice:::    alice, into her own Maildir

A mailbox is *direct* if vdelivermail, which gets the mail for it otherwise, would do nothing but
put the message into its Maildir. Only those get an exact line, so that it comes to the same; for
everybody else the line of the domain decides, as it did. A domain's exact lines follow that line,
one for each direct mailbox whose address nobody else has, see `routes`; an alias domain has its
own. They name the real domain as the user, as the line before them does, so that programs find
the same environment.

The conditions stand here once, as a query, because a site may have a million mailboxes;
`delivery` says in words why one is not direct. The lines are made a domain at a time while the
rows come, so that nothing is kept but them.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import NamedTuple

from sqlalchemy import ColumnElement, Text, and_, func, or_, select, true, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, Session

from vpopsql.columns import from_database_text
from vpopsql.config import Export
from vpopsql.exporter.routes import NOBODY, Diverted, Routes, is_diverted
from vpopsql.model import (
    CatchAll,
    DefaultLimits,
    Domain,
    DomainLimits,
    DomainName,
    DotQmailFile,
    Flag,
    Mailbox,
)
from vpopsql.qmail import assign
from vpopsql.qmail.lines import decode, encode

BY_VDELIVERMAIL = (CatchAll.BOUNCE, CatchAll.DELETE, CatchAll.ADDRESS, CatchAll.DIRECTORY)
"""The catch-alls with which every mailbox of a domain is vdelivermail's."""

_HAS_USABLE_DIRECTORY = re.compile(r"[^:]*:/[^:\0]*").fullmatch

_ROWS_AT_ONCE = 1000

Ids = Collection[int] | range
"""Of domains; a range need not have been given out to its end."""


class _Scope:
    """The condition that a column has one of the ids wanted."""

    def __init__(self, ids: Ids | None) -> None:
        self._ids = ids

    def __call__(self, column: InstrumentedAttribute[int]) -> ColumnElement[bool]:
        if isinstance(self._ids, range):
            return column.between(self._ids.start, self._ids.stop - 1)
        return true() if self._ids is None else column.in_(self._ids)


def lines(
    session: Session, export: Export, routes: Routes, domain_ids: Ids | None = None
) -> dict[str, bytes]:
    """Return the lines of each name that has exact ones, joined by newlines, its own first.

    A name is left out if users/assign cannot have its own line: that is for `render` to say.

    :param routes: what leads the addresses of the names elsewhere.
    :param domain_ids: of which domains; None: of all.
    """
    of_them = _Scope(domain_ids)
    aliases = _aliases(session, of_them)
    found = {}
    for domain in _direct(session, export, of_them):
        for name in (domain.name, *aliases.get(domain.id, ())):
            try:
                if text := _lines_of(name, domain, routes):
                    found[name] = text
            except ValueError:
                continue
    return found


class _Domain(NamedTuple):
    """A domain that has direct mailboxes."""

    id: int
    name: str
    uid: int
    gid: int
    directory: str
    items: bytes
    """``name:directory`` of each, sorted, joined by newlines; there is no other colon in it."""


def _lines_of(name: str, domain: _Domain, routes: Routes) -> bytes:
    """Return the lines of a domain's name, or of an alias domain's; none without exact ones.

    :raises ValueError: users/assign cannot have the name's own line.
    """
    _, real, uid, gid, directory, items = domain
    if routes.is_closed(name):
        return b""
    diverted = routes.diverted(name)
    if diverted is not NOBODY:
        items = _without(items, diverted, f"{name}-")
        if not items:
            return b""
    line = encode(f"{assign.domain_line(name, real, uid, gid, directory)}\n={name}-")
    # What all lines share is put into them in two steps, of bytes, which takes half as long.
    fields = items.replace(b":", encode(f":{real}:{uid}:{gid}:"))
    return line + fields.replace(b"\n", encode(f":::\n={name}-")) + b":::"


def _aliases(session: Session, of_them: _Scope) -> dict[int, list[str]]:
    query = select(DomainName.domain_id, DomainName.name).where(
        of_them(DomainName.domain_id), DomainName.is_alias
    )
    aliases: defaultdict[int, list[str]] = defaultdict(list)
    for domain_id, name in session.execute(query):
        aliases[domain_id].append(name)
    return aliases


def _direct(session: Session, export: Export, of_them: _Scope) -> Iterator[_Domain]:
    """Return the domains that have direct mailboxes, with those.

    What a million mailboxes are asked is asked of their own rows alone; whose mail goes elsewhere
    because of a file is asked of the files, which are fewer, and taken out again.
    """
    item = _plain(Mailbox.name) + ":" + _plain(Mailbox.directory)
    never = int(Flag.BOUNCE_MAIL | Flag.DELETE_SPAM)
    boxes = select(func.aggregate_strings(item, "\n")).where(
        Mailbox.domain_id == Domain.id,
        Mailbox.flags.bitwise_and(never) == 0,
        _keeps_spam(session),
        _plain(Mailbox.name) == func.lower(_plain(Mailbox.name)),
        _plain(Mailbox.directory).not_like("%\n%"),
    )
    if not export.exact_despite_quota:
        boxes = boxes.where(Mailbox.quota_bytes.is_(None), Mailbox.quota_messages.is_(None))
    query = (
        select(
            Domain.id,
            _plain(DomainName.name),
            Domain.uid,
            Domain.gid,
            Domain.directory,
            boxes.scalar_subquery(),
        )
        .join(DomainName, (DomainName.domain_id == Domain.id) & ~DomainName.is_alias)
        # The second condition follows from the first, which PostgreSQL does not see.
        .where(
            of_them(Domain.id),
            of_them(DomainName.domain_id),
            Domain.catchall.in_(BY_VDELIVERMAIL),
        )
    )
    elsewhere = _elsewhere(session, of_them)
    wildcards = _wildcards(session, of_them)
    rows = session.connection().execute(query, execution_options={"yield_per": _ROWS_AT_ONCE})
    for domain_id, name, uid, gid, directory, text in rows:
        items = _usable(text or "")
        if domain_id in wildcards or domain_id in elsewhere:
            others: Diverted = (wildcards.get(domain_id, ()), elsewhere.get(domain_id, ()))
            items = _without(items, others)
        if items:
            yield _Domain(domain_id, name, uid, gid, directory, items)


def _usable(text: str) -> bytes:
    """Return those that users/assign can have, in order, without slashes at their ends."""
    items = text.split("\n")
    ordered = sorted(items)
    # Whether all directories are as they should be is told by two counts.
    is_usual = text.isascii() and text.count(":") == text.count(":/") == len(items)
    if is_usual and not text.endswith("/") and "/\n" not in text:
        return (text if ordered == items else "\n".join(ordered)).encode()
    items = [item.rstrip("/") for item in from_database_text(text).split("\n")]
    return encode("\n".join(sorted(filter(_HAS_USABLE_DIRECTORY, items))))


def _without(items: bytes, others: Diverted, begin: str = "") -> bytes:
    """Return those whose mailbox's name, put behind ``begin``, is not of others."""
    every = decode(items).split("\n")
    kept = [each for each in every if not is_diverted(begin + each.partition(":")[0], others)]
    return encode("\n".join(kept))


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
        deleting = limits.where(DomainLimits.delete_spam)
        if session.scalar(deleting.limit(1)) is None:
            return true()
        keep = Mailbox.domain_id.not_in(deleting)
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
