"""Adding, changing and deleting mailing lists: the dot-qmail files that run ezmlm.

ezmlm's own program makes a list's directory and says what its files have in them; here it is
decided whether the list may be there, and its files become rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import delete
from sqlalchemy.orm import Session

from vpopsql.errors import InvalidAlias
from vpopsql.model import DotQmailFile
from vpopsql.names import new_user_name_problem
from vpopsql.services import dotqmail_changes, limits, paths, rights
from vpopsql.services.changes import record
from vpopsql.services.domains import FoundDomain
from vpopsql.services.dotqmail_changes import Content, Kind, Place, Rules, list_directory
from vpopsql.services.paths import OwnedPath, Owner
from vpopsql.services.rights import Actor, Permission


@dataclass(frozen=True, slots=True)
class MailingList:
    """A list, there or about to be."""

    domain: FoundDomain
    name: str
    files: frozenset[str]
    """The names of its dot-qmail files; none: it is not there yet."""

    @property
    def directory(self) -> str:
        """Return where new lists of this name have their files."""
        return f"{self.domain.directory.rstrip('/')}/{self.name}"


def require_new(
    session: Session, actor: Actor, rules: Rules, name: str, domain: str
) -> MailingList:
    """Return a list that may be made, in a domain that is locked.

    :raises NotAuthorized: ``actor`` may not.
    :raises NoSuchDomain: there is no such domain.
    :raises InvalidAlias: no list may be called so, or something is already.
    :raises LimitReached: the domain has as many lists as it may have.
    """
    place = _locked(session, actor, name, domain, Permission.CREATE)
    dotqmail_changes.require_room(session, actor, rules, place.domain, Kind.LIST)
    if new_user_name_problem(name) or dotqmail_changes.read_file(session, rules, place):
        raise InvalidAlias(f"{name}@{place.domain.name} cannot be a new list")
    return MailingList(place.domain, name, frozenset())


def get_list(
    session: Session, actor: Actor, name: str, domain: str, wanted: Permission
) -> MailingList:
    """Return a list that ``actor`` may do what is ``wanted`` with, in a domain that is locked.

    :raises NotAuthorized: he may not.
    :raises NoSuchDomain: there is no such domain.
    :raises InvalidAlias: there is no such list in its usual directory.
    :raises UnauthorizedPath: what stands there is a mailbox's home.
    """
    place = _locked(session, actor, name, domain, wanted)
    found = MailingList(place.domain, name, frozenset())
    files = dotqmail_changes.files_of_domain(session, place.domain.id)
    names = {
        each
        for each, lines in files.items()
        if (each == name or each.startswith(f"{name}-"))
        and list_directory(lines) == found.directory
    }
    if not names:
        raise InvalidAlias(f"{name}@{place.domain.name} is no mailing list")
    # Anybody can write a line that says that a mailbox's home is a list.
    owner = Owner(place.domain, None, place.home, name)
    paths.require_nobodys_home(session, actor, OwnedPath(place.home, f"/{name}"), owner)
    return MailingList(place.domain, name, frozenset(names))


def _locked(session: Session, actor: Actor, name: str, domain: str, wanted: Permission) -> Place:
    place = dotqmail_changes.alias_place(session, actor, name, domain)
    held = limits.get_limits(session, place.domain.id)
    rights.require_permission(actor, held[Kind.LIST.permission], wanted)
    return place


def write_list(
    session: Session,
    actor: Actor,
    rules: Rules,
    of: MailingList,
    files: Mapping[str, Content],
    action: str,
) -> None:
    """Make ``files`` all the dot-qmail files of a list; none: it is deleted.

    Those that it has no more go to the trash.
    """
    home = of.domain.directory.rstrip("/")
    for name in sorted(of.files - files.keys()):
        dotqmail_changes.keep_file(session, actor, Place(of.domain, None, home, name))
    session.execute(
        delete(DotQmailFile).where(
            DotQmailFile.domain_id == of.domain.id,
            DotQmailFile.mailbox_id.is_(None),
            DotQmailFile.name.in_(of.files),
        )
    )
    for name, content in files.items():
        place = Place(of.domain, None, home, name)
        dotqmail_changes.write_rows(session, rules, place, content)
    changes = {"files": (", ".join(sorted(of.files)), ", ".join(sorted(files)))}
    address = f"{of.name}@{of.domain.name}"
    record(session, actor, action, ("list", address), changes, domain=of.domain.name)
