"""What happened to one thing: everything that the audit log has on it, and on what it is made of.

Of a domain that is the domain, its accounts and lists, and the dot-qmail files below its directory
while it is there; of an address the account, the list, and the files that serve it; of a path the
file. The log shows no secret.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vpopsql.model import AuditEntry, Domain, DomainName, Mailbox
from vpopsql.reports.query import Row
from vpopsql.reports.report import Report, number, text, time

HISTORY = Report(
    "history",
    "What happened to this?",
    (
        number("id", "of the entry in the audit log; one row for each field"),
        time("at", "when"),
        text("actor", "who: an address, or a program"),
        text("actor_ip", "from where", "-"),
        text("channel", "daemon, cli, import, login or sql"),
        text("object", "its address, name or path"),
        text("action", "what was done, such as mod_user"),
        text("field", "which was changed", "-"),
        text("old", "what it was; secrets are masked", "-"),
        text("new", "what it is since then; secrets are masked", "-"),
    ),
    ("id", "field"),
)
"""No report by name, as it has an object, but with columns like one."""

_MASKED = "(masked)"
_SECRETS = frozenset({"password", "password_hash", "clear_text"})
_AT_ONCE = 1000


def history(session: Session, wanted: str, limit: int | None = None) -> Iterator[Row]:
    """Give what happened to a thing, the oldest first, as rows of `HISTORY`.

    :param wanted: an address, a domain (an alias's name means the real one) or a path; it may be
        gone.
    :param limit: the newest entries only, so many.
    """
    return _newest(session, _is_about(session, wanted), limit)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries of the audit log are wanted; None: any."""

    actor: str | None = None
    action: str | None = None
    object: str | None = None
    since: datetime | None = None


def changes(session: Session, wanted: Wanted, limit: int | None = None) -> Iterator[Row]:
    """Give entries of the audit log, the oldest first, as rows of `HISTORY`.

    :param limit: the newest entries only, so many.
    """
    conditions: list[sa.ColumnElement[bool]] = [sa.true()]
    if wanted.actor is not None:
        conditions.append(AuditEntry.actor == wanted.actor)
    if wanted.action is not None:
        conditions.append(AuditEntry.action == wanted.action)
    if wanted.object is not None:
        conditions.append(AuditEntry.object == wanted.object)
    if wanted.since is not None:
        conditions.append(AuditEntry.at >= wanted.since)
    return _newest(session, sa.and_(*conditions), limit)


def _newest(session: Session, where: sa.ColumnElement[bool], limit: int | None) -> Iterator[Row]:
    newest = sa.select(AuditEntry.id).where(where).order_by(AuditEntry.id.desc()).limit(limit)
    query = sa.select(AuditEntry).where(AuditEntry.id.in_(newest)).order_by(AuditEntry.id)
    for entry in session.scalars(query, execution_options={"yield_per": _AT_ONCE}):
        head = (entry.id, entry.at, entry.actor, entry.actor_ip, entry.channel, entry.object)
        for field, pair in sorted(entry.changes.items()) or [("", (None, None))]:
            values = [_shown(field, value) for value in pair]
            yield (*head, entry.action, field or None, *values)


def _is_about(session: Session, wanted: str) -> sa.ColumnElement[bool]:
    if wanted.startswith("/"):
        return sa.or_(*(_is(kind, wanted) for kind in ("dotqmail", "directory", "file")))
    user, at, host = wanted.lower().rpartition("@")
    found = session.execute(
        sa.select(DomainName.domain_id, Domain.directory)
        .join(Domain, Domain.id == DomainName.domain_id)
        .where(DomainName.name == host)
    ).first()
    real = host
    if found is not None:
        real = session.scalars(
            sa.select(DomainName.name).where(
                DomainName.domain_id == found.domain_id, ~DomainName.is_alias
            )
        ).one()
    about = _is_about_address(f"{user}@{real}") if at else _is_about_domain(real)
    about |= _was_about(session, f"{user}@{real}" if at else real)
    if found is None:
        return about
    home = found.directory.rstrip("/")
    if not at:
        return about | _begins("dotqmail", f"{home}/")
    about |= _is("dotqmail", f"{home}/.qmail-{user}")
    own = session.scalar(
        sa.select(Mailbox.directory).where(
            Mailbox.domain_id == found.domain_id, Mailbox.name == user
        )
    )
    return about if own is None else about | _begins("dotqmail", f"{own.rstrip('/')}/")


_RENAMED = ("rename_user", "rename_domain")
_RENAMES_MAX = 100
"""Names that are followed into the past."""


def _was_about(session: Session, name: str) -> sa.ColumnElement[bool]:
    """Return whether an entry is about what was called otherwise, at that time."""
    about: sa.ColumnElement[bool] = sa.false()
    upto: int | None = None
    for _ in range(_RENAMES_MAX):
        earlier = _earlier(session, name, upto)
        if earlier is None:
            break
        upto, name, directory = earlier
        was_about = _is_about_address(name) if "@" in name else _is_about_domain(name)
        if directory:
            was_about |= _begins("dotqmail", f"{directory}/")
        about |= was_about & (AuditEntry.id <= upto)
    return about


def _earlier(session: Session, name: str, upto: int | None) -> tuple[int, str, str | None] | None:
    """Return until when what is called ``name`` was called otherwise, how, and where it was.

    :param upto: the entry of the audit log until which it was called so; None: it still is.
    """
    domain = name.rpartition("@")[2]
    query = (
        sa.select(AuditEntry.id, AuditEntry.object_type, AuditEntry.changes)
        .where(
            AuditEntry.action.in_(_RENAMED),
            _is("user", name) | _is("domain", domain),
            sa.true() if upto is None else AuditEntry.id < upto,
        )
        .order_by(AuditEntry.id.desc())
    )
    for id_, kind, changed in session.execute(query):
        old, new = changed.get("name") or (None, None)
        if new == name and old:
            return id_, old, (changed.get("directory") or (None,))[0]
        if kind == "domain" and new == domain and old:
            return id_, f"{name[: -len(domain)]}{old}", None
    return None


def _is_about_address(address: str) -> sa.ColumnElement[bool]:
    return _is("user", address) | _is("mailbox", address) | _is("list", address)


def _is_about_domain(name: str) -> sa.ColumnElement[bool]:
    of_it = [_ends(kind, f"@{name}") for kind in ("user", "mailbox", "list")]
    return sa.or_(_is("domain", name), *of_it)


def _is(kind: str, name: str) -> sa.ColumnElement[bool]:
    return (AuditEntry.object_type == kind) & (AuditEntry.object == name)


def _begins(kind: str, prefix: str) -> sa.ColumnElement[bool]:
    # By bytes, with the index on the object: U+10FFFF is behind everything.
    return (
        (AuditEntry.object_type == kind)
        & (AuditEntry.object >= prefix)
        & (AuditEntry.object < prefix + "\U0010ffff")
    )


def _ends(kind: str, suffix: str) -> sa.ColumnElement[bool]:
    return (AuditEntry.object_type == kind) & AuditEntry.object.endswith(suffix, autoescape=True)


def _shown(field: str, value: object) -> str | None:
    if value is None:
        return None
    if field in _SECRETS:
        return _MASKED
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
