"""A site in a database, and what SQL as old programs say it gets of it."""

import ipaddress
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text

from tests import factories
from vpopsql.db import Database
from vpopsql.model import (
    DirCounter,
    DomainLimits,
    Flag,
    IpMapping,
)

ALICE_HASH = "$6$alice$hash"


def make_viewed(database: Database) -> Database:
    """Make a domain with limits and an alias domain, and one with nothing but a mailbox."""
    with database.writer() as session:
        one = factories.domain(session, "example.com", "alias.org", uid=89, gid=89)
        alice = factories.mailbox(
            session,
            one,
            "alice",
            password_hash=ALICE_HASH,
            clear_text="secret",
            quota_bytes=10_485_760,
            quota_messages=1000,
            quota_text="10M,1000C",
        )
        factories.mailbox(session, one, "bob", Flag.NO_IMAP | Flag.NO_POP, password_hash="")
        factories.mailbox(
            session, one, "boss", Flag.V_OVERRIDE, clear_text="", quota_bytes=5, quota_text="5S"
        )
        factories.mailbox(session, one, "many", Flag.NO_WEBMAIL, quota_messages=7, quota_text="7C")
        factories.last_auth(session, alice, datetime(2026, 1, 1, tzinfo=UTC), "0.0.0.0")  # noqa: S104
        factories.last_auth(session, alice, datetime(2026, 2, 1, tzinfo=UTC), "192.0.2.7", "imap")
        factories.alias(session, one, "info", "&alice@example.com", "", "# note", "|/bin/cat")
        factories.alias(session, one, "default", "|/bin/false")
        session.add(
            DomainLimits(
                domain_id=one.id,
                max_aliases=3,
                disk_quota=100,
                disable_webmail=True,
                disable_external_relay=True,
                perm_maillist=1,
                perm_maillist_users=2,
                perm_maillist_moderators=4,
            )
        )
        session.add(
            IpMapping(
                address="192.0.2.1",
                family=4,
                packed=ipaddress.ip_address("192.0.2.1").packed,
                domain_id=one.id,
            )
        )
        levels = {
            f"level_{kind}{level}": 0
            for kind in ("start", "end", "mod", "index")
            for level in range(3)
        } | {"level_cur": 0, "level_max": 3}
        session.add(DirCounter(id=0, cur_users=2, the_dir="", **levels))
        session.add(DirCounter(domain_id=one.id, cur_users=4, the_dir="0", **levels))
        other = factories.domain(session, "other.net", uid=90, gid=90)
        factories.mailbox(session, other, "zoe")
    return database


def ask(site: Database, query: str, **values: Any) -> list[dict[str, Any]]:
    with site.reader() as session:
        return [dict(row) for row in session.execute(text(query), values).mappings()]


def change(site: Database, statement: str, **values: Any) -> None:
    with site.writer() as session:
        session.execute(text(statement), values)
