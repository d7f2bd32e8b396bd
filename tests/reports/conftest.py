"""Sites for reports: small ones whose answers can be told by looking at them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests import factories
from vpopsql.columns import utc_now
from vpopsql.db import Database
from vpopsql.model import (
    AuditEntry,
    CatchAll,
    DomainUsage,
    Flag,
    LineKind,
    Mailbox,
    MailboxUsage,
    UsageSource,
)
from vpopsql.reports.query import Question, rows
from vpopsql.reports.registry import REPORTS
from vpopsql.services import login_counts
from vpopsql.services.login_counts import Counted

NOW = utc_now().replace(microsecond=0)

SHA512 = "$6$saltsalt$" + 86 * "h"
MD5 = "$1$saltsalt$" + 22 * "h"
DES = "ab" + 11 * "h"

Ask = Callable[..., list[tuple[Any, ...]]]


def ago(days: float) -> datetime:
    """The time so many days and an hour ago."""
    return NOW - timedelta(days=days, hours=1)


@pytest.fixture
def ask(database: Database) -> Ask:
    """Ask a report, by its name and what narrows it down."""

    def _ask(name: str, **narrowed: Any) -> list[tuple[Any, ...]]:
        with database.snapshot() as session:
            return list(rows(session, REPORTS[name], Question(**narrowed)))

    return _ask


def used(of: Mailbox, at: datetime, size: int, messages: int) -> MailboxUsage:
    return MailboxUsage(
        mailbox_id=of.id,
        measured_at=at,
        bytes=size,
        messages=messages,
        source=UsageSource.COUNT,
    )


def entry(action: str, kind: str, name: str, at: datetime, **changes: Any) -> AuditEntry:
    return AuditEntry(
        at=at,
        actor="boss@example.com",
        actor_ip="192.0.2.1",
        channel="daemon",
        action=action,
        object_type=kind,
        object=name,
        changes={field: list(pair) for field, pair in changes.items()},
    )


@pytest.fixture
def accounts(database: Database) -> Database:
    """Five mailboxes of one domain, each with a history of its own, and another domain."""
    with database.writer() as session:
        one = factories.domain(session, "example.com", "alias.org")
        factories.limits(session, one, disable_imap=True)
        factories.mailbox(session, one, "postmaster", password_hash=SHA512, created_at=ago(400))
        alice = factories.mailbox(
            session,
            one,
            "alice",
            Flag.NO_POP | Flag.QA_ADMIN,
            password_hash=SHA512,
            clear_text="secret",
            created_at=ago(300),
            password_changed_at=ago(50),
            quota_bytes=1000,
            quota_messages=100,
        )
        factories.last_auth(session, alice, ago(300), "192.0.2.9", "pop3")
        factories.last_auth(session, alice, ago(100), "192.0.2.7", "imap")
        session.add(used(alice, ago(41), 550, 5))
        session.add(used(alice, ago(1), 950, 10))
        bob = factories.mailbox(
            session, one, "bob", password_hash="!locked", created_at=ago(200), clear_text=""
        )
        factories.last_auth(session, bob, ago(200), "0.0.0.0")  # noqa: S104
        factories.alias(session, one, "", "&away@elsewhere.net", mailbox_id=bob.id)
        carol = factories.mailbox(session, one, "carol", password_hash=DES, quota_messages=4)
        session.add(used(carol, ago(0), 0, 0))
        dave = factories.mailbox(
            session, one, "dave", Flag.V_OVERRIDE, password_hash="{CRYPT}" + MD5
        )
        factories.last_auth(session, dave, ago(1), "2001:db8::1")
        factories.alias(session, one, "", "&alice@example.com", "|/bin/cat", mailbox_id=dave.id)
        for name, ip, service, ok, failed in (
            ("alice@example.com", "198.51.100.6", "vpopmaild", 1, 2),
            ("nobody@example.com", "198.51.100.6", "vpopmaild", 0, 5),
            ("", "198.51.100.6", "vpopmaild", 0, 4),
            ("alice@example.com", "192.0.2.7", "imap", 3, 0),
        ):
            hour = ago(40).replace(minute=0, second=0)
            counted = Counted(hour, name, ip, service, ok, failed, ago(40))
            login_counts.add(session, [counted])
        other = factories.domain(session, "other.net")
        factories.mailbox(session, other, "zoe", Flag.SA_ADMIN, password_hash="odd")
        session.add(entry("add_user", "user", "bob@example.com", ago(200), quota=(None, "5S")))
        session.add(entry("mod_user", "user", "alice@example.com", ago(60), flags=(2, 4098)))
        session.add(entry("mod_user", "user", "alice@example.com", ago(50), flags=(4098, 4098)))
    return database


@pytest.fixture
def domains(database: Database) -> Database:
    """A domain near its limits, and one that has nothing but the site's."""
    with database.writer() as session:
        one = factories.domain(
            session,
            "a-b.com",
            "x.org",
            "y.org",
            created_at=ago(10),
            catchall=CatchAll.DIRECTORY,
            catchall_target="/home/vpopmail/domains/a-b.com/info/",
        )
        factories.limits(
            session, one, max_popaccounts=2, max_aliases=5, max_mailinglists=1, disk_quota=1
        )
        info = factories.mailbox(session, one, "info", quota_bytes=600_000)
        factories.last_auth(session, info, ago(3), "192.0.2.1", "imap")
        session.add(used(info, ago(1), 700_000, 3))
        factories.mailbox(session, one, "sales.eu", Flag.QA_ADMIN, quota_bytes=1_200_000)
        factories.mailbox(session, one, "sales:eu")
        factories.alias(session, one, "all", "&info@x.org", "sales.eu@A-B.com")
        factories.alias(session, one, "out", "&someone@elsewhere.net ", "&info@a-b.com")
        factories.alias(session, one, "away", "|/usr/bin/autorespond 10 5 msg dir")
        factories.alias(session, one, "news", "|/usr/bin/ezmlm-send '/lists/news'")
        factories.alias(session, one, "news-default", "|/usr/bin/ezmlm-manage '/lists/news'")
        factories.alias(session, one, "news-owner", "&info@a-b.com")
        session.add(
            DomainUsage(
                domain="a-b.com",
                measured_at=ago(1),
                mailboxes=3,
                measured=2,
                bytes=943_718,
                messages=3,
                aliases=6,
            )
        )
        # What was measured before the domain was made anew is another one's.
        session.add(
            DomainUsage(
                domain="a-b.com",
                measured_at=ago(20),
                mailboxes=1,
                measured=1,
                bytes=7,
                messages=1,
                aliases=0,
            )
        )
        two = factories.domain(
            session, "a.b.com", catchall=CatchAll.ADDRESS, catchall_target="info@X.org"
        )
        factories.domain(
            session, "c.com", catchall=CatchAll.ADDRESS, catchall_target="who@elsewhere.net"
        )
        factories.domain(
            session, "d.com", catchall=CatchAll.ADDRESS, catchall_target="nobody@x.org"
        )
        factories.limits(session, None, max_popaccounts=0, max_msgcount=50)
        factories.mailbox(session, two, "postmaster")
        factories.ip_mapping(session, "192.0.2.80", two)
    return database


@pytest.fixture
def forwards(database: Database) -> Database:
    """Aliases that lead everywhere: on, out, to nobody, and in circles."""
    with database.writer() as session:
        one = factories.domain(session, "example.com", "alias.org")
        bob = factories.mailbox(session, one, "bob")
        factories.mailbox(session, one, "boss", Flag.QA_ADMIN)
        factories.mailbox(session, one, "shut", Flag.BOUNCE_MAIL)
        factories.mailbox(session, one, "team-red")
        factories.alias(session, one, "", "&BOB@Alias.org", "&out@gone.org", mailbox_id=bob.id)
        factories.alias(
            session,
            one,
            "all",
            "&bob@alias.org",
            "chain@example.com",
            "&nobody@example.com",
            "&shut@example.com",
            "# &who@example.com",
        )
        factories.alias(session, one, "chain", "&boss@example.com", "&bob@example.com")
        factories.alias(session, one, "boss", "&x@elsewhere.net", "./boss/Maildir/")
        factories.alias(session, one, "team-default", "&ring@example.com")
        factories.alias(session, one, "ring", "&gnir@example.com", "&deleted@example.com")
        factories.alias(session, one, "gnir", "&ring@alias.org")
        factories.alias(session, one, "root", "&root")
        two = factories.domain(
            session, "two.net", catchall=CatchAll.ADDRESS, catchall_target="team-blue@example.com"
        )
        factories.alias(session, two, "info", "&unknown@two.net", "&x@three.net")
        factories.domain(session, "three.net", catchall=CatchAll.DELETE)
        session.add(entry("del_user", "user", "deleted@example.com", ago(9)))
        session.add(entry("del_domain", "domain", "gone.org", ago(8)))
        file = "/home/vpopmail/domains/example.com/.qmail-boss"
        session.add(entry("write_file", "dotqmail", file, ago(7), lines=(None, "")))
        session.add(entry("write_file", "dotqmail", file, ago(6), lines=("", "&x@elsewhere.net")))
        session.flush()
        session.execute(_MAILDIRS)
    return database


_MAILDIRS = factories.update_kinds("%/Maildir/", LineKind.MAILDIR)
