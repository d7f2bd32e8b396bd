"""Looking at the directory of one domain: its files, its mailboxes' homes, and what is too much.

Each directory is listed once and each file of ours read once; of a mailbox, only its home is
opened, and what is in its Maildir is nobody's business here.
"""

import os
import stat
import string
import time
from collections import defaultdict
from collections.abc import Iterable

from vpopsql.config import Paths
from vpopsql.directory import Directory, SymbolicLink, name_of, relative_to
from vpopsql.exporter import render
from vpopsql.exporter.drift.codes import Code
from vpopsql.exporter.drift.finding import Finding
from vpopsql.exporter.drift.kinds import Kind, of_domain_file
from vpopsql.exporter.drift.look import Look
from vpopsql.exporter.render import Link
from vpopsql.exporter.snapshot import DomainState
from vpopsql.tree import TEMP_PREFIX, Tree

GRACE_S = 60.0
"""How young a directory may be to be one that is being made: its row is committed last."""

BUCKETS = frozenset(string.digits + string.ascii_letters)
"""Names of directories that vpopmail puts mailboxes and domains in, a hundred each."""

BUCKET_LEVELS = 3
TRASH = ".trash"
"""Where deleted directories go when vpopmail's home is on another disk."""

_MARKS_OF_A_HOME = {"Maildir", "lastauth"}
_GROUP_OR_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class DomainLook:
    """Looks at domains, one after the other; made once in each process.

    :param paths: vpopmail's home is the one that the database's paths begin with.
    """

    def __init__(self, paths: Paths) -> None:
        self._tree = Tree(paths.root, paths.places)
        self._vpopmail = paths.vpopmail

    def __call__(self, domain: DomainState) -> list[Finding]:
        """Return what is not as it should be."""
        owner = (domain.uid, domain.gid)
        look = Look(self._tree, domain.name, owner)
        try:
            files = render.domain_files(domain, self._vpopmail)
        except render.Unrenderable as error:
            look.find(Code.UNRENDERABLE, domain.directory, str(error))
            return look.findings
        _Domain(look, domain, files).look()
        return look.findings

    def close(self) -> None:
        """Let go of nothing: each look closes what it opened."""


class _Domain:
    """One domain's directory."""

    def __init__(self, look: Look, domain: DomainState, files: render.DomainFiles) -> None:
        self._look = look
        self._domain = domain
        self._directory = domain.directory
        self._wanted: defaultdict[str, dict[str, bytes | Link]] = defaultdict(dict)
        for path, data in files.items():
            place, _, name = path.rpartition("/")
            self._wanted[place][name] = data
        self._homes: dict[str, str | None] = {}
        self._buckets: set[str] = set()
        for account in domain.accounts:
            home = account.directory.rstrip("/")
            below = self._homes[home] = relative_to(home, self._directory)
            while below and (below := below.rpartition("/")[0]):
                self._buckets.add(below)

    def look(self) -> None:
        with self._look.entered(self._directory, Code.DIR_MISSING) as directory:
            if directory is None:
                return
            self._look.check_directory(directory, self._directory, forbidden=_GROUP_OR_OTHERS)
            wanted = self._wanted[self._directory]
            for name, data in wanted.items():
                self._check(directory, self._directory, name, data)
            self._look_at_rest(directory, wanted.keys())
            for home, below in self._homes.items():
                start = directory if below else None
                with self._look.entered(home, Code.HOME_MISSING, start, below or "") as opened:
                    if opened:
                        self._look_at_home(opened, home)

    def _check(self, directory: Directory, path: str, name: str, data: bytes | Link) -> None:
        kind = of_domain_file(name)
        if kind:
            self._look.check_file(directory, path, name, data, kind)

    def _look_at_home(self, opened: Directory, home: str) -> None:
        self._look.check_directory(opened, home, forbidden=_GROUP_OR_OTHERS)
        wanted = self._wanted.get(home, {})
        for name, data in wanted.items():
            self._check(opened, home, name, data)
        has_maildir = False
        for entry in opened.entries():
            if entry.name == "Maildir":
                has_maildir = True
            elif entry.name.startswith(".") and (name := name_of(entry)) not in wanted:
                self._look_at_extra(opened, home, name, only_dotqmail=True)
        # Whoever forwards all his mail needs none.
        if not has_maildir and ".qmail" not in wanted:
            self._look.find(Code.MAILDIR_MISSING, home)

    def _look_at_extra(
        self, directory: Directory, path: str, name: str, *, only_dotqmail: bool = False
    ) -> None:
        if name.startswith(TEMP_PREFIX):
            self._look.check_leftover(directory, path, name)
        elif kind := _kind_of(name, only_dotqmail=only_dotqmail):
            self._look.check_absence(directory, path, name, kind)

    # What nobody has

    def _look_at_rest(self, directory: Directory, wanted: Iterable[str]) -> None:
        known = {
            *wanted,
            TRASH,
            *(below.partition("/")[0] for below in self._homes.values() if below),
        }
        for entry in directory.entries():
            name = name_of(entry)
            if name in known:
                continue
            if entry.is_dir(follow_symlinks=False):
                self._look_for_orphans(directory, name, name, 0)
            else:
                self._look_at_extra(directory, self._directory, name)
        for bucket in sorted(self._buckets):
            self._look_into_bucket(directory, bucket)

    def _look_into_bucket(self, directory: Directory, bucket: str) -> None:
        homes = set(self._homes.values())
        try:
            opened = directory.enter(bucket)
        except OSError:
            return  # found with the homes in it
        with opened:
            for entry in opened.entries():
                below = f"{bucket}/{name_of(entry)}"
                if below in homes or below in self._buckets or entry.name == TRASH:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    self._look_for_orphans(opened, name_of(entry), below, below.count("/"))

    def _look_for_orphans(self, parent: Directory, name: str, below: str, depth: int) -> None:
        """Note a directory that nobody has, or those in it if it is a bucket.

        :param below: its path below the domain's directory.
        """
        path = f"{self._directory}/{below}"
        try:
            directory = parent.enter(name)
        except OSError as error:
            if not isinstance(error, FileNotFoundError | SymbolicLink):
                self._look.find(Code.UNREADABLE, path, str(error.strerror))
            return
        with directory:
            if is_young(directory.status()):
                return
            inside = directory.entries()
            marks = sorted(_MARKS_OF_A_HOME.intersection(entry.name for entry in inside))
            if marks:
                self._look.find(Code.ORPHAN_HOME, path, f"has a {' and a '.join(marks)}")
            elif name in BUCKETS and depth < BUCKET_LEVELS:
                for entry in inside:
                    if entry.is_dir(follow_symlinks=False):
                        inner = name_of(entry)
                        self._look_for_orphans(directory, inner, f"{below}/{inner}", depth + 1)
            elif not self._is_named(path, below):
                self._look.find(Code.UNKNOWN_DIR, path)

    def _is_named(self, path: str, below: str) -> bool:
        """Say whether a dot-qmail line, of a list or an autoresponder, names a directory."""
        return any(
            path in text or f"./{below}" in text
            for file in self._domain.dotqmails
            for text in (*file.lines, file.link_target or "")
        )


def is_young(status: os.stat_result) -> bool:
    """Say whether a directory may be one whose row is not committed yet."""
    return status.st_mtime > time.time() - GRACE_S


def _kind_of(name: str, *, only_dotqmail: bool) -> Kind | None:
    return of_domain_file(name) if not only_dotqmail or render.is_dotqmail(name) else None
