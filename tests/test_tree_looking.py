"""Directories that are entered to look at much of them, and rights that are set."""

import os
from pathlib import Path

import pytest

from vpopsql.directory import SymbolicLink
from vpopsql.tree import LinkInPath, Tree, UnsafePath


def test_an_entered_directory_is_read_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/file").write_bytes(b"x")
    (tmp_path / "d/link").symlink_to("/etc/passwd")
    tree = Tree(tmp_path)

    with tree.enter("/d") as directory:
        assert directory.names() == {"file", "link"}
        assert directory.read("file") == b"x"
        with pytest.raises(SymbolicLink):
            directory.read("link")


def test_a_directory_behind_a_link_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("d")

    with pytest.raises(LinkInPath):
        Tree(tmp_path).enter("/link")


def test_an_error_of_entering_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        Tree(tmp_path).enter("/a/b")

    assert caught.value.filename == "/a/b"


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_rights_are_set_exactly(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    path.touch() if kind == "file" else path.mkdir()

    Tree(tmp_path).set_rights("/x", 0o741, (os.getuid(), os.getgid()))

    assert path.stat().st_mode & 0o7777 == 0o741


def test_rights_of_what_a_link_leads_to_are_not_set(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o600)
    (tmp_path / "link").symlink_to("file")

    with pytest.raises(OSError, match="Invalid argument"):
        Tree(tmp_path).set_rights("/link", 0o777, (0, 0))

    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_a_link_cannot_have_every_text(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnsafePath, match="not the text of a link"):
        Tree(tmp_path).symlink("/link", text)

    assert list(tmp_path.iterdir()) == []
