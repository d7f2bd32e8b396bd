"""Measuring a Maildir, as Maildir++ says.

Counted are the messages in ``new`` and ``cur`` of the box and of each folder except ``.Trash``,
without those that are marked as trashed. A message's size is in its name; without one it is the
file's. Nothing is written, and no symbolic link is followed.
"""

import re

from vpopsql.tree import Entry, EntryType, Tree, UnsafePath

_SIZE = re.compile(r",S=(\d+)")
_TRASHED = re.compile(r":2,[A-Z]*T")


def measure(tree: Tree, path: str) -> tuple[int, int]:
    """Return (bytes, messages) of the Maildir at ``path``; (0, 0) when there is none."""
    boxes = [path]
    boxes += [
        f"{path}/{entry.name}"
        for entry in _entries(tree, path)
        if entry.type is EntryType.DIR and entry.name.startswith(".") and entry.name != ".Trash"
    ]
    sizes = [size for box in boxes for part in ("new", "cur") for size in _sizes(tree, box, part)]
    return sum(sizes), len(sizes)


def _entries(tree: Tree, path: str) -> list[Entry]:
    try:
        return tree.list(path)
    except (OSError, UnsafePath):
        return []


def _sizes(tree: Tree, box: str, part: str) -> list[int]:
    sizes = []
    for entry in _entries(tree, f"{box}/{part}"):
        if entry.type is not EntryType.FILE or _TRASHED.search(entry.name):
            continue
        if told := _SIZE.search(entry.name):
            sizes.append(int(told[1]))
            continue
        try:
            sizes.append(tree.stat(f"{box}/{part}/{entry.name}").st_size)
        except OSError:
            # Delivered or deleted while we looked.
            continue
    return sizes
