"""What is known of files that were written, so that they can be changed where a change is.

The stamp of a domain says of its vpasswd, the cdb and the directory counter, as they were written
under the site's lock, which revision of the domain they show, with all before it. That of the site
says that the cdbs of users/assign and morercpthosts were made of these two. Stamps are kept on the
host and read by whichever process writes next: what has not changed since need not be asked of the
database, or compiled, again.

A stamp is about the very files whose inodes, sizes and times it has. Whoever else writes them, or
changes their rights, makes it void, and so does a crash that loses one of them: stamps need not be
waited for. Nor need they be whole: one that was being written is no JSON, or has what the last one
said of files that are not there any more.
"""

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vpopsql.config import Config
from vpopsql.exporter.render import (
    ASSIGN,
    MORE_CDB,
    MORERCPTHOSTS,
    assign_cdb,
    files_of_accounts,
)
from vpopsql.touched import Mark
from vpopsql.tree import Tree, UnsafePath

DIRECTORY = ".vpopsql-stamps"
"""Below qmail's users directory."""

LARGE = 100
"""Mailboxes of a domain, or names of a site, from which on their files get a stamp.

Those of a smaller domain get one when single mailboxes change.
"""

_MODE = 0o700
_SITE = ".site"  # no domain's name


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a domain's files show."""

    mark: Mark
    directory: str
    """The domain's, where the files are."""


def are_worth_it(number: int) -> bool:
    """Say whether the files of so many mailboxes, or of a site of so many names, get a stamp."""
    return number >= LARGE


class Stamps:
    """The stamps of one host."""

    def __init__(self, tree: Tree, config: Config) -> None:
        self._tree = tree
        self._directory = f"{config.paths.users}/{DIRECTORY}"
        compiled = (ASSIGN, assign_cdb(config.export), MORERCPTHOSTS, MORE_CDB)
        self._of_site = [f"{config.paths.qmail}/{file}" for file in compiled]

    def valid(self, domains: Iterable[str]) -> dict[str, Stamp]:
        """Return those stamps of domains that are about the files there are."""
        found = ((domain, self._read(domain)) for domain in domains)
        return {domain: stamp for domain, stamp in found if stamp}

    def set(self, domain: str, stamp: Stamp) -> None:
        """Stamp the files that were just written; if that is not possible, they have none."""
        said = {"mark": stamp.mark, "directory": stamp.directory}
        self._save(domain, said, _accounts_in(stamp.directory))

    def forget(self, domains: Iterable[str]) -> None:
        """Remove the stamps of domains, those that have one."""
        for domain in domains:
            with contextlib.suppress(OSError, UnsafePath):
                path = f"{self._directory}/{domain}"
                self._tree.remove(path, durable=False, is_told=False)

    def has_site(self) -> bool:
        """Say whether the stamp of the site is about the files there are."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return bool(self._load(_SITE)["files"] == self._states(self._of_site))
        return False

    def set_site(self) -> None:
        """Stamp the site's files that were just written."""
        self._save(_SITE, {}, self._of_site)

    def _read(self, domain: str) -> Stamp | None:
        # An unsafe path is a ValueError.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = self._load(domain)
            revision, at = found["mark"]
            stamp = Stamp(Mark(int(revision), at), found["directory"])
            if found["files"] == self._states(_accounts_in(stamp.directory)):
                return stamp
        return None

    def _load(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._tree.read(f"{self._directory}/{name}"))
        return found

    def _save(self, name: str, said: Mapping[str, object], files: Sequence[str]) -> None:
        with contextlib.suppress(OSError, UnsafePath):
            shown = {**said, "files": self._states(files)}
            self._tree.make_dir(self._directory, _MODE, parents=True, durable=False)
            data = json.dumps(shown).encode()
            self._tree.overwrite(f"{self._directory}/{name}", data)

    def _states(self, files: Sequence[str]) -> list[list[int] | None]:
        return [self._state(path) for path in files]

    def _state(self, path: str) -> list[int] | None:
        try:
            status = self._tree.stat(path)
        except FileNotFoundError:
            return None
        return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _accounts_in(directory: str) -> list[str]:
    return [*files_of_accounts(directory)]
