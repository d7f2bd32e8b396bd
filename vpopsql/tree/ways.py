"""The ways to the directories of a tree, along which no symbolic link is followed.

A site path is absolute and in its plainest form; its directory is opened one component at a time,
each relative to the one before, from the root or from a place that the administrator has named.
It is opened as a `PLACE`.
"""

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from types import TracebackType

from vpopsql.tree.openat import PLACE, LinkInPath, UnsafePath, open_in, to_bytes

Names = tuple[bytes, ...]
"""The components of a path."""

_OPEN_MAX = 8
"""Directories that `Ways.staying` keeps open; more than are in use at once."""


class Ways:
    """The directories below ``root``.

    :ivar root: its path, as the system has it.
    :param places: as `Tree` has them.
    """

    def __init__(self, root: str, places: Iterable[str] = ()) -> None:
        self.root = os.fsencode(root)
        self._places = _deepest_first(tuple(places))
        self._open: OrderedDict[Names, int] | None = None
        """What is kept open; the one used last is the last one."""

    def directory(self, path: str, names: Names | None = None) -> "_Directory":
        """Give the descriptor of a directory for a block.

        :param path: what errors in the block name; the system knows only the last component.
        :param names: where it is; None: at ``path``.
        """
        return _Directory(self, path, names_of(path) if names is None else names)

    def parent(self, path: str) -> "_Parent":
        """Give the descriptor of the directory that ``path`` is in, and its name there."""
        names = names_of(path)
        if not names:
            raise UnsafePath("the root itself is meant")
        return _Parent(self, path, names)

    def depth(self, path: str, names: Names) -> int:
        """Return how many of the directories on the way to one, itself included, are there."""
        for depth in range(len(names), 0, -1):
            with suppress(FileNotFoundError), self.directory(path, names[:depth]):
                return depth
        return 0

    @contextmanager
    def staying(self) -> Iterator[None]:
        """Keep directories open from one call to the next, for those who go there many times.

        A change of a mailbox goes to its domain's directory twenty times; this saves half of the
        system calls. For blocks of milliseconds, in one thread: what others put in the place of
        a directory meanwhile is not found.
        """
        if self._open is not None:
            yield
            return
        self._open = OrderedDict()
        try:
            yield
        finally:
            self.leave()
            self._open = None

    def leave(self, path: str = "/") -> None:
        """Close what is kept open at ``path`` and below, where something else may be by now."""
        kept, top = self._open or OrderedDict(), names_of(path)
        for names in [names for names in kept if names[: len(top)] == top]:
            os.close(kept.pop(names))

    def open(self, names: Names) -> tuple[int, bool]:
        """Return the descriptor of a directory, and whether it stays open."""
        kept = self._open
        if kept is None:
            return _walk(*self._start(names)), False
        fd = kept.get(names)
        if fd is None:
            above = kept.get(names[:-1])
            start = self._start(names) if above is None else (os.dup(above), names[-1:])
            fd = kept[names] = _walk(*start)
            if len(kept) > _OPEN_MAX:
                os.close(kept.popitem(last=False)[1])
        kept.move_to_end(names)
        return fd, True

    def _start(self, names: Names) -> tuple[int, Names]:
        """Open the nearest place on the way; return what is left of the way too."""
        for place in self._places:
            if names[: len(place)] == place:
                # One that is not there yet may be about to be made.
                with suppress(FileNotFoundError):
                    there = b"/".join((self.root, *place))
                    return os.open(there, PLACE | os.O_CLOEXEC), names[len(place) :]
        return os.open(self.root, PLACE | os.O_CLOEXEC), names


class _Directory:
    """A directory that is open during a block."""

    # Not a generator: of those who go through many blocks it is a tenth of their time.
    __slots__ = ("_fd", "_names", "_path", "_stays", "_ways")

    def __init__(self, ways: Ways, path: str, names: Names) -> None:
        self._ways = ways
        self._path = path
        self._names = names

    def __enter__(self) -> int:
        return self._enter(self._names)

    def _enter(self, names: Names) -> int:
        try:
            self._fd, self._stays = self._ways.open(names)
        except (OSError, LinkInPath) as error:
            self._report(error)
            raise
        return self._fd

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if not self._stays:
            os.close(self._fd)
        if error is not None:
            self._report(error)

    def _report(self, error: BaseException) -> None:
        """Let an error name the whole path."""
        if isinstance(error, OSError):
            error.filename = self._path
            error.filename2 = None
        elif isinstance(error, LinkInPath):
            raise LinkInPath(f"{self._path}: {error}") from None


class _Parent(_Directory):
    """The directory that something is in, and its name there."""

    __slots__ = ()

    def __enter__(self) -> tuple[int, bytes]:  # type: ignore[override]
        return self._enter(self._names[:-1]), self._names[-1]


@lru_cache(maxsize=16)
def _deepest_first(places: tuple[str, ...]) -> tuple[Names, ...]:
    return tuple(sorted(map(names_of, places), key=len, reverse=True))


def _walk(fd: int, names: Names) -> int:
    """Return the descriptor of what is below a directory, whose own is closed."""
    for name in names:
        try:
            below = open_in(name, PLACE, fd)
        finally:
            os.close(fd)
        fd = below
    return fd


@lru_cache(maxsize=64)
def names_of(path: str) -> Names:
    """Return the components of a site path; none for the root.

    :raises UnsafePath: see there.
    """
    if path == "/":
        return ()
    start, *names = path.split("/")
    if start or not names or "\0" in path or not {"", ".", ".."}.isdisjoint(names):
        raise UnsafePath(f"not an absolute path in its plainest form: {path!r}")
    try:
        return tuple(to_bytes(path).split(b"/")[1:])
    except UnicodeEncodeError:
        raise UnsafePath(f"not a path of bytes: {path!r}") from None
