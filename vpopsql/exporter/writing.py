"""Writing the files of a site, and keeping account of what was changed."""

import contextlib
import secrets
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager

from vpopsql.pieces import Content
from vpopsql.tree import TEMP_PREFIX, Owner, Tree, Write

LEFTOVER_AGE_S = 3600.0
"""How old a half-written file must be to be nobody's.

Commands of the daemon that write files of their own do so without the site's lock. None of them
takes nearly as long as an hour, and an hour's leftover does no harm.
"""

_REMEMBERED = 10_000
"""Directories that `Sweeping` knows."""

_NEW_FILE_MODE = 0o644
"""Of the whole site's; a domain's are for their owner alone."""


class Sweeping:
    """When a process that writes again and again looks for leftovers in a directory."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    def is_due(self, directory: str) -> bool:
        """Say whether it is time to look; whoever is told so does it."""
        now = time.monotonic()
        if now < self._next.get(directory, now):
            return False
        if len(self._next) >= _REMEMBERED:
            self._next.clear()
        self._next[directory] = now + LEFTOVER_AGE_S
        return True


class Writer:
    """Writes each file whole, and leaves those alone that are as wanted.

    :ivar tree: where they are.
    :param sweeping: when to look for leftovers; None: each time.
    """

    def __init__(self, tree: Tree, sweeping: Sweeping | None = None) -> None:
        self.tree = tree
        self._sweeping = sweeping
        self._changed: dict[str, None] = {}
        self._swept: list[str] = []

    @property
    def changed(self) -> tuple[str, ...]:
        """Site paths written, linked or removed, in that order."""
        return tuple(self._changed)

    @property
    def swept(self) -> tuple[str, ...]:
        """Site paths of half-written files that were removed."""
        return tuple(self._swept)

    def note(self, paths: Iterable[str]) -> None:
        """Count files as changed that somebody else wrote."""
        self._changed.update(dict.fromkeys(paths))

    def write_many(self, writes: Iterable[Write], *, durable: bool = True) -> None:
        """Write files, all or none; see `Tree.write_many`."""
        self.note(self.tree.write_many(writes, durable=durable))

    def replace(self, contents: Mapping[str, Content | None], owner: Owner | None = None) -> None:
        """Give files of the whole site their contents, in that order; None removes one.

        There is one wait for the disk for all of them.

        :param owner: None keeps that of an existing file; its directory's for a new one.
        """
        self.write_many(self._writes(contents, owner))
        for path, data in contents.items():
            if data is None and self.tree.exists(path):
                self.remove(path)

    def ahead(
        self, contents: Mapping[str, Content | None], owner: Owner | None = None
    ) -> AbstractContextManager[None]:
        """Let the disk begin with what `replace` is to be given in the block; see `Tree.ahead`."""
        return self.tree.ahead(self._writes(contents, owner))

    def _writes(
        self, contents: Mapping[str, Content | None], owner: Owner | None
    ) -> Iterator[Write]:
        for path, data in contents.items():
            if data is not None:
                yield Write(path, data, None if self.tree.exists(path) else _NEW_FILE_MODE, owner)

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.tree.remove(path)
            self.note([path])

    def remove_many(self, paths: Iterable[str]) -> None:
        """Remove files, those that are there; there is one wait for the disk for a directory."""
        directories: dict[str, None] = {}
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                self.tree.remove(path, durable=False)
                self.note([path])
                directories[path.rpartition("/")[0]] = None
        self.tree.sync(*directories)

    def link(self, path: str, target: str) -> None:
        """Put a symbolic link at ``path``, whatever else is there."""
        with contextlib.suppress(OSError):
            if self.tree.read_link(path) == target:
                return
        temp = _temp_beside(path)
        self.tree.symlink(temp, target)
        self.tree.rename(temp, path)
        self.note([path])

    def write_over_link(self, path: str, data: Content, owner: Owner) -> None:
        """Put a file in the place of a link, which is not followed."""
        temp = _temp_beside(path)
        self.tree.write(temp, data, owner=owner)
        self.tree.rename(temp, path)
        self.note([path])

    def is_link(self, path: str) -> bool:
        """Say whether there is a symbolic link at ``path``."""
        try:
            return stat.S_ISLNK(self.tree.stat(path).st_mode)
        except FileNotFoundError:
            return False

    def make_dir(self, path: str, mode: int, owner: Owner, *, durable: bool = True) -> None:
        """Make a directory, with those above it, where it is missing."""
        if not self.tree.exists(path):
            self.tree.make_dir(path, mode, owner, parents=True, durable=durable)

    def sweep(self, *directories: str) -> None:
        """Remove what writers that were killed left in directories."""
        for directory in directories:
            if self._sweeping and not self._sweeping.is_due(directory):
                continue
            self._swept += self.tree.sweep(directory, LEFTOVER_AGE_S)


def _temp_beside(path: str) -> str:
    return f"{path.rpartition('/')[0]}/{TEMP_PREFIX}{secrets.token_hex(8)}"
