"""The handlers of the commands that change aliases and mailing lists."""

from functools import partial

from sqlalchemy.orm import Session

from vpopsql import errors, trash
from vpopsql.daemon import delivery
from vpopsql.daemon.call import Call, Effects, Write, parse_address
from vpopsql.daemon.ezmlm import EzmlmMake, switches
from vpopsql.names import lower
from vpopsql.services import domains, dotqmail_changes, list_changes, rights
from vpopsql.services.dotqmail_changes import Place
from vpopsql.services.list_changes import MailingList
from vpopsql.services.rights import Permission


def _alias(call: Call) -> tuple[str, str]:
    word = call.word(errors.AliasNameRequired)
    name, domain = parse_address(call.session, word, call.local_ip)
    rights.require_domain(call.actor, domain)
    return name, domain


def _line(call: Call) -> str:
    line = call.rest(errors.AliasLineRequired).strip(" \t")
    if not line:
        raise errors.AliasLineRequired
    return line


def add_alias(call: Call) -> Write:
    """Add a destination to an alias."""
    (name, domain), line, rules = _alias(call), _line(call), delivery.rules_of(call)

    def job(session: Session, effects: Effects) -> None:
        place = dotqmail_changes.add_alias(session, call.actor, rules, name, domain, line)
        _touch(effects, place)

    return Write(job, partial(domains.expect_lock, name=domain))


def remove_alias(call: Call) -> Write:
    """Remove one destination of an alias."""
    (name, domain), line, rules = _alias(call), _line(call), delivery.rules_of(call)

    def job(session: Session, effects: Effects) -> None:
        remove = dotqmail_changes.remove_alias
        place, is_left = remove(session, call.actor, rules, name, domain, line)
        _touch(effects, place, is_removed=not is_left)

    return Write(job, partial(domains.expect_lock, name=domain))


def delete_alias(call: Call) -> Write:
    """Delete an alias."""
    (name, domain), rules = _alias(call), delivery.rules_of(call)

    def job(session: Session, effects: Effects) -> None:
        place = dotqmail_changes.delete_alias(session, call.actor, rules, name, domain)
        _touch(effects, place, is_removed=True)

    return Write(job, partial(domains.expect_lock, name=domain))


def _touch(effects: Effects, place: Place, *, is_removed: bool = False) -> None:
    effects.touched.dotqmail.add(place.domain.name)
    if is_removed:
        effects.touched.removed.add(delivery.path_of(place))


# --- mailing lists ------------------------------------------------------------------------------


def _list(call: Call) -> tuple[str, str]:
    """Take domain and list; without ezmlm there is nothing to take them for."""
    if not call.config.lists.ezmlm_make:
        raise errors.NotConfigured("lists.ezmlm_make")
    domain, name = call.domain(), lower(call.word(errors.AliasNameRequired))
    rights.require_domain(call.actor, domain)
    return domain, name


def add_list(call: Call) -> Write:
    """Make a mailing list, with ezmlm-make's switches."""
    (domain, name), letters = _list(call), switches(call.words.rest().split())
    rules, program = delivery.rules_of(call), _program(call)

    def job(session: Session, effects: Effects) -> None:
        made = list_changes.require_new(session, call.actor, rules, name, domain)
        with program.making(made, letters) as files:
            list_changes.write_list(session, call.actor, rules, made, files, "add_list")
        _touch_list(effects, made, set(files))

    return Write(job)


def mod_list(call: Call) -> Write:
    """Change a mailing list, with ezmlm-make's switches."""
    (domain, name), letters = _list(call), switches(call.words.rest().split())
    rules, program = delivery.rules_of(call), _program(call)

    def job(session: Session, effects: Effects) -> None:
        found = list_changes.get_list(session, call.actor, name, domain, Permission.MODIFY)
        files = program.edit(found, letters)
        list_changes.write_list(session, call.actor, rules, found, files, "mod_list")
        _touch_list(effects, found, set(files))

    return Write(job)


def del_list(call: Call) -> Write:
    """Delete a mailing list; its directory goes to the trash."""
    (domain, name), rules, tree = _list(call), delivery.rules_of(call), call.tree()

    def job(session: Session, effects: Effects) -> None:
        found = list_changes.get_list(session, call.actor, name, domain, Permission.DELETE)
        list_changes.write_list(session, call.actor, rules, found, {}, "del_list")
        _touch_list(effects, found, set())
        place = found.directory
        kept = trash.prepare_directory(session, tree, call.actor, place, is_followed=True)
        effects.trash(kept, tree)

    return Write(job)


def _program(call: Call) -> EzmlmMake:
    return EzmlmMake(call.config.lists.ezmlm_make, call.tree())


def _touch_list(effects: Effects, of: MailingList, files: set[str]) -> None:
    home = of.domain.directory.rstrip("/")
    effects.touched.dotqmail.add(of.domain.name)
    effects.touched.removed.update(
        delivery.path_of(Place(of.domain, None, home, name)) for name in of.files - files
    )
