"""A small tree of files, and what is in it."""

import stat
from contextlib import suppress
from pathlib import Path


def make_root(tmp_path: Path) -> Path:
    """Make a directory with /file, /dir/inner and, outside of it, /outside/secret."""
    root = tmp_path / "root"
    (root / "dir").mkdir(parents=True)
    (root / "file").write_bytes(b"old")
    (root / "dir" / "inner").write_bytes(b"inner")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    return root


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def open_below(root: Path) -> int:
    """Return how many descriptors this process has of what is, or was, below a directory."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of this listing
            found += each.readlink().is_relative_to(root)
    return found
