"""What the tables say of one domain: vpopmail's SQL back ends behind the `Backend` protocol."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from vpopsql import names
from vpopsql.directory import Directory, plain_path, relative_to
from vpopsql.importer import files, site
from vpopsql.importer.account_files import VPASSWD
from vpopsql.importer.backend import Head, Listing, Shared
from vpopsql.importer.codes import Code
from vpopsql.importer.evidence import Evidence, Tally, may_be_shown
from vpopsql.importer.tables import rows as read
from vpopsql.importer.tables.aliases import AliasReader
from vpopsql.importer.tables.schema import (
    ACCOUNTS,
    DIR_CONTROL,
    DOMAIN_ACCOUNTS,
    LASTAUTH,
    LIMITS,
    MYSQL_IDENTIFIER_MAX,
    VALIAS,
    Table,
    table_name,
)
from vpopsql.importer.tables.shared_rows import read_shared_rows
from vpopsql.importer.tables.staging import Row, Staged
from vpopsql.qmail.lines import Malformed
from vpopsql.qmail.vpasswd import VpasswdLine

_UNREAD_FILES = "files that a SQL back end does not read"


class TablesBackend:
    """Answers for one domain after the other from staged rows.

    It can be pickled; in each process it opens the scratch file for itself.

    :param heads: all real domains of the site: two may have one table.
    """

    in_tree = False

    def __init__(self, staged: Staged, heads: Iterable[Head]) -> None:
        self._staged = staged
        self.alias_place = staged.place(VALIAS)
        self._sharing: dict[str, list[tuple[str, str]]] = {}
        if staged.by_domain:
            sharing: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
            for head in heads:
                name = head.name.name
                sharing[table_name(name, staged.database)].append((name, head.directory))
            self._sharing = {table: who for table, who in sharing.items() if len(who) > 1}

    def accounts(
        self, head: Head, directory: Directory | None, evidence: Evidence
    ) -> Listing | None:
        """Return the accounts; a domain without rows has none."""
        _leave_unread(directory, VPASSWD, evidence)
        owner = self._owner(head)
        table = self._staged.accounts
        tally = evidence.tally(ACCOUNTS.name, self._staged.place(table, owner))
        found = self._staged.rows(table, owner)
        if self._staged.by_domain and not self._has_own_table(owner):
            reason = f"{head.name.name} has no table {owner}"
            if len(owner) > MYSQL_IDENTIFIER_MAX:
                reason += ": no table of MySQL can have so long a name"
            evidence.find(Code.NO_ACCOUNT_TABLE, self._staged.source, 0, "", reason)
        if owner in self._sharing:
            found = self._of_shared(head, owner, found, tally, evidence)
        tally.lines += len(found)
        if not found:
            reason = f"{head.name.name} has no account, not even postmaster"
            evidence.find(Code.NO_ACCOUNTS, tally.place, 0, "", reason, key=head.name.name)
        records = [read.account(row) for row in found]
        return Listing(tally, self._storable(head, records, tally, evidence), are_rows=True)

    def _storable(
        self,
        head: Head,
        records: list[VpasswdLine | Malformed],
        tally: Tally,
        evidence: Evidence,
    ) -> list[VpasswdLine | Malformed]:
        """Return accounts without what a file of vpopmail's cannot hold, or finds nothing by."""
        storable: list[VpasswdLine | Malformed] = []
        for each in records:
            record = each
            if isinstance(record, VpasswdLine) and record.name.endswith(" "):
                record = replace(record, name=record.name.rstrip(" "))
                key = f"{names.lower(record.name)}@{head.name.name}"
                reason = f"imported as {record.name}"
                place, number = tally.place, record.number
                evidence.find(Code.TRAILING_BLANKS, place, number, "", reason, key=key)
            if isinstance(record, VpasswdLine) and ":" in record.comment:
                key = f"{names.lower(record.name)}@{head.name.name}"
                reason = "its comment has a colon"
                text, number = record.comment, record.number
                evidence.find(Code.COLON, tally.place, number, text, reason, key=key)
                record = replace(record, comment=record.comment.replace(":", ""))
            storable.append(record)
        return storable

    def aliases(
        self, head: Head, files: Collection[str], evidence: Evidence
    ) -> tuple[site.DotQmailFile, ...]:
        """Return the rows of ``valias`` as the dot-qmail files that mean the same."""
        domain = head.name.name
        found = self._staged.rows(VALIAS, domain)
        if not found:
            return ()
        tally = self._tally(VALIAS, len(found), evidence)
        return AliasReader(domain, files, tally, evidence).read(found)

    def limits(
        self, head: Head, directory: Directory | None, evidence: Evidence
    ) -> site.Limits | None:
        """Return the row of ``limits``; where there is no such table, the domain's file."""
        if not self._staged.has(LIMITS):
            if directory is None or files.LIMITS not in directory.names():
                return None
            return files.read_limits(evidence, directory, files.LIMITS)
        _leave_unread(directory, files.LIMITS, evidence)
        domain = head.name.name
        row = self._only(LIMITS, domain, evidence)
        if row is None:
            return None
        values, odd = read.limits(row)
        place = self._staged.place(LIMITS)
        for column, text, reason in odd:
            evidence.find(Code.ODD_LIMIT, place, row.line, f"{column} {text}", reason, key=domain)
        granted = [name for name, value in values.items() if name.startswith("perm_") and value]
        if granted:
            reason = f"not 0: {', '.join(granted)}"
            evidence.find(Code.UNRELIABLE_PERMISSIONS, place, row.line, "", reason, key=domain)
        return site.Limits(values, None)

    def counter(
        self, head: Head, directory: Directory | None, evidence: Evidence
    ) -> site.Counter | None:
        """Return the row of ``dir_control``, or what the tree has; freed buckets are there."""
        row = self._only(DIR_CONTROL, head.name.name, evidence)
        present = set() if directory is None else directory.names()
        if row is not None:
            _leave_unread(directory, files.COUNTER, evidence)
            present = present - {files.COUNTER}
        in_tree = None
        if directory is not None:
            in_tree = files.read_counter(evidence, directory, present)
        if row is None:
            return in_tree
        control, odd = read.counter(row)
        if odd:
            place = self._staged.place(DIR_CONTROL)
            reason = f"no number: {', '.join(odd)}; imported as of a new domain"
            evidence.find(Code.ODD_LIMIT, place, row.line, "", reason, key=head.name.name)
        return replace(in_tree, control=control) if in_tree else site.Counter(control)

    def shared(self, heads: Sequence[Head], evidence: Evidence) -> Shared:
        """Return what belongs to no domain; account for the rows of domains that are unknown."""
        return read_shared_rows(self._staged, heads, evidence)

    def last_auths(
        self, head: Head, users: Collection[str], evidence: Evidence
    ) -> dict[str, site.LastAuth] | None:
        """Return the rows of ``lastauth``; None if there is no such table."""
        if not self._staged.has(LASTAUTH):
            return None
        domain = head.name.name
        found = self._staged.rows(LASTAUTH, domain)
        if not found:
            return {}
        tally = self._tally(LASTAUTH, len(found), evidence)
        last_auths: dict[str, site.LastAuth] = {}
        strangers: dict[str, int] = {}
        for row in found:
            name, last_auth, doubt = read.last_auth(row)
            key = f"{name}@{domain}"
            if name not in users:
                tally.merged += 1
                strangers.setdefault(name, row.line)
            elif name in last_auths:
                tally.merged += 1
                evidence.find(
                    Code.DUPLICATE, tally.place, row.line, name, "it has a row already", key=key
                )
            else:
                tally.imported += 1
                last_auths[name] = last_auth
                if doubt:
                    text, reason = doubt
                    evidence.find(Code.ODD_LASTAUTH, tally.place, row.line, text, reason, key=key)
        if strangers:
            shown = ", ".join(sorted(strangers)[:5]) + (", …" if len(strangers) > 5 else "")  # noqa: PLR2004
            reason = f"{len(strangers)} names without an account: {shown}"
            line = min(strangers.values())
            evidence.find(Code.LASTAUTH_WITHOUT_USER, tally.place, line, "", reason, key=domain)
        return last_auths

    # --- rows ---------------------------------------------------------------------------------

    def _owner(self, head: Head) -> str:
        """Return what the rows of a domain's accounts are filed under."""
        domain = head.name.name
        return table_name(domain, self._staged.database) if self._staged.by_domain else domain

    def _has_own_table(self, owner: str) -> bool:
        tables = self._staged.tables[DOMAIN_ACCOUNTS.name]
        return any(names.lower(name) == owner for name in tables)

    def _tally(self, table: Table, lines: int, evidence: Evidence) -> Tally:
        tally = evidence.tally(table.name, self._staged.place(table))
        tally.lines = lines
        return tally

    def _only(self, table: Table, domain: str, evidence: Evidence) -> Row | None:
        """Return the domain's first row and count all; more than one is a finding."""
        found = self._staged.rows(table, domain)
        if not found:
            return None
        tally = self._tally(table, len(found), evidence)
        tally.imported = 1
        for row in found[1:]:
            tally.merged += 1
            reason = "the domain has a row already"
            evidence.find(Code.DUPLICATE, tally.place, row.line, "", reason, key=domain)
        return found[0]

    def _of_shared(
        self, head: Head, owner: str, found: list[Row], tally: Tally, evidence: Evidence
    ) -> list[Row]:
        """Return the rows that are this domain's of a table that several domains have."""
        sharing = sorted(self._sharing[owner])
        domain = head.name.name
        own = []
        for row in found:
            path = plain_path(row.fields[_PW_DIR] or "") or ""
            whose = [
                (len(directory), name)
                for name, directory in sharing
                if path == directory or relative_to(path, directory)
            ]
            if whose and max(whose)[1] == domain:
                own.append(row)
            elif not whose and sharing[0][0] == domain:
                # Counted once, with the first of the domains.
                tally.lines += 1
                tally.rejected += 1
                name = read.name_of(row.fields[0])
                key = f"{name if may_be_shown(name) else '…'}@{domain}"
                reason = f"its directory is of none of {', '.join(name for name, _ in sharing)}"
                evidence.find(Code.AMBIGUOUS_ROW, tally.place, row.line, path, reason, key=key)
        if sharing[0][0] == domain:
            reason = f"it is the table of {' and of '.join(name for name, _ in sharing)}"
            evidence.find(Code.SHARED_TABLE, tally.place, 0, owner, reason)
        return own


def _leave_unread(directory: Directory | None, name: str, evidence: Evidence) -> None:
    """Report a file from before the site had this back end, if it is still there."""
    if directory is not None and name in directory.names():
        path = f"{directory.shown}/{name}"
        evidence.leave(_UNREAD_FILES, path)
        reason = "what it says is in a table, which counts"
        evidence.find(Code.UNREAD_FILE, path, 0, "", reason)


_PW_DIR = ACCOUNTS.columns.index("pw_dir")
