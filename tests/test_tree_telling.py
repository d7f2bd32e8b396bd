"""Being told of files just before they change, and the journal that it is for."""

import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from vpopsql.tree import LinkInPath, Tree, Write


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path)
    made.write("/old", b"old")
    return made


CHANGES: dict[str, tuple[Callable[[Tree], object], list[tuple[str, ...]]]] = {
    "write": (lambda tree: tree.write("/new", b""), [("/new",)]),
    "replace": (lambda tree: tree.write("/old", b"new"), [("/old",)]),
    "write many": (
        lambda tree: tree.write_many([Write("/b", b""), Write("/old", b"old"), Write("/a", b"")]),
        [("/b", "/a")],
    ),
    "remove": (lambda tree: tree.remove("/old"), [("/old",)]),
    "rename": (lambda tree: tree.rename("/old", "/new"), [("/old", "/new")]),
    "symlink": (lambda tree: tree.symlink("/new", "old"), [("/new",)]),
    "write what is there": (lambda tree: tree.write("/old", b"old"), []),
    "make a directory": (lambda tree: tree.make_dir("/new"), []),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_of_a_file_is_told_before_it_happens(
    tree: Tree, tmp_path: Path, change: str
) -> None:
    do, expected = CHANGES[change]
    told: list[tuple[str, ...]] = []
    before: list[list[str]] = []

    def tell(paths: Sequence[str]) -> None:
        told.append(tuple(paths))
        names = (path.name for path in tmp_path.iterdir())
        before.append([name for name in names if not name.startswith(".")])

    with tree.telling(tell):
        do(tree)

    assert told == expected
    assert before == [["old"]] * len(expected)


@pytest.mark.parametrize("change", [name for name, (_, told) in CHANGES.items() if told])
def test_what_cannot_be_told_does_not_happen(tree: Tree, tmp_path: Path, change: str) -> None:
    def refuse(_: Sequence[str]) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"), tree.telling(refuse):
        CHANGES[change][0](tree)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"old": b"old"}


def test_afterwards_nothing_is_told(tree: Tree) -> None:
    told: list[Sequence[str]] = []

    with tree.telling(told.append):
        pass
    tree.write("/new", b"")

    assert told == []


def test_a_journal_grows(tree: Tree, tmp_path: Path) -> None:
    tree.append("/journal", b"a\n")
    tree.append("/journal", b"b\n")

    journal = tmp_path / "journal"
    assert journal.read_bytes() == b"a\nb\n"
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600


def test_a_journal_is_no_link(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "journal").symlink_to("old")

    with pytest.raises(LinkInPath):
        tree.append("/journal", b"a")

    assert (tmp_path / "old").read_bytes() == b"old"
