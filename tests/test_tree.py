import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vpopsql.tree import TEMP_PREFIX, Entry, EntryType, LinkInPath, Tree, UnsafePath, Write

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")

METHODS: dict[str, Callable[[Tree, str], object]] = {
    "read": lambda tree, path: tree.read(path),
    "open": lambda tree, path: tree.opened(path).__enter__().close(),
    "stat": lambda tree, path: tree.stat(path),
    "exists": lambda tree, path: tree.exists(path),
    "list": lambda tree, path: tree.list(path),
    "read_link": lambda tree, path: tree.read_link(path),
    "write": lambda tree, path: tree.write(path, b"new"),
    "append": lambda tree, path: tree.append(path, b"new"),
    "make_dir": lambda tree, path: tree.make_dir(path),
    "make_dirs": lambda tree, path: tree.make_dir(path, parents=True),
    "symlink": lambda tree, path: tree.symlink(path, "target"),
    "remove": lambda tree, path: tree.remove(path),
    "remove_dir": lambda tree, path: tree.remove_dir(path),
    "remove_tree": lambda tree, path: tree.remove_tree(path),
    "sweep": lambda tree, path: tree.sweep(path, 0),
    "rename from": lambda tree, path: tree.rename(path, "/elsewhere"),
    "rename to": lambda tree, path: tree.rename("/file", path),
    "enter": lambda tree, path: tree.enter(path),
    "set_rights": lambda tree, path: tree.set_rights(path, 0o700, (0, 0)),
    "lock": lambda tree, path: tree.lock(path).__enter__(),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with /file, /dir/inner and, outside of it, /outside/secret."""
    root = tmp_path / "root"
    (root / "dir").mkdir(parents=True)
    (root / "file").write_bytes(b"old")
    (root / "dir" / "inner").write_bytes(b"inner")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    return root


@pytest.fixture
def tree(root: Path) -> Tree:
    return Tree(root)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return tmp_path / "outside"


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "path",
    ["", "file", "./file", "/dir/../file", "/..", "/./file", "/dir//inner", "//file", "/dir/",
     "/fi\0le", "/\ud800"],
)  # fmt: skip
def test_a_path_not_in_its_plainest_form_is_refused(tree: Tree, method: str, path: str) -> None:
    with pytest.raises(UnsafePath):
        METHODS[method](tree, path)


@pytest.mark.parametrize("method", METHODS)
def test_a_link_on_the_way_is_not_followed(
    tree: Tree, root: Path, outside: Path, method: str
) -> None:
    (root / "link").symlink_to(outside)

    with pytest.raises(LinkInPath):
        METHODS[method](tree, "/link/secret")

    assert names(outside) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


@pytest.mark.parametrize("method", ["read", "open", "list", "write", "make_dirs", "remove_tree"])
def test_a_link_at_the_end_is_not_followed(
    tree: Tree, root: Path, outside: Path, method: str
) -> None:
    (root / "link").symlink_to(outside / "secret")
    (root / "linked").symlink_to(outside)

    with pytest.raises(LinkInPath):
        METHODS[method](tree, "/link")
    with pytest.raises(LinkInPath):
        METHODS[method](tree, "/linked")

    assert names(outside) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"
    assert (root / "link").is_symlink()


def test_a_lock_file_that_is_a_link_is_not_opened(tree: Tree, root: Path, outside: Path) -> None:
    (root / "file.lock").symlink_to(outside / "lock")

    with pytest.raises(LinkInPath), tree.lock("/file"):
        pass

    assert names(outside) == ["secret"]


def test_a_refused_link_is_no_error_of_the_system(tree: Tree, root: Path) -> None:
    (root / "link").symlink_to("file")

    with pytest.raises(UnsafePath) as refusal:
        tree.read("/link")

    assert not isinstance(refusal.value, OSError)
    assert isinstance(refusal.value, ValueError)


def test_the_root_itself_may_be_reached_through_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)

    assert Tree(tmp_path / "alias").read("/file") == b"old"


def test_an_empty_root_is_that_of_the_system(root: Path) -> None:
    assert Tree().read(str(root / "file")) == b"old"
    assert Tree("").root == "/"


@pytest.mark.parametrize(
    "method", ["read", "open", "write", "remove", "remove_tree", "symlink", "lock"]
)
def test_the_root_itself_is_no_file(tree: Tree, method: str) -> None:
    with pytest.raises(UnsafePath):
        METHODS[method](tree, "/")


def test_a_directory_swapped_for_a_link_during_writes_leads_nowhere(
    tree: Tree, root: Path, outside: Path
) -> None:
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (root / "dir").rename(root / "real")
            (root / "dir").symlink_to(outside)
            (root / "dir").unlink()
            (root / "real").rename(root / "dir")

    attacker = threading.Thread(target=swap)
    attacker.start()
    outcomes = set()
    try:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            try:
                tree.write("/dir/inner", os.urandom(8), durable=False)
                outcomes.add("written")
            except (OSError, LinkInPath) as refusal:
                outcomes.add(type(refusal).__name__)
    finally:
        stop.set()
        attacker.join()

    assert names(outside) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"
    assert outcomes & {"LinkInPath", "FileNotFoundError"}


def test_a_file_is_read_whole(tree: Tree) -> None:
    assert tree.read("/dir/inner") == b"inner"


def test_a_file_can_be_read_in_parts(tree: Tree) -> None:
    with tree.opened("/dir/inner") as file:
        begin = file.read(2)

    assert begin == b"in"


def test_a_file_is_read_up_to_a_limit(tree: Tree) -> None:
    assert tree.read("/file", max_bytes=3) == b"old"
    with pytest.raises(OSError, match="too large") as error:
        tree.read("/file", max_bytes=2)
    assert (error.value.errno, error.value.filename) == (errno.EFBIG, "/file")


@pytest.mark.parametrize(
    "path, error",
    [
        ("/nothing", FileNotFoundError),
        ("/nothing/below", FileNotFoundError),
        ("/file/below", NotADirectoryError),
        ("/dir", IsADirectoryError),
        ("/" + "x" * 256, OSError),
    ],
)
def test_an_unreadable_path_is_the_system_s_error_with_the_whole_path(
    tree: Tree, path: str, error: type[OSError]
) -> None:
    with pytest.raises(error) as raised:
        tree.read(path)

    assert raised.value.filename == path


def test_a_fifo_is_not_waited_for(tree: Tree, root: Path) -> None:
    os.mkfifo(root / "fifo")

    with pytest.raises(OSError, match="Invalid argument"):
        tree.read("/fifo")
    with pytest.raises(OSError, match="Invalid argument"):
        tree.write("/fifo", b"")


def test_names_are_bytes_whatever_they_mean(tree: Tree, root: Path) -> None:
    Path(os.fsdecode(os.fsencode(root) + b"/\xff\xc3\xbc")).write_bytes(b"x")

    assert tree.read("/\udcffü") == b"x"
    assert "\udcffü" in [entry.name for entry in tree.list("/")]


def test_a_link_s_target_can_be_read_and_its_status(tree: Tree, root: Path) -> None:
    (root / "link").symlink_to("no/where")

    assert tree.read_link("/link") == "no/where"
    assert stat.S_ISLNK(tree.stat("/link").st_mode)
    assert tree.exists("/link")


@pytest.mark.parametrize(
    "path, there",
    [("/", True), ("/file", True), ("/dir", True), ("/no", False), ("/file/no", False)],
)
def test_existence_is_told(tree: Tree, path: str, there: bool) -> None:
    assert tree.exists(path) is there


def test_a_listing_names_every_type(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "fifo")
    (root / "link").symlink_to("dir")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("sock")

    assert Tree(root).list("/") == [
        Entry("dir", EntryType.DIR),
        Entry("fifo", EntryType.FIFO),
        Entry("file", EntryType.FILE),
        Entry("link", EntryType.LINK),
        Entry("sock", EntryType.SOCK),
    ]


def test_devices_are_told_apart() -> None:
    types = {entry.name: entry.type for entry in Tree().list("/dev")}

    assert types["null"] is EntryType.CHARDEV


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

    assert (root / "file").stat() == before


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
    monkeypatch.setattr("vpopsql.tree.os.geteuid", lambda: 1000)

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

    monkeypatch.setattr("vpopsql.tree.os.rename", recorded_rename)
    monkeypatch.setattr("vpopsql.tree.os.fsync", recorded_fsync)

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
    monkeypatch.setattr("vpopsql.tree.os.fsync", lambda _fd: pytest.fail("synced"))

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
        patch.setattr(f"vpopsql.tree.os.{name}", fail)
        yield


@pytest.mark.parametrize(
    "name, number",
    [
        ("write", errno.ENOSPC),
        ("write", errno.EDQUOT),
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
    "name, number", [("write", errno.ENOSPC), ("fsync", errno.EIO), ("rename", errno.EIO)]
)
def test_a_batch_that_fails_before_its_first_rename_changes_nothing(
    tree: Tree, root: Path, name: str, number: int
) -> None:
    after = {"write": 1, "fsync": 1, "rename": 0}[name]

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
    monkeypatch.setattr("vpopsql.tree.os.write", lambda fd, data: write(fd, data[:7]))

    tree.write("/file", b"0123456789" * 100)

    assert (root / "file").read_bytes() == b"0123456789" * 100


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


def test_a_directory_is_made_once(tree: Tree, root: Path) -> None:
    assert tree.make_dir("/new") is True

    with pytest.raises(FileExistsError):
        tree.make_dir("/new")
    with pytest.raises(FileNotFoundError):
        tree.make_dir("/no/new")
    assert mode_of(root / "new") == 0o700


def test_a_directory_is_made_with_those_above_it(tree: Tree, root: Path) -> None:
    assert tree.make_dir("/dir/a/b/c", parents=True) is True
    assert tree.make_dir("/dir/a/b/c", parents=True) is False

    assert (root / "dir/a/b/c").is_dir()
    with pytest.raises(NotADirectoryError):
        tree.make_dir("/file", parents=True)
    with pytest.raises(NotADirectoryError):
        tree.make_dir("/file/below", parents=True)


def test_a_link_is_made_and_removed_not_followed(tree: Tree, root: Path, outside: Path) -> None:
    tree.symlink("/link", str(outside / "secret"))
    assert (root / "link").readlink() == outside / "secret"

    tree.remove("/link")

    assert names(root) == ["dir", "file"]
    assert names(outside) == ["secret"]


def test_files_and_directories_are_removed_each_in_its_way(tree: Tree, root: Path) -> None:
    with pytest.raises(IsADirectoryError):
        tree.remove("/dir")
    with pytest.raises(OSError, match="not empty"):
        tree.remove_dir("/dir")
    tree.remove("/dir/inner")
    tree.remove_dir("/dir")
    tree.remove("/file")

    assert names(root) == []


def test_a_tree_is_removed_without_what_its_links_mean(
    tree: Tree, root: Path, outside: Path
) -> None:
    (root / "dir" / "sub").mkdir()
    (root / "dir" / "sub" / "link").symlink_to(outside)

    tree.remove_tree("/dir")

    assert names(root) == ["file"]
    assert names(outside) == ["secret"]


def test_a_rename_moves_and_replaces(tree: Tree, root: Path) -> None:
    tree.rename("/dir/inner", "/file")
    tree.rename("/dir", "/moved")

    assert (root / "file").read_bytes() == b"inner"
    assert names(root) == ["file", "moved"]
    with pytest.raises(FileNotFoundError):
        tree.rename("/no", "/file")


HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_excludes_other_processes(tree: Tree, root: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(root / "file.lock")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()

        with pytest.raises(TimeoutError, match="another process"), tree.lock("/file", 0.05):
            pass
        holder.communicate()

    with tree.lock("/file", 0.05):
        pass
    assert mode_of(root / "file.lock") in {0o600, 0o644}


def test_a_lock_excludes_other_threads(tree: Tree) -> None:
    order = []

    def second() -> None:
        with tree.lock("/file"):
            order.append("second")

    thread = threading.Thread(target=second)
    with tree.lock("/file"):
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join()

    assert order == ["first", "second"]


def test_a_lock_that_a_thread_holds_times_out(tree: Tree) -> None:
    with (
        tree.lock("/file"),
        pytest.raises(TimeoutError, match="another thread"),
        tree.lock("/file", 0.01),
    ):
        pass


def test_a_lock_is_given_back_after_a_failure(tree: Tree, root: Path) -> None:
    with pytest.raises(KeyError), tree.lock("/file"):
        raise KeyError

    with tree.lock("/file", 0):
        assert names(root) == ["dir", "file", "file.lock"]
    assert mode_of(root / "file.lock") == 0o600


def test_the_way_to_a_named_place_may_have_links_and_the_way_beyond_it_may_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "disk/control").mkdir(parents=True)
    (tmp_path / "etc/qmail").mkdir(parents=True)
    (tmp_path / "var").mkdir()
    (tmp_path / "var/qmail").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/users").symlink_to(tmp_path / "etc/qmail")
    (tmp_path / "disk/other").symlink_to(tmp_path / "etc")
    tree = Tree(tmp_path, ["/var/qmail", "/var/qmail/users", "/var/qmail/missing"])

    tree.write("/var/qmail/control/me", b"a")
    tree.write("/var/qmail/users/assign", b"b")
    tree.make_dir("/var/qmail/missing")

    assert (tmp_path / "disk/control/me").read_bytes() == b"a"
    assert (tmp_path / "etc/qmail/assign").read_bytes() == b"b"
    assert (tmp_path / "disk/missing").is_dir()
    with pytest.raises(LinkInPath):
        tree.write("/var/qmail/other/x", b"c")
    with pytest.raises(LinkInPath):
        Tree(tmp_path).write("/var/qmail/control/me", b"d")


def test_a_sweep_removes_old_leftovers_and_nothing_else(tree: Tree, root: Path) -> None:
    for name in ("old", "dir/old", "young"):
        (root / name).with_name(f"{TEMP_PREFIX}{Path(name).name}").write_bytes(b"half")
    os.utime(root / f"{TEMP_PREFIX}old", (0, 0))
    os.utime(root / "dir" / f"{TEMP_PREFIX}old", (0, 0))
    os.utime(root / "file", (0, 0))
    (root / f"{TEMP_PREFIX}dir").mkdir()
    os.utime(root / f"{TEMP_PREFIX}dir", (0, 0))
    (root / f"{TEMP_PREFIX}link").symlink_to("file")
    os.utime(root / f"{TEMP_PREFIX}link", (0, 0), follow_symlinks=False)

    swept = tree.sweep("/", 3600)

    assert swept == (f"/{TEMP_PREFIX}old",)
    assert names(root) == [
        f"{TEMP_PREFIX}dir",
        f"{TEMP_PREFIX}link",
        f"{TEMP_PREFIX}young",
        "dir",
        "file",
    ]
    assert tree.sweep("/dir", 3600) == (f"/dir/{TEMP_PREFIX}old",)
    assert tree.sweep("/dir", 3600) == ()
