"""Which mailboxes qmail may deliver to by itself: asked of the database, a domain at a time.

A mailbox is *direct* if vdelivermail, which gets the mail for it otherwise, would do nothing but
put the message into its Maildir. The conditions stand here once, as a query, because a site may
have a million mailboxes; `delivery` says in words why one is not direct.
"""

from collections import defaultdict
from collections.abc import Collection

from sqlalchemy import ColumnElement, Text, and_, exists, func, or_, select, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from vpopsql import names
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

DEFAULT = "-default"
"""What the names of dot-qmail files end with that serve every name with the same beginning."""

Direct = dict[int, str]
"""By domain id, the direct mailboxes of a domain: a line ``name:directory`` each, sorted."""


def find(session: Session, export: Export, domain_ids: Collection[int] | None = None) -> Direct:
    """Return the direct mailboxes, of all domains or of those named."""
    item = _plain(Mailbox.name) + ":" + func.rtrim(_plain(Mailbox.directory), "/")
    query = (
        select(Mailbox.domain_id, func.aggregate_strings(item, "\n"))
        .join(Domain, Domain.id == Mailbox.domain_id)
        .outerjoin(DomainLimits, DomainLimits.domain_id == Mailbox.domain_id)
        .where(
            Domain.catchall.in_(BY_VDELIVERMAIL),
            Mailbox.flags.bitwise_and(int(Flag.BOUNCE_MAIL)) == 0,
            ~_deletes_spam(session),
            _has_usable_directory(),
            _plain(Mailbox.name) == func.lower(_plain(Mailbox.name)),
            ~exists().where(DotQmailFile.mailbox_id == Mailbox.id, DotQmailFile.name == ""),
            ~exists().where(
                DotQmailFile.domain_id == Mailbox.domain_id,
                DotQmailFile.mailbox_id.is_(None),
                DotQmailFile.name == type_coerce(Mailbox.name, DotQmailFile.name.type),
            ),
        )
        .group_by(Mailbox.domain_id)
    )
    if not export.exact_despite_quota:
        query = query.where(Mailbox.quota_bytes.is_(None), Mailbox.quota_messages.is_(None))
    if domain_ids is not None:
        query = query.where(Mailbox.domain_id.in_(domain_ids))
    wildcards = _wildcards(session)
    found: Direct = {}
    for domain_id, text in session.execute(query):
        items = from_database_text(text).split("\n")
        items.sort()
        if domain_id in wildcards or not text.isascii():
            items = [item for item in items if _is_direct(item, wildcards.get(domain_id, ()))]
        found[domain_id] = "\n".join(items)
    return found


def is_served_by(name: str, wildcards: Collection[str]) -> bool:
    """Say whether one of the files ``.qmail-WILDCARD`` serves ``name`` before .qmail-default."""
    lowered = names.lower(name)
    return any(lowered.startswith(each.removesuffix("default")) for each in wildcards)


def _plain(column: InstrumentedAttribute[str]) -> ColumnElement[str]:
    """Return a column whose values come as the database has them; see `from_database_text`."""
    return type_coerce(column, Text)


def _deletes_spam(session: Session) -> ColumnElement[bool]:
    """Return whether vdelivermail may have to throw a message away.

    The flag is the account's own, or its domain's unless it is above those.
    """
    default = session.scalar(select(DefaultLimits.delete_spam)) or False
    of_domain = func.coalesce(DomainLimits.delete_spam, default)
    is_above = Mailbox.flags.bitwise_and(int(Flag.V_OVERRIDE)) != 0
    own = Mailbox.flags.bitwise_and(int(Flag.DELETE_SPAM)) != 0
    return or_(own, and_(~is_above, of_domain))


def _has_usable_directory() -> ColumnElement[bool]:
    directory = _plain(Mailbox.directory)
    return and_(
        directory.like("/%"),
        func.rtrim(directory, "/") != "",
        directory.not_like("%:%"),
        directory.not_like("%\n%"),
    )


def _wildcards(session: Session) -> dict[int, list[str]]:
    """Return, by domain id, the dot-qmail files that serve all names with one beginning."""
    query = select(DotQmailFile.domain_id, DotQmailFile.name).where(
        DotQmailFile.mailbox_id.is_(None), DotQmailFile.name.like(f"%{DEFAULT}")
    )
    found: defaultdict[int, list[str]] = defaultdict(list)
    for domain_id, name in session.execute(query):
        if name.endswith(DEFAULT):  # LIKE takes capitals for small letters on SQLite
            found[domain_id].append(name)
    return found


def _is_direct(item: str, wildcards: Collection[str]) -> bool:
    return "\0" not in item and not is_served_by(item.partition(":")[0], wildcards)
