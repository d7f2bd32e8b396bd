"""Jobs on dot-qmail files: of aliases, of catch-alls, and of mailboxes."""

from collections.abc import Callable, Sequence

import click
from sqlalchemy.orm import Session

from vpopsql.cli.objects.nouns import Address
from vpopsql.cli.objects.site import Effects, Site
from vpopsql.daemon.delivery import path_of
from vpopsql.errors import InvalidAlias, InvalidValue, NoSuchAlias
from vpopsql.model import CatchAll, LineKind
from vpopsql.names import is_address, split_address
from vpopsql.services import accounts, domains, dotqmail_changes
from vpopsql.services.dotqmail_changes import DEFAULT, Content, Place

_WORDS = {each.value: each for each in (CatchAll.BOUNCE, CatchAll.DELETE)}


def line_of(destination: str) -> str:
    """Return the line that leads to a destination: an address, or a line as it is in the file.

    :raises InvalidValue: it is none.
    """
    if destination[:1] in {"|", "/", ".", "#"}:
        return destination
    name, domain = split_address(destination.removeprefix("&"))
    if not (name and domain and is_address(name, domain)):
        raise InvalidValue(
            f"{destination!r} is neither an address nor a line beginning with | / ."
        )
    return f"&{destination.removeprefix('&')}"


def alias_place(session: Session, site: Site, address: tuple[str, str]) -> Place:
    """Return the file of an alias, in a domain that is locked."""
    name, domain = address
    if name == DEFAULT:
        raise InvalidAlias(f"{name}@{domain}: see `vpopsql catchall`")
    real = domains.get_domain(session, domain).name
    return dotqmail_changes.alias_place(session, site.actor, name, real)


def get_alias(session: Session, site: Site, address: tuple[str, str]) -> tuple[Place, Content]:
    """Return an alias's file and what it has. :raises NoSuchAlias: there is none."""
    place = alias_place(session, site, address)
    found = dotqmail_changes.read_file(session, site.rules, place)
    if found is None:
        raise NoSuchAlias("@".join(address))
    return place, found


def mailbox_place(session: Session, address: tuple[str, str]) -> Place:
    """Return the ``.qmail`` of a mailbox, in a domain that is locked."""
    domain = domains.lock_domain(session, address[1])
    account = accounts.get_account(session, *address)
    return Place(domain, account.id, account.directory.rstrip("/"), "")


def write(
    session: Session, effects: Effects, site: Site, place: Place, lines: Sequence[str]
) -> None:
    """Make lines all that a file has; none: there is no file."""
    effects.touched.dotqmail.add(place.domain.name)
    if lines:
        content = Content(tuple(lines))
        dotqmail_changes.set_file(session, site.actor, site.rules, place, content)
    else:
        dotqmail_changes.remove_file(session, site.actor, site.rules, place)
        effects.touched.removed.add(path_of(place))


def kind_of(site: Site, line: str) -> LineKind:
    """Return what a line does."""
    return site.rules.classify(line.removesuffix("\r"))


def set_catchall(site: Site, domain: str, what: str) -> Callable[[Session, Effects], None]:
    """Return the job that says what happens to mail for names that a domain does not have.

    :param what: ``bounce``, ``delete``, ``none``, an address, or a directory.
    :raises UsageError: it is none of these.
    """
    setting: tuple[CatchAll, str | None] | None = None
    if what in _WORDS:
        setting = _WORDS[what], None
    elif what.startswith("/"):
        setting = CatchAll.DIRECTORY, what
    elif what != CatchAll.NONE.value:
        name, of = Address.parsed(what, _refuse)
        setting = CatchAll.ADDRESS, f"{name}@{of}"

    def job(session: Session, effects: Effects) -> None:
        found = domains.lock_domain(session, domain)
        place = Place(found, None, found.directory.rstrip("/"), DEFAULT)
        if setting is None:
            write(session, effects, site, place, ())
            return
        if setting[0] is CatchAll.ADDRESS and setting[1]:
            _require_address(session, *split_address(setting[1]))
        content = site.rules.render_catchall(setting)
        dotqmail_changes.set_file(session, site.actor, site.rules, place, content)
        effects.touched.dotqmail.add(found.name)

    return job


def _require_address(session: Session, name: str, domain: str) -> None:
    """Refuse an address of this site that nobody has. :raises NoSuchUser: there is none."""
    found = domains.find_domain(session, domain)
    if found is None:
        return
    place = Place(found, None, found.directory.rstrip("/"), name)
    if not dotqmail_changes.has_file(session, place):
        accounts.get_account(session, name, domain)


def _refuse(why: str) -> None:
    raise click.UsageError(f"{why}, or bounce, delete, none, or a directory")
