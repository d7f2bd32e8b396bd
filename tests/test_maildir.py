"""Measuring Maildirs: what counts, what is believed, and that nothing is touched."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vpopsql import maildir
from vpopsql.maildir import Measured
from vpopsql.model import UsageSource
from vpopsql.quota import Quota
from vpopsql.tree import LinkInPath, Tree

QUOTA = Quota(1000, 10)
COUNTED = Measured(10, 1, UsageSource.COUNT)
Change = Callable[[Path], object]


def deliver(box: Path, *names: str, size: int = 0) -> None:
    """Put messages into a box; their names are given below it."""
    for name in names:
        path = box / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)


def age(path: Path, seconds: float) -> None:
    """Let a file or directory have been modified some time ago."""
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


def rewrite(box: Path, data: bytes) -> None:
    """Give a Maildir another maildirsize, of the same age."""
    (box / "maildirsize").write_bytes(data)
    age(box / "maildirsize", 1800)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A Maildir with one message of 10 bytes, delivered an hour ago, and no maildirsize."""
    made = tmp_path / "Maildir"
    deliver(made, "new/1.a,S=10")
    (made / "cur").mkdir()
    age(made / "new", 3600)
    age(made / "cur", 3600)
    return made


@pytest.fixture
def told(box: Path) -> Path:
    """The same with a maildirsize that says something else, so that one sees who was asked."""
    rewrite(box, b"1000S,10C\n500 4\n-100 -1\n")
    return box


def measure(box: Path, quota: Quota = QUOTA) -> Measured:
    return maildir.measure(Tree(box.parent), "/Maildir", quota)


def everything_below(path: Path) -> list[tuple[str, int, int]]:
    return sorted(
        (str(each), each.lstat().st_mtime_ns, each.lstat().st_size) for each in path.rglob("*")
    )


def test_messages_are_counted_as_maildirpp_says(box: Path) -> None:
    deliver(box, "new/2.a", "cur/3.a:2,S", ".Sent/cur/4.a:2,FS", size=7)
    deliver(box, "cur/5.a,S=1000:2,S", ".Old.2020/new/6.a,S=20000,W=20100")
    deliver(box, "cur/7.a,S=1:2,ST", ".Trash/cur/8.a,S=1:2,S", "tmp/9.a,S=1", "odd/cur/x,S=1")
    deliver(box, ".Sent/courierimapkeywords/list", "dovecot-uidlist", size=99)

    assert measure(box) == (10 + 3 * 7 + 1000 + 20000, 6, UsageSource.COUNT)


def test_an_empty_maildir_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "Maildir").mkdir()

    assert measure(tmp_path / "Maildir") == (0, 0, UsageSource.COUNT)


def test_links_are_not_followed(box: Path, tmp_path: Path) -> None:
    deliver(tmp_path / "elsewhere", "cur/1.b,S=5", "message", size=5)
    (box / ".Shared").symlink_to(tmp_path / "elsewhere")
    (box / "cur/2.b,S=5").symlink_to(tmp_path / "elsewhere/message")

    assert measure(box) == COUNTED


def test_a_maildirsize_that_nothing_has_changed_since_is_believed(told: Path) -> None:
    assert measure(told) == (400, 3, UsageSource.MAILDIRSIZE)


def test_a_maildirsize_of_a_box_without_a_quota_needs_to_say_so(told: Path) -> None:
    assert measure(told, Quota()) == COUNTED


@pytest.mark.parametrize(
    "change",
    [
        lambda box: age(box / "new", 1700),
        lambda box: age(box / "cur", 1799),
        lambda box: deliver(box, ".Sent/cur/x:2,T"),
        lambda box: age(box / "maildirsize", -600),
        lambda box: rewrite(box, b"1001S,10C\n500 4\n"),
        lambda box: rewrite(box, b"1000S\n500 4\n"),
        lambda box: rewrite(box, b"1000S,10C\n500 4\nrubbish\n"),
        lambda box: rewrite(box, b"1000S,10C\n500 4\n30"),
        lambda box: rewrite(box, b"1000S,10C\n500 4\n-600 0\n"),
        lambda box: rewrite(box, b"1000S,10C\n500 0\n"),
        lambda box: rewrite(box, b"1000S,10C\n" + b"5 1\n" * 1280),
        lambda box: rewrite(box, b""),
    ],
    ids=[
        "delivered since",
        "moved since",
        "folder changed since",
        "from the future",
        "another quota",
        "half of the quota",
        "damaged",
        "cut off",
        "negative",
        "bytes without messages",
        "too long",
        "empty",
    ],
)
def test_otherwise_the_messages_are_counted(told: Path, change: Change) -> None:
    change(told)

    assert measure(told) == COUNTED


def test_a_maildirsize_that_is_a_link_is_not_believed(told: Path, tmp_path: Path) -> None:
    (told / "maildirsize").rename(tmp_path / "elsewhere")
    (told / "maildirsize").symlink_to(tmp_path / "elsewhere")

    assert measure(told) == COUNTED


def test_nothing_is_written(told: Path) -> None:
    deliver(told, "cur/1.b")
    before = everything_below(told)

    measure(told)

    assert everything_below(told) == before


def test_what_is_not_there_has_no_size(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        measure(tmp_path / "Maildir")


@pytest.mark.parametrize("part", ["Maildir/new", "Maildir/.Sent/cur"])
def test_a_box_with_a_part_behind_a_link_has_no_size(box: Path, tmp_path: Path, part: str) -> None:
    deliver(box, ".Sent/cur/2.a")
    (tmp_path / part).rename(tmp_path / "moved")
    (tmp_path / part).symlink_to(tmp_path / "moved")

    with pytest.raises(OSError, match="a symbolic link"):
        measure(box)


def test_a_box_behind_a_link_has_no_size(box: Path, tmp_path: Path) -> None:
    box.rename(tmp_path / "moved")
    box.symlink_to(tmp_path / "moved")

    with pytest.raises(LinkInPath):
        measure(box)
