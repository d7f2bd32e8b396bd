"""Dot-qmail files whose Maildir, autoresponder or mailing list is not there any more.

Only what is in the domains' directories is looked for: of a copy of a site nothing else need be
there. Nor need Maildirs, so one is missed only if accounts of the domain have theirs. What a
symbolic link leads to is not looked at.
"""

import posixpath
import re
import shlex
from collections.abc import Iterable, Iterator

from vpopsql.directory import Places, SymbolicLink, plain_path, relative_to
from vpopsql.importer import site
from vpopsql.importer.codes import Code
from vpopsql.importer.destinations import PlacedFile
from vpopsql.importer.evidence import Evidence
from vpopsql.model import CatchAll, LineKind
from vpopsql.qmail import dotqmail

_QUOTING = frozenset("\"'\\")
_BLANKS = " \t"
_COMPANION = re.compile(
    r"(.+?)-(?:digest-.+|(?:accept|reject|return|confirm)-default|owner|default)", re.DOTALL
)
_CATCHALL = ".qmail-default"


class DeliveryReader:
    """Looks at the dot-qmail files of one domain.

    :param directory: that of the domain, as the data call it.
    :param names: what the domain has dot-qmail files for.
    :param evidence: that of the domain; knows how many Maildirs were seen.
    """

    def __init__(
        self, places: Places, directory: str, names: Iterable[str], evidence: Evidence
    ) -> None:
        self._places = places
        self._directory = directory
        self._names = set(names)
        self._evidence = evidence

    def check(self, placed: PlacedFile, home: str) -> None:
        """Report the lines of a file that cannot do what they say.

        :param home: the directory the file is in, as the data call it.
        """
        file = placed.file
        if home == self._directory and (lost := self._lost_list(file)):
            reason = f"it is part of the list {lost}, which has no dot-qmail file of its own"
            self._find(Code.ORPHAN_LIST, placed, 0, "", reason)
        for number, line in enumerate(file.lines, 1):
            code = missing = None
            text = line.text.rstrip(_BLANKS)
            if line.kind is LineKind.MAILDIR:
                code, missing = Code.NO_MAILDIR, self._missing_maildir(home, text)
            elif line.kind is not LineKind.PROGRAM:
                continue
            elif dotqmail.is_autoresponder_line(text):
                code, missing = Code.ORPHAN_ROBOT, self._missing_argument(text)
            elif dotqmail.is_list_line(text):
                code, missing = Code.ORPHAN_LIST, self._missing_argument(text)
            if code is not None and missing is not None:
                self._find(code, placed, number, text, f"there is no {missing}")

    def check_catchall(self, domain: site.Domain) -> None:
        """Report a catch-all that delivers into a Maildir that is not there."""
        if domain.catchall is CatchAll.DIRECTORY and domain.catchall_target:
            target = domain.catchall_target
            shown = self._places.shown(f"{domain.directory}/{_CATCHALL}")
            if missing := self._missing_maildir(target, "./Maildir/"):
                reason = f"there is no {missing}"
                self._evidence.find(Code.NO_MAILDIR, shown, 1, target, reason)

    def _find(self, code: Code, placed: PlacedFile, line: int, text: str, reason: str) -> None:
        shown, key = placed.place
        self._evidence.find(code, shown, 0 if key else line, text, reason, key=key)

    def _lost_list(self, file: site.DotQmailFile) -> str | None:
        """Return the name of the list that a file is part of if that has no file of its own."""
        part = _COMPANION.fullmatch(file.name)
        lists = set(_before_dashes(file.name))
        if part is None or not self._names.isdisjoint(lists):
            return None
        if file.link_target is not None:
            # ezmlm makes links to files in the list's directory.
            folder = posixpath.basename(posixpath.dirname(file.link_target)).replace(":", ".")
            return folder if folder in lists else None
        if any(dotqmail.is_list_line(line.text) for line in file.lines):
            return part[1]
        return None

    def _missing_maildir(self, home: str, text: str) -> str | None:
        """Return the Maildir of a line if it is not there."""
        if not self._evidence.maildirs:
            return None
        path = self._ours(posixpath.join(home, text.removeprefix("./")))
        return None if path is None or self._exists(path) else path

    def _missing_argument(self, text: str) -> str | None:
        """Return the first file or directory that a program is given and does not find."""
        try:
            _, *arguments = _words(text.removeprefix("|"))
        except ValueError:
            return None  # only a shell knows
        paths = (path for argument in arguments if (path := self._ours(argument)) is not None)
        return next((path for path in paths if not self._exists(path)), None)

    def _ours(self, path: str) -> str | None:
        """Return a path in its plain form if it must be there when the site is complete."""
        plain = plain_path(path)
        above = (f"{self._places.prefix}/domains", self._directory)
        if plain is None or all(relative_to(plain, each) is None for each in above):
            return None
        return plain

    def _exists(self, path: str) -> bool:
        parent, name = posixpath.split(path)
        try:
            with self._places.open(parent) as directory:
                return directory.has(name)
        except SymbolicLink:
            return True
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # not to be known


def _words(text: str) -> list[str]:
    """Return the words of a shell's command.

    :raises ValueError: a quotation has no end.
    """
    if text.isascii() and text.isprintable() and _QUOTING.isdisjoint(text):
        return text.split()  # ten times as quick, and nearly always
    return shlex.split(text)


def _before_dashes(name: str) -> Iterator[str]:
    """Return what stands before each dash of a name, the longest first."""
    before = name.rpartition("-")[0]
    while before:
        yield before
        before = before.rpartition("-")[0]
