"""The handlers of the commands that change accounts, domains, limits and the IP map.

A handler reads its words and makes hashes, and returns the change: that is carried out in one
write transaction, which the conversation commits before files follow and the client hears of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from sqlalchemy.orm import Session

from vpopsql import errors, homes, passwords, strength, trash
from vpopsql.daemon import options
from vpopsql.daemon.call import Body, Call, Effects, Write
from vpopsql.model import CatchAll
from vpopsql.names import to_a_label
from vpopsql.protocol import OK, Reply, ok
from vpopsql.services import account_changes, domain_changes, domains, ipmaps, limits, rights
from vpopsql.services.account_changes import Secret, Wishes
from vpopsql.services.domain_changes import NewDomains
from vpopsql.services.rights import Actor
from vpopsql.touched import Touched


def _secret(call: Call, password: str, weakness: str | None) -> Secret:
    settings = call.config.passwords
    hashed = passwords.hash_ahead(password, settings.scheme, settings.rounds)
    clear_text = password if settings.store_clear_text else None
    return Secret(hashed, clear_text, weakness)


def _new_secret(call: Call) -> Secret:
    """Take all that is left as the password of a new account."""
    password = call.rest(errors.PasswordRequired)
    strength.require_strength(call.config, password)
    account_changes.check_password(password)
    return _secret(call, password, weakness=None)


# --- users --------------------------------------------------------------------------------------


def add_user(call: Call) -> Write:
    """Add a mailbox."""
    name, domain = call.address()
    rights.require_domain(call.actor, domain)
    if not domain:
        raise errors.InvalidDomainName(name)
    secret = _new_secret(call)
    return Write(
        partial(_add_user, call, name, domain, secret), partial(domains.expect_lock, name=domain)
    )


def _add_user(
    call: Call, name: str, domain: str, secret: Secret, session: Session, effects: Effects
) -> None:
    effects.watch(session, call.config.export)
    make = partial(homes.make_home, call.tree())
    home = account_changes.add_account(session, call.actor, name, domain, secret, make)
    effects.touched.mailboxes.add((home.domain, name))


def del_user(call: Call) -> Write:
    """Delete a mailbox; its directory goes to the trash."""
    name, domain = call.address()
    rights.require_domain(call.actor, domain)
    return Write(
        partial(_del_user, call, name, domain),
        partial(account_changes.expect_lock, name=name, domain=domain),
    )


def _del_user(call: Call, name: str, domain: str, session: Session, effects: Effects) -> None:
    effects.watch(session, call.config.export)
    tree = call.tree()
    home, kept = trash.delete_user(session, tree, call.actor, name, domain)
    effects.touched.mailboxes.add((home.domain, name))
    effects.trash(kept, tree)


def mod_user(call: Call) -> Body:
    """Change a mailbox as the lines say that follow."""
    name, domain = call.address()
    account_changes.require_modification(call.session, call.actor, name, domain)
    return Body(partial(_finish_mod_user, call, name, domain), ok())


def _finish_mod_user(call: Call, name: str, domain: str, lines: Sequence[bytes]) -> Write:
    wishes = options.user_wishes(lines, call.actor)
    if wishes.password is not None:
        account_changes.check_password(wishes.password)
        weakness = strength.weakness(call.config, wishes.password)
        wishes = replace(wishes, hashed=_secret(call, wishes.password, weakness))
    return Write(
        partial(_mod_user, call, name, domain, wishes),
        partial(account_changes.expect_lock, name=name, domain=domain),
    )


def _mod_user(
    call: Call, name: str, domain: str, wishes: Wishes, session: Session, effects: Effects
) -> None:
    effects.watch(session, call.config.export)
    changed = account_changes.modify_account(session, call.actor, name, domain, wishes)
    effects.touched.mailboxes.add((changed.domain, name))
    if home := changed.home:
        effects.actions.append(lambda: homes.set_quota_file(call.tree(), home))


# --- domains ------------------------------------------------------------------------------------


def add_domain(call: Call) -> Write:
    """Add a domain with its postmaster."""
    name = call.domain()
    secret = _new_secret(call)
    return Write(
        partial(_add_domain, call, name, secret), partial(domain_changes.expect_new, name=name)
    )


def _add_domain(call: Call, name: str, secret: Secret, session: Session, effects: Effects) -> None:
    new = NewDomains(
        (call.config.export.uid, call.config.export.gid), CatchAll(call.config.domains.catchall)
    )
    make = partial(homes.make_domain, call.tree())
    domain, _ = domain_changes.add_domain(session, call.actor, name, secret, new, make)
    effects.touched.add(Touched({domain.name}, {domain.name}, names={domain.name}))


def add_alias_domain(call: Call) -> Write:
    """Make one of two names an alias of the other."""
    first, second = call.domain(), call.domain(errors.AliasNameRequired)
    return Write(partial(_add_alias_domain, call, first, second))


def _add_alias_domain(
    call: Call, first: str, second: str, session: Session, effects: Effects
) -> None:
    domain_changes.add_alias_domain(session, call.actor, first, second)
    effects.touched.names.update(map(to_a_label, (first, second)))


def _of_settings(change: Callable[[Session, Actor], object], call: Call) -> Write:
    """Return a change of vpopmail's own files of the site."""

    def job(session: Session, effects: Effects) -> None:
        change(session, call.actor)
        effects.touched.settings = True

    return Write(job)


def del_domain(call: Call) -> Write:
    """Delete an alias domain, or a domain with its aliases; its tree goes to the trash."""
    return Write(partial(_del_domain, call, call.domain()))


def _del_domain(call: Call, name: str, session: Session, effects: Effects) -> None:
    tree = call.tree()
    kept = trash.prepare_domain(session, tree, call.actor, name)
    deleted = domain_changes.delete_domain(session, call.actor, name)
    effects.touched.names |= deleted.names
    if kept:
        effects.trash(kept, tree)


# --- limits -------------------------------------------------------------------------------------


def set_limits(call: Call) -> Body:
    """Change limits as the lines say that follow."""
    name = domains.get_domain(call.session, call.domain()).name
    return Body(partial(_finish_set_limits, call, name), ok())


def _finish_set_limits(call: Call, name: str, lines: Sequence[bytes]) -> Write:
    settings, warnings = options.limit_settings(lines)

    def job(session: Session, effects: Effects) -> Reply:
        limits.set_limits(session, call.actor, name, settings)
        effects.touched.limits.add(name)
        return Reply(OK, warnings=tuple(warnings))

    return Write(job, partial(domains.expect_lock, name=name))


def del_limits(call: Call) -> Write:
    """Let a domain fall back to the site's limits."""
    name = call.domain()

    def job(session: Session, effects: Effects) -> None:
        domain = limits.delete_limits(session, call.actor, name)
        effects.touched.limits.add(domain.name)
        effects.touched.removed.add(f"{domain.directory}/.qmailadmin-limits")

    return Write(job, partial(domains.expect_lock, name=name))


# --- IP map -------------------------------------------------------------------------------------


def add_ip_map(call: Call) -> Write:
    """Map an IP address to a domain."""
    address, domain = call.word(errors.IpRequired), call.domain()
    return _of_settings(partial(ipmaps.add_mapping, address=address, domain=domain), call)


def del_ip_map(call: Call) -> Write:
    """Forget a mapping."""
    address, domain = call.word(errors.IpRequired), call.domain()
    return _of_settings(partial(ipmaps.delete_mapping, address=address, domain=domain), call)
