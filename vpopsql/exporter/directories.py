"""The directories of mailboxes and domains on a host that follows.

The daemon makes, moves and restores them on its own host, with the change itself. Elsewhere the
same is done when the change is followed, unless it is done already: the hosts may share a disk.
Only new mailboxes get a home here; what an old one lacks is for `vpopsql verify` to find.
"""

from collections.abc import Collection
from contextlib import suppress

from sqlalchemy import select

from vpopsql import homes, trash
from vpopsql.db import Database
from vpopsql.errors import DirectoryExists
from vpopsql.model import Domain, DomainName, Mailbox
from vpopsql.quota import Quota
from vpopsql.services.account_changes import Home
from vpopsql.tree import LinkInPath, Tree

MADE = frozenset({"add_user", "add_domain", "restore"})
"""The topics of revisions after which homes may be missing."""

DELETED = frozenset({"del_user", "del_domain", "del_list"})
"""Those after which directories may be left."""

RESTORED = frozenset({"restore"})
"""Those after which they may be in the trash still."""

_DOMAIN_MODE = 0o700


def make_homes(database: Database, tree: Tree, domains: Collection[str]) -> set[str]:
    """Make the homes that mailboxes of ``domains`` do not have, or not to the end.

    :returns: the directories that were made, of mailboxes and domains, without slashes at their
        ends.
    """
    query = (
        select(
            DomainName.name,
            Domain.directory.label("place"),
            Domain.uid,
            Domain.gid,
            Mailbox.directory,
            Mailbox.quota_bytes,
            Mailbox.quota_messages,
        )
        .join(Domain, Domain.id == DomainName.domain_id)
        .join(Mailbox, Mailbox.domain_id == Domain.id)
        .where(~DomainName.is_alias, DomainName.name.in_(domains))
    )
    with database.reader() as session:
        rows = session.execute(query).all()
    made = set()
    for row in rows:
        # What is used by somebody, or another one is making; or leads elsewhere.
        with suppress(DirectoryExists, LinkInPath):
            if homes.is_complete(tree, row.directory):
                continue
            if tree.make_dir(row.place, _DOMAIN_MODE, (row.uid, row.gid), parents=True):
                made.add(row.place.rstrip("/"))
            quota = Quota(row.quota_bytes, row.quota_messages)
            homes.make_home(tree, Home(row.name, row.directory, row.uid, row.gid, quota))
            made.add(row.directory.rstrip("/"))
    return made


def bring_back(database: Database, tree: Tree) -> None:
    """Move what was restored out of this host's trash."""
    with database.writer() as session:
        trash.bring_back(session, tree)


def displace(database: Database, tree: Tree, audit: int, made: Collection[str]) -> bool:
    """Move to this host's trash what was deleted and made again since its last pass.

    :param audit: see `trash.displace`.
    :param made: what `make_homes` has made since.
    :returns: whether there was any.
    """

    def is_new(path: str) -> bool:
        return path in made or homes.is_unused(tree, path)

    with database.writer() as session:
        return bool(trash.displace(session, tree, audit, is_new))


def finish_deletions(database: Database, tree: Tree) -> None:
    """Move to the trash what a process left where it was when it was killed, if there is any."""
    with database.reader() as session:
        left = trash.unmoved(session, tree)
    if left:
        move_away(database, tree)


def move_away(database: Database, tree: Tree) -> None:
    """Move what was deleted to this host's trash."""
    with database.writer() as session:
        trash.finish(session, tree)
