"""Looking at files and directories, each once: what is there, whose it is, who may write it.

No symbolic link is followed. Of what is read, a finding tells what `content` may tell.
"""

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager

from vpopsql.directory import Directory, NoRegularFile, SymbolicLink
from vpopsql.exporter.drift import content
from vpopsql.exporter.drift.codes import Code
from vpopsql.exporter.drift.content import Detail
from vpopsql.exporter.drift.finding import Finding
from vpopsql.exporter.drift.kinds import Kind
from vpopsql.exporter.render import Link
from vpopsql.exporter.writing import LEFTOVER_AGE_S
from vpopsql.qmail import dotqmail
from vpopsql.tree import TEMP_PREFIX, LinkInPath, Owner, Tree

_GROUP_OR_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_SURPLUS = 16 * 1024 * 1024
"""Bytes that a file may have more than it should, and be read all the same."""

_FORWARDS = {dotqmail.Kind.FORWARD, dotqmail.Kind.COMMENT, dotqmail.Kind.BLANK}


class Look:
    """A look at what belongs to one owner, with what was found so far.

    :param domain: the real domain whose files they are; empty: the site's.
    :param owner: whose they should be; None: whoever has them. Only root can give files away, so
        for anybody else they are as they come.
    """

    def __init__(self, tree: Tree, domain: str = "", owner: Owner | None = None) -> None:
        self.tree = tree
        self.findings: list[Finding] = []
        self._domain = domain
        self._owner = owner
        self._checked_owner = owner if os.geteuid() == 0 else None

    def find(self, code: Code, path: str, *details: str, kind: Kind | None = None) -> None:
        """Note a finding."""
        self.find_details(code, path, [Detail("", text) for text in details], kind)

    def find_details(
        self, code: Code, path: str, details: list[Detail], kind: Kind | None = None
    ) -> None:
        """Note a finding of which details are known."""
        part = {"part": kind.part} if kind else {}
        self.findings.append(
            Finding.of(code, path, details, domain=self._domain, owner=self._owner, **part)
        )

    # Directories

    @contextmanager
    def entered(
        self, path: str, missing: Code | None, start: Directory | None = None, below: str = ""
    ) -> Iterator[Directory | None]:
        """Give an open directory, or None if it cannot be opened, with a finding.

        :param missing: the code if it is not there; None: that is no finding.
        :param start: where to go to it from, by the way ``below``; None: from the root.
        """
        directory = None
        try:
            directory = start.enter(below) if start else self.tree.enter(path)
        except FileNotFoundError:
            if missing:
                self.find(missing, path)
        except (SymbolicLink, LinkInPath):
            self.find(Code.NO_DIR, path, "it, or a directory above it, is a symbolic link")
        except NotADirectoryError:
            self.find(Code.NO_DIR, path, "it, or what is above it, is a file")
        except OSError as error:
            self.find(Code.UNREADABLE, path, str(error.strerror))
        if directory is None:
            yield None
            return
        with directory:
            yield directory

    def check_directory(self, directory: Directory, path: str, *, forbidden: int) -> None:
        """Compare owner and mode.

        :param forbidden: the write bits that it must not have.
        """
        status = directory.status()
        mode = stat.S_IMODE(status.st_mode)
        if self._checked_owner and (status.st_uid, status.st_gid) != self._checked_owner:
            self.find(Code.DIR_OWNER, path, self._belongs(status))
        if self._owner and mode & stat.S_IRWXU != stat.S_IRWXU:
            self.find(Code.DIR_MODE, path, f"its mode is {mode:04o}")
        if self._owner and mode & stat.S_ISVTX:
            self.find(Code.DIR_STICKY, path, f"its mode is {mode:04o}")
        if mode & forbidden:
            self.find(Code.DIR_WRITABLE, path, f"its mode is {mode:04o}")

    def check_leftover(self, directory: Directory, path: str, name: str) -> None:
        """Note a half-written file, if nobody is writing it any more."""
        try:
            modified_at = directory.modified_at(name)
        except OSError:
            return  # finished since
        if name.startswith(TEMP_PREFIX) and modified_at < time.time() - LEFTOVER_AGE_S:
            self.find(Code.HALF_WRITTEN, f"{path}/{name}")

    # Files

    def check_file(
        self,
        directory: Directory,
        path: str,
        name: str,
        wanted: bytes | Link,
        kind: Kind,
    ) -> None:
        """Compare a file with what it should be.

        :param path: the site path of ``directory``, which `name` is in.
        """
        place = f"{path}/{name}"
        if isinstance(wanted, Link):
            self._check_link(directory, place, name, wanted, kind)
            return
        try:
            data, status = directory.read_with_status(name, len(wanted) + _SURPLUS)
        except FileNotFoundError:
            self.find(kind.missing, place, kind=kind)
        except SymbolicLink:
            # Of the site's own files an export replaces none that is a link.
            code = Code.LINK_FOR_FILE if self._domain else Code.NO_FILE
            self.find(code, place, "a symbolic link", kind=kind)
        except (NoRegularFile, IsADirectoryError):
            self.find(Code.NO_FILE, place)
        except OSError as error:
            if error.errno == errno.EFBIG:
                self.find(kind.differs, place, "is far too large", kind=kind)
            else:
                self.find(Code.UNREADABLE, place, str(error.strerror))
        else:
            if data != wanted:
                self._compare(place, wanted, data, kind)
            self._check_rights(place, data, status, kind)

    def check_absence(self, directory: Directory, path: str, name: str, kind: Kind) -> None:
        """Note a file that should not be there, if it is."""
        if directory.has(name):
            self.find(kind.extra, f"{path}/{name}", "should not be there", kind=kind)

    def _check_link(
        self, directory: Directory, place: str, name: str, wanted: Link, kind: Kind
    ) -> None:
        if not directory.has(name):
            self.find(kind.missing, place, kind=kind)
            return
        try:
            same = directory.link_target(name) == wanted.target
            what = "leads somewhere else"
        except OSError:
            same, what = False, "is a file, not a symbolic link"
        if not same:
            self.find(kind.differs, place, what, kind=kind)

    def _compare(self, place: str, wanted: bytes, data: bytes, kind: Kind) -> None:
        try:
            details = kind.compare(wanted, data)
        except content.Damaged as error:
            self.find(Code.CDB_DAMAGED, place, str(error), kind=kind)
            return
        if details:
            self.find_details(kind.differs, place, details, kind)
        elif not place.endswith("cdb"):
            # The order of records is the business of who compiled it.
            self.find(Code.RESPELLED, place, kind=kind)

    def _check_rights(self, place: str, data: bytes, status: os.stat_result, kind: Kind) -> None:
        mode = stat.S_IMODE(status.st_mode)
        wrong_owner = self._checked_owner not in {None, (status.st_uid, status.st_gid)}
        if self._owner and not self._may_read(status):
            self.find(Code.FILE_UNREADABLE, place, f"{self._belongs(status)}, mode {mode:04o}")
        elif wrong_owner:
            self.find(Code.FILE_OWNER, place, self._belongs(status))
        if mode & (_GROUP_OR_OTHERS if kind.is_dotqmail else stat.S_IWOTH):
            self.find(Code.FILE_WRITABLE, place, f"its mode is {mode:04o}")
        if kind.is_dotqmail and mode & stat.S_IXUSR:
            lines = dotqmail.parse(data).lines
            if not _FORWARDS.issuperset(map(dotqmail.classify, lines)):
                self.find(Code.EXECUTABLE, place, f"its mode is {mode:04o}")

    def _may_read(self, status: os.stat_result) -> bool:
        uid, gid = self._checked_owner or (status.st_uid, status.st_gid)
        if uid == status.st_uid:
            return bool(status.st_mode & stat.S_IRUSR)
        if gid == status.st_gid:
            return bool(status.st_mode & stat.S_IRGRP)
        return bool(status.st_mode & stat.S_IROTH)

    def _belongs(self, status: os.stat_result) -> str:
        to = f"it belongs to {status.st_uid}:{status.st_gid}"
        wanted = self._checked_owner
        if wanted is None or wanted == (status.st_uid, status.st_gid):
            return to
        return f"{to}, not to {wanted[0]}:{wanted[1]}"
