"""What of a domain depends on vpopmail's back end: the files of the cdb build, or SQL tables.

The domains themselves, their directories and alias domains are in ``users/assign`` whatever the
back end; so are the dot-qmail files of domains and homes in the tree, if there is one. A back end
reads the rest and says everything there is to say about its lines or rows; what is judged alike
wherever it comes from (names, flags, hashes, directories) is judged by who asks.
"""

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vpopsql.directory import Directory
from vpopsql.importer import site
from vpopsql.importer.evidence import Evidence, Tally
from vpopsql.qmail.lines import Malformed
from vpopsql.qmail.vpasswd import VpasswdLine


class Prefer(enum.StrEnum):
    """Which of a domain's two lists of accounts is believed where they differ."""

    VPASSWD = "vpasswd"
    """The text: vpopmail makes the cdb anew from it at the next change."""
    CDB = "cdb"
    """The cdb: what logins and deliveries have used so far."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What the administrator decided about the reading of domains."""

    store_clear_text: bool = False
    """Whether readable passwords are taken over."""
    read_homes: bool = True
    """Whether the homes of accounts are opened, for lastauth and dot-qmail files."""
    is_indimail: bool = False
    """Whether the flags of accounts are indimail's."""
    prefer: Prefer = Prefer.VPASSWD
    """What counts where vpasswd and vpasswd.cdb differ."""
    catchall: str = "bounce"
    """What becomes of mail for unknown names where there is no tree to tell, see `CatchAll`."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the site's own files say about a domain."""

    name: site.Name
    aliases: tuple[site.Name, ...]
    directory: str
    uid: int
    gid: int


@dataclass(slots=True)
class Listing:
    """The accounts of a domain as their source lists them, in its order, nothing judged yet.

    ``tally`` has its ``files`` and ``lines`` counted and nothing else, except for lines or rows
    that are not among ``records`` and have been reported already. The number of a record is its
    line in a file or dump, 0 in a live database.
    """

    tally: Tally
    records: list[VpasswdLine | Malformed]
    are_rows: bool = False
    """Whether a record is known by its name: a database has no lines, and a line of a dump may
    have thousands of rows."""
    also: "Listing | None" = None
    """Accounts that come from another place than the others."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What a back end has of the site as a whole."""

    ip_mappings: Mapping[str, str] = field(default_factory=dict)
    """The real domain of each address."""
    counter: site.Counter | None = None


class Backend(Protocol):
    """Reads what belongs to one domain; reports to the `Evidence` it is given.

    It can be pickled: domains are read by several processes.

    :param directory: the domain's directory, None if there is no tree or the directory is missing.
    """

    in_tree: bool
    """Whether a domain without its directory has lost its accounts."""
    alias_place: str
    """Where aliases are that are no dot-qmail files, for findings."""

    def accounts(
        self, head: Head, directory: Directory | None, evidence: Evidence
    ) -> Listing | None:
        """Return the accounts; None when they cannot be read, which is a finding."""

    def aliases(
        self, head: Head, files: Collection[str], evidence: Evidence
    ) -> tuple[site.DotQmailFile, ...]:
        """Return aliases that are no dot-qmail files of the tree, by name.

        :param files: the names of the domain's dot-qmail files, which qmail finds first.
        """

    def limits(
        self, head: Head, directory: Directory | None, evidence: Evidence
    ) -> site.Limits | None:
        """Return the domain's own limits, None if it has none."""

    def counter(
        self, head: Head, directory: Directory | None, evidence: Evidence
    ) -> site.Counter | None:
        """Return the domain's directory counter, None if there is none."""

    def shared(self, heads: Sequence[Head], evidence: Evidence) -> Shared:
        """Return what belongs to no domain, once all domains are known.

        :param heads: all real domains.
        """

    def last_auths(
        self, head: Head, users: Collection[str], evidence: Evidence
    ) -> dict[str, site.LastAuth] | None:
        """Return the last login of each account by name; None: each home has its own file.

        :param users: the names of the domain's accounts.
        """
