"""Directories that are kept open from one call to the next."""

from pathlib import Path

import pytest

from tests.rooted import make_root, names, open_below
from vpopsql.tree import LinkInPath, Tree, Write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


@pytest.fixture
def tree(root: Path) -> Tree:
    return Tree(root)


def write_everywhere(tree: Tree) -> None:
    for number in range(30):
        tree.make_dir(f"/dir/{number}")
        tree.write(f"/dir/{number}/file", b"")


def test_what_is_done_is_the_same(tree: Tree, root: Path) -> None:
    with tree.staying():
        tree.make_dir("/a/b/c", parents=True)
        changed = tree.write_many([Write("/a/b/c/x", b"1"), Write("/a/y", b"2")])
        again = tree.write("/a/b/c/x", b"1")
        tree.remove("/a/y")
        found = tree.read("/a/b/c/x")

    assert (changed, again, found) == (("/a/b/c/x", "/a/y"), False, b"1")
    assert (names(root / "a"), names(root / "a" / "b" / "c")) == (["b"], ["x"])


def test_nothing_stays_open(tree: Tree, root: Path) -> None:
    before = open_below(root)

    with tree.staying():
        write_everywhere(tree)
        meanwhile = open_below(root) - before
    with pytest.raises(FileNotFoundError), tree.staying():
        tree.read("/dir/31/file")

    assert 0 < meanwhile < 12
    assert open_below(root) == before


def test_a_block_within_a_block_is_one_with_it(tree: Tree, root: Path) -> None:
    before = open_below(root)

    with tree.staying():
        with tree.staying():
            tree.write("/dir/new", b"1")
        assert open_below(root) > before
        assert tree.read("/dir/new") == b"1"

    assert open_below(root) == before


def test_what_is_renamed_is_found_where_it_is_now(tree: Tree, root: Path) -> None:
    with tree.staying():
        tree.make_dir("/dir/below")
        tree.write("/dir/below/new", b"1")
        tree.make_dir("/moved")
        assert not tree.exists("/moved/new")
        tree.rename("/dir", "/moved")
        tree.make_dir("/dir/below", parents=True)
        tree.write("/dir/below/other", b"2")
        tree.write("/moved/beside", b"3")

    assert names(root / "dir" / "below") == ["other"]
    assert names(root / "moved") == ["below", "beside", "inner"]
    assert names(root / "moved" / "below") == ["new"]


@pytest.mark.parametrize("is_whole", [True, False])
def test_what_is_removed_is_gone(tree: Tree, root: Path, *, is_whole: bool) -> None:
    with tree.staying():
        tree.make_dir("/dir/sub")
        tree.exists("/dir/sub/x")
        remove = tree.remove_tree if is_whole else tree.remove_dir
        remove("/dir/sub")
        with pytest.raises(FileNotFoundError):
            tree.write("/dir/sub/x", b"")
        tree.make_dir("/dir/sub")
        tree.write("/dir/sub/y", b"")

    assert names(root / "dir" / "sub") == ["y"]


def test_a_link_that_takes_the_place_of_a_directory_is_never_followed(
    tree: Tree, root: Path, tmp_path: Path
) -> None:
    with tree.staying():
        tree.write("/dir/before", b"1")
        (root / "dir").rename(tmp_path / "away")
        (root / "dir").symlink_to(tmp_path / "outside")
        tree.write("/dir/after", b"2")
    with tree.staying(), pytest.raises(LinkInPath):
        tree.write("/dir/again", b"3")

    assert names(tmp_path / "outside") == ["secret"]


def test_on_the_way_down_only_what_is_missing_is_made(tree: Tree, root: Path) -> None:
    (root / "dir").chmod(0o711)

    assert tree.make_dir("/dir/a/b", 0o750, parents=True) is True
    assert tree.make_dir("/dir/a/b", 0o700, parents=True) is False

    modes = [(root / path).stat().st_mode & 0o777 for path in ("dir", "dir/a", "dir/a/b")]
    assert modes == [0o711, 0o750, 0o750]
