"""Files that are written: whose they are, when they are on disk, and what failures leave."""

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.rooted import make_root, mode_of, names, open_below
from vpopsql.pieces import Content
from vpopsql.tree import TEMP_PREFIX, LinkInPath, Replaced, Tree, Write, writing


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


@pytest.fixture
def tree(root: Path) -> Tree:
    return Tree(root)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def test_a_new_file_is_private(tree: Tree, root: Path) -> None:
    assert tree.write("/dir/new", b"content") is True

    assert (root / "dir" / "new").read_bytes() == b"content"
    assert mode_of(root / "dir" / "new") == 0o600
    assert names(root / "dir") == ["inner", "new"]


def test_a_new_mode_is_exact(tree: Tree, root: Path) -> None:
    old = os.umask(0o077)
    try:
        tree.write("/new", b"", mode=0o644)
        tree.make_dir("/newdir", 0o755)
    finally:
        os.umask(old)

    assert (mode_of(root / "new"), mode_of(root / "newdir")) == (0o644, 0o755)


def test_an_existing_file_keeps_its_mode(tree: Tree, root: Path) -> None:
    (root / "file").chmod(0o640)

    assert tree.write("/file", b"new") is True

    assert ((root / "file").read_bytes(), mode_of(root / "file")) == (b"new", 0o640)


def test_the_same_content_is_not_written_again(tree: Tree, root: Path) -> None:
    before = (root / "file").stat()

    assert tree.write("/file", b"old") is False

    after = (root / "file").stat()
    # It has been read, of course.
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)


def test_the_same_content_gets_a_mode_that_is_asked_for(tree: Tree, root: Path) -> None:
    assert tree.write("/file", b"old", mode=0o444) is True
    assert tree.write("/file", b"old", mode=0o444) is False

    assert mode_of(root / "file") == 0o444


@as_root
def test_an_existing_file_keeps_its_owner(tree: Tree, root: Path) -> None:
    os.chown(root / "file", 89, 90)

    tree.write("/file", b"new")

    assert ((root / "file").stat().st_uid, (root / "file").stat().st_gid) == (89, 90)


@as_root
def test_what_is_new_belongs_to_the_owner_of_its_directory(tree: Tree, root: Path) -> None:
    os.chown(root / "dir", 89, 90)

    tree.write("/dir/new", b"new")
    tree.make_dir("/dir/newdir")
    tree.symlink("/dir/link", "x")
    with tree.lock("/dir/new"):
        pass

    made = [(root / "dir" / name).lstat() for name in ("new", "newdir", "link", "new.lock")]
    assert {(status.st_uid, status.st_gid) for status in made} == {(89, 90)}


@as_root
def test_an_owner_can_be_asked_for(tree: Tree, root: Path) -> None:
    assert tree.write("/file", b"old", owner=(89, 90)) is True
    assert tree.write("/file", b"old", owner=(89, 90)) is False
    tree.make_dir("/a/b", owner=(89, 90), parents=True)

    made = [(root / name).lstat() for name in ("file", "a", "a/b")]
    assert {(status.st_uid, status.st_gid) for status in made} == {(89, 90)}


def test_without_rights_owners_are_left_as_they_come(
    tree: Tree, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    assert tree.write("/file", b"old", owner=(89, 90)) is False
    assert tree.write("/file", b"new", owner=(89, 90)) is True
    assert (root / "file").stat().st_uid == os.getuid()


def test_a_batch_is_written_in_order_and_each_directory_synced_once(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    rename, fsync = os.rename, os.fsync

    def recorded_rename(old: bytes, new: bytes, **keywords: int) -> None:
        events.append(f"rename {new.decode()}")
        rename(old, new, **keywords)

    def recorded_fsync(fd: int) -> None:
        kind = "directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"
        events.append(f"sync {kind}")
        fsync(fd)

    monkeypatch.setattr("os.rename", recorded_rename)
    monkeypatch.setattr("os.fsync", recorded_fsync)

    changed = tree.write_many(
        [
            Write("/z", b"1"),
            Write("/file", b"old"),
            Write("/dir/inner", b"2"),
            Write("/a", b"3"),
        ]
    )

    assert changed == ("/z", "/dir/inner", "/a")
    assert events == [
        *["sync file"] * 3,
        "rename z",
        "rename inner",
        "rename a",
        *["sync directory"] * 2,
    ]


def test_a_path_is_written_once_in_a_batch(tree: Tree) -> None:
    with pytest.raises(ValueError, match="twice"):
        tree.write_many([Write("/a", b""), Write("/a", b"x")])


def test_nothing_is_synced_that_need_not_last(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _fd: pytest.fail("synced"))

    assert tree.write("/file", b"new", durable=False)
    assert tree.make_dir("/newdir", durable=False)


@contextmanager
def failing(name: str, number: int, *, after: int = 0) -> Iterator[None]:
    """Let a call of the system fail, once ``after`` of them went well."""
    real = getattr(os, name)
    calls = iter(range(10_000))

    def fail(*arguments: object, **keywords: object) -> object:
        if next(calls) >= after:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"os.{name}", fail)
        yield


@pytest.mark.parametrize(
    "name, number",
    [
        ("writev", errno.ENOSPC),
        ("writev", errno.EDQUOT),
        ("fsync", errno.EIO),
        ("rename", errno.EIO),
        ("fchmod", errno.EPERM),
    ],
)
def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(
    tree: Tree, root: Path, name: str, number: int
) -> None:
    with failing(name, number), pytest.raises(OSError, match=r".") as error:
        tree.write("/file", b"new")

    assert (error.value.errno, error.value.filename) == (number, "/file")
    assert (root / "file").read_bytes() == b"old"
    assert names(root) == ["dir", "file"]


def test_a_file_in_pieces_that_fails_is_named_and_leaves_nothing(tree: Tree, root: Path) -> None:
    with (
        failing("fsync", errno.ENOSPC),
        pytest.raises(OSError, match=r".") as error,
        tree.create("/new") as file,
    ):
        file.write(b"new")

    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, "/new")
    assert names(root) == ["dir", "file"]


@pytest.mark.parametrize(
    "name, number", [("writev", errno.ENOSPC), ("fsync", errno.EIO), ("rename", errno.EIO)]
)
def test_a_batch_that_fails_before_its_first_rename_changes_nothing(
    tree: Tree, root: Path, name: str, number: int
) -> None:
    after = {"writev": 1, "fsync": 1, "rename": 0}[name]

    with failing(name, number, after=after), pytest.raises(OSError, match=r"."):
        tree.write_many([Write("/file", b"new"), Write("/dir/inner", b"new")])

    assert (root / "file").read_bytes() == b"old"
    assert (root / "dir" / "inner").read_bytes() == b"inner"
    assert names(root) == ["dir", "file"]
    assert names(root / "dir") == ["inner"]


def test_a_batch_that_fails_between_renames_has_whole_files_only(tree: Tree, root: Path) -> None:
    with failing("rename", errno.EIO, after=1), pytest.raises(OSError, match="Input/output"):
        tree.write_many([Write("/file", b"new"), Write("/dir/inner", b"new")])

    assert (root / "file").read_bytes() == b"new"
    assert (root / "dir" / "inner").read_bytes() == b"inner"
    assert names(root / "dir") == ["inner"]


def test_a_batch_with_an_impossible_path_changes_nothing(tree: Tree, root: Path) -> None:
    with pytest.raises(IsADirectoryError):
        tree.write_many([Write("/file", b"new"), Write("/dir", b"new")])

    assert (root / "file").read_bytes() == b"old"
    assert names(root) == ["dir", "file"]


def test_short_writes_are_continued(
    tree: Tree, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr("os.write", lambda fd, data: write(fd, data[:7]))

    tree.write("/file", b"0123456789" * 100)

    assert (root / "file").read_bytes() == b"0123456789" * 100


def test_a_content_may_come_in_pieces(tree: Tree, root: Path) -> None:
    pieces: list[bytes | memoryview] = [memoryview(b"01234")[1:3], b"", b"new", memoryview(b"")]

    assert tree.write("/file", pieces) is True
    assert tree.write("/file", pieces) is False

    assert (root / "file").read_bytes() == b"12new"


@pytest.mark.parametrize("there", [b"12neW", b"12new ", b"12ne", b""])
def test_pieces_are_compared_with_the_whole_file(tree: Tree, root: Path, there: bytes) -> None:
    (root / "file").write_bytes(there)

    assert tree.write("/file", [b"12", b"new"]) is True

    assert (root / "file").read_bytes() == b"12new"


def test_a_directory_that_cannot_be_given_its_mode_is_not_left(tree: Tree, root: Path) -> None:
    with failing("fchmod", errno.EPERM), pytest.raises(PermissionError):
        tree.make_dir("/newdir")

    assert names(root) == ["dir", "file"]


WRITER = """
import sys
from vpopsql.tree import Tree, Write
tree = Tree(sys.argv[1])
print("ready", flush=True)
while True:
    for letter in b"ab":
        data = bytes([letter]) * 300_000
        tree.write_many([Write("/file", data), Write("/dir/inner", data)], durable=False)
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.003, 0.01, 0.03, 0.1])
def test_a_killed_writer_leaves_whole_files(tree: Tree, root: Path, delay_s: float) -> None:
    command = [sys.executable, "-c", WRITER, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(delay_s)
        writer.send_signal(signal.SIGKILL)

    whole = {b"a" * 300_000, b"b" * 300_000}
    others = [name for name in names(root) + names(root / "dir") if TEMP_PREFIX not in name]
    assert tree.read("/file") in whole | {b"old"}
    assert tree.read("/dir/inner") in whole | {b"inner"}
    assert others == ["dir", "file", "inner"]


# --- contents that are begun with before their batch --------------------------------------------


def temporary(root: Path) -> list[str]:
    return [name for name in names(root) + names(root / "dir") if TEMP_PREFIX in name]


def test_what_is_begun_with_gets_its_name_from_its_batch_alone(tree: Tree, root: Path) -> None:
    first, second = Write("/file", b"1", mode=0o644), Write("/dir/inner", b"2")
    with tree.ahead([first, second]):
        assert ((root / "file").read_bytes(), (root / "dir/inner").read_bytes()) == (
            b"old",
            b"inner",
        )
        staged = temporary(root)
        assert tree.write_many([second]) == ("/dir/inner",)
        assert (root / "file").read_bytes() == b"old"
        assert tree.write_many([first]) == ("/file",)
    assert len(staged) == 2
    assert temporary(root) == []
    assert ((root / "file").read_bytes(), (root / "dir/inner").read_bytes()) == (b"1", b"2")
    assert mode_of(root / "file") == 0o644


def test_a_batch_with_another_content_writes_its_own(tree: Tree, root: Path) -> None:
    with tree.ahead([Write("/file", b"begun with")]):
        tree.write("/file", b"of the batch")
        assert temporary(root) == []
        tree.write("/file", b"later still")
    assert (root / "file").read_bytes() == b"later still"


def test_what_no_batch_writes_is_removed_again(tree: Tree, root: Path) -> None:
    with pytest.raises(ZeroDivisionError), tree.ahead([Write("/file", b"1"), Write("/new", b"2")]):
        raise ZeroDivisionError
    assert (names(root), names(root / "dir")) == (["dir", "file"], ["inner"])
    assert (root / "file").read_bytes() == b"old"


def test_a_content_that_cannot_be_begun_with_leaves_nothing(tree: Tree, root: Path) -> None:
    with (
        pytest.raises(FileNotFoundError) as error,
        tree.ahead([Write("/file", b"1"), Write("/missing/new", b"2")]),
    ):
        pytest.fail("begun")
    assert error.value.filename == "/missing/new"
    assert names(root) == ["dir", "file"]


def test_a_file_that_somebody_changes_meanwhile_is_written(tree: Tree, root: Path) -> None:
    wanted = Write("/file", b"old")
    with tree.ahead([wanted]):
        (root / "file").write_bytes(b"somebody else's")
        assert tree.write_many([wanted]) == ("/file",)
    assert (root / "file").read_bytes() == b"old"


def test_a_path_is_begun_with_once(tree: Tree, root: Path) -> None:
    with (
        pytest.raises(ValueError, match="twice"),
        tree.ahead([Write("/file", b"1"), Write("/file", b"2")]),
    ):
        pytest.fail("begun")
    assert temporary(root) == []


def test_a_file_that_is_as_wanted_is_not_begun_with(tree: Tree, root: Path) -> None:
    wanted = Write("/file", b"old")
    with tree.ahead([wanted]):
        assert temporary(root) == []
        assert tree.write_many([wanted]) == ()


# --- what files had that are replaced -----------------------------------------------------------


def inode_is_open(number: int) -> bool:
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            if each.stat().st_ino == number:
                return True
    return False


def test_a_replaced_file_stays_open_until_it_is_let_go(tree: Tree, root: Path) -> None:
    old = (root / "file").stat().st_ino
    replaced = Replaced()
    with replaced.kept():
        tree.write_many([Write("/file", b"1"), Write("/new", b"2")])
    assert inode_is_open(old)
    replaced.let_go()
    assert not inode_is_open(old)
    replaced.let_go()


def test_only_what_this_thread_replaces_in_the_block_is_kept(tree: Tree, root: Path) -> None:
    replaced = Replaced()
    before = open_below(root)
    with replaced.kept(), ThreadPoolExecutor(1) as other:
        other.submit(tree.write, "/file", b"1").result()
    tree.write("/dir/inner", b"2")
    assert open_below(root) == before


def test_no_more_than_some_are_kept(tree: Tree, root: Path) -> None:
    replaced = Replaced()
    before = open_below(root)
    with replaced.kept():
        for number in range(100):
            tree.write("/file", b"%d" % number, durable=False)
    assert before < open_below(root) < before + 100
    replaced.let_go()
    assert open_below(root) == before


def test_what_is_kept_goes_with_whoever_keeps_it(tree: Tree, root: Path) -> None:
    replaced = Replaced()
    with replaced.kept():
        tree.write("/file", b"1")
    assert open_below(root) == 1
    del replaced
    assert open_below(root) == 0


# --- contents that are written where they are ---------------------------------------------------


def test_a_file_is_overwritten_where_it_is(tree: Tree, root: Path) -> None:
    inode = (root / "file").stat().st_ino
    for data in (b"longer than it was", b"short", b""):
        tree.overwrite("/file", data)
        assert ((root / "file").read_bytes(), (root / "file").stat().st_ino) == (data, inode)
    tree.overwrite("/dir/new", b"new")
    assert ((root / "dir/new").read_bytes(), mode_of(root / "dir/new")) == (b"new", 0o600)
    assert temporary(root) == []


def test_only_a_regular_file_is_overwritten(tree: Tree, root: Path) -> None:
    (root / "link").symlink_to("file")
    os.mkfifo(root / "fifo")
    with pytest.raises(LinkInPath):
        tree.overwrite("/link", b"x")
    with pytest.raises(OSError, match="Invalid argument"):
        tree.overwrite("/fifo", b"x")
    with pytest.raises(IsADirectoryError):
        tree.overwrite("/dir", b"x")
    assert (root / "file").read_bytes() == b"old"


@pytest.mark.parametrize("number", [3, 40])
def test_what_cannot_be_closed_is_given_back_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As on NFS, where a file that does not fit any more may say so only when it is closed."""
    full = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    written: list[int] = []
    write_all, close = writing.write_all, os.close

    def write(fd: int, data: Content) -> None:
        if len(written) == number - 1:
            raise full
        written.append(fd)
        write_all(fd, data)

    def close_badly(fd: int) -> None:
        close(fd)
        if fd in written:
            raise full

    with monkeypatch.context() as patch:
        patch.setattr(writing, "write_all", write)
        patch.setattr(os, "close", close_badly)
        with pytest.raises(OSError, match="quota"):
            Tree(tmp_path).write_many([Write(f"/{n}", b"x") for n in range(number)])

    assert open_below(tmp_path) == 0
    assert not [*tmp_path.iterdir()]
