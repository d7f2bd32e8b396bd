"""Which directories may be an account's own.

An account's programs work in its directory and deleting the account removes it. vpopmail puts it
below the domain's; nothing in ``vpasswd`` makes it so.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from vpopsql.directory import plain_path
from vpopsql.importer.codes import Code
from vpopsql.importer.evidence import Evidence


class Outside(NamedTuple):
    """An account's directory that is not below its domain's; others may use it, too."""

    home: str
    name: str
    place: str
    owner: str | None
    """The directory of the domain that it is below, None if it is below nobody's."""


class Homes:
    """Where accounts may have their directories.

    :param domains: the name of each domain by its directory.
    :param vpopmail_dir: vpopmail's home.
    """

    def __init__(self, domains: Mapping[str, str], vpopmail_dir: str) -> None:
        self._domains = domains
        self._reserved: set[str] = set()
        for directory in (f"{vpopmail_dir}/domains", *domains):
            self._reserved.update(_with_those_above(directory))

    def plain(self, home: str) -> str | None:
        """Return ``home`` as site paths are written, None if it can be no account's."""
        plain = plain_path(home)
        return None if plain in self._reserved else plain

    def owner(self, path: str) -> str | None:
        """Return the nearest domain's directory: one may be below another's."""
        return next((each for each in _with_those_above(path) if each in self._domains), None)

    def domain(self, directory: str) -> str:
        """Return the name of the domain with a directory."""
        return self._domains[directory]


class DomainHomes:
    """The directories of one domain's accounts.

    :param directory: that of the domain.
    """

    def __init__(self, homes: Homes, directory: str) -> None:
        self._homes = homes
        self._directory = directory
        self._taken: dict[str, str] = {}
        self._owners: dict[str, str | None] = {}  # of the few directories that homes are in
        self.outside: list[Outside] = []

    def take(self, home: str, name: str, place: str) -> tuple[Code, str] | None:
        """Note whose directory ``home`` is; return what is odd about that, if anything.

        :param home: as `Homes.plain` returns it.
        :param place: the account's line.
        """
        other = self._taken.setdefault(home, place)
        if other != place:
            return Code.SHARED_HOME, _shared(name, other)
        parent = home.rpartition("/")[0]
        if parent not in self._owners:
            self._owners[parent] = self._homes.owner(parent)
        owner = self._owners[parent]
        if owner == self._directory:
            return None
        self.outside.append(Outside(home, name, place, owner))
        if owner is None:
            return Code.OUTSIDE, f"the directory of {name} is not below the domain's"
        reason = f"the directory of {name} is below that of {self._homes.domain(owner)}"
        return Code.OUTSIDE, reason


def find_shared(outside: Iterable[Outside], evidence: Evidence) -> None:
    """Report directories that accounts of two domains have, both outside their domain's own."""
    taken: dict[str, str] = {}
    for each in outside:
        other = taken.setdefault(each.home, each.place)
        if other != each.place:
            reason = _shared(each.name, other)
            evidence.find(Code.SHARED_HOME, each.place, 0, each.home, reason)


def find_taken(outside: Iterable[Outside], homes: Mapping[str, str], evidence: Evidence) -> None:
    """Report directories below another domain's that an account of that domain has.

    :param homes: the accounts of the domain by their directories.
    """
    for each in outside:
        if each.home in homes:
            reason = _shared(each.name, f"{homes[each.home]} of the domain it is below")
            evidence.find(Code.SHARED_HOME, each.place, 0, each.home, reason)


def _shared(name: str, other: str) -> str:
    return f"the directory of {name} is that of {other}, too"


def _with_those_above(path: str) -> list[str]:
    """Return a plain path and the paths of all directories above it but the root's."""
    found = []
    while path:
        found.append(path)
        path = path.rpartition("/")[0]
    return found
