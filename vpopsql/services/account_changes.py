"""Adding, modifying and deleting mailboxes.

Hashes come ready made, or are being made meanwhile: it takes milliseconds, for which transactions
should not wait.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    Float,
    and_,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.orm import Session
from sqlalchemy.sql.schema import ScalarElementColumnDefault

from vpopsql import passwords
from vpopsql.columns import utc_now
from vpopsql.errors import (
    CatchAllNeeded,
    IllegalUserName,
    InvalidValue,
    LimitReached,
    NoSuchUser,
    PasswordChangeForbidden,
    PostmasterNeeded,
    UserExists,
    UserNameTooLong,
)
from vpopsql.model import CatchAll, Domain, Flag, LastAuth, Mailbox, table_of
from vpopsql.names import USER_MAX, new_user_name_problem, split_address
from vpopsql.prepared import Change, Prepared, settle, start
from vpopsql.quota import Quota
from vpopsql.services import accounts, buckets, domains, kept_rows, limits, rights, sight
from vpopsql.services.changes import MASKED, record
from vpopsql.services.domains import FoundDomain
from vpopsql.services.rights import Actor, Permission

COMMENT_MAX = 64
PASSWORD_MAX = 128
"""Characters that vpopmail keeps of a comment, a clear-text password and a hash."""

NEVER = "0.0.0.0"  # noqa: S104 - what vpopmail writes for "never logged in"
NO_FLAGS = Flag(0)

_MEGABYTE = 1024 * 1024

_OF_NAME = and_(
    Mailbox.domain_id == bindparam("domain_id"),
    Mailbox.name == bindparam("name"),
)
_IS_THERE = Prepared(select(Mailbox.id).where(_OF_NAME))
_HOW_MANY = Prepared(select(func.count()).where(Mailbox.domain_id == bindparam("domain_id")))
_CATCHALL = Prepared(
    select(Domain.catchall, Domain.catchall_target).where(Domain.id == bindparam("domain_id"))
)
_INSERT = Change(insert(table_of(Mailbox)))
_NEVER_LOGGED_IN = Change(
    insert(table_of(LastAuth)).from_select(
        ["mailbox_id", "service", "at", "remote_ip"],
        select(
            Mailbox.id,
            literal("any", LastAuth.service.type),
            Mailbox.created_at,
            literal(NEVER, LastAuth.remote_ip.type),
        ).where(_OF_NAME),
    )
)
_AS_BY_DEFAULT = {
    column.name: column.default.arg
    for column in table_of(Mailbox).columns
    if isinstance(column.default, ScalarElementColumnDefault)
}
_UPDATE = Change(update(table_of(Mailbox)).where(Mailbox.id == bindparam("mailbox_id")))
_DELETE = Change(delete(table_of(Mailbox)).where(Mailbox.id == bindparam("mailbox_id")))


class _Locked(NamedTuple):
    """A mailbox that no other session changes until this transaction ends."""

    id: int
    name: str
    password_hash: str
    clear_text: str | None
    apop_uid: int
    flags: int
    comment: str
    directory: str
    quota_bytes: int | None
    quota_messages: int | None
    quota_text: str
    password_changed_at: datetime | None


# By the domain's name, so that it goes to the server together with the lock of the domain.
_LOCK = Prepared(
    select(*(getattr(Mailbox, name) for name in _Locked._fields))
    .where(accounts.OF_NAME)
    .with_for_update(of=Mailbox)
)


@dataclass(frozen=True, slots=True)
class Home:
    """The directory of a mailbox."""

    domain: str
    """The real domain."""
    directory: str
    uid: int
    gid: int
    quota: Quota


@dataclass(frozen=True, slots=True)
class Secret:
    """A password in the forms that are stored."""

    made: str | Future[str]
    """The hash, or the promise of one."""
    clear_text: str | None = field(default=None, repr=False)
    """None: not stored."""
    weakness: str | None = None
    """Why an account may have it only if it has it already; None: it may."""

    @property
    def hashed(self) -> str:
        """Return the hash, as soon as it is there."""
        return self.made if isinstance(self.made, str) else self.made.result()


@dataclass(frozen=True, slots=True)
class Modified:
    """What a modification did."""

    domain: str
    """The real domain."""
    home: Home | None
    """Set when the quota changed."""
    denied: tuple[str, ...]
    """The wishes that the caller may not have; they were left out."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a modification asks for; what the caller may not change is left as it is."""

    comment: str | None = None
    quota: Quota | None = None
    set_flags: Flag = NO_FLAGS
    clear_flags: Flag = NO_FLAGS
    password: str | None = field(default=None, repr=False)
    """A new password in clear text; `hashed` is made of it."""
    hashed: Secret | None = field(default=None, repr=False)
    encrypted: str | None = field(default=None, repr=False)
    """A hash that was made elsewhere."""


def leave(home: Home) -> None:
    """Make no directory: whoever adds the mailbox does it afterwards."""


def add_account(
    session: Session,
    actor: Actor,
    name: str,
    domain: str,
    secret: Secret,
    make: Callable[[Home], None] = leave,
) -> Home:
    """Add a mailbox with the domain's default quota; return the directory it needs.

    :param make: makes the directory, before the hash is waited for.
    :raises NotAuthorized: ``actor`` may not, or only postmaster may.
    :raises NoSuchDomain: there is no such domain.
    :raises UserNameTooLong, IllegalUserName: no mailbox may be called so.
    :raises UserExists: there is one already.
    :raises LimitReached: the domain's limits allow no more, or no more bytes.
    """
    rights.require_domain(actor, domain)
    found = domains.lock_domain(session, domain)
    if len(name) <= USER_MAX and not new_user_name_problem(name):
        _IS_THERE.expect(session, domain_id=found.id, name=name)
        buckets.expect(session, found.id)
    held = limits.get_limits(session, found.id)
    rights.require_permission(actor, held["perm_account"], Permission.CREATE)
    if len(name) > USER_MAX:
        raise UserNameTooLong(name)
    if new_user_name_problem(name):
        raise IllegalUserName(name)
    if _IS_THERE.value(session, domain_id=found.id, name=name) is not None:
        raise UserExists(name)
    if not rights.is_above_limits(actor):
        _require_room(session, found, held["max_popaccounts"])
    quota = Quota(held["default_quota"] or None, held["default_maxmsgcount"] or None)
    _require_pool(session, actor, found, quota, instead_of=None, held=held)
    home = home_in(found, buckets.take_bucket(session, found.id), name, quota)
    record(
        session,
        actor,
        "add_user",
        ("user", f"{name}@{found.name}"),
        {"quota": (None, quota.render()), "password": (None, MASKED)},
        domain=found.name,
    )
    # Last, so that as much as can be is done while the hash is made.
    columns = insert_account(session, found.id, name, secret, home, make)
    _note(session, found, name, columns)
    return home


def home_in(domain: FoundDomain, bucket: str, name: str, quota: Quota) -> Home:
    """Return the directory of a new mailbox."""
    directory = "/".join(filter(None, (domain.directory.rstrip("/"), bucket, name)))
    return Home(domain.name, directory, domain.uid, domain.gid, quota)


def insert_account(
    session: Session,
    domain_id: int,
    name: str,
    secret: Secret,
    home: Home,
    make: Callable[[Home], None],
) -> Mapping[str, object]:
    """Write the rows of a new mailbox, and return its columns.

    Whether it may be there, the caller has asked.
    """
    start(session)
    make(home)
    settle(session)
    now = utc_now()
    mailbox = {
        "domain_id": domain_id,
        "name": name,
        "password_hash": secret.hashed,
        "clear_text": secret.clear_text,
        "comment": name,
        "directory": home.directory,
        "quota_bytes": home.quota.bytes,
        "quota_messages": home.quota.messages,
        "quota_text": home.quota.render(),
        "created_at": now,
        "password_changed_at": now,
    }
    _INSERT.run(session, **mailbox)
    _NEVER_LOGGED_IN.run(session, domain_id=domain_id, name=name)
    return _AS_BY_DEFAULT | mailbox


def _note(
    session: Session, domain: FoundDomain, name: str, columns: Mapping[str, object] | None
) -> None:
    """Tell whoever wants to know what became of a mailbox; None: it is gone."""
    if watching := sight.of(session):
        watching.mailbox = domain, name, columns


def _require_room(session: Session, domain: FoundDomain, most: int) -> None:
    if most >= 0 and _HOW_MANY.value(session, domain_id=domain.id) >= most:
        raise LimitReached(f"{domain.name} has its {most} accounts")


def _require_pool(
    session: Session,
    actor: Actor,
    domain: FoundDomain,
    quota: Quota,
    instead_of: int | None,
    held: Mapping[str, int | bool],
) -> None:
    """Refuse a quota that the domain's disk quota does not hold beside the others.

    :param instead_of: the mailbox whose quota it replaces.
    :param held: the domain's limits.
    """
    megabytes = held["disk_quota"]
    if not megabytes or rights.is_above_limits(actor):
        return
    # Not as integers: SQLite refuses a sum that is none of 64 bits.
    others = select(func.coalesce(func.sum(cast(Mailbox.quota_bytes, Float)), 0)).where(
        Mailbox.domain_id == domain.id, Mailbox.id != (instead_of or 0)
    )
    if (session.scalar(others) or 0) + (quota.bytes or 0) > megabytes * _MEGABYTE:
        raise LimitReached(f"{domain.name} has {megabytes} MB for all its accounts")


@dataclass(frozen=True, slots=True)
class Doomed:
    """A mailbox that may be deleted, and that nobody else changes meanwhile."""

    domain: FoundDomain
    mailbox: _Locked

    @property
    def address(self) -> str:
        """Return its address, by the real domain."""
        return f"{self.mailbox.name}@{self.domain.name}"


def require_deletion(session: Session, actor: Actor, name: str, domain: str) -> Doomed:
    """Lock a mailbox that is to be deleted.

    :raises NotAuthorized: ``actor`` may not.
    :raises NoSuchDomain, NoSuchUser: there is none.
    :raises PostmasterNeeded, CatchAllNeeded: the domain needs it.
    """
    rights.require_domain(actor, domain)
    found, mailbox = _lock(session, name, domain)
    kept_rows.expect_below(session, Mailbox, mailbox.id)
    buckets.expect(session, found.id)
    _CATCHALL.expect(session, domain_id=found.id)
    held = limits.get_limits(session, found.id)
    rights.require_secrets(actor, mailbox.flags)
    rights.require_permission(actor, held["perm_account"], Permission.DELETE)
    if name == "postmaster":
        raise PostmasterNeeded(domain)
    if _is_catchall(session, found, mailbox):
        raise CatchAllNeeded(name)
    return Doomed(found, mailbox)


def delete_doomed(session: Session, actor: Actor, doomed: Doomed) -> Home:
    """Delete a mailbox; return its directory, which is to go when this is committed."""
    found, mailbox = doomed.domain, doomed.mailbox
    bucket = buckets.bucket_of(mailbox.directory, found.directory)
    buckets.free_bucket(session, found.id, bucket)
    _DELETE.run(session, mailbox_id=mailbox.id)
    changes: dict[str, tuple[object, object]] = {
        "directory": (mailbox.directory, None),
        "quota": (mailbox.quota_text, None),
        "comment": (mailbox.comment, None),
        "flags": (mailbox.flags, None),
        "password": (MASKED, None),
    }
    record(session, actor, "del_user", ("user", doomed.address), changes, domain=found.name)
    _note(session, found, mailbox.name, None)
    return Home(found.name, mailbox.directory, found.uid, found.gid, Quota())


def delete_account(session: Session, actor: Actor, name: str, domain: str) -> Home:
    """Delete a mailbox for good, see `delete_doomed`; errors as `require_deletion`."""
    return delete_doomed(session, actor, require_deletion(session, actor, name, domain))


def expect_lock(session: Session, name: str, domain: str) -> None:
    """Say that a mailbox will be changed or deleted, see `Prepared.expect`."""
    domains.expect_lock(session, domain)
    _LOCK.expect(session, domain=domain, name=name)


def _lock(session: Session, name: str, domain: str) -> tuple[FoundDomain, _Locked]:
    found = domains.lock_domain(session, domain)
    row = _LOCK.first(session, domain=domain, name=name)
    if row is None:
        raise NoSuchUser(f"{name}@{found.name}")
    return found, _Locked(*row)


def _is_catchall(session: Session, domain: FoundDomain, mailbox: _Locked) -> bool:
    kind, target = _CATCHALL.first(session, domain_id=domain.id) or (CatchAll.NONE, None)
    if kind is CatchAll.DIRECTORY:
        return bool(target == mailbox.directory)
    if kind is CatchAll.ADDRESS:
        name, of = split_address(target or "")
        return name == mailbox.name and (not of or domains.is_name_of(session, of, domain.id))
    return False


# --- modifying ----------------------------------------------------------------------------------


def require_modification(session: Session, actor: Actor, name: str, domain: str) -> None:
    """Refuse a modification that is not ``actor``'s at all.

    :raises NotAuthorized: the account is somebody else's, or a limit denies it.
    :raises NoSuchUser: there is none.
    """
    rights.require_account(actor, name, domain)
    account = accounts.get_account(session, name, domain)
    _require_change(session, actor, account.id, account.flags)


def _require_change(session: Session, actor: Actor, mailbox_id: int, flags: int) -> None:
    rights.require_secrets(actor, flags)
    if actor.level is rights.Level.DOMAIN and mailbox_id != actor.mailbox_id:
        denied = limits.get_limits(session, actor.domain_id)["perm_account"]
        rights.require_permission(actor, denied, Permission.MODIFY)


def modify_account(
    session: Session, actor: Actor, name: str, domain: str, wishes: Wishes
) -> Modified:
    """Change a mailbox; what ``actor`` may not change is left as it is.

    Only fields that are named change, all of them or none.

    :raises NotAuthorized: the account is somebody else's, or a limit denies it.
    :raises PasswordChangeForbidden: the account may not change its own password.
    :raises InvalidValue: the password is too weak, and not the one that it has.
    :raises NoSuchUser: there is none.
    :raises LimitReached: the domain has no such quota left.
    """
    rights.require_account(actor, name, domain)
    found, mailbox = _lock(session, name, domain)
    _require_change(session, actor, mailbox.id, mailbox.flags)
    denied: list[str] = []
    columns = _changed_password(session, actor, found, mailbox, wishes, denied)
    columns |= _changed_flags(actor, mailbox, wishes, denied)
    if wishes.comment is not None:
        columns["comment"] = wishes.comment
    if wishes.quota is not None:
        columns |= _changed_quota(session, actor, found, mailbox, wishes.quota, denied)
    changes = {
        field_: (MASKED, MASKED) if field_ in _SECRETS else (getattr(mailbox, field_), value)
        for field_, value in columns.items()
        if getattr(mailbox, field_) != value
    }
    if changes:
        _UPDATE.run(session, mailbox_id=mailbox.id, **columns)
        changes.pop("password_changed_at", None)
        address = f"{name}@{found.name}"
        record(session, actor, "mod_user", ("user", address), changes, domain=found.name)
        _note(session, found, name, mailbox._asdict() | columns)
    quota = wishes.quota if "quota_text" in changes else None
    home = Home(found.name, mailbox.directory, found.uid, found.gid, quota) if quota else None
    return Modified(found.name, home, tuple(denied))


_SECRETS = frozenset({"password_hash", "clear_text"})
_Columns = dict[str, object]


def _changed_password(
    session: Session,
    actor: Actor,
    domain: FoundDomain,
    mailbox: _Locked,
    wishes: Wishes,
    denied: list[str],
) -> _Columns:
    columns: _Columns = {}
    if wishes.hashed is not None and wishes.password is not None:
        if _is_forbidden(session, actor, domain, mailbox):
            if not passwords.verify(wishes.password, mailbox.password_hash):
                raise PasswordChangeForbidden(mailbox.name)
        elif wishes.hashed.weakness and not passwords.verify(
            wishes.password, mailbox.password_hash
        ):
            raise InvalidValue(wishes.hashed.weakness)
        else:
            columns["password_hash"] = wishes.hashed.hashed
            columns["clear_text"] = wishes.hashed.clear_text
            columns["password_changed_at"] = utc_now()
    if wishes.encrypted is not None:
        if actor.level < rights.Level.SYSTEM:
            denied.append("encrypted_password")
        else:
            columns["password_hash"] = wishes.encrypted
            columns["password_changed_at"] = utc_now()
    return columns


def _is_forbidden(session: Session, actor: Actor, domain: FoundDomain, mailbox: _Locked) -> bool:
    """Tell whether ``actor`` is the account himself and may not change his password."""
    if actor.mailbox_id != mailbox.id or actor.level is rights.Level.SYSTEM:
        return False
    if mailbox.flags & Flag.NO_PASSWD_CHNG:
        return True
    if actor.level is not rights.Level.USER or mailbox.flags & Flag.V_OVERRIDE:
        return False
    return bool(limits.get_limits(session, domain.id)["disable_password_changing"])


def _changed_flags(actor: Actor, mailbox: _Locked, wishes: Wishes, denied: list[str]) -> _Columns:
    asked = wishes.set_flags | wishes.clear_flags
    if not asked:
        return {}
    allowed = rights.settable_flags(actor)
    denied += [flag.name or "" for flag in asked & ~allowed & _KNOWN]
    cleared = mailbox.flags & ~int(wishes.clear_flags & allowed)
    return {"flags": cleared | int(wishes.set_flags & allowed)}


_KNOWN = ~Flag(0)


def _changed_quota(
    session: Session,
    actor: Actor,
    domain: FoundDomain,
    mailbox: _Locked,
    quota: Quota,
    denied: list[str],
) -> _Columns:
    same = (quota.bytes, quota.messages) == (mailbox.quota_bytes, mailbox.quota_messages)
    if same:
        return {}
    if not rights.may_set_quota(actor):
        denied.append("quota")
        return {}
    held = limits.get_limits(session, domain.id)
    _require_pool(session, actor, domain, quota, instead_of=mailbox.id, held=held)
    return {
        "quota_bytes": quota.bytes,
        "quota_messages": quota.messages,
        "quota_text": quota.render(),
    }


def check_comment(text: str) -> None:
    """Refuse a comment that vpopmail's files cannot hold. :raises InvalidValue: why not."""
    if len(text) > COMMENT_MAX:
        raise InvalidValue(f"gecos too long (max={COMMENT_MAX})")
    _check_field("comment", text, forbidden=":")


def check_password(text: str) -> None:
    """Refuse a clear-text password that cannot be stored. :raises InvalidValue: why not."""
    if len(text) > PASSWORD_MAX:
        raise InvalidValue(f"clear password too long (max={PASSWORD_MAX})")
    _check_field("clear_text_password", text, forbidden="")


def check_hash(text: str) -> None:
    """Refuse what is neither a hash that can be verified nor a locked one.

    :raises InvalidValue: why not.
    """
    if len(text) > PASSWORD_MAX:
        raise InvalidValue(f"password too long (max={PASSWORD_MAX})")
    _check_field("encrypted_password", text, forbidden=":")
    if passwords.scheme_of(text) in {"unknown", "empty"}:
        raise InvalidValue("encrypted_password is no hash that can be verified")


def _check_field(name: str, text: str, forbidden: str) -> None:
    if any(character < " " or character == "\x7f" or character in forbidden for character in text):
        raise InvalidValue(f"{name} has a character that is not allowed")
