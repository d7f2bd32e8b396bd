"""The directories of new mailboxes and domains, as vpopmail makes them.

::

    <domain>/<bucket>/alice          0700, the domain's uid and gid, as everything here
    ├── lastauth                     0.0.0.0: never logged in
    └── Maildir/{cur,new,tmp}
        └── maildirsize              only with a quota

They are made before the rows are committed, so that no row is ever without its directory. What a
command left that was cut off in between holds nothing yet: it is taken down and made again, with
`rmdir`, which refuses what is not empty. Anything else in the place is refused, for it may be
somebody's mail.
"""

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from vpopsql.errors import DirectoryExists
from vpopsql.qmail import maildirsize
from vpopsql.qmail.lines import encode
from vpopsql.services.account_changes import NEVER, Home
from vpopsql.services.domains import FoundDomain
from vpopsql.tree import TEMP_PREFIX, EntryType, LinkInPath, Owner, Tree, Write

_BOXES = ("cur", "new", "tmp")
"""In the order in which they are made."""
_AT_ONCE = 20
"""Homes up to which each is waited for, which disturbs nobody else."""
_FEW = 4096  # bytes: more than these files have when nobody has used them


def make_home(tree: Tree, home: Home, *, durable: bool = True) -> None:
    """Make a mailbox's directory with an empty Maildir, and the bucket that it is in.

    :param durable: wait for the disk; False for whoever waits once for many.
    :raises DirectoryExists: there is something already, and be it a message.
    """
    with tree.staying():
        _make_home(tree, home, durable=durable)


def _make_home(tree: Tree, home: Home, *, durable: bool) -> None:
    path, owner = home.directory.rstrip("/"), (home.uid, home.gid)
    _make_place(tree, path, owner, _take_down_home, durable=durable)
    for directory in ("Maildir", *(f"Maildir/{box}" for box in _BOXES)):
        tree.make_dir(f"{path}/{directory}", owner=owner, durable=False)
    if durable:
        tree.sync(f"{path}/Maildir", path, path.rpartition("/")[0])
    files = [Write(f"{path}/lastauth", encode(NEVER), owner=owner)]
    if home.quota.bytes or home.quota.messages:
        size = encode(f"{home.quota.render()}\n0 0\n")
        files.append(Write(f"{path}/Maildir/maildirsize", size, owner=owner))
    # Neither is missed after a crash: who needs one makes it.
    tree.write_many(files, durable=False)


def make_domain(tree: Tree, domain: FoundDomain, home: Home) -> None:
    """Make a domain's directory, and in it the home of its first mailbox.

    :raises DirectoryExists: as `make_domain_directory` does.
    """
    path = domain.directory.rstrip("/")
    with tree.staying():
        _make_place(tree, path, (domain.uid, domain.gid), _take_down_domain, durable=True)
        make_home(tree, home)
        tree.sync(path.rpartition("/")[0])


def make_homes(tree: Tree, homes: Sequence[Home]) -> None:
    """Make the directories of mailboxes; of many, with one wait for the disk.

    :raises DirectoryExists: as `make_home` does.
    """
    durable = len(homes) <= _AT_ONCE
    for home in homes:
        make_home(tree, home, durable=durable)
    if not durable:
        os.sync()


def is_complete(tree: Tree, directory: str) -> bool:
    """Say whether `make_home` came to the end of a home's directories.

    :raises LinkInPath: there is a symbolic link.
    """
    return tree.exists(f"{directory.rstrip('/')}/Maildir/{_BOXES[-1]}")


def require_room(tree: Tree, home: Home) -> None:
    """Refuse a new mailbox where something is that `make_home` would not take down.

    :raises DirectoryExists: there is.
    """
    path = home.directory.rstrip("/")
    try:
        if tree.exists(path) and not is_unused(tree, path):
            raise DirectoryExists(path)
    except (NotADirectoryError, LinkInPath) as error:
        raise DirectoryExists(path) from error


def make_domain_directory(tree: Tree, directory: str, uid: int, gid: int) -> None:
    """Make a domain's directory, and the bucket that it is in.

    :raises DirectoryExists: there is something already, other than its first mailbox's home that
        nobody has used.
    """
    path = directory.rstrip("/")
    _make_place(tree, path, (uid, gid), _take_down_domain, durable=True)
    tree.sync(path.rpartition("/")[0])


def set_quota_file(tree: Tree, home: Home) -> None:
    """Let the use of a mailbox be measured anew, against its new quota.

    maildirsize is removed, not rewritten: whoever delivers or reads next finds it missing,
    measures the Maildir and writes it, as Maildir++ says. To measure a large one is nothing to
    wait for here, and what deliveries append meanwhile would be lost under a rewritten file.
    """
    with suppress(FileNotFoundError):
        tree.remove(f"{home.directory.rstrip('/')}/Maildir/maildirsize")


def _make_place(
    tree: Tree,
    path: str,
    owner: Owner,
    take_down: Callable[[Tree, str], None],
    *,
    durable: bool,
) -> None:
    """Make a directory, and those above it; its own entry is not waited for."""
    try:
        tree.make_dir(path.rpartition("/")[0], owner=owner, parents=True, durable=durable)
        try:
            tree.make_dir(path, owner=owner, durable=False)
        except FileExistsError:
            take_down(tree, path)
            tree.make_dir(path, owner=owner, durable=False)
    except (FileExistsError, NotADirectoryError, LinkInPath) as error:
        raise DirectoryExists(path) from error
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise DirectoryExists(path) from error
        raise


def _take_down_domain(tree: Tree, path: str) -> None:
    """Remove a domain's directory that was made and never committed."""
    for home in tree.list(path):
        if home.name != "postmaster" or home.type is not EntryType.DIR:
            raise DirectoryExists(path)
        _take_down_home(tree, f"{path}/{home.name}")
    tree.remove_dir(path)


def _take_down_home(tree: Tree, path: str) -> None:
    """Remove a home that nobody has used yet."""
    box = f"{path}/Maildir"
    if not is_unused(tree, path):
        raise DirectoryExists(path)
    if tree.exists(box):
        for entry in tree.list(box):
            if entry.type is EntryType.DIR:
                tree.remove_dir(f"{box}/{entry.name}")
        for entry in tree.list(box):
            tree.remove(f"{box}/{entry.name}")
        tree.remove_dir(box)
    for entry in tree.list(path):
        tree.remove(f"{path}/{entry.name}")
    tree.remove_dir(path)


def is_unused(tree: Tree, path: str) -> bool:
    """Say whether a directory has nothing but what `make_home` makes, or a part of it."""
    box = f"{path}/Maildir"
    found = _content(tree, path)
    if not found.items() <= {"Maildir": EntryType.DIR, "lastauth": EntryType.FILE}.items():
        return False
    if "lastauth" in found and tree.read(f"{path}/lastauth", _FEW) != encode(NEVER):
        return False
    boxes = _content(tree, box) if "Maildir" in found else {}
    if "maildirsize" in boxes:
        if boxes.pop("maildirsize") is not EntryType.FILE:
            return False
        if maildirsize.parse(tree.read(f"{box}/maildirsize", _FEW))[1:] != (0, 0):
            return False
    empty = dict.fromkeys(_BOXES, EntryType.DIR)
    return boxes.items() <= empty.items() and not any(_content(tree, f"{box}/{b}") for b in boxes)


def _content(tree: Tree, path: str) -> dict[str, EntryType]:
    return {
        entry.name: entry.type
        for entry in tree.list(path)
        if not (entry.name.startswith(TEMP_PREFIX) and entry.type is EntryType.FILE)
    }
