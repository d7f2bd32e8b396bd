"""Which files a host must remove, as the audit log tells: those whose rows were deleted.

The changes that revisions stand for are told by the rows that there are; what is not there any
more is known to whoever deleted it, who writes it down in the audit log.
"""

from collections.abc import Iterable

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from vpopsql.columns import from_database_text
from vpopsql.exporter import render
from vpopsql.model import AuditEntry, Domain, DomainName, Mailbox
from vpopsql.qmail import dotqmail


def removed_since(session: Session, audit: int) -> set[str]:
    """Return the site paths of files whose rows were deleted after an entry of the audit log.

    Some may have rows again.
    """
    query = (
        select(AuditEntry.object_type, AuditEntry.object, AuditEntry.changes)
        .where(
            AuditEntry.id > audit,
            or_(
                AuditEntry.object_type.in_(("dotqmail", "list")),
                AuditEntry.action == "del_limits",
            ),
        )
        .order_by(AuditEntry.id)
    )
    files: set[str] = set()
    in_domains: list[tuple[str, str]] = []
    for kind, name, changes in session.execute(query):
        if kind == "dotqmail":
            files |= _path_of(name, changes.get("lines"))
        elif kind == "list":
            domain = name.rpartition("@")[2]
            in_domains += [(domain, file) for file in _files_of_list(changes.get("files"))]
        else:
            in_domains.append((name, render.LIMITS))
    directories = _directories(session, {domain for domain, _ in in_domains})
    return files | {
        f"{directories[domain]}/{f}" for domain, f in in_domains if domain in directories
    }


def owners_of(session: Session, paths: Iterable[str]) -> set[str]:
    """Return the domains in whose directories, or in whose mailboxes' homes, files are."""
    homes = {path.rpartition("/")[0] for path in paths}
    spelled = [spelling for home in homes for spelling in (home, f"{home}/")]
    query = (
        select(DomainName.name)
        .join(Domain, Domain.id == DomainName.domain_id)
        .outerjoin(Mailbox, Mailbox.domain_id == Domain.id)
        .where(
            ~DomainName.is_alias,
            or_(Domain.directory.in_(spelled), Mailbox.directory.in_(spelled)),
        )
    )
    return set(session.scalars(query)) if spelled else set()


def _path_of(name: str, lines: list[str | None] | None) -> set[str]:
    """Return the path of a dot-qmail file if it was deleted."""
    if lines is None or lines[1] is not None:
        return set()
    home, _, rest = name.rpartition("/.qmail")
    if not rest:
        return {name}
    try:
        return {f"{home}/{dotqmail.filename_for(rest.removeprefix('-'))}"}
    except ValueError:
        return set()


def _files_of_list(files: list[str | None] | None) -> Iterable[str]:
    """Return the names of the dot-qmail files that a list had and has no more."""
    had, has = files or ("", "")
    old, new = set((had or "").split(", ")), set((has or "").split(", "))
    for each in old - new - {""}:
        try:
            yield dotqmail.filename_for(from_database_text(each))
        except ValueError:
            continue


def _directories(session: Session, domains: set[str]) -> dict[str, str]:
    query = (
        select(DomainName.name, Domain.directory)
        .join(Domain, Domain.id == DomainName.domain_id)
        .where(DomainName.name.in_(domains))
    )
    return {name: directory.rstrip("/") for name, directory in session.execute(query)}
