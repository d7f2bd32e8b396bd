"""Which files a change of the database touches: said by who makes it, read by who writes them."""

from dataclasses import dataclass, field


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

    def may_have_lost(self, domain: str, name: str) -> bool:
        """Tell whether a mailbox may be gone since; of most changes it is clear that it is not."""
        return domain in self.names or domain in self.accounts or (domain, name) in self.mailboxes

    def add(self, other: "Touched") -> None:
        """Take in what another change touched."""
        self.accounts |= other.accounts
        self.dotqmail |= other.dotqmail
        self.mailboxes |= other.mailboxes
        self.limits |= other.limits
        self.site = self.site or other.site
        self.settings = self.settings or other.settings
        self.names |= other.names
        self.removed |= other.removed
        self.revisions |= other.revisions
