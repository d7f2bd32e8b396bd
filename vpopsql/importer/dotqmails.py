"""Reading dot-qmail files: those of a domain and those of a mailbox are alike."""

import os
import posixpath
import re
from collections.abc import Iterable

from vpopsql import names
from vpopsql.directory import (
    Directory,
    NoRegularFile,
    Places,
    SymbolicLink,
    is_plain,
    name_of,
)
from vpopsql.importer import site
from vpopsql.importer.codes import Code
from vpopsql.importer.evidence import Evidence, Tally
from vpopsql.importer.files import report_unreadable
from vpopsql.model import CatchAll, LineKind
from vpopsql.qmail import dotqmail
from vpopsql.qmail.lines import encode

# No line of any file can hold some of these, and no address has one.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_KINDS = {kind.value: LineKind(kind.value) for kind in dotqmail.Kind}


def is_dot_qmail(filename: str) -> bool:
    """Say whether a file holds delivery instructions; ``.qmailadmin-limits`` does not."""
    return filename == ".qmail" or filename.startswith(".qmail-")


def with_kinds(lines: Iterable[str]) -> tuple[site.DotQmailLine, ...]:
    """Return lines, each with what it makes qmail do."""
    return tuple(site.DotQmailLine(line, _KINDS[dotqmail.classify(line)]) for line in lines)


def name_problem(name: str) -> str | None:
    """Return why the file that serves an alias cannot have its name, None if it can."""
    if _CONTROL.search(name):
        return "it has a control character"
    try:
        dotqmail.filename_for(name)
    except ValueError:
        return "no dot-qmail file can serve it"
    return None


class DotQmailReader:
    """Reads dot-qmail files without following a link."""

    def __init__(self, places: Places, evidence: Evidence) -> None:
        self._places = places
        self._evidence = evidence

    def read(
        self, directory: Directory, entries: Iterable["os.DirEntry[str]"], tally: Tally
    ) -> tuple[site.DotQmailFile, ...]:
        """Return the dot-qmail files among ``entries``, by name."""
        files = []
        for entry in entries:
            if not is_dot_qmail(entry.name):
                continue
            filename = name_of(entry)
            shown = f"{directory.shown}/{filename}"
            name = "" if filename == ".qmail" else dotqmail.alias_of(filename)
            if name is None or name != names.lower(name):
                spelling = "dots as colons" if name is None else "letters in lower case"
                reason = f"qmail reads no file of this name: it writes {spelling}"
                self._evidence.find(Code.NO_FILE, shown, 0, filename, reason)
                self._evidence.leave("dot-qmail files that nothing reads", shown)
                continue
            if _CONTROL.search(name):
                reason = "the name of a dot-qmail file has a control character"
                self._evidence.find(Code.BAD_FILE_NAME, shown, 0, filename, reason)
                continue
            file = self._file(directory, filename, name, tally)
            if file is not None:
                files.append(file)
        return tuple(sorted(files, key=lambda file: encode(file.name)))

    def _file(
        self, directory: Directory, filename: str, name: str, tally: Tally
    ) -> site.DotQmailFile | None:
        shown = f"{directory.shown}/{filename}"
        try:
            data = directory.read(filename)
        except SymbolicLink:
            target = directory.link_target(filename)
            reason = (
                "a link to a file, which is not read through it"
                if self._leads_to_file(directory, target)
                else "a link that leads to no file of the tree"
            )
            self._evidence.find(Code.LINK, shown, 0, f"-> {target}", reason)
            tally.files += 1
            return site.DotQmailFile(name, (), link_target=target)
        except NoRegularFile:
            self._evidence.find(Code.NO_FILE, shown, 0, filename, "no regular file")
            self._evidence.leave("dot-qmail files that nothing reads", shown)
            return None
        except OSError as error:
            report_unreadable(self._evidence, error, "a dot-qmail file")
            return None
        parsed = dotqmail.parse(data)
        tally.files += 1
        tally.lines += len(parsed.lines)
        tally.imported += len(parsed.lines)
        return site.DotQmailFile(name, with_kinds(parsed.lines), parsed.final_newline)

    def _leads_to_file(self, directory: Directory, target: str) -> bool:
        """Say whether a link has a regular file at its end, judged by the text of its target."""
        try:
            if target.startswith("/"):
                parent, name = posixpath.split(posixpath.normpath(target))
                with self._places.open(parent) as place:
                    return place.has_file(name)
            parent, name = posixpath.split(target)
            if not is_plain(f"/{target}"):
                return False
            with directory.enter(parent) as place:
                return place.has_file(name)
        except OSError:
            return False


def split_catchall(
    files: tuple[site.DotQmailFile, ...], vpopmail_dir: str
) -> tuple[CatchAll, str | None, tuple[site.DotQmailFile, ...]]:
    """Return the catch-all of a domain, its target, and the files without what they say."""
    default = next((file for file in files if file.name == "default"), None)
    if default is None:
        return CatchAll.NONE, None, files
    if len(default.lines) == 1 and default.final_newline:
        found = dotqmail.parse_catchall(default.lines[0].text, vpopmail_dir)
        if found is not None:
            others = tuple(file for file in files if file is not default)
            return CatchAll(found.kind.value), found.target or None, others
    return CatchAll.DOTQMAIL, None, files
