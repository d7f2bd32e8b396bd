"""Directories that were renamed with their mailbox or domain: finishing, and doing it elsewhere.

Who renames moves the directory on the own host. What was cut off there is finished by whoever
comes next; another host that follows the database does the same when it hears of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Renamed:
    """A directory that was renamed with its owner."""

    old: str
    new: str
    domain: tuple[str, str]
    """The real domain's name before it and after it."""

    def follow(self, path: str) -> str:
        """Return what a path became."""
        if path == self.old or path.startswith(f"{self.old}/"):
            return f"{self.new}{path[len(self.old) :]}"
        return path


def renamed_since(session: Session, audit: int) -> tuple[Renamed, ...]:
    """Return what was renamed, in that order.

    :param audit: an entry of the audit log; only later ones count.
    """
    query = (
        select(AuditEntry.object, AuditEntry.changes)
        .where(AuditEntry.id > audit, AuditEntry.action.in_(sorted(RENAMED)))
        .order_by(AuditEntry.id)
    )
    found = []
    for name, changes in session.execute(query):
        directories, names = changes.get("directory"), changes.get("name")
        # Each is there under both names.
        if directories and names and name == names[1]:
            old, new = directories
            domains = names[0].rpartition("@")[2], names[1].rpartition("@")[2]
            found.append(Renamed(old, new, domains))
    return tuple(found)


def where_they_are(paths: Iterable[str], renamed: Iterable[Renamed]) -> set[str]:
    """Return paths, and what became of them when directories above them were renamed."""
    found = set(paths)
    for each in renamed:
        found |= {each.follow(path) for path in found}
    return found


def begin(database: Database, config: Config, tree: Tree, renamed: Sequence[Renamed]) -> None:
    """Rename directories that a host still has under their old names; the files follow.

    `end` them when they have.
    """
    with database.reader() as session:
        home = site_directory(session, config.paths.vpopmail)
    begun: list[Move] = []
    for number, each in enumerate(renamed):
        later = renamed[number + 1 :]
        if not tree.exists(each.old) or tree.exists(each.new):
            continue
        name = each.domain[1]
        for other in later:
            name = other.domain[1] if name == other.domain[0] else name
        with database.reader() as session:
            is_due = _is_due(session, each, later)
            domain_id = session.scalar(select(DomainName.domain_id).where(DomainName.name == name))
        if not is_due or domain_id is None:
            continue
        # A link below a directory that is renamed now could not be found any more.
        for inner in [move for move in begun if move.source.startswith(f"{each.old}/")]:
            inner.end(tree, home)
            begun.remove(inner)
        move = Move(each.old, each.new, domain_id, name)
        if move.begin(tree, home):
            begun.append(move)


def _is_due(session: Session, one: Renamed, later: Iterable[Renamed]) -> bool:
    """Tell whether who was renamed lives there still, and nobody else under the old name."""
    old, new = one.old, one.new
    for each in later:
        old, new = each.follow(old), each.follow(new)
    return is_home(session, new) and not any(is_home(session, at) for at in (one.old, old))


def end(database: Database, config: Config, tree: Tree) -> None:
    """Take away the links that `begin` left, now that the files have followed."""
    with database.reader() as session:
        home = site_directory(session, config.paths.vpopmail)
    if moves.has_unfinished(tree, home):
        with database.writer() as session:
            left = moves.unfinished(session, tree, home)
        for move in left:
            move.end(tree, home)
