"""Dot-qmail files: what a line does, which address a file serves, what a domain's catch-all is.

::

    comment = "#" text        forward = ["&"] address       mbox    = ("/" / ".") path
    program = "|" command                                   maildir = ("/" / ".") path "/"

Lines keep their exact text, so a file that is taken apart and put together again is the same file.
"""

import re
import shlex
from dataclasses import dataclass
from enum import StrEnum

from vpopsql.qmail.lines import check_field, decode, encode

DEFAULT_FILE = ".qmail-default"
"""The file that serves every address of a domain that nothing else serves."""

_PREFIX = ".qmail-"
_BLANKS = " \t"
# A word of the command whose last path component is the program's name. Wrappers come first
# (``preline ezmlm-send``), so the name may stand anywhere in the line.
_BEFORE_NAME = r"(?<![\w.-])"
_AFTER_NAME = r"(?=[\s'\";|&]|$)"
_LIST = re.compile(rf"{_BEFORE_NAME}ezmlm-[a-z-]+{_AFTER_NAME}")
_AUTORESPONDER = re.compile(rf"{_BEFORE_NAME}(autorespond|qmail-autoresponder){_AFTER_NAME}")
_VDELIVERMAIL = re.compile(rf"{_BEFORE_NAME}vdelivermail{_AFTER_NAME}")


class Kind(StrEnum):
    """What a line does."""

    BLANK = "blank"
    COMMENT = "comment"
    PROGRAM = "program"
    FORWARD = "forward"
    MBOX = "mbox"
    MAILDIR = "maildir"


class CatchAllKind(StrEnum):
    """What becomes of mail to an address that nothing serves."""

    DELETE = "delete"
    BOUNCE = "bounce"
    ADDRESS = "address"
    DIRECTORY = "directory"


_WORDS = {CatchAllKind.DELETE: "delete", CatchAllKind.BOUNCE: "bounce-no-mailbox"}


@dataclass(frozen=True, slots=True)
class DotQmail:
    """A file: its lines in order, and whether the last one has its newline."""

    lines: tuple[str, ...]
    final_newline: bool = True


@dataclass(frozen=True, slots=True)
class CatchAll:
    """A domain's catch-all; ``target`` is its address or mailbox directory, else empty."""

    kind: CatchAllKind
    target: str = ""


def parse(data: bytes) -> DotQmail:
    """Return the lines of a file; any bytes are one."""
    if not data:
        return DotQmail(())
    lines = decode(data).split("\n")
    final_newline = not lines[-1]
    return DotQmail(tuple(lines[:-1] if final_newline else lines), final_newline)


def render(file: DotQmail) -> bytes:
    """Return the bytes that `parse` made ``file`` of.

    :raises ValueError: a line has a newline inside.
    """
    text = "\n".join(file.lines)
    if file.lines and text.count("\n") != len(file.lines) - 1:
        raise ValueError("a line holds a newline")
    return encode(f"{text}\n" if file.lines and file.final_newline else text)


def classify(line: str) -> Kind:
    """Return what qmail takes a line for. Blanks at its end do not count.

    Source: qmail-local; vpopmail's vdelivermail differs: it keeps the blanks, so to it
    ``./Maildir/ `` is an mbox, which it does not deliver to.
    """
    stripped = line.rstrip(_BLANKS)
    match stripped[:1]:
        case "":
            return Kind.BLANK
        case "#":
            return Kind.COMMENT
        case "|":
            return Kind.PROGRAM
        case "/" | ".":
            return Kind.MAILDIR if stripped.endswith("/") else Kind.MBOX
        case _:
            return Kind.FORWARD


def forward_address(line: str) -> str | None:
    """Return the address that a line forwards to, None for every other line."""
    if classify(line) is not Kind.FORWARD:
        return None
    return line.removeprefix("&").rstrip(_BLANKS) or None


def is_list_line(line: str) -> bool:
    """Say whether a line runs a program of ezmlm, the mailing list manager."""
    return classify(line) is Kind.PROGRAM and _LIST.search(line) is not None


def is_autoresponder_line(line: str) -> bool:
    """Say whether a line runs autorespond or qmail-autoresponder."""
    return classify(line) is Kind.PROGRAM and _AUTORESPONDER.search(line) is not None


def vdelivermail_arguments(line: str) -> list[str] | None:
    """Return what a line gives vdelivermail, None if it does not run it.

    vpopmail's own lines give two: an empty one, and what becomes of mail for unknown names; with
    any other number vdelivermail defers.
    """
    found = _VDELIVERMAIL.search(line) if classify(line) is Kind.PROGRAM else None
    if found is None:
        return None
    try:
        return shlex.split(line[found.end() :])
    except ValueError:  # quotes that do not match
        return []


def filename_for(alias: str) -> str:
    """Return the name of the file that serves ``alias@`` its domain: dots become colons.

    :raises ValueError: no file can serve it: it is empty or has a slash, colon, newline or NUL.
    """
    if not alias:
        raise ValueError("an alias has no name")
    return _PREFIX + check_field(alias, "/:").replace(".", ":")


def alias_of(filename: str) -> str | None:
    """Return the alias that a file serves, None if it serves none.

    A name with a dot behind the prefix serves none: qmail looks for colons in their place.
    """
    name = filename.removeprefix(_PREFIX)
    if name == filename or not name or "." in name or "/" in name:
        return None
    return name.replace(":", ".")


def parse_catchall(text: str, vpopmail_dir: str) -> CatchAll | None:
    """Return the catch-all that a line of ``.qmail-default`` is, None if it is anything else.

    :param text: one line, without its newline.
    :param vpopmail_dir: vpopmail's home, such as ``/home/vpopmail``.

    The result renders to ``text`` again, always; a line in another form is left to its author.
    """
    try:
        what = shlex.split(text.removeprefix(_command(vpopmail_dir)))
    except ValueError:  # quotes that do not match
        return None
    if len(what) != 1:
        return None
    catchall = _meaning(what[0])
    try:
        same = catchall is not None and render_catchall(catchall, vpopmail_dir) == text
    except ValueError:
        return None
    return catchall if same else None


def render_catchall(catchall: CatchAll, vpopmail_dir: str) -> str:
    """Return the line of ``.qmail-default``, without its newline.

    A target with a character that means something to the shell is quoted; vpopmail writes it
    as it is.

    :raises ValueError: the target is no address or no absolute directory, as the kind may be, or
        has a newline or NUL.
    """
    word = _WORDS.get(catchall.kind, catchall.target)
    if _meaning(word) != catchall:
        raise ValueError(f"no {catchall.kind} catch-all: {catchall.target!r}")
    return _command(vpopmail_dir) + shlex.quote(check_field(word, ""))


def _command(vpopmail_dir: str) -> str:
    return f"| {vpopmail_dir}/bin/vdelivermail '' "


def _meaning(word: str) -> CatchAll | None:
    for kind, keyword in _WORDS.items():
        if word == keyword:
            return CatchAll(kind)
    if word.startswith("/"):
        return CatchAll(CatchAllKind.DIRECTORY, word)
    if "@" in word:
        return CatchAll(CatchAllKind.ADDRESS, word)
    return None
