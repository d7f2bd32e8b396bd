"""Reading one domain's directory, and the homes of its mailboxes.

Each home is listed once and only what is there is opened. Nothing is changed and no symbolic
link is followed.
"""

import functools
import ipaddress
import operator
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from vpopsql import names
from vpopsql.importer import site
from vpopsql.importer.codes import Code
from vpopsql.importer.directory import (
    Directory,
    Places,
    components,
    relative_to,
)
from vpopsql.importer.dotqmails import DotQmailReader, is_dot_qmail, split_catchall
from vpopsql.importer.evidence import Evidence, Tally, without_secrets
from vpopsql.importer.files import (
    COUNTER,
    FREE_BUCKETS,
    LOCK,
    read_counter,
    read_file,
    read_limits,
    report_unreadable,
)
from vpopsql.importer.homes import Homes
from vpopsql.model import Flag
from vpopsql.passwords import scheme_of
from vpopsql.qmail import vpasswd
from vpopsql.qmail.lines import Malformed, decode
from vpopsql.quota import Quota

NEVER = "0.0.0.0"  # noqa: S104 - what vpopmail notes as the address of no login
_EPOCH = datetime.fromtimestamp(0, UTC)
_INT_MAX = 2**31 - 1  # what a column for uids holds
_KNOWN_FLAGS = functools.reduce(operator.or_, Flag).value
_NO_NAMES = {".", ".."}
_LISTED = 5  # names shown of many
_VPASSWD = "vpasswd"
_VPASSWD_CDB = "vpasswd.cdb"
_LIMITS = ".qmailadmin-limits"
_LASTAUTH = "lastauth"
# Most accounts of a site share a few quotas.
_parse_quota = functools.lru_cache(maxsize=4096)(Quota.parse)
_READ = {_VPASSWD, _LIMITS, COUNTER, FREE_BUCKETS}


@dataclass(frozen=True, slots=True)
class Head:
    """What the site's own files say about a domain."""

    name: site.Name
    aliases: tuple[site.Name, ...]
    directory: str
    uid: int
    gid: int


@dataclass(slots=True)
class _Home:
    """What a mailbox's directory holds."""

    last_auth: site.LastAuth | None = None
    files: tuple[site.DotQmailFile, ...] = ()


class DomainReader:
    """Reads domains.

    :param homes: takes note of every account's directory.
    :param store_clear_text: whether readable passwords are taken over.
    """

    def __init__(
        self, places: Places, homes: Homes, evidence: Evidence, *, store_clear_text: bool
    ) -> None:
        self._places = places
        self._all_homes = homes
        self._evidence = evidence
        self._dotqmails = DotQmailReader(places, evidence)
        self._store_clear_text = store_clear_text

    def read(self, head: Head) -> site.Domain | None:
        """Return the domain; None when its directory cannot be read, which is a finding."""
        try:
            directory = self._places.open(head.directory)
        except OSError as error:
            report_unreadable(self._evidence, error, f"the directory of {head.name.name}")
            return None
        with directory:
            return self._domain(head, directory)

    def _domain(self, head: Head, directory: Directory) -> site.Domain | None:
        entries = directory.entries()
        present = {entry.name for entry in entries}
        lines = self._vpasswd(head, directory, present)
        if lines is None:
            return None
        mailboxes = self._mailboxes(head, directory, lines)
        tally = self._evidence.tally("domains' .qmail*", directory.shown)
        files = self._dotqmails.read(directory, entries, tally)
        catchall, target, files = split_catchall(files, self._places.prefix)
        self._leave_rest(head, directory, entries, lines)
        return site.Domain(
            name=head.name,
            aliases=head.aliases,
            directory=head.directory,
            uid=head.uid,
            gid=head.gid,
            catchall=catchall,
            catchall_target=target,
            mailboxes=mailboxes,
            files=files,
            limits=read_limits(self._evidence, directory, _LIMITS) if _LIMITS in present else None,
            counter=read_counter(self._evidence, directory, present),
        )

    # --- accounts -----------------------------------------------------------------------------

    def _vpasswd(
        self, head: Head, directory: Directory, present: set[str]
    ) -> list[vpasswd.VpasswdLine] | None:
        """Return the usable lines of vpasswd, or of its cdb; None when there is neither."""
        name = next((name for name in (_VPASSWD, _VPASSWD_CDB) if name in present), None)
        shown = f"{directory.shown}/{name or _VPASSWD}"
        if name is None:
            reason = "the domain has neither vpasswd nor vpasswd.cdb"
            self._evidence.find(Code.MISSING, shown, 0, "", reason)
            return None
        data = read_file(self._evidence, directory, name)
        if data is None:
            return None
        if name == _VPASSWD_CDB:
            self._evidence.find(
                Code.CDB_ONLY, shown, 0, "", "vpasswd is missing; the accounts are from its cdb"
            )
            parsed = vpasswd.parse_cdb(data)
        else:
            parsed = vpasswd.parse(data)
        tally = self._evidence.tally(name, shown)
        tally.files = 1
        tally.lines = len(parsed)
        seen: dict[str, int] = {}
        checked = (self._vpasswd_line(line, head, seen, tally) for line in parsed)
        usable = [line for line in checked if line is not None]
        usable = self._without_carriage_returns(usable, shown)
        self._report_hashes(usable, shown)
        self._report_clear_texts(usable, shown)
        return usable

    def _vpasswd_line(
        self,
        line: vpasswd.VpasswdLine | Malformed,
        head: Head,
        seen: dict[str, int],
        tally: Tally,
    ) -> vpasswd.VpasswdLine | None:
        """Return the line as an account with a lower-case name, None if it is to be left out."""
        find, shown = self._evidence.find, tally.place
        if isinstance(line, Malformed):
            if tally.kind == _VPASSWD and not line.text.strip():
                tally.blank += 1
                find(Code.BLANK_LINE, shown, line.number, "", "a blank line")
            else:
                self._evidence.malformed(tally, shown, line, secret=True)
            return None
        name = names.lower(line.name)
        home = self._all_homes.plain(line.directory)
        if problem := _problem(line, name, home, seen):
            code, text, reason = problem
            find(code, shown, line.number, text, reason)
            tally.rejected += 1
            return None
        seen[name] = line.number
        tally.imported += 1
        read = replace(line, name=name, directory=home or "")
        self._find_odd(line, read, head, shown)
        return read

    def _find_odd(
        self, line: vpasswd.VpasswdLine, read: vpasswd.VpasswdLine, head: Head, shown: str
    ) -> None:
        """Report what is imported, but not as it stands there or with doubts."""
        find, name, number = self._evidence.find, read.name, line.number
        if name != line.name:
            find(Code.UPPER_CASE, shown, number, line.name, f"imported as {name}")
        if read.directory != line.directory:
            reason = f"the directory of {name} is read as {read.directory}"
            find(Code.NOT_PLAIN, shown, number, line.directory, reason)
        if unknown := line.flags & ~_KNOWN_FLAGS:
            reason = f"{name} has unknown flags in its gid: {unknown:#x}"
            find(Code.UNKNOWN_FLAGS, shown, number, str(line.flags), reason)
        place = f"{shown}:{number}"
        if odd := self._all_homes.take(read.directory, name, head.directory, place):
            code, reason = odd
            find(code, shown, number, read.directory, reason)

    def _without_carriage_returns(
        self, lines: list[vpasswd.VpasswdLine], shown: str
    ) -> list[vpasswd.VpasswdLine]:
        """Return the lines as they are without the end of line of other systems."""
        ending = [line for line in lines if _last_field(line).endswith("\r")]
        if not ending:
            return lines
        reason = f"{len(ending)} lines end in a carriage return"
        self._evidence.find(Code.CARRIAGE_RETURNS, shown, ending[0].number, "", reason)
        return [_without_carriage_return(line) for line in lines]

    def _report_hashes(self, lines: list[vpasswd.VpasswdLine], shown: str) -> None:
        """Say how many hashes our logins read differently than vpopmail's, or not at all."""
        unknown = prefixed = 0
        for line in lines:
            if scheme_of(line.password_hash) == "unknown":
                unknown += 1
            elif line.password_hash.startswith("{"):
                prefixed += 1
        if prefixed:
            reason = f"{prefixed} password hashes have a prefix such as {{CRYPT}}"
            self._evidence.find(Code.HASH_PREFIX, shown, 0, "", reason)
        if unknown:
            reason = f"{unknown} password hashes are of no known kind"
            self._evidence.find(Code.UNKNOWN_HASH, shown, 0, "", reason)

    def _report_clear_texts(self, lines: list[vpasswd.VpasswdLine], shown: str) -> None:
        count = sum(bool(line.clear_text) for line in lines)
        if count and not self._store_clear_text:
            reason = f"{count} readable passwords are left out"
            self._evidence.find(Code.CLEAR_TEXT, shown, 0, "", reason)

    def _mailboxes(
        self, head: Head, directory: Directory, lines: list[vpasswd.VpasswdLine]
    ) -> tuple[site.Mailbox, ...]:
        files_tally = self._evidence.tally("mailboxes' .qmail*", directory.shown)
        lastauth_tally = self._evidence.tally("mailboxes' lastauth", directory.shown)
        mailboxes = []
        without = []
        for line, parent, home_path in self._homes(head, directory, lines):
            try:
                home = self._home(parent, home_path, files_tally, lastauth_tally)
            except (FileNotFoundError, NotADirectoryError):
                shown = f"{directory.shown}: {line.name}"
                reason = f"the directory of {line.name} is missing"
                self._evidence.find(Code.NO_HOME, shown, 0, line.directory, reason)
                home = _Home()
            except OSError as error:
                report_unreadable(self._evidence, error, f"the directory of {line.name}")
                home = _Home()
            if home.last_auth is None:
                without.append(line.name)
            mailboxes.append(self._mailbox(line, home))
        if without:
            shown_names = ", ".join(sorted(without)[:_LISTED])
            more = ", …" if len(without) > _LISTED else ""
            reason = f"{len(without)} accounts have no lastauth: {shown_names}{more}"
            self._evidence.find(Code.NO_LASTAUTH, directory.shown, 0, "", reason)
        return tuple(sorted(mailboxes, key=lambda mailbox: mailbox.name))

    def _homes(
        self, head: Head, directory: Directory, lines: list[vpasswd.VpasswdLine]
    ) -> Iterator[tuple[vpasswd.VpasswdLine, Directory | None, str]]:
        """Return each account with an open directory and the path of its home below that.

        Homes of one bucket come together, so that the bucket is opened once. Without a
        directory the path is absolute.
        """
        buckets: defaultdict[str | None, list[tuple[vpasswd.VpasswdLine, str]]] = defaultdict(list)
        for line in lines:
            below = relative_to(line.directory, head.directory)
            if below is None:
                buckets[None].append((line, line.directory))
            else:
                *bucket, last = components(below) or [""]
                buckets["/".join(bucket)].append((line, last))
        for bucket_path, homes in buckets.items():
            try:
                parent = None if bucket_path is None else directory.enter(bucket_path)
            except OSError:
                # Each home is tried, and reported, by itself.
                for line, last in homes:
                    yield line, directory, f"{bucket_path}/{last}"
                continue
            for line, path in homes:
                yield line, parent, path
            if parent is not None:
                parent.close()

    def _home(
        self, parent: Directory | None, path: str, files_tally: Tally, lastauth_tally: Tally
    ) -> _Home:
        with self._places.open(path) if parent is None else parent.enter(path) as directory:
            dot_qmails = []
            last_auth = None
            for entry in directory.entries():
                name = entry.name
                if name == _LASTAUTH and entry.is_file(follow_symlinks=False):
                    last_auth = self._last_auth(directory, lastauth_tally)
                elif is_dot_qmail(name):
                    dot_qmails.append(entry)
                elif name == "Maildir":
                    self._evidence.maildirs += 1
                else:
                    self._evidence.leave("in mailbox directories", f"{directory.shown}/{name}")
            files = self._dotqmails.read(directory, dot_qmails, files_tally)
        return _Home(last_auth, files)

    def _mailbox(self, line: vpasswd.VpasswdLine, home: _Home) -> site.Mailbox:
        quota = _parse_quota(line.quota_text)
        last_auth = home.last_auth or site.LastAuth(_EPOCH, NEVER)
        never = home.last_auth is not None and last_auth.remote_ip == NEVER
        clear_text = line.clear_text
        return site.Mailbox(
            name=line.name,
            password_hash=line.password_hash,
            clear_text="" if clear_text and not self._store_clear_text else clear_text,
            apop_uid=line.apop_uid,
            flags=line.flags,
            comment=line.comment,
            directory=line.directory,
            quota_text=line.quota_text,
            quota_bytes=quota.bytes,
            quota_messages=quota.messages,
            created_at=last_auth.at if never else None,
            last_auth=last_auth,
            files=home.files,
        )

    def _last_auth(self, directory: Directory, tally: Tally) -> site.LastAuth | None:
        shown = f"{directory.shown}/{_LASTAUTH}"
        tally.files += 1
        tally.lines += 1
        try:
            data, mtime = directory.read_with_mtime(_LASTAUTH)
        except OSError as error:
            tally.rejected += 1
            report_unreadable(self._evidence, error, "the last login")
            return None
        tally.imported += 1
        text = decode(data).removesuffix("\n")
        if not _is_ip(text):
            self._evidence.find(Code.ODD_LASTAUTH, shown, 1, text, "it is no IP address")
        try:
            at = datetime.fromtimestamp(mtime, UTC)
        except (ValueError, OverflowError, OSError):
            at = _EPOCH
            reason = "its time is out of range; imported as 1970"
            self._evidence.find(Code.ODD_LASTAUTH, shown, 0, str(mtime), reason)
        return site.LastAuth(at, text)

    # --- what stays ---------------------------------------------------------------------------

    def _leave_rest(
        self,
        head: Head,
        directory: Directory,
        entries: list["os.DirEntry[str]"],
        lines: list[vpasswd.VpasswdLine],
    ) -> None:
        """List what is in the domain's directory and its buckets and belongs to no account."""
        homes: set[str] = set()
        buckets: set[str] = set()
        for line in lines:
            path = components(relative_to(line.directory, head.directory) or "")
            homes.add("/".join(path))
            buckets.update("/".join(path[:depth]) for depth in range(1, len(path)))
        leave = self._evidence.leave
        for entry in entries:
            name = entry.name
            if name in homes or name in buckets or name in _READ or is_dot_qmail(name):
                continue
            derived = name == _VPASSWD_CDB or name.endswith(LOCK)
            what = "made anew by the export" if derived else "in domain directories"
            leave(what, f"{directory.shown}/{name}")
        for bucket in sorted(buckets):
            try:
                with directory.enter(bucket) as opened:
                    inside = opened.entries()
            except OSError:
                continue  # reported with the homes in it
            for entry in inside:
                path_here = f"{bucket}/{entry.name}"
                if path_here not in homes and path_here not in buckets:
                    leave("in domain directories", f"{directory.shown}/{path_here}")


def _problem(
    line: vpasswd.VpasswdLine, name: str, home: str | None, seen: dict[str, int]
) -> tuple[Code, str, str] | None:
    """Return why a line cannot be imported: code, text to be shown, reason; None if it can."""
    hidden = without_secrets(f"{line.name}:…")
    if not names.is_user_name(line.name) or not _NO_NAMES.isdisjoint(line.name.split("/")):
        return Code.BAD_NAME, hidden, "no name that vpopmail can have"
    if name in seen:
        return Code.SAME_USER, line.name, f"line {seen[name]} has this user already"
    if line.apop_uid > _INT_MAX:
        return Code.MALFORMED, hidden, "its uid is too large"
    if not 0 <= line.flags <= _INT_MAX:
        return Code.MALFORMED, hidden, "its gid, a set of flags, is negative or too large"
    if home is None:
        reason = f"the directory of {name} is no plain absolute path, or holds a domain's"
        return Code.BAD_PATH, line.directory, reason
    return None


def _last_field(line: vpasswd.VpasswdLine) -> str:
    return line.quota_text if line.clear_text is None else line.clear_text


def _without_carriage_return(line: vpasswd.VpasswdLine) -> vpasswd.VpasswdLine:
    """Return the line without what stands before its newline in files of other systems."""
    if line.clear_text is None:
        return replace(line, quota_text=line.quota_text.removesuffix("\r"))
    return replace(line, clear_text=line.clear_text.removesuffix("\r"))


def _is_ip(text: str) -> bool:
    """Say whether ``lastauth`` names an address; some programs write colons as underscores."""
    try:
        ipaddress.ip_address(text.replace("_", ":"))
    except ValueError:
        return False
    return True
