"""The content of a file in pieces, which are put together only where somebody needs the whole."""

from collections.abc import Iterator, Sequence

Buffer = bytes | memoryview
"""A piece; of a memoryview, each item is a byte."""


class Pieces:
    """A content that is written without being put together.

    Of the 142 MB of a million exact lines, putting them together takes as long as writing them
    does, three times over.

    :param pieces: one behind the other, nothing in between.
    """

    __hash__ = None  # type: ignore[assignment]  # equal ones may be of other pieces, and are long

    def __init__(self, pieces: Sequence[Buffer]) -> None:
        self._pieces = pieces
        self._size = sum(map(len, pieces))

    def __len__(self) -> int:
        """Return how many bytes there are."""
        return self._size

    def __bytes__(self) -> bytes:
        """Return the whole."""
        return b"".join(self._pieces)

    def __eq__(self, other: object) -> bool:
        """Tell whether the whole is the same."""
        if not isinstance(other, bytes | Pieces):
            return NotImplemented
        return len(self) == len(other) and bytes(self) == bytes(other)

    def parcels(self, most: int) -> Iterator[Sequence[Buffer]]:
        """Return the pieces, at most so many at once."""
        for at in range(0, len(self._pieces), most):
            yield self._pieces[at : at + most]


def lines_of(lines: Sequence[Buffer]) -> Pieces:
    """Return a content of lines, behind each of which a newline is to stand."""
    pieces: list[Buffer] = [b"\n"] * (2 * len(lines))
    pieces[::2] = lines
    return Pieces(pieces)


def whole(content: bytes | Pieces) -> bytes:
    """Return a content in one piece."""
    return content if isinstance(content, bytes) else bytes(content)
