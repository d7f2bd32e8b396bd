"""Contents that are not put together."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.pieces import Buffer, Pieces, lines_of, whole
from vpopsql.tree import Tree, Write

PIECES = st.lists(st.binary(max_size=5))


@given(PIECES, st.integers(1, 5))
def test_the_whole_is_all_pieces(pieces: list[bytes], most: int) -> None:
    content = Pieces(pieces)
    parcels = [*content.parcels(most)]

    assert bytes(content) == whole(content) == b"".join(pieces)
    assert len(content) == len(bytes(content))
    assert [piece for parcel in parcels for piece in parcel] == pieces
    assert all(1 <= len(parcel) <= most for parcel in parcels)


@given(PIECES, PIECES)
def test_contents_are_compared_as_wholes(some: list[bytes], others: list[bytes]) -> None:
    same = b"".join(some) == b"".join(others)

    assert (Pieces(some) == Pieces(others)) is same
    assert (Pieces(some) == b"".join(others)) is same
    assert (b"".join(others) != Pieces(some)) is not same
    assert Pieces(some) != "text"


def test_lines_end_with_newlines() -> None:
    assert bytes(lines_of([b"one\ntwo", memoryview(b"three")])) == b"one\ntwo\nthree\n"
    assert bytes(lines_of([])) == b""


def content_of_many(number: int) -> Pieces:
    return Pieces([memoryview(f"{at:x}".encode()) for at in range(number)])


def test_a_file_of_many_pieces(tmp_path: Path) -> None:
    tree, content = Tree(tmp_path), content_of_many(3 * os.sysconf("SC_IOV_MAX") + 1)

    assert tree.write_many([Write("/file", content)]) == ("/file",)
    assert (tmp_path / "file").read_bytes() == bytes(content)
    assert tree.write_many([Write("/file", content)]) == ()


def test_a_file_whose_pieces_are_written_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all, parts = os.writev, []

    def writev(fd: int, buffers: Sequence[Buffer]) -> int:
        part = b"".join(buffers)[:100]
        parts.append(part)
        return write_all(fd, [part])

    monkeypatch.setattr(os, "writev", writev)
    content = content_of_many(2500)

    Tree(tmp_path).write_many([Write("/file", content)])

    assert (tmp_path / "file").read_bytes() == bytes(content)
    assert len(parts) > 1
