"""Judging the account lines of a domain, wherever they were listed.

A line is used, used with a warning, or left out; each is counted in the listing's tally.
"""

import functools
import operator
import re
from collections.abc import Mapping
from dataclasses import replace

from vpopsql import names
from vpopsql.importer.backend import Choices, Head, Listing
from vpopsql.importer.codes import Code
from vpopsql.importer.evidence import Evidence, may_be_shown, without_secrets
from vpopsql.importer.homes import DomainHomes, Homes
from vpopsql.importer.indimail import vpopmail_flags
from vpopsql.model import Flag
from vpopsql.passwords import scheme_of
from vpopsql.qmail.lines import Malformed
from vpopsql.qmail.vpasswd import VpasswdLine
from vpopsql.quota import NO_QUOTA, Quota, find_doubt

_INT_MAX = 2**31 - 1  # what a column for uids holds
_KNOWN_FLAGS = functools.reduce(operator.or_, Flag).value
_NO_NAMES = {".", ".."}
_LIKE_A_QUOTA = re.compile(r"[-+0-9., KMGTPBSC]{1,60}|NOQUOTA.{0,3}", re.IGNORECASE)
_HASH_SIGNS = {"$", "{"}


class AccountReader:
    """Judges the lines of one domain."""

    def __init__(self, head: Head, homes: Homes, choices: Choices, evidence: Evidence) -> None:
        self._head = head
        self._all_homes = homes
        self._choices = choices
        self._evidence = evidence
        self._mapped = 0
        self._are_rows = False
        self.homes = DomainHomes(homes, head.directory)

    def usable(self, listing: Listing) -> list[VpasswdLine]:
        """Return the lines that are accounts, with names in lower case."""
        seen: dict[str, int | str] = {}
        usable = self._of_one_place(listing, seen)
        if listing.also is not None:
            seen = dict.fromkeys(seen, listing.tally.kind)
            usable += self._of_one_place(listing.also, seen)
        return usable

    def _of_one_place(self, listing: Listing, seen: dict[str, int | str]) -> list[VpasswdLine]:
        """Return the accounts that one file or table lists.

        :param seen: where each account was found before: its line, or the file.
        """
        self._mapped = 0
        self._are_rows = listing.are_rows
        checked = (self._line(line, seen, listing) for line in listing.records)
        usable = [line for line in checked if line is not None]
        shown = listing.tally.place
        usable = self._without_carriage_returns(usable, shown)
        if self._mapped:
            reason = f"{self._mapped} accounts have flags that mean something else in vpopmail"
            self._evidence.find(Code.MAPPED_FLAGS, shown, 0, "", reason)
        self._find_odd_values(usable, shown)
        self._report_clear_texts(usable, shown)
        return usable

    def _line(
        self, line: VpasswdLine | Malformed, seen: dict[str, int | str], listing: Listing
    ) -> VpasswdLine | None:
        tally, find = listing.tally, self._evidence.find
        shown = tally.place
        if isinstance(line, Malformed):
            if not line.text.strip() and line.number and not listing.are_rows:
                tally.merged += 1
                find(Code.BLANK_LINE, shown, line.number, "", "a blank line")
            else:
                key = self._key(line.text.partition(":")[0]) if listing.are_rows else ""
                self._evidence.malformed(tally, shown, line, secret=True, key=key)
            return None
        name = names.lower(line.name)
        key = self._key(name) if listing.are_rows else ""
        home = self._all_homes.plain(line.directory)
        if problem := _problem(line, name, home, seen):
            code, text, reason = problem
            find(code, shown, line.number, text, reason, key=key)
            tally.rejected += 1
            return None
        seen[name] = line.number
        tally.imported += 1
        flags = line.flags
        if self._choices.is_indimail:
            flags, dropped = vpopmail_flags(flags)
            self._mapped += flags != line.flags
            if dropped:
                reason = f"{name} has flags that vpopmail does not know: {dropped:#x}"
                find(Code.INDIMAIL_FLAGS, shown, line.number, str(line.flags), reason, key=key)
        read = line
        if (name, home, flags) != (line.name, line.directory, line.flags):
            read = replace(line, name=name, directory=home or "", flags=flags)
        self._find_odd(line, read, shown, key)
        return read

    def _key(self, name: str) -> str:
        """Return what a row is known by; a row in disorder can have a hash for a name."""
        is_name = names.is_user_name(name) and _HASH_SIGNS.isdisjoint(name)
        return f"{name if is_name or may_be_shown(name) else '…'}@{self._head.name.name}"

    def _find_odd(self, line: VpasswdLine, read: VpasswdLine, shown: str, key: str) -> None:
        """Report what is imported, but not as it stands there or with doubts."""
        name, number = read.name, line.number

        def find(code: Code, text: str, reason: str) -> None:
            self._find(code, read, shown, text, reason)

        if name != line.name:
            find(Code.UPPER_CASE, line.name, f"imported as {name}")
        if read.directory != line.directory:
            reason = f"the directory of {name} is read as {read.directory}"
            find(Code.NOT_PLAIN, line.directory, reason)
        if unknown := read.flags & ~_KNOWN_FLAGS:
            reason = f"{name} has unknown flags in its gid: {unknown:#x}"
            find(Code.UNKNOWN_FLAGS, str(line.flags), reason)
        place = f"{shown}[{key}]" if key else f"{shown}:{number}"
        if odd := self.homes.take(read.directory, name, place):
            code, reason = odd
            find(code, read.directory, reason)

    def _without_carriage_returns(self, lines: list[VpasswdLine], shown: str) -> list[VpasswdLine]:
        """Return the lines as they are without the end of line of other systems."""
        ending = [line for line in lines if _last_field(line).endswith("\r")]
        if not ending:
            return lines
        reason = f"{len(ending)} lines end in a carriage return"
        self._evidence.find(Code.CARRIAGE_RETURNS, shown, ending[0].number, "", reason)
        return [_without_carriage_return(line) for line in lines]

    def _find_odd_values(self, lines: list[VpasswdLine], shown: str) -> None:
        """Report hashes and quotas that are read differently than by vpopmail, or as they look."""
        prefixed = 0
        for line in lines:
            password_hash = line.password_hash
            if scheme_of(password_hash) == "unknown":
                reason = f"the password hash of {line.name} is of no known kind"
                self._find(Code.UNKNOWN_HASH, line, shown, "", reason)
            elif password_hash.startswith("{"):
                prefixed += 1
            if doubt := _quota_doubt(line.quota_text):
                text, reason = doubt
                reason = f"the quota of {line.name} is taken for {reason}"
                self._find(Code.ODD_QUOTA, line, shown, text, reason)
        if prefixed:
            reason = f"{prefixed} password hashes have a prefix such as {{CRYPT}}"
            self._evidence.find(Code.HASH_PREFIX, shown, 0, "", reason)

    def _find(self, code: Code, line: VpasswdLine, shown: str, text: str, reason: str) -> None:
        key = self._key(line.name) if self._are_rows else ""
        self._evidence.find(code, shown, line.number, text, reason, key=key)

    def _report_clear_texts(self, lines: list[VpasswdLine], shown: str) -> None:
        count = sum(bool(line.clear_text) for line in lines)
        if count and not self._choices.store_clear_text:
            self._evidence.clear_texts += count
            reason = f"{count} readable password{'s are' if count > 1 else ' is'} left out"
            self._evidence.find(Code.CLEAR_TEXT, shown, 0, "", reason)


# Most accounts of a site share a few quotas.
@functools.lru_cache(maxsize=4096)
def _quota_doubt(text: str) -> tuple[str, str] | None:
    """Return what may be shown of a quota, and what it is taken for and why; None if it is sound.

    In a line that lacks a field a password stands in its place.
    """
    doubt = find_doubt(text)
    if doubt is None:
        return None
    taken = Quota.parse(text).render()
    taken = "no limit" if taken == NO_QUOTA else taken
    shown = text if _LIKE_A_QUOTA.fullmatch(text) else f"({len(text)} characters)"
    return shown, f"{taken}: {doubt}"


def _problem(
    line: VpasswdLine, name: str, home: str | None, seen: Mapping[str, int | str]
) -> tuple[Code, str, str] | None:
    """Return why a line cannot be imported: code, text to be shown, reason; None if it can."""
    hidden = without_secrets(f"{line.name}:…")
    if not names.is_user_name(line.name) or not _NO_NAMES.isdisjoint(line.name.split("/")):
        return Code.BAD_NAME, hidden, "no name that vpopmail can have"
    if name in seen:
        other = seen[name]
        where = other if isinstance(other, str) else f"line {other}" if other else "another row"
        case = "" if line.name == name else f" as {name}, which is the same to vpopmail"
        return Code.SAME_USER, line.name, f"{where} has this user already{case}"
    if line.apop_uid > _INT_MAX:
        return Code.MALFORMED, hidden, "its uid is too large"
    if not 0 <= line.flags <= _INT_MAX:
        return Code.MALFORMED, hidden, "its gid, a set of flags, is negative or too large"
    if home is None:
        reason = f"the directory of {name} is no plain absolute path, or holds a domain's"
        return Code.BAD_PATH, line.directory, reason
    return None


def _last_field(line: VpasswdLine) -> str:
    return line.quota_text if line.clear_text is None else line.clear_text


def _without_carriage_return(line: VpasswdLine) -> VpasswdLine:
    """Return the line without what stands before its newline in files of other systems."""
    if line.clear_text is None:
        return replace(line, quota_text=line.quota_text.removesuffix("\r"))
    return replace(line, clear_text=line.clear_text.removesuffix("\r"))
