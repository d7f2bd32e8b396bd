"""vpopmail's cdb build: everything of a domain is a file in its directory."""

from collections.abc import Collection, Sequence

from vpopsql.importer import site
from vpopsql.importer.backend import Head, Listing, Shared
from vpopsql.importer.codes import Code
from vpopsql.importer.directory import Directory
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.files import LIMITS, read_counter, read_file, read_limits
from vpopsql.qmail import vpasswd

VPASSWD = "vpasswd"
VPASSWD_CDB = "vpasswd.cdb"


class CdbBuild:
    """The `Backend` of a tree; without the domain's directory there is nothing to read."""

    in_tree = True
    alias_place = ""

    def accounts(
        self, head: Head, directory: Directory | None, evidence: Evidence
    ) -> Listing | None:
        """Return the lines of vpasswd, or of its cdb; None when there is neither."""
        del head
        if directory is None:
            return None
        present = directory.names()
        name = next((name for name in (VPASSWD, VPASSWD_CDB) if name in present), None)
        shown = f"{directory.shown}/{name or VPASSWD}"
        if name is None:
            reason = "the domain has neither vpasswd nor vpasswd.cdb"
            evidence.find(Code.MISSING, shown, 0, "", reason)
            return None
        data = read_file(evidence, directory, name)
        if data is None:
            return None
        if name == VPASSWD_CDB:
            reason = "vpasswd is missing; the accounts are from its cdb"
            evidence.find(Code.CDB_ONLY, shown, 0, "", reason)
            records = vpasswd.parse_cdb(data)
        else:
            records = vpasswd.parse(data)
        tally = evidence.tally(name, shown)
        tally.files = 1
        tally.lines = len(records)
        return Listing(tally, records)

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
