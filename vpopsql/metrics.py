"""The figures of a site for Prometheus: what there is, how full it is, and what is behind.

No label has a value for each address or domain: a site of a million mailboxes gives no more
numbers than one of ten. What is not known has no number.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Float, Select, and_, case, cast, func, or_, select, text
from sqlalchemy.orm import Session

from vpopsql.exporter import hosts
from vpopsql.exposition import Family, Sample, gauge
from vpopsql.model import (
    DomainName,
    DotQmailFile,
    DotQmailLine,
    Export,
    LatestUsage,
    LineKind,
    Mailbox,
    MailboxUsage,
    Revision,
)

NEARLY_FULL = 0.9
"""The part of a quota that vpopmail warns at."""

_PREFIXES = (
    ("$1$", "md5-crypt"),
    ("$5$", "sha256-crypt"),
    ("$6$", "sha512-crypt"),
    ("$2a$", "bcrypt"),
    ("$2b$", "bcrypt"),
    ("$2x$", "bcrypt"),
    ("$2y$", "bcrypt"),
    ("$y$", "yescrypt"),
    ("$argon2", "argon2"),
    ("*", "locked"),
    ("!", "locked"),
)
_DES_LENGTH = 13


def site_families(session: Session) -> Iterator[Family]:
    """Return all figures of a site; reads each mailbox."""
    yield gauge(
        "vpopsql_collected_timestamp_seconds",
        "When these figures were taken from the database.",
        datetime.now(UTC).timestamp(),
    )
    yield from _objects(session)
    yield _schemes(session)
    yield from _usage(session)
    yield from export_families(session)
    yield from _hosts(session)


def export_families(session: Session) -> Iterator[Family]:
    """Return how far the database and its exports are; quick, whatever the size of the site."""
    newest = session.scalars(select(Export).order_by(Export.id.desc()).limit(1)).first()
    revision = session.scalar(select(func.max(Revision.id))) or 0
    yield gauge("vpopsql_revision", "The newest revision of the database.", revision)
    if newest is None:
        return
    later = select(func.count(), func.min(Revision.at)).where(Revision.id > newest.revision)
    count, eldest = session.execute(later).one()
    for name, help_, value in (
        ("generation", "The number of the newest whole export.", newest.id),
        ("revision", "The revision of the newest whole export.", newest.revision),
        ("timestamp_seconds", "When the newest whole export was made.", newest.at.timestamp()),
        (
            "lag_revisions",
            "Revisions since the newest whole export; the daemon writes the files of its own.",
            count,
        ),
        (
            "lag_seconds",
            "Age of the eldest revision since the newest whole export.",
            _age_s(eldest) if count else 0,
        ),
    ):
        yield gauge(f"vpopsql_export_{name}", help_, value)


def _age_s(at: datetime) -> float:
    return max((datetime.now(UTC) - at).total_seconds(), 0)


def _objects(session: Session) -> Iterator[Family]:
    aliases = select(func.count()).where(
        DotQmailFile.mailbox_id.is_(None), DotQmailFile.name.not_in(["", "default"])
    )
    # As the indexes of these rows have it: a parameter might be anything.
    forwards = (
        select(func.count()).select_from(DotQmailLine).where(text(f"kind = '{LineKind.FORWARD}'"))
    )
    figures: list[tuple[str, str, Select[*tuple[Any, ...]]]] = [
        ("domains", "Domains.", select(func.count()).where(~DomainName.is_alias)),
        ("alias_domains", "Alias domains.", select(func.count()).where(DomainName.is_alias)),
        ("mailboxes", "Mailboxes.", select(func.count()).select_from(Mailbox)),
        ("aliases", "Aliases: .qmail-NAME files of domains, without .qmail-default.", aliases),
        ("forward_lines", "Lines that forward, of aliases and mailboxes.", forwards),
        (
            "mailboxes_with_clear_text",
            "Mailboxes with a readable copy of the password.",
            select(func.count())
            .select_from(Mailbox)
            .where(text("COALESCE(clear_text, '') <> ''")),
        ),
    ]
    for name, help_, count in figures:
        yield gauge(f"vpopsql_{name}", help_, session.scalar(count))


def _schemes(session: Session) -> Family:
    kind = _scheme().label("scheme")
    rows = session.execute(select(kind, func.count()).group_by(kind).order_by(kind))
    return Family(
        "vpopsql_mailboxes_by_scheme",
        "gauge",
        "Mailboxes by how the password is hashed, as the hash begins.",
        [Sample(number, {"scheme": scheme}) for scheme, number in rows],
    )


def _scheme() -> ColumnElement[str]:
    stored = Mailbox.password_hash
    beginnings = [
        (func.substr(stored, 1, len(prefix)) == prefix, name) for prefix, name in _PREFIXES
    ]
    is_des = and_(func.length(stored) == _DES_LENGTH, func.substr(stored, 1, 1) != "$")
    return case((stored == "", "empty"), *beginnings, (is_des, "des"), else_="unknown")


def _usage(session: Session) -> Iterator[Family]:
    size, messages = LatestUsage.bytes, LatestUsage.messages
    fills = or_(
        cast(size, Float) >= NEARLY_FULL * Mailbox.quota_bytes,
        cast(messages, Float) >= NEARLY_FULL * Mailbox.quota_messages,
    )
    over = or_(size > Mailbox.quota_bytes, messages > Mailbox.quota_messages)
    measured, total, count, nearly, full = session.execute(
        select(
            func.count(),
            func.sum(size),
            func.sum(messages),
            func.sum(case((fills, 1), else_=0)),
            func.sum(case((over, 1), else_=0)),
        ).join_from(LatestUsage, Mailbox, Mailbox.id == LatestUsage.mailbox_id)
    ).one()
    newest = session.scalar(
        select(MailboxUsage.measured_at).order_by(MailboxUsage.id.desc()).limit(1)
    )
    yield gauge("vpopsql_mailboxes_measured", "Mailboxes that were ever measured.", measured)
    yield gauge("vpopsql_usage_bytes", "What these held when measured last.", total)
    yield gauge("vpopsql_usage_messages", "Messages in them.", count)
    yield gauge(
        "vpopsql_mailboxes_nearly_full",
        "Measured mailboxes at 90 % of a quota or above, those over it included.",
        nearly,
    )
    yield gauge("vpopsql_mailboxes_over_quota", "Measured mailboxes over a quota.", full)
    yield gauge(
        "vpopsql_usage_timestamp_seconds",
        "When a mailbox was measured last.",
        None if newest is None else newest.timestamp(),
    )


def _hosts(session: Session) -> Iterator[Family]:
    standings = hosts.standings(session)
    for name, help_, value in (
        ("lag_revisions", "Revisions that the files of a host do not show.", "behind"),
        ("lag_seconds", "Age of the eldest of them.", "behind_s"),
        ("silent_seconds", "Since the host last reported.", "silent_s"),
        ("stale", "1 if the host is behind, silent or in trouble for too long.", "is_stale"),
    ):
        yield Family(
            f"vpopsql_host_{name}",
            "gauge",
            help_,
            [
                Sample(float(getattr(each, value)), {"host": each.name, "role": each.role.value})
                for each in standings
            ],
        )
