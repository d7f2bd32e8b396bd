"""Rows and files that come back from the trash."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from vpopsql.columns import from_database_text, utc_now
from vpopsql.errors import DirectoryExists, DomainExists, NameInUse, NotInTrash, UserExists
from vpopsql.model import DomainName, DotQmailFile, IpMapping, Mailbox, TrashEntry, TrashKind
from vpopsql.names import split_address
from vpopsql.services import buckets
from vpopsql.services.changes import note, record
from vpopsql.services.domain_changes import lock_names
from vpopsql.services.domains import get_domain, lock_domain
from vpopsql.services.kept_rows import Rows, insert_rows
from vpopsql.services.paths import is_home
from vpopsql.services.rights import Actor
from vpopsql.touched import Touched
from vpopsql.trash.entries import PRESENT, move_back, place_of
from vpopsql.tree import Tree


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back."""

    name: str
    path: str
    touched: Touched
    """The files that are to follow when it is committed."""
    has_files: bool


def find_deleted(
    session: Session, kind: TrashKind, named: tuple[str, str], before: datetime
) -> TrashEntry | None:
    """Return the newest entry of something that was deleted until a time.

    :param named: its name, and the path that it was at; an empty one says nothing.
    """
    name, path = named
    query = select(TrashEntry).where(TrashEntry.kind == kind, TrashEntry.at <= before)
    query = query.where(TrashEntry.original_path == path if path else TrashEntry.name == name)
    return session.scalars(query.order_by(TrashEntry.id.desc()).limit(1)).first()


def restore(
    session: Session, tree: Tree, entry_id: int, actor: Actor, *, moves: bool = True
) -> Restored:
    """Put rows and files back; the caller commits at once.

    :param moves: False for a dry run, which leaves the files where they are.
    :raises NotInTrash: there is no such entry, or it was restored or purged.
    :raises NoSuchDomain: a mailbox's or alias's domain is gone.
    :raises UserExists, DomainExists, NameInUse: the name is taken again.
    :raises DirectoryExists: something stands where the files were.
    """
    query = PRESENT.where(TrashEntry.id == entry_id).with_for_update()
    entry = session.scalars(query).first()
    if entry is None:
        raise NotInTrash(f"there is nothing in the trash with the number {entry_id}")
    if is_home(session, entry.original_path):
        raise DirectoryExists(entry.original_path)
    place = place_of(tree, entry)
    if place and tree.exists(entry.original_path):
        raise DirectoryExists(entry.original_path)
    touched, lines = _restore_rows(session, actor, entry), _lines_of(entry)
    # Not the one in its name, which may be an alias by now.
    domain = next(iter(touched.dotqmail), None)
    if place and moves:
        # Before the commit: a row without its directory would make mail wait.
        move_back(tree, place, entry.original_path)
    entry.restored_at, entry.payload = utc_now(), None
    session.flush()
    _record_restored(session, actor, entry, lines, domain)
    has_files = entry.kind is TrashKind.DOTQMAIL or tree.exists(entry.original_path)
    return Restored(entry.name, entry.original_path, touched, has_files)


def _lines_of(entry: TrashEntry) -> str:
    """Return the text of a dot-qmail file; of anything else it means nothing."""
    rows = (entry.payload or {}).get("dotqmail_lines", ())
    return "\n".join(row["line"] for row in rows)


def _record_restored(
    session: Session, actor: Actor, entry: TrashEntry, lines: str, domain: str | None
) -> None:
    kind, back = entry.kind.value, {"directory": (None, entry.original_path)}
    match entry.kind:
        case TrashKind.DIRECTORY:
            note(session, actor, "restore", (kind, entry.name), back)
        case TrashKind.DOTQMAIL:
            of = (kind, entry.original_path)
            record(session, actor, "restore", of, {"lines": (None, lines)}, domain=domain)
        case _:
            record(session, actor, "restore", (kind, entry.name), back, domain=domain)


def _restore_rows(session: Session, actor: Actor, entry: TrashEntry) -> Touched:
    rows: Rows = entry.payload or {}
    match entry.kind:
        case TrashKind.DIRECTORY:
            return Touched()
        case TrashKind.USER:
            return _restore_user(session, entry, rows)
        case TrashKind.DOTQMAIL:
            return _restore_file(session, entry, rows)
        case TrashKind.DOMAIN:
            return _restore_domain(session, actor, entry, rows)


def _restore_user(session: Session, entry: TrashEntry, rows: Rows) -> Touched:
    name, of = split_address(entry.name)
    domain = lock_domain(session, get_domain(session, of).name)
    query = select(Mailbox.id).where(Mailbox.domain_id == domain.id, Mailbox.name == name)
    if session.scalar(query) is not None:
        raise UserExists(entry.name)
    insert_rows(session, rows, {"domains": {rows["mailboxes"][0]["domain_id"]: domain.id}})
    buckets.retake_bucket(
        session, domain.id, buckets.bucket_of(entry.original_path, domain.directory)
    )
    return Touched(accounts={domain.name}, dotqmail={domain.name})


def _restore_file(session: Session, entry: TrashEntry, rows: Rows) -> Touched:
    of = split_address(entry.name)[1]
    domain = lock_domain(session, get_domain(session, of).name)
    (file,) = rows["dotqmail_files"]
    query = select(DotQmailFile.id).where(
        DotQmailFile.domain_id == domain.id,
        DotQmailFile.mailbox_id.is_(None),
        DotQmailFile.name == from_database_text(file["name"]),
    )
    if session.scalar(query) is not None:
        raise NameInUse(f"{entry.name} is an alias again")
    insert_rows(session, rows, {"domains": {file["domain_id"]: domain.id}})
    return Touched(dotqmail={domain.name})


def _restore_domain(session: Session, actor: Actor, entry: TrashEntry, rows: Rows) -> Touched:
    lock_names(session)
    names = [row["name"] for row in rows["domain_names"]]
    taken = session.scalars(select(DomainName.name).where(DomainName.name.in_(names))).all()
    if taken:
        raise DomainExists(", ".join(sorted(taken)))
    addresses = [row["address"] for row in rows.get("ip_mappings", ())]
    mapped = session.scalars(select(IpMapping.address).where(IpMapping.address.in_(addresses)))
    kept = set(addresses) - set(mapped)
    free = [row for row in rows.get("ip_mappings", ()) if row["address"] in kept]
    insert_rows(session, rows | {"ip_mappings": free}, {})
    bucket = buckets.bucket_of(entry.original_path, f"{actor.site_directory}/domains")
    buckets.retake_bucket(session, None, bucket)
    of_it = {entry.name}
    return Touched(set(of_it), set(of_it), set(of_it), site=True)
