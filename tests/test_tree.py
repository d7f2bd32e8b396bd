import errno
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rooted import make_root, mode_of, names
from vpopsql.tree import TEMP_PREFIX, Entry, EntryType, LinkInPath, Tree, UnsafePath

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
    return make_root(tmp_path)


@pytest.fixture
def tree(root: Path) -> Tree:
    return Tree(root)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return tmp_path / "outside"


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
