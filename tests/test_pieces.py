"""Contents that are not put together."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.pieces import Buffer, Pieces, lines_of, pieces_of, size_of, whole
from vpopsql.tree import Tree, Write


@given(st.lists(st.binary(max_size=5)))
def test_the_whole_is_all_pieces(pieces: list[bytes]) -> None:
    data = b"".join(pieces)

    assert whole(pieces) == whole(data) == data
    assert size_of(pieces) == size_of(data) == len(data)
    assert b"".join(pieces_of(data)) == b"".join(pieces_of(pieces)) == data


def test_lines_end_with_newlines() -> None:
    assert whole(lines_of([b"one\ntwo", memoryview(b"three")])) == b"one\ntwo\nthree\n"
    assert whole(lines_of([])) == b""


def many(number: int) -> Pieces:
    return [memoryview(f"{at:x}".encode()) for at in range(number)]


def test_a_file_of_many_pieces(tmp_path: Path) -> None:
    tree, content = Tree(tmp_path), many(3 * os.sysconf("SC_IOV_MAX") + 1)

    assert tree.write_many([Write("/file", content)]) == ("/file",)
    assert (tmp_path / "file").read_bytes() == whole(content)
    assert tree.write_many([Write("/file", content)]) == ()


def test_a_file_that_differs_in_its_last_piece_only(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.write_many([Write("/file", [b"one", b"two"])])

    assert tree.write_many([Write("/file", [b"one", b"twO"])]) == ("/file",)
    assert (tmp_path / "file").read_bytes() == b"onetwO"


def test_a_file_whose_pieces_are_written_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all, parts = os.writev, []

    def writev(fd: int, buffers: Sequence[Buffer]) -> int:
        part = b"".join(buffers)[:100]
        parts.append(part)
        return write_all(fd, [part])

    monkeypatch.setattr(os, "writev", writev)
    content = many(2500)

    Tree(tmp_path).write_many([Write("/file", content)])

    assert (tmp_path / "file").read_bytes() == whole(content)
    assert len(parts) > 1
