"""Directories that were renamed with their mailbox or domain: finishing, and doing it elsewhere.

Who renames moves the directory on the own host. What was cut off there is finished by whoever
comes next; another host that follows the database does the same when it hears of it.
"""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from vpopsql import moves
from vpopsql.config import Config
from vpopsql.db import Database
from vpopsql.exporter.apply import follow
from vpopsql.model import AuditEntry, DomainName
from vpopsql.moves import Move
from vpopsql.services.paths import is_home
from vpopsql.services.sites import site_directory
from vpopsql.tree import Tree

RENAMED = frozenset({"rename_user", "rename_domain"})
"""The topics of revisions after which directories may have another name."""


def finish(database: Database, config: Config) -> list[str]:
    """Finish what was cut off on this host; return where the directories are now.

    What was not committed is put back instead.

    :raises ExportFailed: the files do not follow; links still lead to the directories.
    """
    tree = Tree(config.paths.root, config.paths.places)
    with database.reader() as session:
        home = site_directory(session, config.paths.vpopmail)
    if not moves.has_unfinished(tree, home):
        return []
    with database.writer() as session:
        left = moves.unfinished(session, tree, home)
    for move in left:
        follow(database, config, move.touched)
        move.end(tree, home)
    return [move.target for move in left]


def renamed_since(session: Session, audit: int) -> list[tuple[str, str, str]]:
    """Return ``(old directory, new directory, domain)`` of what was renamed, in that order.

    :param audit: an entry of the audit log; only later ones count.
    """
    query = (
        select(AuditEntry.object, AuditEntry.changes)
        .where(AuditEntry.id > audit, AuditEntry.action.in_(sorted(RENAMED)))
        .order_by(AuditEntry.id)
    )
    found: dict[tuple[str, str, str], None] = {}
    for name, changes in session.execute(query):
        old, new = changes.get("directory") or (None, None)
        # Each is there under both names; where it is, the new one tells.
        if old and new and name == changes["name"][1]:
            found[old, new, name.rpartition("@")[2]] = None
    return list(found)


def where_they_are(paths: Iterable[str], renamed: Iterable[tuple[str, str, str]]) -> set[str]:
    """Return paths, and what became of them when directories above them were renamed."""
    found = set(paths)
    for old, new, _ in renamed:
        below = {path for path in found if path.startswith(f"{old}/")}
        found |= {f"{new}{path[len(old) :]}" for path in below}
    return found


def begin(
    database: Database, config: Config, tree: Tree, renamed: Iterable[tuple[str, str, str]]
) -> None:
    """Rename directories that a host still has under their old names; the files follow.

    `end` them when they have.
    """
    for old, new, domain in renamed:
        if not tree.exists(old) or tree.exists(new):
            continue
        with database.reader() as session:
            home = site_directory(session, config.paths.vpopmail)
            domain_id = session.scalar(
                select(DomainName.domain_id).where(DomainName.name == domain)
            )
            # Somebody else may be called so by now.
            is_due = is_home(session, new) and not is_home(session, old)
        if is_due and domain_id is not None:
            Move(old, new, domain_id, domain).begin(tree, home)


def end(database: Database, config: Config, tree: Tree) -> None:
    """Take away the links that `begin` left, now that the files have followed."""
    with database.reader() as session:
        home = site_directory(session, config.paths.vpopmail)
    if moves.has_unfinished(tree, home):
        with database.writer() as session:
            left = moves.unfinished(session, tree, home)
        for move in left:
            move.end(tree, home)
