"""Which lines of dot-qmail files anybody may write, and which only those who may run programs.

qmail hands a program line to a shell, as the user that owns all mail: who writes one, has it all.
So for most callers a line is a short list of allowed things, and everything else is refused.
"""

import re
from collections.abc import Iterable, Sequence

from vpopsql.errors import LineNotPermitted
from vpopsql.model import LineKind
from vpopsql.services.paths import is_ours
from vpopsql.services.rights import Actor, may_deliver_anywhere

# Characters that no shell takes for more than themselves, wherever they stand.
_PLAIN = re.compile(r"[A-Za-z0-9_./@+:, \t-]+")
_PATTERN_END = re.compile(r"[a-z]+")
_NO_DELIVERY = frozenset({"ezmlm-make", "ezmlm-cron", "ezmlm-import", "ezmlm-cgi", "ezmlm-glconf"})
"""Programs of ezmlm that make or steer lists; by their options they write files of any content."""


def require_permitted(
    actor: Actor, lines: Iterable[tuple[str, LineKind]], home: str, programs: Sequence[str]
) -> None:
    """Refuse lines that run a program or deliver outside ``home``, unless ``actor`` may.

    :param lines: texts without the carriage return that some clients leave, with what they do.
    :param programs: absolute paths that may be run all the same, the last letters may be ``*``.
    :raises LineNotPermitted: a line is refused.
    """
    if may_deliver_anywhere(actor):
        return
    for text, kind in lines:
        if not is_permitted(text, kind, home, programs):
            raise LineNotPermitted(f"{actor.address} may not write the line {text!r}")


def is_permitted(text: str, kind: LineKind, home: str, programs: Sequence[str]) -> bool:
    """Tell whether a line does nothing that only few may do."""
    match kind:
        case LineKind.BLANK | LineKind.COMMENT:
            return True
        case LineKind.FORWARD:
            # A line that begins with a blank is an address to qmail, but others strip blanks.
            return text.lstrip("& \t")[:1] not in {"|", "/", "."}
        case LineKind.MAILDIR:
            return is_below(text.rstrip(" \t"), home)
        case LineKind.PROGRAM:
            return _is_permitted_program(text.removeprefix("|"), home, programs)
        case LineKind.MBOX:
            # Mail would be appended to any file, one with delivery instructions for example.
            return False


def is_below(path: str, home: str) -> bool:
    """Tell whether a path, relative to ``home`` or absolute, stays below it and off our files."""
    prefix = f"{home.rstrip('/')}/"
    rest = path.removeprefix(prefix if path.startswith("/") else "./")
    names = rest.split("/")
    return (
        (rest != path or f"{path}/" == prefix)
        and "\0" not in path
        and ".." not in names
        and not any(is_ours(name) or name.startswith(".qmail") for name in names)
    )


def _is_permitted_program(command: str, home: str, programs: Sequence[str]) -> bool:
    if not _PLAIN.fullmatch(command):
        return False
    words = command.split()
    return (
        bool(words)
        and any(_is_named(words[0], program) for program in programs)
        and all("/" not in word or is_below(word, home) for word in words[1:])
        and not any(word == ".." or is_ours(word) or word.startswith(".qmail") for word in words)
    )


def _is_named(word: str, program: str) -> bool:
    if not program.endswith("*"):
        return word == program
    start = program.removesuffix("*")
    rest = word.removeprefix(start)
    return (
        word.startswith(start)
        and _PATTERN_END.fullmatch(rest) is not None
        and word.rpartition("/")[2] not in _NO_DELIVERY
    )
