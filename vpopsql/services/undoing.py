"""Taking back a change of which the audit log has both sides: what is no deletion and no renaming.

Nothing is taken back if its object is not as the change left it. The services that make such
changes take them back, so that files and the audit log follow as ever; the new entry has the
number of the one undone, as `Actor.undoes` says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from vpopsql.columns import from_database_text
from vpopsql.errors import CannotUndo, DomainExists, NoSuchDomain
from vpopsql.model import AuditEntry, CatchAll, Domain, DomainName, Mailbox
from vpopsql.names import split_address
from vpopsql.quota import Quota
from vpopsql.services import domain_changes, dotqmail_changes, ipmaps, limits
from vpopsql.services.account_changes import Home
from vpopsql.services.changes import UNDOES, record
from vpopsql.services.domains import FoundDomain, find_domain, lock_domain
from vpopsql.services.dotqmail_changes import Content, Place, Rules
from vpopsql.services.rights import Actor, require_system
from vpopsql.touched import Touched

_SECRETS = frozenset({"password", "password_hash", "clear_text"})
_OF_USERS = frozenset({"comment", "flags", "quota_bytes", "quota_messages", "quota_text"})


@dataclass(slots=True)
class Undone:
    """What has to follow."""

    touched: Touched = field(default_factory=Touched)
    removed: list[Place] = field(default_factory=list)
    """Dot-qmail files that are gone."""
    quotas: list[Home] = field(default_factory=list)
    """Mailboxes whose use is to be measured anew."""


def undo(session: Session, actor: Actor, rules: Rules, entry: AuditEntry) -> Undone:
    """Take back the change of one entry.

    :raises NotAuthorized: ``actor`` is no system administrator.
    :raises CannotUndo: it cannot be taken back; the text says why.
    """
    require_system(actor)
    match entry.object_type, entry.action:
        case "user" | "mailbox", "mod_user" | "rehash":
            return _undo_user(session, actor, entry)
        case "dotqmail", _:
            return _undo_file(session, actor, rules, entry)
        case "ip", _:
            return _undo_mapping(session, actor, entry)
        case "domain", "set_limits" | "del_limits":
            return _undo_limits(session, actor, entry)
        case "site", "set_default_limits":
            return _undo_default_limits(session, actor, entry)
        case "domain", "add_alias_domain" | "del_alias_domain":
            return _undo_alias_domain(session, actor, entry)
        case "domain", _ if "catchall" in entry.changes and entry.action != "add_domain":
            return _undo_catchall(session, actor, entry)
    raise CannotUndo(f"entry {entry.id} is of a kind that cannot be undone: {_why(entry)}")


def _why(entry: AuditEntry) -> str:
    reasons = {
        "add_user": "delete the user with `vpopsql user delete`",
        "add_domain": "delete the domain with `vpopsql domain delete`",
        "restore": "delete it again, and it is in the trash again",
        "purge": "the files are gone for good",
        "rm_dir": "restore the directory with `vpopsql trash restore`",
        "move_to_trash": "restore it with `vpopsql trash restore`",
        "import": "restore a backup, or import again",
    }
    of_kind = {
        "file": "the log does not have what is in files",
        "list": "its directory and its files are in the trash if it was deleted",
    }
    return reasons.get(entry.action) or of_kind.get(
        entry.object_type, f"{entry.action} of {entry.object_type}"
    )


def changes_of(entry: AuditEntry) -> dict[str, tuple[Any, Any]]:
    """Return what was before and after, by field, as the columns have it."""
    return {
        name: (_exact(old), _exact(new))
        for name, (old, new) in entry.changes.items()
        if name != UNDOES
    }


def _exact(value: object) -> object:
    return from_database_text(value) if isinstance(value, str) else value


def require_same(entry: AuditEntry, what: str, now: object, then: object) -> None:
    """Refuse if something is not as a change left it. :raises CannotUndo: it is not."""
    if now != then:
        raise CannotUndo(
            f"{entry.object} has changed since entry {entry.id}: {what} is {_said(now)} now, and"
            f" was {_said(then)} after it; undo what came later first, or change it by hand"
        )


def _said(value: object) -> str:
    return "not there" if value is None else repr(value)


def get_domain(session: Session, entry: AuditEntry, name: str) -> FoundDomain:
    """Return a real domain, locked. :raises CannotUndo: it has not this name any more."""
    try:
        found = lock_domain(session, name)
    except NoSuchDomain:
        raise CannotUndo(f"the domain {name} of entry {entry.id} is gone") from None
    if found.name != name:
        raise CannotUndo(f"{name} of entry {entry.id} is an alias domain of {found.name} by now")
    return found


# --- users --------------------------------------------------------------------------------------


def _undo_user(session: Session, actor: Actor, entry: AuditEntry) -> Undone:
    changes = changes_of(entry)
    if changes.keys() & _SECRETS:
        raise CannotUndo(
            f"entry {entry.id} changed the password of {entry.object}: the audit log has neither"
            " passwords nor hashes, so the old one cannot come back; set one with"
            " `vpopsql user modify`"
        )
    if not changes or changes.keys() - _OF_USERS:
        raise CannotUndo(f"entry {entry.id} does not say what {entry.object} was before")
    name, of = split_address(entry.object)
    domain = get_domain(session, entry, of)
    query = select(Mailbox).where(Mailbox.domain_id == domain.id, Mailbox.name == name)
    mailbox = session.scalars(query.with_for_update()).first()
    if mailbox is None:
        raise CannotUndo(f"there is no user {entry.object} any more")
    for column, (_, then) in changes.items():
        require_same(entry, column, getattr(mailbox, column), then)
    values = {column: before for column, (before, _) in changes.items()}
    session.execute(update(Mailbox).where(Mailbox.id == mailbox.id).values(**values))
    back = {column: (then, before) for column, (before, then) in changes.items()}
    record(session, actor, "mod_user", ("user", entry.object), back, domain=of)
    undone = Undone(Touched(accounts={of}))
    if "quota_text" in values:
        session.refresh(mailbox)
        quota = Quota(mailbox.quota_bytes, mailbox.quota_messages)
        undone.quotas.append(Home(of, mailbox.directory, domain.uid, domain.gid, quota))
    return undone


# --- dot-qmail files and catch-alls -------------------------------------------------------------


def _undo_file(session: Session, actor: Actor, rules: Rules, entry: AuditEntry) -> Undone:
    changes = changes_of(entry)
    if "lines" not in changes:
        raise CannotUndo(f"entry {entry.id} does not say what was in {entry.object}")
    before, after = changes["lines"]
    place = get_place(session, entry)
    found = dotqmail_changes.read_file(session, rules, place)
    now = None if found is None else "\n".join(found.lines)
    require_same(entry, "its text", now, after)
    undone = Undone(Touched(dotqmail={place.domain.name}))
    if before is None:
        dotqmail_changes.remove_file(session, actor, rules, place)
        undone.removed.append(place)
    else:
        lines = tuple(before.split("\n")) if before else ()
        dotqmail_changes.set_file(session, actor, rules, place, Content(lines))
    return undone


def get_place(session: Session, entry: AuditEntry) -> Place:
    """Return the dot-qmail file of an entry, its domain being locked.

    :raises CannotUndo: neither a domain nor a mailbox is in its directory any more.
    """
    home, _, rest = entry.object.rpartition("/.qmail")
    spellings = (home, f"{home}/")
    owner = session.execute(
        select(DomainName.name, Mailbox.id)
        .select_from(Domain)
        .join(DomainName, (DomainName.domain_id == Domain.id) & ~DomainName.is_alias)
        .outerjoin(Mailbox, (Mailbox.domain_id == Domain.id) & Mailbox.directory.in_(spellings))
        .where(or_(Domain.directory.in_(spellings), Mailbox.id.is_not(None)))
    ).first()
    if owner is None:
        raise CannotUndo(f"nobody has the directory of {entry.object} any more")
    return Place(lock_domain(session, owner[0]), owner[1], home, rest.removeprefix("-"))


def _undo_catchall(session: Session, actor: Actor, entry: AuditEntry) -> Undone:
    """Take back what a renaming did to the catch-all of a domain."""
    before, after = changes_of(entry)["catchall"]
    domain = get_domain(session, entry, entry.object)
    query = select(Domain.catchall_target).where(
        Domain.id == domain.id, Domain.catchall.in_((CatchAll.ADDRESS, CatchAll.DIRECTORY))
    )
    require_same(entry, "its catch-all", session.scalar(query), after)
    session.execute(update(Domain).where(Domain.id == domain.id).values(catchall_target=before))
    back = {"catchall": (after, before)}
    record(session, actor, entry.action, ("domain", domain.name), back, domain=domain.name)
    return Undone(Touched(dotqmail={domain.name}))


# --- limits -------------------------------------------------------------------------------------


def _undo_limits(session: Session, actor: Actor, entry: AuditEntry) -> Undone:
    changes = changes_of(entry)
    domain = get_domain(session, entry, entry.object)
    had, has = changes.pop(limits.OWN, (None, None))
    if not changes and had is has:
        raise CannotUndo(f"entry {entry.id} does not say what the limits were before")
    is_own = limits.has_own(session, domain.id)
    if has is not None:
        require_same(entry, limits.OWN, is_own, has)
    held = limits.get_limits(session, domain.id)
    _require_settings(entry, held, changes)
    undone = Undone(Touched(limits={domain.name}))
    if has and not had:
        usual = limits.get_default_limits(session)
        later = {name: (None, usual[name]) for name in held if name not in changes}
        _require_settings(entry, held, later)
        limits.delete_limits(session, actor, domain.name)
        undone.touched.removed.add(f"{domain.directory.rstrip('/')}/.qmailadmin-limits")
    else:
        before = {name: old for name, (old, _) in changes.items()}
        limits.set_limits(session, actor, domain.name, before)
    return undone


def _undo_default_limits(session: Session, actor: Actor, entry: AuditEntry) -> Undone:
    changes = changes_of(entry)
    if not changes:
        raise CannotUndo(f"entry {entry.id} changed nothing")
    _require_settings(entry, limits.get_default_limits(session), changes)
    limits.set_default_limits(session, actor, {name: old for name, (old, _) in changes.items()})
    return Undone(Touched(settings=True))


def _require_settings(
    entry: AuditEntry, held: Mapping[str, int | bool], changes: Mapping[str, tuple[Any, Any]]
) -> None:
    for name, (_, then) in changes.items():
        require_same(entry, name, held.get(name), then)


# --- names and addresses ------------------------------------------------------------------------


def _undo_mapping(session: Session, actor: Actor, entry: AuditEntry) -> Undone:
    before, after = changes_of(entry)["domain"]
    mapped = ipmaps.find_mapping(session, entry.object)
    # It may have been said by an alias domain's name.
    then = find_domain(session, after) if after else None
    require_same(entry, "its domain", mapped and mapped[1], then.name if then else after)
    if before is not None:
        get_domain(session, entry, before)
        ipmaps.add_mapping(session, actor, entry.object, before)
    elif mapped:
        ipmaps.delete_mapping(session, actor, *mapped)
    return Undone(Touched(settings=True))


def _undo_alias_domain(session: Session, actor: Actor, entry: AuditEntry) -> Undone:
    before, after = changes_of(entry)["alias"]
    domain = get_domain(session, entry, entry.object)
    name = before or after
    found = find_domain(session, name)
    if after is None:
        try:
            domain_changes.add_alias_domain(session, actor, domain.name, name)
        except DomainExists:
            raise CannotUndo(f"there is a domain or alias domain {name} again") from None
    else:
        require_same(entry, f"the domain of {after}", found and found.name, domain.name)
        domain_changes.delete_domain(session, actor, after)
    return Undone(Touched(names={name}))
