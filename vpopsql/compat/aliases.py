"""``valias`` and ``vipmap``: aliases of a domain, and domains of IP addresses."""

from typing import TYPE_CHECKING

from vpopsql.compat.options import Given, Option, WrongUsage
from vpopsql.compat.program import Program, say

if TYPE_CHECKING:
    from vpopsql.compat.site import Change, Site
    from vpopsql.services.dotqmail_changes import Place

# --- valias -------------------------------------------------------------------------------------


def _check(given: Given) -> None:
    if len(given.any_of("nsdi")) > 1:
        raise WrongUsage("-n, -s, -d and -i exclude each other")
    if given.any_of("di") and "@" not in given.words[0]:
        raise WrongUsage("an address is needed")


def _alias(site: "Site", given: Given) -> None:
    word = given.words[0]
    if given.any_of("di"):
        name, domain = site.address(word)
        if "d" in given:
            site.change(lambda change: _delete(change, site, name, domain))
        else:
            line = given.values["i"].strip(" \t")
            site.change(lambda change: _insert(change, site, name, domain, line))
    else:
        _show(site, word, names_only="n" in given)


def _show(site: "Site", word: str, *, names_only: bool) -> None:
    from vpopsql.compat.site import domain_name
    from vpopsql.services import domains, forwards

    name, domain = site.address(word) if "@" in word else (None, domain_name(word))
    with site.reader() as session:
        found = domains.get_domain(session, domain)
        names = forwards.list_alias_names(session, found.id)
        rows = forwards.list_aliases(session, found.id, name)
    if names_only:
        for each in names:
            if name in {None, each}:
                say(each)
        return
    for alias, line in rows:
        say(f"{alias}@{found.name} -> {line}")
    if not rows:
        of = f"domain {found.name}" if name is None else f"{name}@{found.name}"
        say(f"No aliases found for {of}")


def _insert(change: "Change", site: "Site", name: str, domain: str, line: str) -> None:
    from vpopsql.services import dotqmail_changes

    add = dotqmail_changes.add_alias
    place = add(change.session, change.actor, site.rules, name, domain, line)
    change.touched.dotqmail.add(place.domain.name)


def _delete(change: "Change", site: "Site", name: str, domain: str) -> None:
    from vpopsql.services import dotqmail_changes

    delete = dotqmail_changes.delete_alias
    place = delete(change.session, change.actor, site.rules, name, domain)
    change.touched.dotqmail.add(place.domain.name)
    change.touched.removed.add(_path_of(place))


def _path_of(place: "Place") -> str:
    from vpopsql.daemon.delivery import path_of

    return path_of(place)


valias = Program(
    "valias",
    "[options] user@domain | domain",
    "Show the aliases of a domain, or change one: forwards, robots, mailing lists, whatever"
    " .qmail-NAME files do. Without options they are shown.",
    _alias,
    (
        Option("n", "Show the names alone."),
        Option("s", "Show every line."),
        Option("d", "Delete the alias with all its lines."),
        Option("i", "Add a line to the alias, which is made if need be.", "line"),
    ),
    (1, 1),
    _check,
)

# --- vipmap -------------------------------------------------------------------------------------


def _check_ip(given: Given) -> None:
    if len(given.any_of("adp")) != 1:
        raise WrongUsage("one of -a, -d and -p is needed")
    if len(given.words) != (0 if "p" in given else 2):
        raise WrongUsage("-p stands alone, -a and -d need an address and a domain")


def _ip_map(site: "Site", given: Given) -> None:
    from vpopsql.compat.site import domain_name
    from vpopsql.services import ipmaps

    if "p" in given:
        with site.reader() as session:
            found = ipmaps.list_mappings(session)
        for address, domain in found:
            say(f"{address} {domain}")
        return
    address, domain = given.words[0], domain_name(given.words[1])
    work = ipmaps.add_mapping if "a" in given else ipmaps.delete_mapping

    def job(change: "Change") -> None:
        work(change.session, change.actor, address, domain)
        change.touched.settings = True

    site.change(job)


vipmap = Program(
    "vipmap",
    "-a | -d  address domain, or -p",
    "Say which domain an address without one belongs to, by the IP address that a client has"
    " connected to.",
    _ip_map,
    (
        Option("a", "Map an IP address to a domain, instead of any other."),
        Option("d", "Forget that an IP address is mapped to a domain."),
        Option("p", "Show the map."),
    ),
    (0, 2),
    _check_ip,
)
