"""Sample sites as archives, unpacked often: read once, and made with as few calls as can be."""

import functools
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

TREES = Path(__file__).parent / "trees"

# Where on a site the two parts of an archive are.
_PLACES = {"vpopmail": "home", "qmail": "var"}


class _Entry(NamedTuple):
    """A directory, a link with where it leads, or a file with what it holds."""

    path: str
    content: str | bytes | None
    mode: int
    uid: int
    gid: int
    mtime: float


def place_of(name: str) -> str:
    """Return where below a site's root what an archive names is."""
    return f"{_PLACES[name.partition('/')[0]]}/{name}"


@functools.cache
def _entries(name: str) -> list[_Entry]:
    with tarfile.open(TREES / f"{name}.tar.gz") as archive:
        return [
            _Entry(
                place_of(member.name),
                _content(archive, member),
                member.mode,
                member.uid,
                member.gid,
                member.mtime,
            )
            for member in archive
        ]


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str | bytes | None:
    if member.isdir():
        return None
    if member.issym():
        return member.linkname
    file = archive.extractfile(member)
    assert file is not None, f"{member.name} is none of what a site's tree is made of"
    return file.read()


def unpack(name: str, root: Path, is_wanted: Callable[[str], bool] = bool) -> Path:
    """Unpack trees/NAME.tar.gz into ``root``, which is made, and return it.

    Below it are home/vpopmail and var/qmail, with the times and modes of the original and, where
    the tests run as root, its owners.

    :param is_wanted: says of a path below the root whether it is unpacked.
    """
    entries = [entry for entry in _entries(name) if is_wanted(entry.path)]
    own = os.geteuid() == 0
    for place in _PLACES.values():
        (root / place).mkdir(parents=True)
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for path, content, mode, uid, gid, mtime in entries:
            if isinstance(content, str):
                os.symlink(content, path, dir_fd=at)
            elif content is None:
                os.mkdir(path, dir_fd=at)
            else:
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=at)
                os.write(file, content)
                os.close(file)
            if own:
                os.chown(path, uid, gid, dir_fd=at, follow_symlinks=False)
            if not isinstance(content, str):
                os.chmod(path, mode, dir_fd=at)
            if content is not None:
                os.utime(path, (mtime, mtime), dir_fd=at, follow_symlinks=False)
        # What is made in a directory changes its time.
        for entry in reversed(entries):
            if entry.content is None:
                os.utime(entry.path, (entry.mtime, entry.mtime), dir_fd=at)
    finally:
        os.close(at)
    return root
