"""The handlers of the commands that change accounts, domains, limits and the IP map.

A handler reads its words and makes hashes, and returns the change: that is carried out in one
write transaction, which the conversation commits before files follow and the client hears of it.
"""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.orm import Session

from vpopsql import errors, homes, passwords, trash
from vpopsql.daemon import options
from vpopsql.daemon.call import Body, Call, Effects, Write
from vpopsql.model import CatchAll
from vpopsql.names import lower
from vpopsql.protocol import OK, Reply, ok
from vpopsql.services import account_changes, domain_changes, domains, ipmaps, limits, rights
from vpopsql.services.account_changes import Secret, Wishes


def _secret(call: Call, password: str) -> Secret:
    account_changes.check_password(password)
    settings = call.config.passwords
    hashed = passwords.hash_password(password, settings.scheme, settings.rounds)
    return Secret(hashed, password if settings.store_clear_text else None)


# --- users --------------------------------------------------------------------------------------


def add_user(call: Call) -> Write:
    """Add a mailbox."""
    name, domain = call.address()
    rights.require_domain(call.actor, domain)
    if not domain:
        raise errors.InvalidDomainName(name)
    secret, tree = _secret(call, call.rest(errors.PasswordRequired)), call.tree()

    def job(session: Session, effects: Effects) -> None:
        home = account_changes.add_account(session, call.actor, name, domain, secret)
        homes.make_home(tree, home)
        effects.touched.accounts.add(home.domain)

    return Write(job)


def del_user(call: Call) -> Write:
    """Delete a mailbox; its directory goes to the trash."""
    name, domain = call.address()
    rights.require_domain(call.actor, domain)
    tree = call.tree()

    def job(session: Session, effects: Effects) -> None:
        kept = trash.prepare_user(session, tree, call.actor, name, domain)
        home = account_changes.delete_account(session, call.actor, name, domain)
        effects.touched.accounts.add(home.domain)
        effects.actions.append(lambda: kept.move(tree))

    return Write(job)


def mod_user(call: Call) -> Body:
    """Change a mailbox as the lines say that follow."""
    name, domain = call.address()
    account_changes.require_modification(call.session, call.actor, name, domain)

    def finish(lines: Sequence[bytes]) -> Write:
        wishes = options.user_wishes(lines, call.actor)
        if wishes.password is not None:
            wishes = replace(wishes, hashed=_secret(call, wishes.password))
        return _modification(call, name, domain, wishes)

    return Body(finish, ok())


def _modification(call: Call, name: str, domain: str, wishes: Wishes) -> Write:
    tree = call.tree()

    def job(session: Session, effects: Effects) -> None:
        changed = account_changes.modify_account(session, call.actor, name, domain, wishes)
        effects.touched.accounts.add(changed.domain)
        if changed.home:
            home = changed.home
            effects.actions.append(lambda: homes.set_quota_file(tree, home))

    return Write(job)


# --- domains ------------------------------------------------------------------------------------


def add_domain(call: Call) -> Write:
    """Add a domain with its postmaster."""
    name = call.domain()
    secret, tree = _secret(call, call.rest(errors.PasswordRequired)), call.tree()
    owner = call.config.export.uid, call.config.export.gid
    catchall = CatchAll(call.config.domains.catchall)

    def job(session: Session, effects: Effects) -> None:
        domain, postmaster = domain_changes.add_domain(
            session, call.actor, name, secret, owner=owner, catchall=catchall
        )
        homes.make_domain_directory(tree, domain.directory, domain.uid, domain.gid)
        homes.make_home(tree, postmaster)
        _touch_all(effects, domain.name)

    return Write(job)


def _touch_all(effects: Effects, domain: str) -> None:
    effects.touched.site = True
    effects.touched.accounts.add(domain)
    effects.touched.dotqmail.add(domain)


def add_alias_domain(call: Call) -> Write:
    """Make one of two names an alias of the other."""
    first, second = call.domain(), call.domain(errors.AliasNameRequired)

    def job(session: Session, effects: Effects) -> None:
        domain_changes.add_alias_domain(session, call.actor, first, second)
        effects.touched.site = True

    return Write(job)


def del_domain(call: Call) -> Write:
    """Delete an alias domain, or a domain with its aliases; its tree goes to the trash."""
    name, tree = call.domain(), call.tree()

    def job(session: Session, effects: Effects) -> None:
        kept = trash.prepare_domain(session, tree, call.actor, name)
        domain_changes.delete_domain(session, call.actor, name)
        effects.touched.site = True
        if kept:
            effects.actions.append(lambda: kept.move(tree))

    return Write(job)


# --- limits -------------------------------------------------------------------------------------


def set_limits(call: Call) -> Body:
    """Change limits as the lines say that follow."""
    name = domains.get_domain(call.session, call.domain()).name

    def finish(lines: Sequence[bytes]) -> Write:
        settings, warnings = options.limit_settings(lines)

        def job(session: Session, effects: Effects) -> Reply:
            limits.set_limits(session, call.actor, name, settings)
            effects.touched.limits.add(name)
            return Reply(OK, warnings=tuple(warnings))

        return Write(job)

    return Body(finish, ok())


def del_limits(call: Call) -> Write:
    """Let a domain fall back to the site's limits."""
    name = call.domain()

    def job(session: Session, effects: Effects) -> None:
        domain = limits.delete_limits(session, call.actor, name)
        effects.touched.limits.add(domain.name)
        effects.touched.removed.add(f"{domain.directory}/.qmailadmin-limits")

    return Write(job)


# --- IP map -------------------------------------------------------------------------------------


def add_ip_map(call: Call) -> Write:
    """Map an IP address to a domain."""
    address, domain = call.word(errors.IpRequired), call.domain()

    def job(session: Session, effects: Effects) -> None:
        ipmaps.add_mapping(session, call.actor, address, domain)
        effects.touched.site = True

    return Write(job)


def del_ip_map(call: Call) -> Write:
    """Forget a mapping."""
    address, domain = call.word(errors.IpRequired), lower(call.word(errors.DomainRequired))

    def job(session: Session, effects: Effects) -> None:
        ipmaps.delete_mapping(session, call.actor, address, domain)
        effects.touched.site = True

    return Write(job)
