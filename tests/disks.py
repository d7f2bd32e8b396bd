"""File systems that fill, or turn read-only, under what works on them. Root alone can have them.

Two kinds: a tmpfs, which is made read-only and writable again like any mount, unless a file is
open for writing, as those of SQLite are; and an ext4 in a file, which turns read-only by itself as
soon as it is told that it is damaged, whoever has what open, as it does when a disk breaks.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_PATIENCE_S = 20.0
_CORRECTED = 1
"""How e2fsck ends when it has mended all that it found."""


def require_root() -> None:
    """Skip the test if nothing can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")


def mount(*words: str | Path) -> None:
    """Change what is mounted, or skip the test."""
    require_root()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


@contextlib.contextmanager
def memory(place: Path, size: str = "1m") -> Iterator[Path]:
    """Give a tmpfs of a size, which is there while the block runs."""
    place.mkdir()
    mount("mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "none", place)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@contextlib.contextmanager
def full(disk: Path, but: int = 0) -> Iterator[None]:
    """Leave no room on a disk, but for so many bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        file.truncate(max(0, file.tell() - but))
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Let nobody write to a disk."""
    deadline = time.monotonic() + _PATIENCE_S
    while subprocess.run(
        ["mount", "-o", "remount,ro", disk], capture_output=True, check=False
    ).returncode:
        # Somebody is writing this very moment.
        assert time.monotonic() < deadline, "the disk stays busy"
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


class Breakable:
    """An ext4 that can break and be mended; made by `breakable`."""

    def __init__(self, place: Path, device: str) -> None:
        self.place = place
        self._device = device
        self.trigger = Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error")
        """Whatever is written there breaks it."""

    def break_off(self) -> None:
        """Turn read-only, as after an error of the disk."""
        self.trigger.write_text("a test")

    def mend(self) -> None:
        """Be repaired and mounted again; nobody may have a file of it open."""
        subprocess.run(["umount", self.place], check=True)
        check = ["e2fsck", "-f", "-y", self._device]
        assert subprocess.run(check, capture_output=True, check=False).returncode <= _CORRECTED
        self.mount()

    def mount(self) -> None:
        """Be there."""
        mount("mount", "-o", "errors=remount-ro", self._device, self.place)


@contextlib.contextmanager
def breakable(directory: Path) -> Iterator[Breakable]:
    """Give an ext4 of 32 MB, which is there while the block runs."""
    require_root()
    image, place = directory / "image", directory / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(32 << 20)
    # As many files as a site may have that is small.
    subprocess.run(["mkfs.ext4", "-q", "-F", "-N", "8192", image], check=True)
    found = subprocess.run(
        ["losetup", "-f", "--show", image], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip(f"no file can be a disk here: {found.stderr.strip()}")
    disk = Breakable(place, found.stdout.strip())
    try:
        disk.mount()
        yield disk
    finally:
        subprocess.run(["umount", "-l", place], capture_output=True, check=False)
        subprocess.run(["losetup", "-d", found.stdout.strip()], check=True)
