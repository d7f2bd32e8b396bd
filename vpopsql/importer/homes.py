"""Which directories may be an account's own.

An account's programs work in its directory and deleting the account removes it. vpopmail puts it
below the domain's; nothing in ``vpasswd`` makes it so.
"""

from collections.abc import Mapping

from vpopsql.importer.codes import Code
from vpopsql.importer.directory import plain_path


class Homes:
    """The directories of all accounts of a site, as far as they are known.

    :param domains: the name of each domain by its directory.
    :param vpopmail_dir: vpopmail's home.
    """

    def __init__(self, domains: Mapping[str, str], vpopmail_dir: str) -> None:
        self._domains = domains
        self._taken: dict[str, str] = {}
        self._owners: dict[str, str | None] = {}  # of the few directories that homes are in
        self._reserved: set[str] = set()
        for directory in (f"{vpopmail_dir}/domains", *domains):
            self._reserved.update(_with_those_above(directory))

    def plain(self, home: str) -> str | None:
        """Return ``home`` as site paths are written, None if it can be no account's."""
        plain = plain_path(home)
        return None if plain in self._reserved else plain

    def take(self, home: str, name: str, domain: str, place: str) -> tuple[Code, str] | None:
        """Note whose directory ``home`` is; return what is odd about that, if anything.

        :param home: as `plain` returns it.
        :param domain: the directory of the account's domain.
        :param place: the account's line.
        """
        other = self._taken.setdefault(home, place)
        if other != place:
            return Code.SHARED_HOME, f"the directory of {name} is that of {other}, too"
        parent = home.rpartition("/")[0]
        if parent not in self._owners:
            self._owners[parent] = self._owner(parent)
        owner = self._owners[parent]
        if owner == domain:
            return None
        if owner is None:
            return Code.OUTSIDE, f"the directory of {name} is not below the domain's"
        reason = f"the directory of {name} is below that of {self._domains[owner]}"
        return Code.OUTSIDE, reason

    def _owner(self, path: str) -> str | None:
        """Return the nearest domain's directory: one may be below another's."""
        return next((each for each in _with_those_above(path) if each in self._domains), None)


def _with_those_above(path: str) -> list[str]:
    """Return a plain path and the paths of all directories above it but the root's."""
    found = []
    while path:
        found.append(path)
        path = path.rpartition("/")[0]
    return found
