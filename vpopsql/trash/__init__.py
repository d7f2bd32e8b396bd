"""The trash: what was deleted, until it is restored or purged.

A deletion takes two steps of its caller, around the commit::

    kept = trash.prepare_domain(session, tree, actor, name)
    ...                      # delete the rows, commit, let the files follow
    kept.move(tree)

`delete_user`, `prepare_domain` and `prepare_directory` write down, in the same transaction, what
will be gone: the rows with all that hangs from them, and where the files are and will be. The
dot-qmail files of a domain are rows alone; whoever deletes one writes it down by
`services.kept_rows`. `Kept.move` moves the tree as it is, by one rename: nothing is copied, no
link followed, owners stay. It goes to ``<vpopmail>/trash/<time>-<random>/<name>``, which no file
command reaches; where that is another file system, to ``.trash/<time>-<random>/<name>`` beside the
original.

A crash between the commit and the move leaves the tree where it was. It is shown as "not moved
yet", and `finish` moves it, unless a new mailbox or domain lives there by now. For the same reason
`Kept.move` does nothing if the directory is not the one that was prepared for.

What is restored has new row ids, and is otherwise what it was, except for IP addresses that are
mapped elsewhere by now. Purging takes two steps as well: the entry is claimed, so that nobody
restores half a tree, and forgotten when its files are gone.

Nothing here begins or ends a transaction.
"""

from vpopsql.trash.deleting import Kept, delete_user, prepare_directory, prepare_domain
from vpopsql.trash.following import bring_back, displace, finish, unmoved
from vpopsql.trash.listing import Listed, State, list_entries
from vpopsql.trash.purging import Due, claim, find_due, forget, remove
from vpopsql.trash.renaming import follow_rename
from vpopsql.trash.restoring import Restored, find_deleted, restore

__all__ = [
    "Due",
    "Kept",
    "Listed",
    "Restored",
    "State",
    "bring_back",
    "claim",
    "delete_user",
    "displace",
    "find_deleted",
    "find_due",
    "finish",
    "follow_rename",
    "forget",
    "list_entries",
    "prepare_directory",
    "prepare_domain",
    "remove",
    "restore",
    "unmoved",
]
