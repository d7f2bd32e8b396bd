"""Renaming mailboxes, domains and alias domains, by system administrators.

Rows keep their ids, so what hangs from them stays: mail, limits, logins, dot-qmail files, usage.
What names the old directory or address in text is rewritten. The directory itself is the caller's:
it moves as `Renamed.directory` says, last before the commit.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy import Text, delete, func, literal, select, type_coerce, update
from sqlalchemy.orm import Session

from vpopsql.columns import to_database_text
from vpopsql.errors import (
    DomainExists,
    IllegalUserName,
    NameInUse,
    NoSuchDomain,
    NoSuchUser,
    PostmasterNeeded,
    UserExists,
    UserNameTooLong,
)
from vpopsql.model import Domain, DomainName, Mailbox, SiteSetting
from vpopsql.names import USER_MAX, new_user_name_problem, sort_key, split_address, to_a_label
from vpopsql.services import dotqmail_changes, rewriting
from vpopsql.services.changes import record
from vpopsql.services.domain_changes import insert_alias, lock_names, new_name
from vpopsql.services.domains import FoundDomain, is_name_of, lock_domain
from vpopsql.services.dotqmail_changes import Content, Place, Rules
from vpopsql.services.forwards import list_mailing_lists
from vpopsql.services.rewriting import Referring
from vpopsql.services.rights import Actor, require_system


@dataclass(frozen=True, slots=True)
class How:
    """What else happens when something is renamed."""

    leaves_forward: bool = False
    """Whether mail for the old name still comes: by an alias, or an alias domain."""
    rewrites_forwards: bool = False
    """Whether forwards of the whole site that lead to the old name lead to the new one."""


@dataclass(frozen=True, slots=True)
class Renamed:
    """What a renaming did."""

    domain: FoundDomain
    """As it is now."""
    old: str
    new: str
    directory: tuple[str, str] | None
    """What the directory was and shall be called; None: it stays."""
    names: frozenset[str]
    """Names of domains that came, went, or lead to another directory."""
    rewritten: frozenset[str]
    """Real domains whose dot-qmail files or catch-alls changed."""
    forwards: int
    """Forwards that lead to the old name: as many as were rewritten, or could have been."""
    warnings: tuple[str, ...] = ()


# --- mailboxes ----------------------------------------------------------------------------------


def rename_account(
    session: Session,
    actor: Actor,
    rules: Rules,
    address: tuple[str, str],
    new: str,
    how: How,
) -> Renamed:
    """Give a mailbox another name in its domain.

    :param address: its name and domain.
    :raises NotAuthorized: ``actor`` is no system administrator.
    :raises NoSuchDomain, NoSuchUser: there is none.
    :raises PostmasterNeeded: the domain needs it.
    :raises UserNameTooLong, IllegalUserName: no mailbox may be called so.
    :raises UserExists: one is.
    :raises NameInUse: an alias has the new name; or it has the old one, and a forward shall stay.
    """
    require_system(actor)
    name, domain = address
    found = lock_domain(session, domain)
    mailbox = session.scalars(
        select(Mailbox).where(Mailbox.domain_id == found.id, Mailbox.name == name)
    ).first()
    if mailbox is None:
        raise NoSuchUser(f"{name}@{domain}")
    _require_renamable(session, found, name, new, how)
    old_home = mailbox.directory.rstrip("/")
    home = _renamed_directory(old_home, name, new)
    aim = f"{new}@{found.name}"
    old_address = f"{name}@{found.name}"
    referring = rewriting.find_forwards(
        session, f"{name}@", _account_rewrite(session, found, address[0], new)
    )
    own = [r for r in referring if r.file_id is None and r.domain_id == found.id]
    changed = dict.fromkeys(referring if how.rewrites_forwards else own)
    if home != old_home:
        changed |= dict.fromkeys(rewriting.find_paths(session, found.id, old_home, home))
    session.execute(
        update(Mailbox).where(Mailbox.id == mailbox.id).values(name=new, directory=home)
    )
    session.expire(mailbox)
    rewritten = rewriting.apply(session, actor, "rename_user", _merged(changed))
    if how.leaves_forward:
        place = Place(found, None, found.directory.rstrip("/"), name)
        dotqmail_changes.set_file(session, actor, rules, place, Content((f"&{aim}",)))
    _record(
        session, actor, "rename_user", "user", (old_address, aim), (old_home, home), found.name
    )
    return Renamed(
        found,
        old_address,
        aim,
        (old_home, home) if home != old_home else None,
        frozenset(),
        rewritten | {found.name},
        sum(each.file_id is not None or each not in own for each in referring),
    )


def _require_renamable(
    session: Session, domain: FoundDomain, name: str, new: str, how: How
) -> None:
    if name == "postmaster":
        raise PostmasterNeeded(domain.name)
    if len(new) > USER_MAX:
        raise UserNameTooLong(new)
    if problem := new_user_name_problem(new):
        raise IllegalUserName(f"{new!r}: {problem}")
    taken = select(Mailbox.id).where(Mailbox.domain_id == domain.id, Mailbox.name == new)
    if session.scalar(taken) is not None:
        raise UserExists(f"{new}@{domain.name}")
    home = domain.directory.rstrip("/")
    for each in (new, name) if how.leaves_forward else (new,):
        if dotqmail_changes.has_file(session, Place(domain, None, home, each)):
            raise NameInUse(f"{each}@{domain.name} is an alias")


def _account_rewrite(
    session: Session, domain: FoundDomain, name: str, new: str
) -> Callable[[str], str | None]:
    known: dict[str, bool] = {}

    def rewrite(address: str) -> str | None:
        user, of = split_address(address)
        if user != name:
            return None
        if of not in known:
            known[of] = is_name_of(session, of, domain.id)
        return f"{new}{address[len(user) :]}" if known[of] else None

    return rewrite


# --- domains ------------------------------------------------------------------------------------


def rename_domain(session: Session, actor: Actor, old: str, new: str, how: How) -> Renamed:
    """Give a domain another name; one that is its alias so far may be it.

    :raises NotAuthorized: ``actor`` is no system administrator.
    :raises NoSuchDomain: there is no domain of this name, or it is an alias.
    :raises DomainNameTooLong, InvalidDomainName: no domain may be called so.
    :raises DomainExists: another one is.
    """
    require_system(actor)
    found = lock_domain(session, old)
    if found.name != old:
        raise NoSuchDomain(f"{old} is an alias of {found.name}")
    lock_names(session)
    new = _free_name(session, actor, found, new)
    names = _names_of(session, found)
    lists = list_mailing_lists(session, found.id)
    old_home = found.directory.rstrip("/")
    home = _renamed_directory(old_home, old, new)
    referring = rewriting.find_forwards(session, f"@{old}", _domain_rewrite(old, new))
    own = [r for r in referring if r.file_id is None and r.domain_id == found.id]
    changed = dict.fromkeys(referring if how.rewrites_forwards else own)
    if home != old_home:
        changed |= dict.fromkeys(rewriting.find_paths(session, found.id, old_home, home))
        _move_homes(session, found, old_home, home)
    renamed = update(DomainName).where(DomainName.name == old)
    session.execute(renamed.values(name=new, sort_key=sort_key(new)))
    if how.leaves_forward:
        insert_alias(session, old, found.id)
    default = (SiteSetting.key == "default_domain") & (SiteSetting.value == old)
    session.execute(update(SiteSetting).where(default).values(value=new))
    rewritten = rewriting.apply(session, actor, "rename_domain", _merged(changed))
    _record(session, actor, "rename_domain", "domain", (old, new), (old_home, home), new)
    warnings = [
        f"ezmlm's own files of the list {name} still have the old name: see `ezmlm-make -+`"
        for name in lists
    ]
    return Renamed(
        replace(found, name=new, directory=home),
        old,
        new,
        (old_home, home) if home != old_home else None,
        names | {old, new},
        rewritten | {new},
        len(referring) - len(own),
        tuple(warnings),
    )


def rename_alias_domain(
    session: Session, actor: Actor, old: str, new: str, *, rewrites_forwards: bool = False
) -> Renamed:
    """Give an alias domain another name.

    :raises NotAuthorized: ``actor`` is no system administrator.
    :raises NoSuchDomain: there is no alias domain of this name.
    :raises DomainNameTooLong, InvalidDomainName: no domain may be called so.
    :raises DomainExists: one is.
    """
    require_system(actor)
    found = lock_domain(session, old)
    if found.name == old:
        raise NoSuchDomain(f"{old} is no alias domain")
    lock_names(session)
    new = new_name(session, new)
    referring = rewriting.find_forwards(session, f"@{old}", _domain_rewrite(old, new))
    renamed = update(DomainName).where(DomainName.name == old)
    session.execute(renamed.values(name=new, sort_key=sort_key(new)))
    wanted = referring if rewrites_forwards else []
    rewritten = rewriting.apply(session, actor, "rename_alias_domain", wanted)
    changes = {"alias": (old, new)}
    of_it = ("domain", found.name)
    record(session, actor, "rename_alias_domain", of_it, changes, domain=None)
    names = frozenset({old, new})
    return Renamed(found, old, new, None, names, rewritten, len(referring))


def _free_name(session: Session, actor: Actor, domain: FoundDomain, text: str) -> str:
    """Return a name that the domain may have; it may be an alias of it, which ends."""
    try:
        return new_name(session, text)
    except DomainExists:
        name = to_a_label(text)
        mine = (DomainName.name == name) & (DomainName.domain_id == domain.id)
        gone = delete(DomainName).where(mine, DomainName.is_alias).returning(DomainName.name)
        if session.scalar(gone) is None:
            raise
        changes = {"alias": (name, None)}
        of_it = ("domain", domain.name)
        record(session, actor, "del_alias_domain", of_it, changes, domain=None)
        return name


def _names_of(session: Session, domain: FoundDomain) -> frozenset[str]:
    query = select(DomainName.name).where(DomainName.domain_id == domain.id)
    return frozenset(session.scalars(query))


def _domain_rewrite(old: str, new: str) -> Callable[[str], str | None]:
    def rewrite(address: str) -> str | None:
        user, of = split_address(address)
        return f"{address[: len(user)]}@{new}" if user and of == old else None

    return rewrite


def _move_homes(session: Session, domain: FoundDomain, old: str, new: str) -> None:
    """Let the directories of a domain and of all in it be below another one."""
    session.execute(update(Domain).where(Domain.id == domain.id).values(directory=new))
    rest = func.substr(type_coerce(Mailbox.directory, Text), len(to_database_text(old)) + 1)
    below = Mailbox.directory.startswith(f"{old}/", autoescape=True)
    session.execute(
        update(Mailbox)
        .where(Mailbox.domain_id == domain.id, below)
        .values(directory=literal(to_database_text(new), Text) + rest)
        .execution_options(synchronize_session=False)
    )


# --- both ---------------------------------------------------------------------------------------


def _renamed_directory(path: str, old: str, new: str) -> str:
    """Return a directory's new path; one that is not called like its owner stays."""
    parent, _, last = path.rpartition("/")
    return f"{parent}/{new}" if last == old else path


def _merged(changed: dict[Referring, None]) -> list[Referring]:
    """Return changes of which none undoes another one of the same line."""
    by_place: dict[tuple[int, int | None, int], Referring] = {}
    for each in changed:
        by_place.setdefault((each.domain_id, each.file_id, each.position), each)
    return list(by_place.values())


def _record(
    session: Session,
    actor: Actor,
    action: str,
    kind: str,
    names: tuple[str, str],
    directories: tuple[str, str],
    domain: str,
) -> None:
    """Write it down under both names, so that either one's history tells where it goes on."""
    changes = {"name": names}
    if directories[0] != directories[1]:
        changes["directory"] = directories
    for name in names:
        record(session, actor, action, (kind, name), changes, domain=domain)
