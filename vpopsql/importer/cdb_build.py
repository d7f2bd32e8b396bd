"""vpopmail's cdb build: everything of a domain is a file in its directory."""

from collections.abc import Collection, Sequence

from vpopsql.directory import Directory
from vpopsql.importer import site
from vpopsql.importer.account_files import read_accounts
from vpopsql.importer.backend import Head, Listing, Prefer, Shared
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.files import LIMITS, read_counter, read_limits


class CdbBuild:
    """The `Backend` of a tree; without the domain's directory there is nothing to read."""

    in_tree = True
    alias_place = ""

    def __init__(self, prefer: Prefer = Prefer.VPASSWD) -> None:
        self._prefer = prefer

    def accounts(
        self, head: Head, directory: Directory | None, evidence: Evidence
    ) -> Listing | None:
        """Return the lines of vpasswd, or of its cdb; None when there is neither."""
        del head
        return None if directory is None else read_accounts(directory, self._prefer, evidence)

    def aliases(
        self, head: Head, files: Collection[str], evidence: Evidence
    ) -> tuple[site.DotQmailFile, ...]:
        """Return nothing: all aliases are files."""
        del head, files, evidence
        return ()

    def limits(
        self, head: Head, directory: Directory | None, evidence: Evidence
    ) -> site.Limits | None:
        """Return what ``.qmailadmin-limits`` says."""
        del head
        if directory is None or LIMITS not in directory.names():
            return None
        return read_limits(evidence, directory, LIMITS)

    def counter(
        self, head: Head, directory: Directory | None, evidence: Evidence
    ) -> site.Counter | None:
        """Return what ``.dir-control`` and ``.dir_control_free`` say."""
        del head
        if directory is None:
            return None
        return read_counter(evidence, directory, directory.names())

    def shared(self, heads: Sequence[Head], evidence: Evidence) -> Shared:
        """Return nothing: the site's files are read wherever there is a tree."""
        del heads, evidence
        return Shared()

    def last_auths(
        self, head: Head, users: Collection[str], evidence: Evidence
    ) -> dict[str, site.LastAuth] | None:
        """Return None: each home has a file of its own."""
        del head, users, evidence
        return None
