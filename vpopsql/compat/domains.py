"""``vadddomain``, ``vaddaliasdomain`` and ``vdeldomain``."""

from dataclasses import replace
from typing import TYPE_CHECKING

from vpopsql.compat import asking
from vpopsql.compat.accounts import FILES_FOLLOW, parse_quota
from vpopsql.compat.options import Given, Option, WrongUsage
from vpopsql.compat.program import REFUSED, Program, say

if TYPE_CHECKING:
    from vpopsql.compat.site import Change, Site
    from vpopsql.services.account_changes import Home
    from vpopsql.services.domains import FoundDomain
    from vpopsql.services.dotqmail_changes import CatchAllSetting

_ID_MAX = 2**32 - 2

# --- vadddomain ---------------------------------------------------------------------------------


def _check_new(given: Given) -> None:
    asking.require_one_source(given, 1)
    if "b" in given and "e" in given:
        raise WrongUsage("-b and -e exclude each other")
    _owner(given, (0, 0))


def _owner(given: Given, usual: tuple[int, int]) -> tuple[int, int]:
    uid, gid = given.number("i", 0, _ID_MAX), given.number("g", 0, _ID_MAX)
    return usual[0] if uid is None else uid, usual[1] if gid is None else gid


def _add_domain(site: "Site", given: Given) -> None:
    from vpopsql import homes
    from vpopsql.compat.site import domain_name
    from vpopsql.model import CatchAll
    from vpopsql.services import account_changes, domain_changes
    from vpopsql.services.account_changes import Wishes
    from vpopsql.services.domain_changes import NewDomains
    from vpopsql.touched import Touched

    name, config = domain_name(given.words[0]), site.config
    quota = parse_quota(given.values["q"]) if "q" in given else None
    usual = CatchAll.BOUNCE if "b" in given else CatchAll(config.domains.catchall)
    new = NewDomains(_owner(given, (config.export.uid, config.export.gid)), usual)
    text, is_random = asking.password(given, 1, "postmaster")
    secret = asking.secret_of(site, text)

    def job(change: "Change") -> None:
        session, actor = change.session, change.actor
        domain, home = domain_changes.add_domain(session, actor, name, secret, new)
        if quota is not None:
            wishes = Wishes(quota=quota)
            account_changes.modify_account(session, actor, "postmaster", domain.name, wishes)
            home = replace(home, quota=quota)
        if "e" in given:
            _set_catchall(change, site, domain, _target(given.values["e"], domain, home))
        homes.make_domain_directory(change.tree, domain.directory, domain.uid, domain.gid)
        homes.make_home(change.tree, home)
        change.touched.add(Touched({domain.name}, {domain.name}, names={domain.name}))

    site.change(job)
    if is_random:
        asking.show_random(text)


def _target(word: str, domain: "FoundDomain", postmaster: "Home") -> "CatchAllSetting":
    """Return what happens to mail for unknown names. :raises InvalidAddress: ``word`` is none."""
    from vpopsql.errors import InvalidAddress
    from vpopsql.model import CatchAll
    from vpopsql.names import is_address, lower, split_address

    if lower(word) == "postmaster":
        return CatchAll.DIRECTORY, postmaster.directory
    # Any other mailbox is yet to be made, and gets the mail by its address.
    name, of = split_address(word if "@" in word else f"{word}@{domain.name}")
    if not (name and of and is_address(name, of)):
        raise InvalidAddress(f"{word!r} is neither an address nor a mailbox")
    return CatchAll.ADDRESS, f"{name}@{of}"


def _set_catchall(
    change: "Change", site: "Site", domain: "FoundDomain", setting: "CatchAllSetting"
) -> None:
    from vpopsql.services import dotqmail_changes
    from vpopsql.services.dotqmail_changes import DEFAULT, Place

    place = Place(domain, None, domain.directory.rstrip("/"), DEFAULT)
    content = site.rules.render_catchall(setting)
    dotqmail_changes.set_file(change.session, change.actor, site.rules, place, content)


_OWN_TREE = "new domains are made in vpopmail's own tree, with the owner that"

vadddomain = Program(
    "vadddomain",
    "[options] domain [postmaster-password]",
    "Add a domain with its postmaster. Without a password it is asked for, or read from standard"
    " input. Mail for unknown names goes where `domains.catchall` of the configuration says.",
    _add_domain,
    (
        Option("q", "The quota of postmaster.", "quota"),
        Option("b", "Bounce mail for unknown names."),
        Option("e", "Give mail for unknown names to this address or mailbox.", "address"),
        Option("u", "", "user", refused=f"{_OWN_TREE} -i and -g or the configuration name"),
        Option("d", "", "directory", refused=f"{_OWN_TREE} -i and -g or the configuration name"),
        Option("i", "The numeric user that owns its files.", "uid"),
        Option("g", "The numeric group that owns its files.", "gid"),
        Option("O", FILES_FOLLOW),
        asking.RANDOM,
    ),
    (1, 2),
    _check_new,
)

# --- vaddaliasdomain ----------------------------------------------------------------------------


def _add_alias_domain(site: "Site", given: Given) -> None:
    from vpopsql.compat.site import domain_name
    from vpopsql.services import domain_changes

    first, second = map(domain_name, given.words)

    def job(change: "Change") -> None:
        domain_changes.add_alias_domain(change.session, change.actor, first, second)
        change.touched.names.update((first, second))

    site.change(job)


vaddaliasdomain = Program(
    "vaddaliasdomain",
    "domain alias",
    "Give a domain another name. Whichever of the two exists is the domain.",
    _add_alias_domain,
    words=(2, 2),
)

# --- vdeldomain ---------------------------------------------------------------------------------


def _delete_domain(site: "Site", given: Given) -> int | None:
    from vpopsql import trash
    from vpopsql.compat.site import domain_name
    from vpopsql.services import domain_changes, domains

    name = domain_name(given.words[0])

    def job(change: "Change") -> list[str]:
        session, actor = change.session, change.actor
        if "f" not in given and (found := domains.find_domain(session, name)):
            domains.lock_domain(session, name)
            aliases = domains.alias_domains(session, found.id)
            if found.name == name and aliases:
                return aliases
        kept = trash.prepare_domain(session, change.tree, actor, name)
        change.touched.names.update(domain_changes.delete_domain(session, actor, name).names)
        if kept:
            change.afterwards(lambda: kept.move(change.tree))
        return []

    if aliases := site.change(job):
        say(f"Error: {name} has alias domains, which -f deletes with it: {', '.join(aliases)}")
        return REFUSED
    return None


vdeldomain = Program(
    "vdeldomain",
    "[options] domain",
    "Delete an alias domain, or a domain with everything in it. Its files go to the trash, see"
    " `vpopsql trash`.",
    _delete_domain,
    (Option("f", "Also a domain that has alias domains, with these."),),
)
