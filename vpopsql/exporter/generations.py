"""What the files were before each apply, kept so that it can be taken back.

Every apply that changes something makes a *generation*: a number, and an archive of the files it
replaced as they were. The archive and its description are on disk before the first file changes;
an apply that is killed has one, too. Going back to generation N undoes those after it, the newest
first: each file gets the content that the eldest of them replaced.

They lie in qmail's users directory, for their owner alone: the files have password hashes.
"""

import gzip
import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any

from vpopsql.config import Paths
from vpopsql.errors import ExportFailed
from vpopsql.exporter.plan import Change, Content
from vpopsql.exporter.render import Link
from vpopsql.tree import Owner, Tree

DIRECTORY = ".vpopsql-generations"
"""Below qmail's users directory."""

_FORMAT = 1
_DIRECTORY_MODE = 0o700
_DESCRIPTION = re.compile(r"(\d{6,})\.json")
_QUICK = 1  # of gzip: what is kept is rarely read


@dataclass(frozen=True, slots=True)
class Generation:
    """The files after one apply."""

    number: int
    at: datetime
    """When the apply began."""
    revision: int
    """The revision of the database that it wrote; of a rollback, the one that was on disk."""
    what: str
    """``apply``, or ``rollback to N``."""
    replaced: tuple[str, ...]
    """Site paths of files that it changed or removed; the archive has them."""
    made: tuple[str, ...]
    """Site paths of files that it made."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A file as an archive has it."""

    content: Content
    mode: int
    owner: Owner


@dataclass(slots=True)
class _Draft:
    """A generation in the making."""

    archive: tarfile.TarFile
    replaced: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)

    def add(self, change: Change) -> None:
        if change.before is None:
            self.made.append(change.path)
            return
        self.replaced.append(change.path)
        member = tarfile.TarInfo(change.path.lstrip("/"))
        data = b""
        if isinstance(change.before, Link):
            member.type = tarfile.SYMTYPE
            member.linkname = change.before.target
        elif change.was is not None:
            data = change.before
            member.mode = change.was.mode
            member.uid, member.gid = change.was.owner
            member.mtime = change.was.modified_at
        member.size = len(data)
        self.archive.addfile(member, io.BytesIO(data))


class Generations:
    """The generations of one host.

    :ivar directory: where they lie, as a site path.
    :param keep: how many archives stay; the elder ones go when a new one is complete.
    """

    def __init__(self, tree: Tree, paths: Paths, keep: int) -> None:
        self._tree = tree
        self.directory = f"{paths.users}/{DIRECTORY}"
        self._keep = keep

    def all(self) -> list[Generation]:
        """Return them, the newest last."""
        try:
            entries = self._tree.list(self.directory)
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = (_DESCRIPTION.fullmatch(entry.name) for entry in entries)
        return [self._read(number) for number in sorted(int(each[1]) for each in found if each)]

    def keep(self, changes: Iterable[Change], revision: int, what: str) -> Generation | None:
        """Keep what is about to be replaced; None if nothing is, and nothing is made either.

        :raises OSError: it could not be kept; nothing may be changed then.
        """
        iterator = iter(changes)
        first = next(iterator, None)
        if first is None:
            return None
        number = max((each.number for each in self.all()), default=0) + 1
        at = datetime.now(UTC).replace(microsecond=0)
        self._tree.make_dir(self.directory, _DIRECTORY_MODE, parents=True)
        with self._archive(number) as archive:
            draft = _Draft(archive)
            draft.add(first)
            for change in iterator:
                draft.add(change)
        kept = Generation(number, at, revision, what, tuple(draft.replaced), tuple(draft.made))
        self._tree.write(self._path(number, "json"), _described(kept))
        return kept

    def prune(self) -> None:
        """Remove the eldest beyond the number that is kept."""
        for generation in self.all()[: -self._keep or None]:
            # The description first: an archive without one is nothing.
            self._tree.remove(self._path(generation.number, "json"))
            self._tree.remove(self._path(generation.number, "tar.gz"))

    def before(self, number: int) -> dict[str, Kept | None]:
        """Return the files as they were at the end of a generation, where they differ now.

        :returns: by site path; None: there was no such file.
        :raises ExportFailed: there is no such generation, or it is not kept any more.
        """
        known = self.all()
        undone = [each for each in known if each.number > number]
        eldest = min((each.number for each in known), default=1)
        if number < eldest - 1 or not undone:
            numbers = f"{eldest - 1} to {known[-1].number - 1}" if known else "none"
            raise ExportFailed(
                f"generation {number} is none that can be gone back to ({numbers}):"
                " see `vpopsql export generations`"
            )
        files: dict[str, Kept | None] = {}
        for generation in reversed(undone):
            files |= dict.fromkeys(generation.made)
            files |= self._members(generation.number)
        return files

    def _members(self, number: int) -> Iterator[tuple[str, Kept]]:
        path = self._path(number, "tar.gz")
        try:
            data = self._tree.read(path)
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz", **_NAMES) as archive:
                for member in archive:
                    yield "/" + member.name, _kept(archive, member)
        except (OSError, EOFError, tarfile.TarError) as error:
            raise ExportFailed(f"{path}: the archive cannot be read: {error}") from error

    @contextmanager
    def _archive(self, number: int) -> Iterator[tarfile.TarFile]:
        with (
            self._tree.create(self._path(number, "tar.gz")) as file,
            gzip.GzipFile(fileobj=file, mode="wb", compresslevel=_QUICK) as packed,
            tarfile.open(fileobj=packed, mode="w", **_NAMES) as archive,
        ):
            yield archive

    def _read(self, number: int) -> Generation:
        path = self._path(number, "json")
        try:
            found: dict[str, Any] = json.loads(self._tree.read(path))
            if found["format"] != _FORMAT:
                raise ExportFailed(f"{path}: its format is newer than this program")
            return Generation(
                number=number,
                at=datetime.fromisoformat(found["at"]),
                revision=found["revision"],
                what=found["what"],
                replaced=tuple(found["replaced"]),
                made=tuple(found["made"]),
            )
        except (ValueError, KeyError) as error:
            raise ExportFailed(f"{path}: no description of a generation: {error}") from error

    def _path(self, number: int, ending: str) -> str:
        return f"{self.directory}/{number:06}.{ending}"


_NAMES: Any = {
    "format": tarfile.PAX_FORMAT,
    "encoding": "utf-8",
    "errors": "surrogateescape",
}


def _kept(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Kept:
    owner = (member.uid, member.gid)
    if member.issym():
        return Kept(Link(member.linkname), member.mode, owner)
    file: IO[bytes] | None = archive.extractfile(member)
    if file is None:
        raise tarfile.ReadError(f"{member.name} is no file")
    return Kept(file.read(), member.mode, owner)


def _described(generation: Generation) -> bytes:
    description = {
        "format": _FORMAT,
        "at": generation.at.isoformat(),
        "revision": generation.revision,
        "what": generation.what,
        "replaced": generation.replaced,
        "made": generation.made,
    }
    return json.dumps(description, indent=1).encode() + b"\n"
