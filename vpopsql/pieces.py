"""Contents of files in pieces, which are put together only where somebody needs the whole.

Putting the 142 MB of a million exact lines together takes three times as long as writing them; and
of a large file that hardly changes, most pieces are parts of what it was.
"""

from collections.abc import Sequence

Buffer = bytes | memoryview
"""A piece; each item of a memoryview is a byte."""

Pieces = Sequence[Buffer]
"""One stands behind the other, with nothing in between."""

Content = bytes | Pieces
"""What a file has."""


def pieces_of(content: Content) -> Pieces:
    """Return a content in pieces; one, if it is whole."""
    return (content,) if isinstance(content, bytes) else content


def size_of(content: Content) -> int:
    """Return how many bytes there are."""
    return sum(map(len, pieces_of(content)))


def whole(content: Content) -> bytes:
    """Return a content in one piece."""
    return content if isinstance(content, bytes) else b"".join(content)


def lines_of(lines: Sequence[Buffer]) -> Pieces:
    """Return a content of lines, behind each of which a newline is to stand."""
    pieces: list[Buffer] = [b"\n"] * (2 * len(lines))
    pieces[::2] = lines
    return pieces
