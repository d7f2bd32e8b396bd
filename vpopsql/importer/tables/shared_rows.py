"""What the tables say of the site as a whole, and of domains that it does not have.

Together with what `TablesBackend` counts for each domain, every row of every table that is read
is counted here exactly once.
"""

import ipaddress
from collections.abc import Sequence

from vpopsql import names
from vpopsql.importer import site
from vpopsql.importer.backend import Head, Shared
from vpopsql.importer.codes import Code
from vpopsql.importer.evidence import Evidence, Tally
from vpopsql.importer.tables import rows as read
from vpopsql.importer.tables.schema import (
    ACCOUNTS,
    ALIASDOMAINS,
    DIR_CONTROL,
    IP_ALIAS_MAP,
    LASTAUTH,
    LIMITS,
    VALIAS,
    Table,
    table_name,
)
from vpopsql.importer.tables.staging import Owner, Staged
from vpopsql.qmail import ipmap
from vpopsql.qmail.lines import encode

_SITE = "dom_"
"""What the name of the site's own row in ``dir_control`` begins with; a uid follows."""


def _address(text: str) -> str | None:
    """Return an IP address in its usual spelling, None if it is none that a map can have."""
    (mapping,) = ipmap.parse(encode(f"{text.replace(chr(10), '?')} domain"))
    if not isinstance(mapping, ipmap.IpMapping):
        return None
    return str(ipaddress.ip_address(mapping.address))


def read_shared_rows(staged: Staged, heads: Sequence[Head], evidence: Evidence) -> Shared:
    """Read what is the site's, and account for the rows of domains that it does not have.

    :param heads: all real domains, with their aliases.
    """
    reader = _Reader(staged, heads, evidence)
    shared = Shared(ip_mappings=reader.ip_mappings(), counter=reader.counter())
    reader.compare_alias_domains()
    reader.find_strangers()
    return shared


class _Reader:
    def __init__(self, staged: Staged, heads: Sequence[Head], evidence: Evidence) -> None:
        self._staged = staged
        self._evidence = evidence
        self._real = {head.name.name for head in heads}
        self._aliases = {alias.name: head.name.name for head in heads for alias in head.aliases}
        self._uids = [head.uid for head in heads]
        self._counter = ""
        self._tallies: dict[str, Tally] = {}

    def ip_mappings(self) -> dict[str, str]:
        """Return the real domain that each address is mapped to."""
        tally = self._tally(IP_ALIAS_MAP)
        mappings: dict[str, str] = {}
        for owner in self._staged.owners(IP_ALIAS_MAP):
            domain = self._aliases.get(owner.name, owner.name)
            for row in self._staged.rows(IP_ALIAS_MAP, owner.name):
                tally.lines += 1
                text = (row.fields[0] or "").strip(" ")
                address = _address(text)
                if address is None:
                    reason = f"{text or 'nothing'} is no IP address"
                    self._reject(tally, Code.MALFORMED, row.line, text, reason)
                elif domain not in self._real:
                    reason = f"{owner.name or 'nothing'} is no domain of the site"
                    self._reject(tally, Code.UNKNOWN_DOMAIN, row.line, text, reason)
                elif address in mappings:
                    tally.merged += 1
                    reason = f"{address} is mapped to {mappings[address]} before"
                    self._find(Code.DUPLICATE, tally, row.line, text, reason)
                else:
                    tally.imported += 1
                    mappings[address] = domain
        return mappings

    def counter(self) -> site.Counter | None:
        """Return the counter of the directory that the domains' own are in."""
        wanted = f"{_SITE}{max(set(self._uids), key=self._uids.count, default='')}"
        rows = self._staged.rows(DIR_CONTROL, wanted)
        if not rows:
            return None
        tally = self._tally(DIR_CONTROL)
        tally.lines += len(rows)
        tally.imported += 1
        for row in rows[1:]:
            tally.merged += 1
            self._find(Code.DUPLICATE, tally, row.line, wanted, "it has a row already")
        control, odd = read.counter(rows[0])
        if odd:
            reason = f"no number: {', '.join(odd)}; imported as of a new site"
            self._find(Code.ODD_LIMIT, tally, rows[0].line, wanted, reason)
        self._counter = wanted
        return site.Counter(control)

    def compare_alias_domains(self) -> None:
        """Report where ``aliasdomains`` says something else than ``users/assign``."""
        tally = self._tally(ALIASDOMAINS)
        for owner in self._staged.owners(ALIASDOMAINS):
            for row in self._staged.rows(ALIASDOMAINS, owner.name):
                tally.lines += 1
                tally.merged += 1
                alias = read.name_of(row.fields[0])
                target = self._aliases.get(alias)
                if target == owner.name:
                    continue
                says = f"an alias of {target}" if target else "no alias domain"
                if alias in self._real:
                    says = "a domain of its own"
                reason = f"an alias of {owner.name} here, {says} in users/assign"
                self._find(Code.ALIAS_DOMAIN_DIFFERS, tally, row.line, alias, reason)

    def find_strangers(self) -> None:
        """Count and report the rows of domains that the site does not have."""
        accounts = self._staged.accounts
        known = self._real
        if self._staged.by_domain:
            known = {table_name(domain, self._staged.database) for domain in self._real}
        tally = self._tally(accounts, ACCOUNTS.name)
        for owner in self._strangers(accounts, known):
            tally.lines += owner.rows
            tally.rejected += owner.rows
            place = self._staged.place(accounts, owner.name)
            reason = f"{owner.rows} accounts {self._of(owner.name)}"
            self._evidence.find(
                Code.UNKNOWN_DOMAIN, place, owner.first_line, "", reason, key=owner.name
            )
        for table in (VALIAS, LIMITS, LASTAUTH, DIR_CONTROL):
            tally = self._tally(table)
            expected = (
                self._real | ({self._counter} - {""}) if table is DIR_CONTROL else self._real
            )
            for owner in self._strangers(table, expected):
                tally.lines += owner.rows
                tally.merged += owner.rows
                reason = f"{owner.rows} rows {self._of(owner.name)}"
                self._find(Code.ROW_WITHOUT_DOMAIN, tally, owner.first_line, owner.name, reason)

    def _strangers(self, table: Table, known: set[str]) -> list[Owner]:
        return [owner for owner in self._staged.owners(table) if owner.name not in known]

    def _of(self, name: str) -> str:
        if not name:
            return "of no domain at all"
        if name in self._aliases:
            real = self._aliases[name]
            return f"of {name}, an alias of {real}: vpopmail reads those of {real} only"
        return f"of {name}, which users/assign does not have"

    def _tally(self, table: Table, kind: str = "") -> Tally:
        """Return the count of a table, which is as many files as there are such tables."""
        if table.name not in self._tallies:
            if not self._staged.has(table):
                return Tally(table.name, "")  # of nothing
            tally = self._evidence.tally(kind or table.name, self._staged.place(table))
            tally.files = len(self._staged.tables[table.name])
            self._tallies[table.name] = tally
        return self._tallies[table.name]

    def _find(self, code: Code, tally: Tally, line: int, key: str, reason: str) -> None:
        self._evidence.find(code, tally.place, line, "", reason, key=names.lower(key))

    def _reject(self, tally: Tally, code: Code, line: int, key: str, reason: str) -> None:
        tally.rejected += 1
        self._find(code, tally, line, key, reason)
