r"""What all the line-based files share: text as `str`, numbered lines, bad lines, plain numbers.

Text of unknown encoding is decoded as UTF-8 with ``surrogateescape``, so that every byte survives.
A line ends at ``\n`` and nowhere else and may have any length.
"""

import re
from dataclasses import dataclass

_INTEGER = re.compile(r"-?[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line that a parser could not use. ``text`` may hold a password hash: not for logs."""

    number: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Comment:
    """A line that says nothing to a machine: blank, or a ``#`` comment. ``text`` is all of it."""

    number: int
    text: str


def decode(data: bytes) -> str:
    """Return ``data`` as text, any byte included; `encode` gives back the same bytes."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """Return the bytes of a text that `decode` made.

    :raises ValueError: a surrogate that no byte decodes to.
    """
    return text.encode("utf-8", "surrogateescape")


def split_lines(data: bytes) -> list[tuple[int, str]]:
    """Return the lines of a file, without their newlines, each with its number from 1.

    A last line without a newline counts as a line; see `ends_whole` to tell.
    """
    lines = decode(data).split("\n")
    if not lines[-1]:
        lines.pop()
    return list(enumerate(lines, 1))


def ends_whole(data: bytes) -> bool:
    """Say whether the last line has its newline; a file without a line has nothing to miss."""
    return not data or data.endswith(b"\n")


def join_lines(lines: list[str]) -> bytes:
    """Return a file of ``lines``, each ended by a newline.

    :raises ValueError: a line has a newline or NUL inside.
    """
    text = "\n".join([*lines, ""])
    if text.count("\n") != len(lines) or "\0" in text:
        raise ValueError("a line holds a newline or NUL")
    return encode(text)


def check_field(text: str, forbidden: str = ":") -> str:
    r"""Return ``text``, which is about to become one field of a line.

    :raises ValueError: it has a newline, NUL, or one of ``forbidden``.
    """
    for character in f"\n\0{forbidden}":
        if character in text:
            raise ValueError(f"{character!r} cannot be written in a field: {text!r}")
    return text


def whole_number(text: str, low: int = 0, high: int = 2**63 - 1) -> int | None:
    """Return the decimal number that ``text`` is, None if it is none or not in ``low..high``.

    Only ASCII digits and a leading ``-``; `int` would also take ``1_0``, blanks and other scripts.
    """
    if _INTEGER.fullmatch(text) is None:
        return None
    number = int(text)
    return number if low <= number <= high else None
