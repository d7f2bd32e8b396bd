"""Which files a change of the database touches: said by who makes it, read by who writes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Self

OF_NO_ACCOUNT = frozenset(
    {
        *("add_alias", "remove_alias", "delete_alias"),
        *("write_file", "rm_file", "rename_file"),
        *("set_limits", "del_limits", "set_default_limits"),
        *("add_ip_map", "del_ip_map"),
        *("add_alias_domain", "del_alias_domain", "rename_alias_domain"),
    }
)
"""The topics of revisions that change no line of vpasswd."""


class Mark(NamedTuple):
    """A revision."""

    revision: int
    at: str
    """When it was made, in ISO format: another database has another one of that number."""

    @classmethod
    def of(cls, revision: int, at: datetime) -> Self:
        """Return that of a revision, and of when it was made."""
        return cls(revision, at.isoformat())


@dataclass(frozen=True, slots=True)
class Seen:
    """What a change saw that was of one mailbox and nothing else, while its domain was locked.

    Who brings files to it that show what was before need not ask for anything.
    """

    domain: str
    """The real domain."""
    directory: str
    """The domain's."""
    owner: tuple[int, int]
    before: Mark
    """The newest revision before that may have changed accounts, of the domain or of the site."""
    mark: Mark
    """The revision of the change."""
    mailbox: str
    columns: Mapping[str, Any] | None = field(repr=False)
    """The mailbox's; None: it is gone."""
    counter: Mapping[str, Any] | None
    """Those of the domain's directory counter; None: it is as it was."""


@dataclass(slots=True)
class Touched:
    """Files that are older than the database, by the real domains they belong to."""

    accounts: set[str] = field(default_factory=set)
    """vpasswd, its cdb, and the directory counter; with exact delivery, lines of users/assign."""
    dotqmail: set[str] = field(default_factory=set)
    """The ``.qmail*`` files of the domain and of its mailboxes, ``.qmail-default`` included."""
    limits: set[str] = field(default_factory=set)
    """``.qmailadmin-limits``."""
    site: bool = False
    """The files of the whole site: qmail's control files, users/assign, and `settings`."""
    settings: bool = False
    """Those of them that are vpopmail's own: the IP map, and the limits of domains without any."""
    names: set[str] = field(default_factory=set)
    """Names, of domains and alias domains, that came or went: their lines in those files."""
    removed: set[str] = field(default_factory=set)
    """Site paths of dot-qmail and limits files whose rows were deleted.

    Their domains must be named above: only what was looked up can be known to have no rows.
    """
    mailboxes: set[tuple[str, str]] = field(default_factory=set)
    """Domain and name of mailboxes: their lines of vpasswd and its cdb, and the counter.

    All lines are written all the same if the domain has changed otherwise since the last time.
    """
    revisions: set[int] = field(default_factory=set)
    """The `Revision` of each change, as far as it is known: any other one is somebody else's."""
    seen: Seen | None = None
    """What was seen of the change, if it is a single one; see `seen_alone`."""

    def __bool__(self) -> bool:
        """Tell whether there is anything."""
        return bool(
            self.accounts
            or self.mailboxes
            or self.dotqmail
            or self.limits
            or self.site
            or self.settings
            or self.names
        )

    @property
    def seen_alone(self) -> Seen | None:
        """Return what was seen of the change; None: that is not all that there is."""
        of_site = self.site, self.settings, self.names
        more = (*of_site, self.accounts, self.dotqmail, self.limits, self.removed)
        return None if any(more) or len(self.mailboxes) != 1 else self.seen

    def may_have_lost(self, domain: str, name: str) -> bool:
        """Tell whether a mailbox may be gone since; of most changes it is clear that it is not."""
        return domain in self.names or domain in self.accounts or (domain, name) in self.mailboxes

    def add(self, other: "Touched") -> None:
        """Take in what another change touched."""
        if other:
            self.seen = None if self else other.seen
        self.accounts |= other.accounts
        self.dotqmail |= other.dotqmail
        self.mailboxes |= other.mailboxes
        self.limits |= other.limits
        self.site = self.site or other.site
        self.settings = self.settings or other.settings
        self.names |= other.names
        self.removed |= other.removed
        self.revisions |= other.revisions
