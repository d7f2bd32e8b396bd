"""Adding many mailboxes of a domain at once, by system administrators.

The same rows and the same trace as `account_changes.add_account` leaves one by one, with what a
new mailbox has from the beginning, and in few statements. Nothing is added unless all can be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from vpopsql.columns import utc_now
from vpopsql.errors import (
    IllegalUserName,
    SeveralRefused,
    UserExists,
    UserNameTooLong,
    VpopsqlError,
)
from vpopsql.model import Flag, LastAuth, Mailbox
from vpopsql.names import USER_MAX, new_user_name_problem
from vpopsql.quota import Quota
from vpopsql.services import buckets, limits, rights
from vpopsql.services.account_changes import NEVER, NO_FLAGS, Home, Secret, home_in
from vpopsql.services.changes import MASKED, record_many
from vpopsql.services.domains import FoundDomain, lock_domain
from vpopsql.services.rights import Actor

_CHUNK = 1000
"""Values in one query; SQLite takes 32,766."""


@dataclass(frozen=True, slots=True)
class NewAccount:
    """A mailbox that shall be."""

    name: str
    secret: Secret
    comment: str | None = None
    """None: its name."""
    quota: Quota | None = None
    """None: the default of the domain."""
    flags: Flag = NO_FLAGS


def add_accounts(
    session: Session, actor: Actor, domain: str, accounts: Sequence[NewAccount]
) -> list[Home]:
    """Add mailboxes; return the directories that they need, in the same order.

    :raises NotAuthorized: ``actor`` is no system administrator.
    :raises NoSuchDomain: there is no such domain.
    :raises SeveralRefused: some cannot be; by their places in ``accounts``, `UserNameTooLong` and
        `IllegalUserName` where none may be called so, `UserExists` where there is one already,
        be it in ``accounts``.
    """
    rights.require_system(actor)
    found = lock_domain(session, domain)
    _require_new(session, found, accounts)
    held = limits.get_limits(session, found.id)
    usual = Quota(held["default_quota"] or None, held["default_maxmsgcount"] or None)
    quotas = [usual if each.quota is None else each.quota for each in accounts]
    taken = buckets.take_buckets(session, found.id, len(accounts))
    homes = [
        home_in(found, bucket, each.name, quota)
        for bucket, each, quota in zip(taken, accounts, quotas, strict=True)
    ]
    now = utc_now()
    rows = [
        {
            "domain_id": found.id,
            "name": each.name,
            "password_hash": each.secret.hashed,
            "clear_text": each.secret.clear_text,
            "comment": each.name if each.comment is None else each.comment,
            "flags": int(each.flags),
            "directory": home.directory,
            "quota_bytes": home.quota.bytes,
            "quota_messages": home.quota.messages,
            "quota_text": home.quota.render(),
            "created_at": now,
            "password_changed_at": now,
        }
        for each, home in zip(accounts, homes, strict=True)
    ]
    if rows:
        ids = session.scalars(insert(Mailbox).returning(Mailbox.id), rows).all()
        logins = [
            {"mailbox_id": new, "service": "any", "at": now, "remote_ip": NEVER} for new in ids
        ]
        session.execute(insert(LastAuth), logins)
    record_many(
        session,
        actor,
        "add_user",
        [(("user", f"{each['name']}@{found.name}"), _shown(each)) for each in rows],
        domain=found.name,
    )
    return homes


def _shown(row: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    changes: dict[str, tuple[object, object]] = {
        "quota": (None, row["quota_text"]),
        "password": (None, MASKED),
    }
    if row["comment"] != row["name"]:
        changes["comment"] = (None, row["comment"])
    if row["flags"]:
        changes["flags"] = (None, row["flags"])
    return changes


def _require_new(session: Session, domain: FoundDomain, accounts: Sequence[NewAccount]) -> None:
    names = sorted({each.name for each in accounts})
    there: set[str] = set()
    for start in range(0, len(names), _CHUNK):
        query = select(Mailbox.name).where(
            Mailbox.domain_id == domain.id, Mailbox.name.in_(names[start : start + _CHUNK])
        )
        there.update(session.scalars(query))
    refused: dict[int, VpopsqlError] = {}
    for place, each in enumerate(accounts):
        if len(each.name) > USER_MAX:
            refused[place] = UserNameTooLong(each.name)
        elif problem := new_user_name_problem(each.name):
            refused[place] = IllegalUserName(f"{each.name!r}: {problem}")
        elif each.name in there:
            refused[place] = UserExists(f"{each.name}@{domain.name}")
        there.add(each.name)
    if refused:
        raise SeveralRefused(refused)
