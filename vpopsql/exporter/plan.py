"""What an apply would change, found by reading alone.

A comparison renders a snapshot and reads what is on disk, one domain at a time, so that its memory
does not grow with what differs. `vpopsql export plan` shows what it finds; an apply keeps what it
finds as the previous generation and then writes just that.
"""

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from vpopsql.exporter import render
from vpopsql.exporter.delivery import Warned, delivery_warnings
from vpopsql.exporter.render import Link
from vpopsql.exporter.snapshot import DomainState, Snapshot
from vpopsql.qmail import assign
from vpopsql.tree import TEMP_PREFIX, EntryType, File, Owner, Tree

Content = bytes | Link


class Kind(StrEnum):
    """What happens to a file."""

    NEW = "new"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Change:
    """A file that is not as the database says."""

    path: str
    """As a site path."""
    before: Content | None
    """What is on disk; None: nothing."""
    after: Content | None
    """What the database says; None: there is to be no such file."""
    domain: str | None = None
    """The real domain that the file belongs to; None: the whole site's."""
    was: File | None = None
    """The regular file on disk."""
    owner: Owner | None = None
    """Whose it is to be, where that differs."""

    @property
    def kind(self) -> Kind:
        """What happens to the file."""
        if self.before is None:
            return Kind.NEW
        return Kind.REMOVED if self.after is None else Kind.CHANGED


@dataclass(slots=True)
class Comparison:
    """A snapshot beside the files on disk.

    ``dirty``, ``extra``, ``unwanted`` and the digest are complete once `changes` has come to its
    end.
    """

    tree: Tree
    snapshot: Snapshot
    files: render.SiteFiles
    """Those of the whole site, as `render.site_files` gives them."""
    owner: Owner
    """Whose vpopmail's own files are."""
    dirty: set[str] = field(default_factory=set)
    """The directories of domains in which anything is to be done."""
    extra: list[str] = field(default_factory=list)
    """Site paths that look like files of ours and have no rows."""
    unwanted: list[str] = field(default_factory=list)
    """Site paths of files of accounts that are to go, because these are in the database alone."""
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def changes(self) -> Iterator[Change]:
        """Return the files that differ: the domains' first, then the site's."""
        for domain in self.snapshot.domains:
            unwanted = self._files_of_accounts(domain.directory)
            yield from self._noted(self._of_domain(domain, unwanted))
            yield from self._noted(self._gone(unwanted, domain.name))
        yield from self._noted(self._of_site())
        unwanted = self._files_of_accounts(f"{self.snapshot.paths.vpopmail}/domains")
        yield from self._noted(self._gone(unwanted, None))

    def anew(self) -> "Comparison":
        """Return the same one before its `changes`."""
        return Comparison(self.tree, self.snapshot, self.files, self.owner)

    def warnings(self) -> list[Warned]:
        """Return what the configured way of delivery cannot do."""
        return delivery_warnings(self.snapshot)

    @property
    def digest(self) -> str:
        """What two plans share only if they change the same files from and to the same."""
        return self._digest.hexdigest()[:16]

    @property
    def reload_is_pending(self) -> bool:
        """Whether an apply runs the reload command, because an earlier one came not so far."""
        marker = f"{self.snapshot.paths.qmail}/{render.RELOAD_MARKER}"
        return bool(self.snapshot.export.reload_command) and self.tree.exists(marker)

    def _noted(self, changes: Iterator[Change]) -> Iterator[Change]:
        for change in changes:
            for part in (change.path, _hashed(change.before), _hashed(change.after), change.owner):
                self._digest.update(f"{part}\0".encode("utf-8", "surrogateescape"))
            yield change

    def _of_site(self) -> Iterator[Change]:
        vpopmail = f"{self.snapshot.paths.vpopmail}/"
        for path, data in self.files.items():
            owner = self.owner if path.startswith(vpopmail) else None
            yield from self._compared(path, data, owner, None)
        if self.snapshot.export.newu_command:
            yield from self._of_newu()

    def _of_newu(self) -> Iterator[Change]:
        """Return what qmail-newu will do to its cdb, if an apply runs it."""
        qmail = self.snapshot.paths.qmail
        path, text = (
            f"{qmail}/{render.assign_cdb(self.snapshot.export)}",
            f"{qmail}/{render.ASSIGN}",
        )
        is_due = not self.tree.exists(path) or self.tree.exists(f"{qmail}/{render.COMPILE_MARKER}")
        if is_due or any(self._compared(text, self.files[text], None, None)):
            after = assign.compile_text(self.files[text] or b"")
            yield from self._compared(path, after, None, None)

    def _of_domain(self, domain: DomainState, unwanted: Collection[str]) -> Iterator[Change]:
        files = render.domain_files(domain, self.snapshot.paths.vpopmail)
        owner = (domain.uid, domain.gid)
        directory = domain.directory
        homes = {path.rpartition("/")[0] for path in files} - {directory}
        there = {directory: self._listed(directory)} | {each: self._listed(each) for each in homes}
        if None in there.values() or any(map(_has_leftovers, there.values())):
            self.dirty.add(directory)
        for name, type_ in sorted((there[directory] or {}).items()):
            path = f"{directory}/{name}"
            if (
                path not in files
                and path not in unwanted
                and type_ is not EntryType.DIR
                and render.is_ours(name)
            ):
                self.extra.append(path)
        for path, content in files.items():
            home, _, name = path.rpartition("/")
            found = (there[home] or {}).get(name)
            for change in self._compared(path, content, owner, domain.name, found):
                self.dirty.add(directory)
                yield change

    def _files_of_accounts(self, directory: str) -> dict[str, EntryType]:
        """Return those of a directory, if there are to be none. A directory is no file of ours."""
        if self.snapshot.export.has_accounts:
            return {}
        there = self._listed(directory) or {}
        paths = {path: path.rpartition("/")[2] for path in render.files_of_accounts(directory)}
        found = {path: there[name] for path, name in paths.items() if name in there}
        return {path: type_ for path, type_ in found.items() if type_ is not EntryType.DIR}

    def _gone(self, unwanted: Mapping[str, EntryType], domain: str | None) -> Iterator[Change]:
        for path, type_ in unwanted.items():
            self.unwanted.append(path)
            yield from self._compared(path, None, None, domain, type_)

    def _listed(self, directory: str) -> dict[str, EntryType] | None:
        """Return what is in a directory; None: it is missing."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return {entry.name: entry.type for entry in self.tree.list(directory)}
        return None

    def _compared(
        self,
        path: str,
        after: Content | None,
        owner: Owner | None,
        domain: str | None,
        type_: EntryType | None = EntryType.FILE,
    ) -> Iterator[Change]:
        """Return the change that a file needs, if any.

        :param type_: of what is there; a file stands for what is not known.
        """
        before: Content | None = None
        was = None
        if type_ is EntryType.LINK:
            before = Link(self.tree.read_link(path))
        elif type_ is not None:
            with suppress(FileNotFoundError, NotADirectoryError):
                was = self.tree.load(path)
                before = was.data
        new_owner = owner if was and owner != was.owner and os.geteuid() == 0 else None
        if before != after or (new_owner and isinstance(after, bytes)):
            yield Change(path, before, after, domain, was, new_owner)


def _has_leftovers(entries: dict[str, EntryType] | None) -> bool:
    return any(name.startswith(TEMP_PREFIX) for name in entries or ())


def _hashed(content: Content | None) -> str:
    if isinstance(content, Link):
        return f"-> {content.target}"
    return "" if content is None else hashlib.sha256(content).hexdigest()
