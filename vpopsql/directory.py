"""Reading a tree without ever following a symbolic link in it.

A directory is held as a descriptor and entered one component at a time, so nothing that changes
meanwhile can lead a read out of the tree. The path that the user typed may itself be a link.

`vpopsql.tree` makes the same promise for single files, from its root each time; here a directory
stays open while all that is wanted of it is read, which is what makes 100,000 homes quick.
"""

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

from vpopsql.qmail.lines import decode, encode

_LINKED_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_DIRECTORY = _LINKED_DIRECTORY | os.O_NOFOLLOW
# A fifo must not make the import wait for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class SymbolicLink(OSError):
    """A path has a symbolic link in it; ``filename`` is the link.

    :ivar target: where it leads.
    """

    target = ""


class NoRegularFile(OSError):
    """A directory, socket, device or fifo where a file was to be read."""


class Directory:
    """An open directory.

    :ivar shown: its path for people, beginning with what the user typed.
    """

    def __init__(self, descriptor: int, shown: str, links: frozenset[str] = frozenset()) -> None:
        self._descriptor = descriptor
        self._links = links
        self._entries: list[os.DirEntry[str]] | None = None
        self.shown = shown

    @classmethod
    def open(cls, path: str, links: Iterable[str] = ()) -> Self:
        """Open the directory that the user named.

        :param links: names in it that may be symbolic links, because only an administrator can
            have made them.
        :raises OSError: it is missing, none, or not readable.
        """
        return cls(os.open(path, _LINKED_DIRECTORY), path.rstrip("/"), frozenset(links))

    def enter(self, path: str) -> "Directory":
        """Open a directory below this one; the empty path is this one once more.

        :param path: relative, without ``..``.
        :raises SymbolicLink: a component is a link.
        :raises OSError: a component is missing, no directory, or not readable.
        """
        descriptor = self._descriptor
        shown = self.shown
        for component in components(path) or ["."]:
            shown = f"{shown}/{component}" if component != "." else shown
            parent = descriptor
            try:
                named = parent == self._descriptor and component in self._links
                flags = _LINKED_DIRECTORY if named else _DIRECTORY
                descriptor = os.open(encode(component), flags, dir_fd=parent)
            except OSError as error:
                raise _explained(error, component, parent, shown) from error
            finally:
                if parent != self._descriptor:
                    os.close(parent)
        return Directory(descriptor, shown)

    def entries(self) -> list["os.DirEntry[str]"]:
        """Return what was in the directory when this was first asked, in no order."""
        if self._entries is None:
            with os.scandir(self._descriptor) as found:
                self._entries = list(found)
        return self._entries

    def names(self) -> set[str]:
        """Return the names of what is in the directory; see `entries`."""
        return set(map(name_of, self.entries()))

    def read(self, name: str) -> bytes:
        """Return the content of a regular file; see `read_with_mtime`."""
        return self.read_with_mtime(name)[0]

    def read_with_mtime(self, name: str) -> tuple[bytes, int]:
        """Return the content of a regular file, and when it was modified in whole Unix seconds.

        :raises OSError: see `read_with_status`.
        """
        data, status = self.read_with_status(name)
        return data, status.st_mtime_ns // 1_000_000_000

    def read_with_status(
        self, name: str, max_bytes: int | None = None
    ) -> tuple[bytes, os.stat_result]:
        """Return the content of a regular file, and what the system knows about it.

        :raises SymbolicLink: it is a link.
        :raises NoRegularFile: it is a directory or something special.
        :raises OSError: it is missing or not readable; EFBIG if it has more than ``max_bytes``.
        """
        try:
            descriptor = os.open(encode(name), _FILE, dir_fd=self._descriptor)
        except OSError as error:
            raise _explained(error, name, self._descriptor, f"{self.shown}/{name}") from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise NoRegularFile(0, "no regular file", f"{self.shown}/{name}")
            if max_bytes is not None and status.st_size > max_bytes:
                reason = os.strerror(errno.EFBIG)
                raise OSError(errno.EFBIG, reason, f"{self.shown}/{name}")
            # One byte more than there should be: a short answer says that it is all.
            data = os.read(descriptor, status.st_size + 1)
            if len(data) != status.st_size:
                chunks = [data]
                while chunks[-1]:
                    chunks.append(os.read(descriptor, 1 << 20))
                data = b"".join(chunks)
        finally:
            os.close(descriptor)
        return data, status

    def modified_at(self, name: str) -> int:
        """Return when ``name``, or the link of that name, was modified, in whole Unix seconds.

        :raises OSError: it is missing.
        """
        status = os.stat(encode(name), dir_fd=self._descriptor, follow_symlinks=False)
        return status.st_mtime_ns // 1_000_000_000

    def link_target(self, name: str) -> str:
        """Return where the symbolic link ``name`` leads, without following it."""
        return decode(os.readlink(encode(name), dir_fd=self._descriptor))

    def has_file(self, name: str) -> bool:
        """Say whether ``name`` is a regular file."""
        try:
            status = os.stat(encode(name), dir_fd=self._descriptor, follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode)

    def has(self, name: str) -> bool:
        """Say whether there is anything of this name, be it a link that leads nowhere."""
        try:
            os.stat(encode(name), dir_fd=self._descriptor, follow_symlinks=False)
        except OSError:
            return False
        return True

    def status(self) -> os.stat_result:
        """Return what the system knows about the directory."""
        return os.fstat(self._descriptor)

    def mode(self) -> int:
        """Return the permission bits of the directory."""
        return stat.S_IMODE(self.status().st_mode)

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Places:
    """Where the directories that a site's data name really are.

    :param vpopmail: the directory holding what the data calls ``prefix``.
    :param prefix: vpopmail's home as the data write it.
    :param root: put before every path that is not below ``prefix``; empty: the file system's own.
    """

    def __init__(self, vpopmail: Directory, prefix: str, root: str) -> None:
        self.vpopmail = vpopmail
        self.prefix = prefix
        self._root = root

    def open(self, path: str) -> Directory:
        """Open the directory that the data call ``path``.

        :raises OSError: as `Directory.enter`.
        """
        if below := relative_to(path, self.prefix):
            return self.vpopmail.enter(below)
        with Directory.open(self._root or "/") as root:
            return root.enter(path)

    def shown(self, path: str) -> str:
        """Return what the data call ``path`` as people can open it."""
        below = relative_to(path, self.prefix)
        return f"{self.vpopmail.shown}/{below}" if below else f"{self._root}{path}"


def name_of(entry: "os.DirEntry[str]") -> str:
    """Return the name of what is in a directory as all other text is decoded."""
    name = entry.name
    return name if name.isascii() else decode(os.fsencode(name))


def components(path: str) -> list[str]:
    """Return the parts of a path; doubled and trailing slashes do not count."""
    if "/" not in path and path not in {"", "."}:
        return [path]
    return [part for part in path.split("/") if part not in {"", "."}]


def is_plain(path: str) -> bool:
    """Say whether ``path`` is absolute and names one place, whatever links there may be."""
    return path.startswith("/") and ".." not in path.split("/") and "\0" not in path


def plain_path(path: str) -> str | None:
    """Return ``path`` in the one form that site paths have, None if it has none.

    Doubled and trailing slashes go. What is not absolute, or has ``.`` or ``..`` among its
    components, a NUL or a newline, has no such form; nor has the root. See `vpopsql.tree`.
    """
    names = [name for name in path.split("/") if name]
    if not path.startswith("/") or not names or not {".", ".."}.isdisjoint(names):
        return None
    return None if "\0" in path or "\n" in path else "/" + "/".join(names)


def relative_to(path: str, directory: str) -> str | None:
    """Return ``path`` as seen from ``directory``, None if it is not below it."""
    return path[len(directory) + 1 :] if path.startswith(f"{directory}/") else None


def _explained(error: OSError, name: str, directory: int, shown: str) -> OSError:
    """Return ``error`` with a path that the user knows, a link told from what is no directory."""
    try:
        status = os.stat(encode(name), dir_fd=directory, follow_symlinks=False)
    except OSError:
        return type(error)(error.errno, error.strerror, shown)
    if stat.S_ISLNK(status.st_mode):
        link = SymbolicLink(error.errno, "a symbolic link", shown)
        with suppress(OSError):
            link.target = decode(os.readlink(encode(name), dir_fd=directory))
        return link
    return type(error)(error.errno, error.strerror, shown)
